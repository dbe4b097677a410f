#!/bin/sh
# Rewrite the oracle table of docs/correctness.md from a run of the oracle test. Usage: tools/correctness-table.sh [BUILD]
set -eu
cd "$(dirname "$0")/.."
export CARAT_ROOT=$PWD
rows=$("${1:-build}"/tests/engine/test_engine_oracle --table | grep '^|')
awk -v rows="$rows" '
    /<!-- table:/ {
        print; print ""
        print "| checkpoint | tokens | max logit difference | taps compared | worst tap (relative) |"
        print "|---|---|---|---|---|"
        print rows; print ""
        skip = 1
    }
    /<!-- end -->/ { skip = 0 }
    !skip || /<!-- end -->/ { if (!/<!-- table:/) print }' docs/correctness.md >docs/correctness.md.new
mv docs/correctness.md.new docs/correctness.md
