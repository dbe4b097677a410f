#include "model/ledger.h"

#include <string.h>

void ct_ledger_fill(carat_model_info *info, const ct_config *c, const ct_weights *w, const ct_source *s, const uint8_t *role) {
    memset(info->role, 0, sizeof info->role);
    for (size_t i = 0; i < ct_source_n_tensor(s); i++) {
        const ct_tensor *t = ct_source_tensor_at(s, i);
        carat_ledger_row *row = &info->role[role[i]];
        row->n_tensor++;
        /* A table that could be computed is bytes, but no parameter: published counts do not have it. */
        if (strcmp(t->name, "rope_freqs.weight") != 0) row->params += t->n_elem;
        row->bytes += t->bytes;
    }
    for (int r = 0; r < CARAT_N_ROLE; r++) {
        carat_ledger_row *row = &info->role[r];
        row->params_token = row->params;
        row->bytes_token = row->bytes;
        switch (r) {
        case CARAT_ROLE_TOKEN_EMBD: /* head and one row, or one row */
            if (!w->tied) row->params_token = 0, row->bytes_token = 0;
            row->params_token += w->tied ? 0 : w->token_embd.d_in;
            row->bytes_token += w->token_embd.row_bytes;
            break;
        case CARAT_ROLE_PLE_TABLE:
            row->params_token = w->per_layer_token_embd.d_in;
            row->bytes_token = w->per_layer_token_embd.row_bytes;
            break;
        case CARAT_ROLE_EXPERTS:
            if (c->n_expert) {
                row->params_token = row->params / c->n_expert * c->n_expert_used;
                row->bytes_token = row->bytes / (uint64_t)c->n_expert * (uint64_t)c->n_expert_used;
            }
            break;
        case CARAT_ROLE_VISION:
        case CARAT_ROLE_AUDIO:
        case CARAT_ROLE_UNUSED: row->params_token = 0, row->bytes_token = 0; break;
        default: break;
        }
        if (r == CARAT_ROLE_VISION || r == CARAT_ROLE_AUDIO || r == CARAT_ROLE_UNUSED) continue;
        info->params_total += row->params;
        info->bytes_token += row->bytes_token;
        if (r != CARAT_ROLE_PLE_TABLE && (r != CARAT_ROLE_TOKEN_EMBD || w->tied)) info->params_active += row->params_token;
    }
    info->params_lookup = info->role[CARAT_ROLE_PLE_TABLE].params;
    if (!w->tied) info->params_lookup += info->role[CARAT_ROLE_TOKEN_EMBD].params;
    info->params_effective = info->params_total - info->role[CARAT_ROLE_PLE_TABLE].params;
}
