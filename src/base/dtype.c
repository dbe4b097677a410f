#include "base/dtype.h"

#include <strings.h>

static const struct {
    const char *name;
    int len;
    size_t bytes;
} dtypes[CT_N_DTYPE] = {
#define X(id, name, len, bytes) [CT_##id] = {name, len, bytes},
    CT_DTYPE_LIST(X)
#undef X
};

const char *ct_dtype_name(ct_dtype t) { return (unsigned)t < CT_N_DTYPE ? dtypes[t].name : "?"; }

int ct_dtype_block_len(ct_dtype t) { return dtypes[t].len; }

size_t ct_dtype_block_bytes(ct_dtype t) { return dtypes[t].bytes; }

size_t ct_dtype_row_bytes(ct_dtype t, int64_t n) {
    if (n < 0 || n % dtypes[t].len != 0) return 0;
    return (size_t)(n / dtypes[t].len) * dtypes[t].bytes;
}

bool ct_dtype_parse(const char *name, ct_dtype *out) {
    for (int i = 0; i < CT_N_DTYPE; i++) {
        if (strcasecmp(name, dtypes[i].name) == 0) {
            *out = (ct_dtype)i;
            return true;
        }
    }
    return false;
}

bool ct_dtype_has_panels(ct_dtype t) {
    return t == CT_Q4_0 || t == CT_Q8_0 || t == CT_Q4_K || t == CT_Q5_K || t == CT_Q6_K;
}
