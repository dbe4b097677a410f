/* The door's two tables: type to decoder, type to encoder. */
#include "quant/quant.h"

#include "quant/quant_int.h"

#define DECODER(id) [CT_##id] = ct_decode_##id,
#define ENCODER(id) [CT_##id] = ct_encode_##id,
static const ct_decode_fn decoders[CT_N_WEIGHT_DTYPE] = {CT_QUANT_LIST(DECODER)};
static const ct_encode_fn encoders[CT_N_WEIGHT_DTYPE] = {CT_QUANT_LIST(ENCODER)};

ct_decode_fn ct_quant_decoder(ct_dtype t) { return decoders[t]; }

ct_encode_fn ct_quant_encoder(ct_dtype t) { return encoders[t]; }
