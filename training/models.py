"""The two configurations. Behaviour follows config fields, sizes are the only difference to Google's."""

from transformers import Gemma4ForCausalLM, Gemma4TextConfig

COMMON = dict(vocab_size=4096, hidden_size=256, final_logit_softcapping=30.0, tie_word_embeddings=True,
              max_position_embeddings=2048, sliding_window=128, rms_norm_eps=1e-6, bos_token_id=2, pad_token_id=0)
SSF = ["sliding_attention", "sliding_attention", "full_attention"]

MODELS = {
    # The E2B manner: PLE, the upper half of the layers owns no keys and values and has a double-wide MLP.
    "story-e": dict(COMMON, num_hidden_layers=6, layer_types=SSF * 2, num_attention_heads=4, num_key_value_heads=2,
                    head_dim=32, global_head_dim=64, intermediate_size=256, use_double_wide_mlp=True,
                    num_kv_shared_layers=3, hidden_size_per_layer_input=64, vocab_size_per_layer_input=4096),
    # The 26B-A4B manner: experts beside a dense path in every layer, K = V on full layers, nothing shared.
    "story-moe": dict(COMMON, num_hidden_layers=6, layer_types=SSF * 2, num_attention_heads=4, num_key_value_heads=2,
                      num_global_key_value_heads=1, head_dim=32, global_head_dim=64, intermediate_size=128,
                      attention_k_eq_v=True, num_kv_shared_layers=0, hidden_size_per_layer_input=0,
                      enable_moe_block=True, num_experts=16, top_k_experts=2, moe_intermediate_size=64),
}


def config(name, eos):
    return Gemma4TextConfig(**MODELS[name], eos_token_id=eos, dtype="bfloat16")


def build(name, eos=(1, 6)):
    """transformers' model of that name with random weights, f32."""
    return Gemma4ForCausalLM(config(name, list(eos))).float().eval()
