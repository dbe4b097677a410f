/* Private to src/formats (and its tests): opening a safetensors file that lies in memory. */
#ifndef CT_FORMATS_SAFETENSORS_PRIV_H
#define CT_FORMATS_SAFETENSORS_PRIV_H

#include "formats/safetensors.h"

/* As ct_safetensors_open of one file, which lies in memory (kept until close); `where` names it. */
int ct_safetensors_open_memory(ct_safetensors **out, const void *data, size_t size, const char *where,
                               carat_error *err);

#endif
