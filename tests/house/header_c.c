/* carat.h compiles alone, and the usage in its opening comment is what a program looks like. */
#include <carat.h>

int main(void) {
    carat_error err;
    carat_model *m = 0;
    if (carat_model_open(&m, "/nonexistent", 0, &err) == 0) return 1;
    carat_model_close(&m);
    return err.code == CARAT_EIO && err.msg[0] ? 0 : 1;
}
