/* Status codes and error text. The codes are the public ones (include/carat.h); this header adds the
 * two macros every fallible function uses. A message is one line: what, where, expected and found. */
#ifndef CT_BASE_STATUS_H
#define CT_BASE_STATUS_H

#include "carat.h"

/* Fill err (may be NULL) and return code, so that `return CT_FAIL(err, CARAT_EFORMAT, "...", ...)` works. */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
int ct_fail(carat_error *err, int code, const char *fmt, ...);

#define CT_FAIL(err, code, ...) ct_fail((err), (code), __VA_ARGS__)

/* Run a fallible call; on failure hand its status to the caller unchanged. */
#define CT_TRY(call)                  \
    do {                              \
        const int ct_rc_ = (call);    \
        if (ct_rc_ != 0) return ct_rc_; \
    } while (0)

#endif
