#!/bin/sh
# Close a run with one line that people and CI read. Counts the single tests that the programs report (cmocka's
# "N test(s)", the shell tests' "N checks, N failures" and "ok - "), not only the programs. Usage: count-tests.sh BUILD STATUS
set -eu
log=$1/meson-logs/testlog.txt
awk -v status="$2" '
    /^\[  PASSED  \] [0-9]+ test\(s\)/ { passed += $4 }
    /^\[  FAILED  \] [0-9]+ test\(s\)/ { failed += $4 }
    /^\[  SKIPPED \] [0-9]+ test\(s\)/ { skipped += $4 }
    /^ok - / { passed++ }
    /^not ok - / { failed++ }
    /^[0-9]+ checks, [0-9]+ failures/ { passed += $1 - $3; failed += $3 }
    /^SKIPPED: / { skipped++; print }
    END {
        if (status != 0 && failed == 0) failed = 1
        printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped
        exit (status != 0 || failed > 0 || passed == 0)
    }' "$log"
