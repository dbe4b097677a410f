#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>

int ct_fail(carat_error *err, int code, const char *fmt, ...) {
    if (err) {
        err->code = code;
        va_list ap;
        va_start(ap, fmt);
        (void)vsnprintf(err->msg, sizeof err->msg, fmt, ap);
        va_end(ap);
        /* Names inside messages come from files: keep the promise that an error is one printable line. */
        for (char *c = err->msg; *c; c++) {
            if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = '?';
        }
    }
    return code;
}

const char *carat_status_text(int code) {
    switch (code) {
#define X(name, value, text) case value: return text;
        CARAT_STATUS_LIST(X)
#undef X
    default: return "unknown status";
    }
}
