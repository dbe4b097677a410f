/* See seeds.h. The models are the smallest their rooms accept: 2 or 3 layers, hidden size 32, 13 tokens. */
#include "seeds.h"

#include <stdio.h>
#include <string.h>

static int lines(craft *out, const char *const *line, int n, int i) {
    if (i >= n) return 0;
    craft_line(out, line[i]);
    return 1;
}

int seed_gguf(craft *out, int i) {
    static const char *const line[] = {
        "h:3,3,15 k:general.architecture,8 s:gemma4 k:a0,0 b:200 k:a1,1 b:-1 k:a2,2 w:60000 k:a3,3 w:-1 k:a4,4 d:7 k:a5,5 "
        "d:-7 k:a6,6 f:0.5 k:a7,7 b:1 k:a9,9 d:5 q:3 d:1 d:2 d:3 k:a10,10 q:1 k:a11,11 q:-1 k:a12,12 F:0.25 "
        "k:words,9 d:8 q:3 s:one s: s:three k:general.alignment,4 d:64 t:w,8,0,64,3 t:v,0,256,5 t:q,12,320,256,2 p:64 z:204 "
        "p:64 z:20 p:64 z:288",
        "h:2,4,3 k:nest,9 d:9 q:3 d:8 q:2 s:ab s:c d:9 q:1 d:7 q:2 b:1 b:0 d:4 q:0 k:bools,9 d:7 q:5 b:0 b:1 b:1 b:0 b:1 "
        "k:f,9 d:6 q:4 f:1 f:2 f:3 f:4 t:a,1,0,3,2,2,1 t:b,30,32,8 t:c,2,64,32 t:d,27,96,2 p:32 z:24 p:32 z:16 p:32 z:18 "
        "p:32 z:16",
        "h:3,3,0 t:p,0x43540008,0,32,48 t:q,0x43540002,1632,64,16,3 t:r,8,3360,32,16 p:32 z:3904",
        "h:3,0,4 k:split.no,2 w:0 k:split.count,2 w:1 k:split.tensors.count,5 d:0 k:name,8 s:text",
    };
    return lines(out, line, 4, i);
}

int seed_safetensors(craft *out, int i) {
    static const char *const head[] = {
        "{\"__metadata__\":{\"format\":\"pt\"},\"a.weight\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
        "\"b\":{\"dtype\":\"BF16\",\"shape\":[1,2,2,1],\"data_offsets\":[24,32]},"
        "\"c\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[40,48]}}    ",
        "{\"x\":{\"dtype\":\"F16\",\"shape\":[4],\"data_offsets\":[8,16]},"
        "\"y\":{\"dtype\":\"I32\",\"shape\":[0,5],\"data_offsets\":[16,16]},"
        "\"z\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"note\":[[],{},null,1.5e3]}}",
    };
    if (i >= 2) return 0;
    craft_safetensors(out, head[i], 0, 48);
    return 1;
}

static int texts(craft *out, const char *const *text, int n, int i) {
    if (i >= n) return 0;
    craft_bytes(out, text[i], strlen(text[i]));
    return 1;
}

int seed_json(craft *out, int i) {
    static const char *const text[] = {
        "{\"a\":[1,-2,3.5,1e10,true,false,null],\"b\":{\"c\":\"d\\u00e9\\n\\ud83d\\ude00\",\"e\":{}},\"f\":[]}",
        "[[[[[[]]]]],{\"k\":{\"k\":{\"k\":[0]}}},\"\xe2\x96\x81text\",9223372036854775807,-0.0]",
    };
    return texts(out, text, 2, i);
}

int seed_index(craft *out, int i) {
    static const char *const text[] = {
        "{\"metadata\":{\"total_size\":48},\"weight_map\":{\"a.weight\":\"one.safetensors\",\"x\":\"two.safetensors\","
        "\"b\":\"one.safetensors\",\"y\":\"two.safetensors\"}}",
    };
    return texts(out, text, 1, i);
}

/* ---- tokenizers --------------------------------------------------------------------------------------- */

