#!/bin/sh
# What the compiled library shows of the rules that check-rules.sh looks for in the source: no object keeps writable data,
# calls what ends the process, prints or reads the environment; only base/mem.c allocates. Usage: check-objects.sh ARCHIVE
set -eu
objdump -t "$1" | awk '
    function bad(what) { print "not ok - " member ": " what; failed = 1 }
    /file format/ { sub(/: +file format.*/, ""); sub(/.*\//, ""); member = $0; members++; next }
    NF < 5 { next }
    {
        name = $NF; section = ""
        for (i = 2; i < NF; i++) if ($i ~ /^\.|^\*/) { section = $i; size = $(i + 1); break }
        if (name ~ /^\./ || section == "") next
    }
    (section ~ /^\.(data|bss|tdata|tbss)/ || section == "*COM*") && section !~ /^\.data\.rel\.ro/ && size !~ /^0+$/ {
        bad(name " is writable data (" section ")")
    }
    section == "*UND*" {
        sub(/^__/, "", name); sub(/_chk$/, "", name); sub(/@.*/, "", name)
        if (name ~ /^(exit|_exit|_Exit|quick_exit|abort|raise|kill|signal|sigaction|atexit)$/ ||
            name ~ /^(v?f?printf|v?dprintf|puts|fputs|putchar|putc|fputc|perror|v?syslog|std(in|out|err))$/ ||
            name ~ /^(secure_getenv|getenv|setenv|unsetenv|putenv|setlocale|s?rand|s?random|drand48|strtok|localtime|gmtime)$/)
            bad("calls " name)
        if (member !~ /mem\.c\.o$/ &&
            name ~ /^(malloc|calloc|realloc|reallocarray|strn?dup|free|aligned_alloc|posix_memalign|v?asprintf|getline)$/)
            bad("calls " name ": memory is the business of base/mem.c")
    }
    END {
        if (members < 30) { print "looked at " members + 0 " objects only: the script is broken"; exit 1 }
        if (!failed) print "ok - " members " objects: no writable data, no forbidden calls"
        exit failed
    }'
