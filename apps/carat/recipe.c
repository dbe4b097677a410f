/* Types of a written model: see recipe.h. REF: gemma4-spec 3.8; what published files contain is tested in tests/cut. */
#include "recipe.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "kernels/panel.h"

static const cli_recipe recipes[] = {
    {"f32", CT_F32, false, 0},      {"f16", CT_F16, false, 1},      {"bf16", CT_BF16, false, 32},
    {"q8_0", CT_Q8_0, false, 7},    {"q4_0", CT_Q4_0, false, 2},    {"q4_1", CT_Q4_1, false, 3},
    {"q5_0", CT_Q5_0, false, 8},    {"q5_1", CT_Q5_1, false, 9},    {"q2_k", CT_Q2_K, false, 10},
    {"q3_k", CT_Q3_K, false, 11},   {"q4_k", CT_Q4_K, false, 14},   {"q5_k", CT_Q5_K, false, 16},
    {"q6_k", CT_Q6_K, false, 18},   {"iq4_nl", CT_IQ4_NL, false, 25}, {"iq4_xs", CT_IQ4_XS, false, 30},
    {"q4_k_m", CT_Q4_K, true, 15},
};
enum { N_RECIPE = sizeof recipes / sizeof *recipes };

const cli_recipe *cli_recipe_find(const char *name) {
    for (int i = 0; i < N_RECIPE; i++) {
        if (strcasecmp(name, recipes[i].name) == 0) return &recipes[i];
    }
    return NULL;
}

const cli_recipe *cli_recipe_at(int i) { return i >= 0 && i < N_RECIPE ? &recipes[i] : NULL; }

/* "blk.7.attn_v.weight" -> "attn_v.weight"; names without a layer are returned whole. */
static const char *part_of_layer(const char *name) {
    if (strncmp(name, "blk.", 4) != 0) return name;
    const char *dot = strchr(name + 4, '.');
    return dot ? dot + 1 : name;
}