#define TOK "tokenizer.ggml."
#define PIECES                                                                                        \
    "k:" TOK "tokens,9 d:8 q:13 s:<pad> s:<eos> s:<bos> s:<unk> s:<0x41> s:<0xC3> s:\xe2\x96\x81 s:a s:b s:ab " \
    "s:\xe2\x96\x81" "ab s:<|turn> s:<turn|> k:" TOK "token_type,9 d:5 q:13 d:3 d:3 d:3 d:2 d:6 d:6 d:1 d:1 d:1 d:1 d:1 d:4 d:4 "
#define MERGES "k:" TOK "model,8 s:gemma4 " PIECES "k:" TOK "merges,9 d:8 q:2 q:3 r:a b:32 r:b q:6 r:\xe2\x96\x81 b:32 r:ab "
#define SCORES "k:" TOK "model,8 s:llama " PIECES "k:" TOK "scores,9 d:6 q:13 f:0 f:0 f:0 f:0 f:0 f:0 f:-5 f:-6 f:-7 f:-1 " \
               "f:-2 f:-1000 f:0 "
#define IDS "k:" TOK "bos_token_id,4 d:2 k:" TOK "eos_token_id,4 d:1 "

int seed_tokenizer_gguf(craft *out, int i) {
    static const char *const line[] = {
        "h:3,0,6 " MERGES IDS,
        "h:3,0,6 " SCORES IDS,
        "h:3,0,4 " MERGES,
    };
    return lines(out, line, 3, i);
}

int seed_tokenizer_json(craft *out, int i) {
    static const char head[] =
        "{\"version\":\"1.0\",\"added_tokens\":[{\"id\":0,\"content\":\"<pad>\",\"special\":true},{\"id\":1,\"content\":"
        "\"<eos>\",\"special\":true,\"normalized\":false},{\"id\":2,\"content\":\"<bos>\",\"special\":true},{\"id\":9,"
        "\"content\":\"<|turn>\",\"special\":false,\"lstrip\":false}],\"normalizer\":{\"type\":\"Replace\",\"pattern\":"
        "{\"String\":\" \"},\"content\":\"\xe2\x96\x81\"},\"pre_tokenizer\":null,\"decoder\":{\"type\":\"Sequence\","
        "\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"\xe2\x96\x81\"},\"content\":\" \"},{\"type\":"
        "\"ByteFallback\"},{\"type\":\"Fuse\"}]},\"model\":{\"type\":\"BPE\",\"unk_token\":\"<unk>\",\"fuse_unk\":true,"
        "\"byte_fallback\":true,\"vocab\":{\"<pad>\":0,\"<eos>\":1,\"<bos>\":2,\"<unk>\":3,\"<0xC3>\":4,\"a\":5,\"b\":6,"
        "\"ab\":7,\"\xe2\x96\x81\":8},\"merges\":";
    static const char *const merges[] = {"[[\"a\",\"b\"],[\"\xe2\x96\x81\",\"ab\"]]}}", "[\"a b\"]}}"};
    if (i >= 2) return 0;
    craft_bytes(out, head, strlen(head));
    craft_bytes(out, merges[i], strlen(merges[i]));
    return 1;
}

/* ---- models ------------------------------------------------------------------------------------------- */

/* A GGUF (dir, data) or safetensors (json, data) directory being collected. */
typedef struct {
    craft dir, data;
    int n;
    bool hf;
    bool quantised; /* matrices in block formats where their rows allow it */
    bool panels;    /* and as panels, where that can be */
} model;

