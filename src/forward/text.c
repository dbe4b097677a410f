/* The layer loop. One pass over a chunk:
 *
 *   embed -> [layer: attention, feed-forward, per-layer embedding, layer scale] x n_layer -> final norm -> logits
 *
 * Only needed work: layers behind the last one that owns keys and values write nothing anybody reads later, so they run
 * only for the rows whose logits are wanted; of the last owner itself, other rows need only keys and values
 * (gemma4-spec 2.8). Every row is computed independently of which others run, so the logits are the same bits. */
#include <stdio.h>
#include <string.h>

#include "forward/forward_int.h"
#include "kernels/panel.h"
#include "quant/quant.h"

void ct_tap(const ct_forward *f, int il, const char *name, const float *x, int n, int d) {
    if (!f->tap) return;
    char full[48];
    if (il >= 0) {
        (void)snprintf(full, sizeof full, "L%02d.%s", il, name);
    } else {
        (void)snprintf(full, sizeof full, "%s", name);
    }
    f->tap(f->tap_ud, full, x, f->pos, n, d);
}

/* A token's row as it lies in rows: gathered where the table lies as panels. */
static const uint8_t *embedding_row(const ct_forward *f, int32_t tok) {
    const ct_matrix *e = &f->w->token_embd;
    if (!e->panels) return e->data + (size_t)tok * e->row_bytes;
    uint8_t *row = (uint8_t *)f->scratch; /* as wide as any input in f32 */
    const size_t panel = (size_t)(tok / CT_PANEL_ROWS) * CT_PANEL_ROWS;
    ct_panel_row(row, e->dtype, e->data + panel * e->row_bytes, tok % CT_PANEL_ROWS, e->row_bytes);
    return row;
}

/* x[r] = E[tok[r]] * sqrt(d_model). The scale stays f32; transformers rounds it to the weights' type, which is the same
 * for f32 weights and up to 0.25% away for bf16 (gemma4-spec 2.2, docs/correctness.md). */
static void embed(ct_forward *f, const int32_t *tok, int n) {
    const ct_matrix *e = &f->w->token_embd;
    const ct_decode_fn decode = ct_quant_decoder(e->dtype);
    for (int r = 0; r < n; r++) {
        float *x = f->x + (size_t)r * (size_t)e->d_in;
        decode(x, embedding_row(f, tok[r]), e->d_in);
        f->k->scale(x, f->cfg->embd_scale, x, e->d_in);
    }
}

int ct_forward_chunk(ct_forward *f, const int32_t *tok, int n, int n_more, int pos, int n_need, carat_error *err) {
    const ct_config *c = f->cfg;
    const int d = c->d_model, last_owner = ct_config_last_owner(c);
    f->pos = pos;
    if (f->tap) n_need = n; /* taps show every row of every layer */
    if (c->d_ple) ct_tier_ahead(&f->ple_tier, tok, n);
    ct_profile_step(f->profile, CARAT_STEP_EMBED);
    embed(f, tok, n);
    ct_profile_step(f->profile, CARAT_STEP_OTHER);
    ct_tap(f, -1, "embed", f->x, n, d);
    ct_rope_rows(f, n, pos);
    if (c->d_ple) {
        ct_profile_step(f->profile, CARAT_STEP_PLE);
        CT_TRY(ct_ple_inputs(f, tok, n - n_need, n, n_more, last_owner, err));
        ct_profile_step(f->profile, CARAT_STEP_OTHER);
    }
    for (int il = 0; il < c->n_layer; il++) {
        const int r0 = il < last_owner ? 0 : n - n_need;
        ct_attention(f, il, r0, n, pos);
        if (r0 == n) break; /* the last owner has written its keys and values, and nobody asks for more */
        CT_TRY(ct_ffn(f, il, r0, n, err));
        if (c->d_ple) {
            ct_profile_step(f->profile, CARAT_STEP_PLE);
            ct_ple_inject(f, il, r0, n);
            ct_profile_step(f->profile, CARAT_STEP_OTHER);
        }
        if (c->has_layer_scale) {
            ct_scale_rows(f, f->x + (size_t)r0 * (size_t)d, f->w->layer[il].layer_output_scale[0], n - r0, d);
        }
        ct_tap(f, il, "out", f->x, n, d);
    }
    if (c->d_ple) ct_tap(f, -1, "ple", f->ple, n, c->n_layer * c->d_ple);
    return 0;
}

typedef struct {
    const ct_forward *f;
    int64_t n;
} softcap_job;

#define SOFTCAP_ITEM 4096

static void softcap_item(void *ud, int64_t item, int thread) {
    const softcap_job *j = ud;
    const int64_t at = item * SOFTCAP_ITEM, left = j->n - at;
    (void)thread;
    j->f->k->softcap(j->f->logits + at, j->f->cfg->logit_softcap, left < SOFTCAP_ITEM ? left : SOFTCAP_ITEM);
}

void ct_final_norm(ct_forward *f, int row, int n_row) {
    const int d = f->cfg->d_model;
    ct_norm_rows(f, f->out_x, f->x + (size_t)row * (size_t)d, f->w->output_norm, n_row, d);
    if (!f->tap) return;
    f->pos += row; /* the tap reports absolute positions of these rows */
    ct_tap(f, -1, "final_norm", f->out_x, n_row, d);
    f->pos -= row;
}

void ct_forward_logits(ct_forward *f, int row, int n_row) {
    const ct_config *c = f->cfg;
    ct_profile_step(f->profile, CARAT_STEP_HEAD);
    ct_final_norm(f, row, n_row);
    const ct_linear op = {.y = f->logits, .w = &f->w->output, .x = f->out_x, .n_tok = n_row, .fine = true};
    ct_linear_run(f, &op, 1);
    if (c->logit_softcap > 0.0f) {
        softcap_job job = {f, (int64_t)n_row * c->n_vocab};
        ct_pool_run(f->pool, softcap_item, &job, (job.n + SOFTCAP_ITEM - 1) / SOFTCAP_ITEM);
    }
    ct_profile_step(f->profile, CARAT_STEP_OTHER);
}
