#!/bin/sh
# Close a run with one line that people and CI read: "N passed, N failed, N skipped". Counts the single tests that the
# programs report (cmocka's "N test(s)", the shell tests' "N checks, N failures" and "ok - "), not only the programs; a
# program that reports none counts as one test, and one that dies, times out or exits badly counts as failed whatever it
# reported. What failed or was skipped is named above that line. Usage: count-tests.sh BUILD STATUS-OF-MESON-TEST
set -eu
awk -v status="$2" '
    # What follows the marker, as a number. cmocka up to 1.1.5 writes "[  FAILED  ] 2 test(s)", later "] tests: 2 test(s)".
    function count(marker) {
        sub(/\] [a-z]+: /, "] ")
        return substr($0, index($0, marker) + length(marker)) + 0
    }
    function close_test() {
        if (name == "") return
        if (result == "exit status 77") {
            if (p + f + s == 0) s = 1
            if (why == "") why = "SKIPPED: " name "\n"
        } else if (result != "exit status 0") {
            if (!summed) p += lines_ok
            if (f == 0) f = 1
            printf "FAILED: %s: %d of %d (%s)\n", name, f, p + f, result
        } else if (f > 0) {
            printf "FAILED: %s: %d of %d, and yet it exits with 0\n", name, f, p + f
        } else if (p + s == 0) {
            p = 1
        }
        printf "%s", why
        passed += p; failed += f; skipped += s
        name = ""
    }

    /^=+ [0-9]+\/[0-9]+ =+$/ { close_test(); p = f = s = lines_ok = summed = 0; why = result = ""; in_head = 1; next }
    in_head && /^test: / { sub(/^test: */, ""); sub(/^[^\/]*\/ */, ""); name = $0; next }
    in_head && /^result: / { sub(/^result: */, ""); result = $0; next }
    /^-+ std(out|err) -+$/ { in_head = 0; next }
    in_head { next }
    /\[  PASSED  \] ([a-z]+: )?[0-9]+ test\(s\)/ { p += count("[  PASSED  ] "); summed = 1 }
    /\[  FAILED  \] ([a-z]+: )?[0-9]+ test\(s\)/ { f += count("[  FAILED  ] "); summed = 1 }
    /\[  SKIPPED \] ([a-z]+: )?[0-9]+ test\(s\)/ { s += count("[  SKIPPED ] ") }
    /^\[       OK \] / { lines_ok++ }
    /^ok - / { p++ }
    /^not ok - / { f++ }
    /^[0-9]+ checks, [0-9]+ failures/ { p += $1 - $3; f += $3 }
    /^SKIPPED: / { s++; sub(/^SKIPPED: /, "SKIPPED: " name ": "); why = why $0 "\n" }
    END {
        close_test()
        if (status != 0 && failed == 0) failed = 1
        printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped
        exit (status != 0 || failed > 0 || passed == 0)
    }' "$1/meson-logs/testlog.txt"