/* name: printf format with one %d for il (ignored where the name has none). Dimensions slowest first, 0 ends. */
static void tensor(model *m, const char *name, int il, int a, int b, int c) {
    char full[128], line[400];
    const int dim[3] = {a, b, c};
    int rank = 0;
    size_t n = 4;
    while (rank < 3 && dim[rank]) n *= (size_t)dim[rank++];
    static const struct {
        int number;
        size_t bytes; /* a block of 32 */
    } block[] = {{8, 34}, {2, 18}, {20, 18}, {7, 24}};
    const int q = m->quantised && rank > 1 && dim[rank - 1] % 32 == 0 ? m->n % 4 : -1;
    const int panels = m->panels && (q == 0 || q == 1) && dim[rank - 2] % 16 == 0 ? 0x43540000 : 0;
    if (q >= 0) n = n / 4 / 32 * block[q].bytes;
#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#endif
    snprintf(full, sizeof full, name, il);
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif
    if (m->hf) {
        snprintf(line, sizeof line, "%c\"%s\":{\"dtype\":\"F32\",\"shape\":[", m->n ? ',' : '{', full);
        craft_bytes(&m->dir, line, strlen(line));
        for (int d = 0; d < rank; d++) {
            snprintf(line, sizeof line, "%s%d", d ? "," : "", dim[d]);
            craft_bytes(&m->dir, line, strlen(line));
        }
        snprintf(line, sizeof line, "],\"data_offsets\":[%zu,%zu]}", m->data.n, m->data.n + n);
        craft_bytes(&m->dir, line, strlen(line));
    } else {
        int at = snprintf(line, sizeof line, "t:%s,%d,%zu", full, q < 0 ? 0 : block[q].number | panels, m->data.n);
        for (int d = rank - 1; d >= 0; d--) at += snprintf(line + at, sizeof line - (size_t)at, ",%d", dim[d]);
        craft_line(&m->dir, line);
    }
    for (size_t i = 0; q >= 0 && i < n; i++) craft_int(&m->data, i % block[q].bytes == 1 ? 0x2c : i * 37 & 0xff, 1);
    for (size_t i = 0; q < 0 && i < n / 4; i++) {
        const float f = 0.25f + (float)(i % 7) * 0.125f;
        craft_bytes(&m->data, &f, 4);
    }
    if (!m->hf) craft_line(&m->data, "p:32");
    m->n++;
}

typedef struct {
    int n_layer, shared, d_ple, n_expert, n_vocab;
    bool scale; /* Gemma 4's layer scalars */
    bool quantised, panels;
} dims;

enum { D = 32, HEAD = 16, N_HEAD = 2, FF = 32, FFE = 16 };

static void gguf_layer(model *m, const dims *x, int il) {
    const bool owner = il < x->n_layer - x->shared;
    static const char *const norms[] = {"attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"};
    char name[64];
    for (int i = 0; i < 4; i++) tensor(m, (snprintf(name, sizeof name, "blk.%%d.%s.weight", norms[i]), name), il, D, 0, 0);
    tensor(m, "blk.%d.attn_q_norm.weight", il, HEAD, 0, 0);
    if (owner) tensor(m, "blk.%d.attn_k_norm.weight", il, HEAD, 0, 0);
    if (x->scale) tensor(m, "blk.%d.layer_output_scale.weight", il, 1, 0, 0);
    tensor(m, "blk.%d.attn_q.weight", il, N_HEAD * HEAD, D, 0);
    if (owner) tensor(m, "blk.%d.attn_k.weight", il, HEAD, D, 0);
    if (owner) tensor(m, "blk.%d.attn_v.weight", il, HEAD, D, 0);
    tensor(m, "blk.%d.attn_output.weight", il, D, N_HEAD * HEAD, 0);
    tensor(m, "blk.%d.ffn_gate.weight", il, FF, D, 0);
    tensor(m, "blk.%d.ffn_up.weight", il, FF, D, 0);
    tensor(m, "blk.%d.ffn_down.weight", il, D, FF, 0);
    if (x->d_ple) {
        tensor(m, "blk.%d.inp_gate.weight", il, x->d_ple, D, 0);
        tensor(m, "blk.%d.proj.weight", il, D, x->d_ple, 0);
        tensor(m, "blk.%d.post_norm.weight", il, D, 0, 0);
    }
    if (!x->n_expert) return;
    tensor(m, "blk.%d.ffn_gate_inp.weight", il, x->n_expert, D, 0);
    tensor(m, "blk.%d.ffn_gate_inp.scale", il, D, 0, 0);
    tensor(m, "blk.%d.ffn_down_exps.scale", il, x->n_expert, 0, 0);
    tensor(m, "blk.%d.post_ffw_norm_1.weight", il, D, 0, 0);
    tensor(m, "blk.%d.pre_ffw_norm_2.weight", il, D, 0, 0);
    tensor(m, "blk.%d.post_ffw_norm_2.weight", il, D, 0, 0);
    tensor(m, "blk.%d.ffn_gate_up_exps.weight", il, x->n_expert, 2 * FFE, D);
    tensor(m, "blk.%d.ffn_down_exps.weight", il, x->n_expert, D, FFE);
}

