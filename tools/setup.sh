# Shared by ./demo and ./check (sourced): install what is missing, configure and build. Says what it does.
# Debian and Ubuntu; elsewhere it names the packages and goes on with what is there.

say() {
    if [ -t 2 ]; then printf '\033[1m%s\033[0m\n' "$*" >&2; else printf '%s\n' "$*" >&2; fi
}

# Packages that provide a command or header, as "test|package".
need() {
    missing=
    for pair in "$@"; do
        probe=${pair%%|*} package=${pair#*|}
        case $probe in
        */*) [ -e "$probe" ] || missing="$missing $package" ;;
        *.h) printf '#include <stdarg.h>\n#include <stddef.h>\n#include <stdint.h>\n#include <setjmp.h>\n#include <%s>\n' "$probe" |
            cc -E -x c - >/dev/null 2>&1 || missing="$missing $package" ;;
        *) command -v "$probe" >/dev/null 2>&1 || missing="$missing $package" ;;
        esac
    done
    [ -n "$missing" ] || return 0
    if ! command -v apt-get >/dev/null 2>&1; then
        say "carat: please install:$missing"
        return 0
    fi
    sudo=
    if [ "$(id -u)" != 0 ]; then
        if ! command -v sudo >/dev/null 2>&1; then
            say "carat: packages are missing, and only root may install them. As root:"
            say "    apt-get install$missing"
            say "and then $0 again."
            exit 1
        fi
        sudo=sudo
    fi
    say "installing with ${sudo:+$sudo }apt-get:$missing"
    export DEBIAN_FRONTEND=noninteractive
    $sudo apt-get install -y --no-install-recommends $missing >/dev/null 2>&1 ||
        { $sudo apt-get update -q >/dev/null && $sudo apt-get install -y --no-install-recommends $missing >/dev/null; } ||
        { say "carat: apt-get could not install:$missing (what it said is above)"; exit 1; }
}

# build FOLDER [meson options…]
build() {
    folder=$1
    shift
    if [ ! -e "$folder/build.ninja" ]; then
        say "configuring $folder"
        meson setup "$folder" "$@" >"$folder.log" 2>&1 ||
            { cat "$folder.log" >&2; say "carat: meson could not configure $folder (see above)"; exit 1; }
        rm -f "$folder.log"
    fi
    say "building $folder"
    ninja -C "$folder" >"$folder/build.log" 2>&1 ||
        { tail -40 "$folder/build.log" >&2; say "carat: $folder does not build (see above and $folder/build.log)"; exit 1; }
}
