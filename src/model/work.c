/* Every block of forward/ in turn, for one chunk: the matrices its rows pass. */
#include "model/work.h"

static void add(carat_work *o, carat_step s, uint64_t bytes, uint64_t macs) {
    o->bytes[s] += bytes;
    o->macs[s] += macs;
    o->total_bytes += bytes;
    o->total_macs += macs;
}

/* `rows` rows through a matrix, or through matrices of a stack, of which `n_read` are read. */
static void multiply(carat_work *o, carat_step s, const ct_matrix *m, int64_t n_read, int64_t rows) {
    if (!m->data || rows == 0) return;
    add(o, s, (uint64_t)n_read * (uint64_t)m->d_out * m->row_bytes, (uint64_t)rows * (uint64_t)m->d_out * (uint64_t)m->d_in);
}

/* First position that the token at pos sees in layer l. */
static int64_t first_seen(const ct_config *c, const ct_layer_config *l, int64_t pos) {
    return l->attn == CT_ATTN_SLIDING && pos - c->w_swa + 1 > 0 ? pos - c->w_swa + 1 : 0;
}

static void add_attention(carat_work *o, const ct_config *c, const ct_work_run *r, int il, int64_t lo, int64_t hi) {
    const ct_layer_config *l = &c->layer[il];
    uint64_t seen = 0;
    for (int64_t p = lo; p < hi; p++) seen += (uint64_t)(p + 1 - first_seen(c, l, p));
    const uint64_t row = ct_dtype_row_bytes(r->kv, l->d_head) * (uint64_t)l->n_head_kv;
    /* Keys and values both: hence 2. */
    add(o, CARAT_STEP_ATTENTION, 2 * (uint64_t)(hi - first_seen(c, l, lo)) * row,
        2 * seen * (uint64_t)l->n_head * (uint64_t)l->d_head);
}

static void add_experts(carat_work *o, const ct_config *c, const ct_layer_weights *w, int64_t rows) {
    const int64_t picks = rows * c->n_expert_used, n_read = picks < c->n_expert ? picks : c->n_expert;
    multiply(o, CARAT_STEP_ROUTER, &w->ffn_gate_inp, 1, rows);
    multiply(o, CARAT_STEP_EXPERTS, &w->ffn_gate_exps, n_read, picks);
    multiply(o, CARAT_STEP_EXPERTS, &w->ffn_up_exps, n_read, picks);
    multiply(o, CARAT_STEP_EXPERTS, &w->ffn_down_exps, n_read, picks);
}

/* m tokens at pos, of which the last `need` are asked for. */
static void add_chunk(carat_work *o, const ct_config *c, const ct_weights *w, const ct_work_run *r, int64_t pos, int64_t m,
                      int64_t need) {
    const int last_owner = ct_config_last_owner(c);
    add(o, CARAT_STEP_EMBED, (uint64_t)m * w->token_embd.row_bytes, 0);
    add(o, CARAT_STEP_OTHER, r->norm_bytes, 0);
    if (c->d_ple) { /* of a row that goes no further than the last owner, the slices of the layers before it */
        const uint64_t row = w->per_layer_token_embd.row_bytes;
        add(o, CARAT_STEP_PLE, (uint64_t)need * row + (uint64_t)(m - need) * (row * (uint64_t)last_owner / (uint64_t)c->n_layer), 0);
    }
    for (int il = 0; il < c->n_layer; il++) {
        const ct_layer_weights *lw = &w->layer[il];
        const int64_t rows = il < last_owner ? m : need;
        if (c->layer[il].kv_layer == il) {
            multiply(o, CARAT_STEP_PROJECTIONS, &lw->attn_k, 1, m);
            if (!c->layer[il].v_from_k) multiply(o, CARAT_STEP_PROJECTIONS, &lw->attn_v, 1, m);
        }
        if (rows == 0) break;
        multiply(o, CARAT_STEP_PROJECTIONS, &lw->attn_q, 1, rows);
        add_attention(o, c, r, il, pos + m - rows, pos + m);
        multiply(o, CARAT_STEP_PROJECTIONS, &lw->attn_output, 1, rows);
        multiply(o, CARAT_STEP_FFN, &lw->ffn_gate, 1, rows);
        multiply(o, CARAT_STEP_FFN, &lw->ffn_up, 1, rows);
        multiply(o, CARAT_STEP_FFN, &lw->ffn_down, 1, rows);
        if (c->n_expert) add_experts(o, c, lw, rows);
        if (c->d_ple) {
            ct_matrix context = w->per_layer_model_proj; /* this layer's rows of it */
            context.d_out = c->d_ple;
            multiply(o, CARAT_STEP_PLE, &context, 1, rows);
            multiply(o, CARAT_STEP_PLE, &lw->inp_gate, 1, rows);
            multiply(o, CARAT_STEP_PLE, &lw->proj, 1, rows);
        }
    }
}

void ct_work_add(carat_work *out, const ct_config *c, const ct_weights *w, const ct_work_run *r) {
    for (int64_t at = 0; at < r->n; at += r->n_chunk) {
        const int64_t m = r->n - at < r->n_chunk ? r->n - at : r->n_chunk;
        add_chunk(out, c, w, r, r->pos + at, m, r->all_rows ? m : at + m == r->n ? 1 : 0);
    }
    multiply(out, CARAT_STEP_HEAD, &w->output, 1, 1);
}