static bool ends_with(const char *s, const char *end) {
    const size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

/* Matrices may lose bits; all else is small and stays F32. The router decides, so it stays exact too. */
static bool is_matrix(const ct_tensor *t) {
    return t->rank >= 2 && ends_with(t->name, ".weight") && !ends_with(t->name, "norm.weight") &&
           !ends_with(t->name, "ffn_gate_inp.weight");
}

/* What llama.cpp writes where a row is no whole number of blocks. */
static ct_dtype fit_to_row(ct_dtype t, int64_t row) {
    if (ct_dtype_block_len(t) == 256 && row % 256 != 0) {
        switch (t) {
        case CT_Q4_K: t = CT_Q5_0; break;
        case CT_Q5_K: t = CT_Q5_1; break;
        case CT_Q6_K: t = CT_Q8_0; break;
        default: t = CT_IQ4_NL; break;
        }
    }
    return row % ct_dtype_block_len(t) == 0 ? t : CT_F16;
}

/* Q4_K_M spends more on the first and last eighth of the layers and on every third between. */
static bool more_bits(int i, int n) { return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2; }

static int count_parts(const ct_tensor *t, size_t n, const char *part) {
    int count = 0;
    for (size_t i = 0; i < n; i++) count += strcmp(part_of_layer(t[i].name), part) == 0;
    return count;
}

static bool is_part(const char *part, const char *a, const char *b) {
    return strcmp(part, a) == 0 || strcmp(part, b) == 0;
}

/* In the order of the list, attn_v is counted among those there are (some layers have none), ffn_down by layers. */
static bool wants_six_bits(const ct_tensor *t, size_t n, size_t at) {
    const char *part = part_of_layer(t[at].name);
    if (is_part(part, "token_embd.weight", "per_layer_token_embd.weight")) return true;
    if (is_part(part, "attn_v.weight", "ffn_down.weight") || strcmp(part, "ffn_down_exps.weight") == 0) {
        return more_bits(count_parts(t, at, part), count_parts(t, n, part));
    }
    return false;
}

void cli_recipe_assign(const cli_recipe *r, ct_tensor *t, size_t n) {
    for (size_t i = 0; i < n; i++) {
        ct_dtype type = CT_F32;
        if (strcmp(t[i].name, "per_layer_model_proj.weight") == 0) {
            type = r->type == CT_F32 ? CT_F32 : CT_BF16;
        } else if (is_matrix(&t[i])) {
            type = r->mix && wants_six_bits(t, n, i) ? CT_Q6_K : r->type;
            type = fit_to_row(type, t[i].shape[t[i].rank - 1]);
        }
        t[i].dtype = type;
    }
}

/* ---- layout ------------------------------------------------------------------------------------------- */

/* Read by rows, or by other programs' parts of the file. */
static bool stays_in_rows(const char *name) {
    static const char *const other[] = {"v.", "a.", "mm."};
    for (size_t k = 0; k < sizeof other / sizeof *other; k++) {
        if (strncmp(name, other[k], strlen(other[k])) == 0) return true;
    }
    return strcmp(name, "per_layer_token_embd.weight") == 0;
}

/* Rows of the parts in which the library uses a tensor. */
static int64_t rows_of_part(const ct_tensor *t, int64_t d_ple) {
    const char *part = part_of_layer(t->name);
    if (strcmp(part, "ffn_gate_up_exps.weight") == 0) return t->shape[t->rank - 2] / 2;
    return strcmp(part, "per_layer_model_proj.weight") == 0 ? d_ple : t->shape[t->rank - 2];
}

int cli_layout_assign(cli_layout l, ct_tensor *t, size_t n, int64_t d_ple, carat_error *err) {
    size_t n_panels = 0;
    for (size_t i = 0; i < n; i++) {
        t[i].panels = l == CLI_LAYOUT_PANELS && (t[i].rank == 2 || t[i].rank == 3) && ct_dtype_has_panels(t[i].dtype) &&
                      !stays_in_rows(t[i].name) && t[i].shape[t[i].rank - 2] % CT_PANEL_ROWS == 0 &&
                      rows_of_part(&t[i], d_ple) % CT_PANEL_ROWS == 0;
        n_panels += t[i].panels;
    }
    if (l == CLI_LAYOUT_ROWS || n_panels) return 0;
    return CT_FAIL(err, CARAT_EUNSUPPORTED,
                   "--layout panels: no matrix has a type that can lie so, expected Q4_0, Q8_0, Q4_K, Q5_K or Q6_K (--type)");
}

int cli_layout_put(ct_gguf_writer *w, const ct_tensor *t, carat_error *err) {
    return (t->panels ? ct_gguf_put_panels : ct_gguf_put_tensor)(w, t->name, t->dtype, t->rank, t->shape, err);
}

void cli_layout_pack(uint8_t *dst, const uint8_t *src, const ct_tensor *t, int64_t n_row) {
    const size_t row_bytes = ct_dtype_row_bytes(t->dtype, t->shape[t->rank - 1]), panel = CT_PANEL_ROWS * row_bytes;
    for (int64_t p = 0; p < n_row / CT_PANEL_ROWS; p++) {
        ct_panel_pack(dst + (size_t)p * panel, t->dtype, src + (size_t)p * panel, row_bytes, CT_PANEL_ROWS);
    }
}

void cli_layout_unpack(uint8_t *dst, const uint8_t *src, const ct_tensor *t, int64_t n_row) {
    const size_t row_bytes = ct_dtype_row_bytes(t->dtype, t->shape[t->rank - 1]), panel = CT_PANEL_ROWS * row_bytes;
    for (int64_t r = 0; r < n_row; r++) {
        ct_panel_row(dst + (size_t)r * row_bytes, t->dtype, src + (size_t)(r / CT_PANEL_ROWS) * panel, (int)(r % CT_PANEL_ROWS), row_bytes);
    }
}