static void gguf_model(craft *out, const dims *x, int n_key, const char *keys) {
    model m = {.quantised = x->quantised, .panels = x->panels};
    char line[64];
    tensor(&m, "token_embd.weight", 0, x->n_vocab, D, 0);
    tensor(&m, "output_norm.weight", 0, D, 0, 0);
    if (x->d_ple) {
        tensor(&m, "per_layer_token_embd.weight", 0, x->n_vocab, x->n_layer * x->d_ple, 0);
        tensor(&m, "per_layer_model_proj.weight", 0, x->n_layer * x->d_ple, D, 0);
        tensor(&m, "per_layer_proj_norm.weight", 0, x->d_ple, 0, 0);
    }
    for (int il = 0; il < x->n_layer; il++) gguf_layer(&m, x, il);
    snprintf(line, sizeof line, "h:3,%d,%d", m.n, n_key);
    craft_line(out, line);
    craft_line(out, keys);
    craft_bytes(out, m.dir.p, m.dir.n);
    craft_line(out, "p:32");
    craft_bytes(out, m.data.p, m.data.n);
    craft_free(&m.dir);
    craft_free(&m.data);
}

#define COMMON(arch, n_layer)                                                                                     \
    "k:general.architecture,8 s:" arch " k:" arch ".block_count,4 d:" n_layer " k:" arch ".embedding_length,4 d:32 k:" arch \
    ".context_length,4 d:128 k:" arch ".attention.sliding_window,4 d:8 k:" arch ".attention.head_count,4 d:2 k:" arch       \
    ".attention.head_count_kv,4 d:1 k:" arch ".attention.key_length,4 d:16 "
#define N_COMMON 8

int seed_model_gguf(craft *out, int i) {
    static const dims ple = {3, 1, 16, 0, 13, true, false, false}, moe = {2, 0, 0, 4, 13, true, true, false},
                      laid = {2, 0, 0, 4, 16, true, true, true}, three = {2, 0, 0, 0, 13, false, true, false};
    switch (i) {
    case 0:
        gguf_model(out, &ple, N_COMMON + 4 + 6,
                   COMMON("gemma4", "3") "k:gemma4.feed_forward_length,9 d:5 q:3 d:32 d:32 d:32 "
                   "k:gemma4.attention.sliding_window_pattern,9 d:7 q:3 b:1 b:0 b:0 "
                   "k:gemma4.embedding_length_per_layer_input,4 d:16 k:gemma4.attention.shared_kv_layers,4 d:1 " MERGES IDS);
        return 1;
    case 1:
    case 3:
        gguf_model(out, i == 1 ? &moe : &laid, N_COMMON + 5 + 6,
                   COMMON("gemma4", "2") "k:gemma4.feed_forward_length,4 d:32 k:gemma4.expert_count,4 d:4 "
                   "k:gemma4.expert_used_count,4 d:2 k:gemma4.expert_feed_forward_length,4 d:16 "
                   "k:gemma4.attention.sliding_window_pattern,9 d:7 q:2 b:1 b:0 " MERGES IDS);
        return 1;
    case 2:
        gguf_model(out, &three, N_COMMON + 2 + 6,
                   COMMON("gemma3", "2") "k:gemma3.feed_forward_length,4 d:32 k:gemma3.rope.freq_base,6 f:1000000 " SCORES IDS);
        return 1;
    default: return 0;
    }
}

