/* Hyperparameters of a text model, per-layer facts as data. Read from GGUF keys or from config.json; both fill the same
 * struct, and ct_config_finish proves that it makes sense before anything is sized by it. Behaviour elsewhere follows
 * these fields, never a model's name, family or layer count. */
#ifndef CT_MODEL_CONFIG_H
#define CT_MODEL_CONFIG_H

#include "base/status.h"
#include "formats/gguf.h"
#include "formats/json.h"

#define CT_MAX_LAYER 256

typedef enum { CT_ATTN_SLIDING = 0, CT_ATTN_FULL = 1, CT_N_ATTN } ct_attn_kind;

/* Which family of names and conventions a file uses. Only the loader and the chat template look at it. */
typedef enum { CT_ARCH_GEMMA4, CT_ARCH_GEMMA3 } ct_arch;

/* GGUF has no key: a head is there or not. config.json says it, whatever the files hold. */
typedef enum { CT_TIED_BY_FILE, CT_TIED, CT_UNTIED } ct_tied;

typedef struct {
    ct_attn_kind attn;
    int n_head, n_head_kv, d_head;
    int d_ff;           /* dense feed-forward width */
    int kv_layer;       /* layer whose keys and values this one reads: its own index, or the source's */
    bool v_from_k;      /* V is the raw K projection (no v_proj) */
} ct_layer_config;

/* Rotary embedding of one attention kind. Pair i of a head is (i, i + d_head/2); i < n_rot turn by
 * pos * inv_freq[i], the rest pass. inv_freq[i] = theta^(-2i/d_head) / factor. */
typedef struct {
    double theta;
    double factor;      /* linear position scaling, 1 = none */
    double partial;     /* share of the pairs that turn: n_rot = (int)(partial * d_head / 2) */
} ct_rope_config;

typedef struct {
    ct_arch arch;
    int n_layer, d_model, n_ctx_train;
    int n_vocab;                 /* 0 until the embedding's shape decides (GGUF without the key) */
    int w_swa;                   /* sliding window: a query sees w_swa keys, itself included */
    float rms_eps;
    float embd_scale;            /* sqrt(d_model) */
    float attn_scale;            /* 1 for Gemma 4, query_pre_attn_scalar^-1/2 for Gemma 3 */
    float logit_softcap;         /* 0 = none */
    bool v_norm;                 /* V goes through a weightless RMS norm */
    bool norm_plus_one;          /* stored norm weights are w - 1 (Gemma 3 safetensors) */
    bool bidirectional_media;    /* image tokens see each other (used by the vision issue; text is causal) */
    bool has_layer_scale;        /* layer_scalar tensors exist */
    int d_ple;                   /* per-layer embedding width, 0 = none */
    int n_vocab_ple;             /* rows of the per-layer embedding table; 0 = the shape decides */
    ct_tied tied;                /* is the output head the token embedding? */
    int n_expert, n_expert_used, d_ff_expert; /* 0 = dense only */
    int n_kv_shared;             /* last layers that own no keys and values */
    ct_rope_config rope[CT_N_ATTN];
    ct_layer_config layer[CT_MAX_LAYER];
    char name[128];
} ct_config;

/* Fill c from the keys of a GGUF (general.architecture gemma4 or gemma3). EMODEL names the key, what was expected and
 * what was found. */
int ct_config_from_gguf(ct_config *c, const ct_gguf *g, carat_error *err);
/* Fill c from a parsed config.json: gemma4 (nested text_config) or gemma4_text, gemma3 or gemma3_text. */
int ct_config_from_hf(ct_config *c, const ct_json *j, const char *where, carat_error *err);
/* Derive kv_layer and check every range. Called by both readers. */
int ct_config_finish(ct_config *c, const char *where, carat_error *err);

/* Highest layer index that owns keys and values. */
int ct_config_last_owner(const ct_config *c);

#endif
