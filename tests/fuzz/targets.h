/* Fuzz targets: each takes any bytes as the file its name says, opens it and uses what opened. A target returns 1 when
 * the file was accepted and 0 when it was refused as it must be; a wrong refusal (no message, more than one line)
 * aborts. To add one: a function, a maker of seeds, a row in fuzz_targets. */
#ifndef TESTS_FUZZ_TARGETS_H
#define TESTS_FUZZ_TARGETS_H

#include "craft.h"

typedef struct {
    const char *name;
    int (*run)(const uint8_t *data, size_t size);
    int (*seed)(craft *out, int i); /* i-th good file; false when there is none */
    bool text;                      /* JSON */
    bool length_first;              /* starts with the 8-byte length of a JSON part, which mutations should keep true */
} fuzz_target;

extern const fuzz_target fuzz_targets[];
extern const int fuzz_n_target;

/* Folder for targets that need real files (in memory where the system has /dev/shm). */
void fuzz_begin(void);
void fuzz_end(void);

#endif