int seed_config_json(craft *out, int i) {
    static const char *const text[] = {
        "{\"model_type\":\"gemma4\",\"text_config\":{\"model_type\":\"gemma4_text\",\"num_hidden_layers\":3,\"hidden_size\":32,"
        "\"vocab_size\":13,\"vocab_size_per_layer_input\":13,\"max_position_embeddings\":128,\"sliding_window\":8,"
        "\"num_attention_heads\":2,\"num_key_value_heads\":1,\"head_dim\":16,\"global_head_dim\":16,\"intermediate_size\":32,"
        "\"hidden_size_per_layer_input\":16,\"num_kv_shared_layers\":1,\"final_logit_softcapping\":30.0,\"layer_types\":"
        "[\"sliding_attention\",\"full_attention\",\"full_attention\"],\"rope_parameters\":{\"sliding_attention\":"
        "{\"rope_type\":\"default\",\"rope_theta\":10000.0},\"full_attention\":{\"rope_type\":\"proportional\","
        "\"rope_theta\":1000000.0,\"partial_rotary_factor\":0.25}},\"rms_norm_eps\":1e-06,\"enable_moe_block\":false}}",
        "{\"model_type\":\"gemma4_text\",\"num_hidden_layers\":3,\"hidden_size\":32,\"vocab_size\":13,"
        "\"vocab_size_per_layer_input\":13,\"num_attention_heads\":2,\"num_key_value_heads\":1,\"head_dim\":16,"
        "\"intermediate_size\":32,\"hidden_size_per_layer_input\":16,\"num_kv_shared_layers\":1,\"layer_types\":null,"
        "\"sliding_window_pattern\":2,\"per_layer_config\":{\"1\":{\"head_dim\":16,\"num_key_value_heads\":1}}}",
    };
    return texts(out, text, 2, i);
}

void seed_hf_weights(craft *out) {
    static const struct {
        const char *name;
        int a, b;
    } layer[] = {
        {"input_layernorm.weight", D, 0},           {"post_attention_layernorm.weight", D, 0},
        {"pre_feedforward_layernorm.weight", D, 0}, {"post_feedforward_layernorm.weight", D, 0},
        {"self_attn.q_norm.weight", HEAD, 0},       {"self_attn.k_norm.weight", HEAD, 0},
        {"layer_scalar", 1, 0},                     {"self_attn.q_proj.weight", N_HEAD * HEAD, D},
        {"self_attn.k_proj.weight", HEAD, D},       {"self_attn.v_proj.weight", HEAD, D},
        {"self_attn.o_proj.weight", D, N_HEAD * HEAD}, {"mlp.gate_proj.weight", FF, D},
        {"mlp.up_proj.weight", FF, D},              {"mlp.down_proj.weight", D, FF},
        {"per_layer_input_gate.weight", 16, D},     {"per_layer_projection.weight", D, 16},
        {"post_per_layer_input_norm.weight", D, 0},
    };
    model m = {.hf = true};
    char name[96];
    tensor(&m, "model.embed_tokens.weight", 0, 13, D, 0);
    tensor(&m, "model.norm.weight", 0, D, 0, 0);
    tensor(&m, "model.embed_tokens_per_layer.weight", 0, 13, 48, 0);
    tensor(&m, "model.per_layer_model_projection.weight", 0, 48, D, 0);
    tensor(&m, "model.per_layer_projection_norm.weight", 0, 16, 0, 0);
    for (int il = 0; il < 3; il++) {
        for (size_t k = 0; k < sizeof layer / sizeof layer[0]; k++) {
            snprintf(name, sizeof name, "model.layers.%%d.%s", layer[k].name);
            tensor(&m, name, il, layer[k].a, layer[k].b, 0);
        }
    }
    craft_bytes(&m.dir, "}", 2); /* with the NUL, for craft_safetensors */
    craft_safetensors(out, (const char *)m.dir.p, 0, 0);
    craft_bytes(out, m.data.p, m.data.n);
    craft_free(&m.dir);
    craft_free(&m.data);
}
