/* Private to src/formats: the two checks every tensor directory needs, whatever its file format.
 * A hash index from names to positions (keys, tensors, shards), and a test that no two tensors share bytes. */
#ifndef CT_FORMATS_DIR_H
#define CT_FORMATS_DIR_H

#include "base/status.h"
#include "base/tensor.h"

#define CT_NAMES_ABSENT SIZE_MAX
/* Longest tensor name accepted. GGUF promises 64 bytes, Hugging Face names stay below 120. */
#define CT_MAX_NAME 255

/* Open addressing, at most half full. Zeroed = empty. Names are kept, not copied. */
typedef struct {
    struct ct_name_slot *slot;
    size_t n_slot, n; /* n_slot is 0 or a power of two */
    uint64_t seed;    /* differs between runs, so that no file can be made whose names all collide */
} ct_names;

/* Position stored for name[0,len), CT_NAMES_ABSENT when there is none. */
size_t ct_names_find(const ct_names *t, const char *name, size_t len);
/* Add a name that is not in the table. False when memory is exhausted. */
bool ct_names_add(ct_names *t, const char *name, size_t len, size_t at);
void ct_names_free(ct_names *t);

/* A path as messages show it: long ones by their last component, so that the rest of the line survives. */
const char *ct_path_tail(const char *path);

/* EFORMAT when two tensors of one file share a byte; `where(ud, file)` names the file. ENOMEM. */
int ct_dir_check_overlap(const ct_tensor *t, size_t n, const char *(*where)(const void *ud, int file),
                         const void *ud, carat_error *err);

#endif
