/* A program of somebody else: it has carat.h, libcarat and a model file. check-install.sh builds it as C and as C++. */
#include <carat.h>

#include <stdio.h>
#include <string.h>

int main(int argc, char **argv) {
    carat_error err;
    carat_model *m = NULL;
    carat_session *s = NULL;
    if (argc != 2) return 2;
    if (carat_model_open(&m, argv[1], NULL, &err)) {
        puts(err.msg);
        return 1;
    }
    if (carat_session_new(&s, m, NULL, &err)) {
        puts(err.msg);
        return 1;
    }
    int32_t tok[16];
    size_t n;
    if (carat_tokenize(m, "Hello", 5, CARAT_TOKENIZE_BOS, tok, 16, &n, &err) || carat_session_sync(s, tok, n, &err)) {
        puts(err.msg);
        return 1;
    }
    printf("carat %s: logit %.6f\n", carat_version(), (double)carat_session_logits(s)[0]);
    carat_session_free(&s);
    carat_model_close(&m);
    return 0;
}
