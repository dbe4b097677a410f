#!/bin/sh
# Unpack the aarch64 libraries that the tests need into a folder, with the Meson file that names it. The packages come
# from this machine's own apt sources through an apt of its own, in that folder: neither root nor a foreign architecture
# in dpkg is needed, and nothing is installed. Usage: arm-root.sh FOLDER
set -eu
mkdir -p "$1"
cd "$1"
root=$PWD
if [ ! -e usr/include/cmocka.h ] || [ ! -e usr/include/jansson.h ]; then
    mkdir -p apt/state/lists/partial apt/cache/archives/partial debs
    : >apt/status
    get() {
        apt-get -q -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User=root -o Dir::State="$root/apt/state" \
            -o Dir::State::status="$root/apt/status" -o Dir::Cache="$root/apt/cache" -o Acquire::Languages=none "$@"
    }
    get update >apt.log 2>&1 && (cd debs && get download libcmocka-dev libcmocka0 libjansson-dev libjansson4) >>apt.log 2>&1 || {
        tail -5 apt.log >&2
        echo "arm-root: this machine's apt sources do not give cmocka and jansson for arm64 (Ubuntu has them on ports.ubuntu.com)" >&2
        exit 1
    }
    for deb in debs/*.deb; do dpkg-deb -x "$deb" .; done
    rm -rf apt debs
fi
printf "[constants]\narm_root = '%s'\n" "$root" >arm_root.cross
# The program as a command of this machine, for tests that run it.
cat >carat <<END
#!/bin/sh
exec qemu-aarch64-static -L /usr/aarch64-linux-gnu -E LD_LIBRARY_PATH="$root/usr/lib/aarch64-linux-gnu" "$root/../build-arm/carat" "\$@"
END
chmod +x carat
