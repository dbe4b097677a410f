/* The ledger: parameters and bytes of a model by role, and what one decoded token touches of them. */
#ifndef CT_MODEL_LEDGER_H
#define CT_MODEL_LEDGER_H

#include "model/weights.h"

/* Fills role, params_* and bytes_token of info from the tensors of s and their roles [n_tensor].
 * What a token touches (weights only): every byte of what is multiplied, one row of what is looked up, the chosen
 * experts' share. The token embedding counts as output head (multiplied) where tied, its row besides. */
void ct_ledger_fill(carat_model_info *info, const ct_config *c, const ct_weights *w, const ct_source *s, const uint8_t *role);

#endif
