#!/bin/sh
# Installs fanwire for C and C++: headers, shared and static library, pkg-config files, CMake package.
#
#   ffi/install.sh PREFIX                 builds what is to be installed, then installs it
#   ffi/install.sh PREFIX --libdir DIR    libraries in PREFIX/DIR instead of PREFIX/lib
#   ffi/install.sh PREFIX --from DIR      takes libfanwire_c.so and libfanwire_c.a from there, builds nothing
#   ffi/install.sh PREFIX --keep-debug    with debug information
#
# DESTDIR is put before PREFIX, as packagers expect. The tree can be moved afterwards: nothing in it names PREFIX.
set -eu

usage() {
    sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(dirname -- "$here")
prefix=
libdir=lib
from=
strip=true
while [ $# -gt 0 ]; do
    case "$1" in
    --libdir) [ $# -ge 2 ] || usage; libdir=$2; shift ;;
    --from) [ $# -ge 2 ] || usage; from=$2; shift ;;
    --keep-debug) strip=false ;;
    -*) usage ;;
    *) [ -z "$prefix" ] || usage; prefix=$1 ;;
    esac
    shift
done
[ -n "$prefix" ] || usage
case "$libdir" in
/* | *..*) echo "--libdir is relative to PREFIX" >&2; exit 2 ;;
esac

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml" | head -n 1)
# Before 1.0 each minor version is an ABI of its own: build.rs gives the same name to the library.
abi=${version%.*}
soname=libfanwire.so.$abi

if [ -z "$from" ]; then
    (cd "$root" && cargo build --release --locked -p fanwire-ffi)
    from=${CARGO_TARGET_DIR:-$root/target}/release
fi

to=${DESTDIR:-}$prefix
lib=$to/$libdir
mkdir -p "$to/include" "$lib/pkgconfig" "$lib/cmake/fanwire"
# How to get from the files that need it to the prefix.
up=$(printf '%s\n' "$libdir" | sed 's:/*$::; s:[^/][^/]*:..:g')

put() { install -m "$1" "$2" "$3.new" && mv -f "$3.new" "$3"; }
put 644 "$root/include/fanwire.h" "$to/include/fanwire.h"
put 644 "$root/include/fanwire.hpp" "$to/include/fanwire.hpp"
put 755 "$from/libfanwire_c.so" "$lib/libfanwire.so.$version"
put 644 "$from/libfanwire_c.a" "$lib/libfanwire.a"
ln -sf "libfanwire.so.$version" "$lib/$soname"
ln -sf "$soname" "$lib/libfanwire.so"
if $strip && command -v strip >/dev/null; then
    strip --strip-debug "$lib/libfanwire.so.$version" "$lib/libfanwire.a"
fi

fill() {
    sed -e "s|@VERSION@|$version|g; s|@ABI@|$abi|g; s|@LIBDIR@|$libdir|g; s|@UP@|$up|g" "$here/install/$1" >"$2.new"
    mv -f "$2.new" "$2"
}
fill fanwire.pc.in "$lib/pkgconfig/fanwire.pc"
fill fanwire-static.pc.in "$lib/pkgconfig/fanwire-static.pc"
fill fanwireConfig.cmake.in "$lib/cmake/fanwire/fanwireConfig.cmake"
fill fanwireConfigVersion.cmake.in "$lib/cmake/fanwire/fanwireConfigVersion.cmake"

echo "fanwire $version is installed in $to"
