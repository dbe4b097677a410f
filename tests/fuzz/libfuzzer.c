/* One target for libFuzzer: clang -fsanitize=fuzzer,address -DFUZZ_TARGET='"gguf"' libfuzzer.c targets.c seeds.c … */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "targets.h"

#ifndef FUZZ_TARGET
#define FUZZ_TARGET "gguf"
#endif

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    fuzz_begin();
    atexit(fuzz_end);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    for (int i = 0; i < fuzz_n_target; i++) {
        if (strcmp(fuzz_targets[i].name, FUZZ_TARGET) == 0) return fuzz_targets[i].run(data, size), 0;
    }
    fprintf(stderr, "no target %s\n", FUZZ_TARGET);
    abort();
}
