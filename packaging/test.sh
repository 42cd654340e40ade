#!/usr/bin/env bash
# Packages made of what cargo has built for the tests: looked over by lintian, installed into a root in which nothing else is, run, upgraded, removed.
# Environment: FANWIRE_BUILT, the folder with fanwire, libfanwire_c.so and libfanwire_c.a; FANWIRE_SBOM_PYTHON, a Python with
# packaging/requirements.txt. Root is needed for what installs packages.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.."
passed=0 failed=0
at=$(mktemp -d)
trap 'kill $server 2>/dev/null; rm -rf "$at"' EXIT
server=
export CARGO_TARGET_DIR=$at FANWIRE_COMPRESSION=1

# check NAME COMMAND…
check() {
    local name=$1
    shift
    if "$@" >"$at/log" 2>&1; then
        echo "$name: ok"
        passed=$((passed + 1))
    else
        echo "$name: FAILED"
        cat "$at/log"
        failed=$((failed + 1))
    fi
}
end() {
    echo "$passed passed, $failed failed"
    [ $failed -eq 0 ]
    exit
}

check "packages are built" ./package deb --from "$FANWIRE_BUILT"
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
arch=$(dpkg --print-architecture)
program=$at/packages/fanwire_${version}_$arch.deb
library=$at/packages/libfanwire${version%.*}_${version}_$arch.deb
development=$at/packages/libfanwire-dev_${version}_$arch.deb
sums() { (cd "$at/packages" && sha256sum ./*.deb); }
sums >"$at/before"
same() { ./package deb --from "$FANWIRE_BUILT" && sums | cmp - "$at/before"; }
check "built again, they are the same to the byte" same
checksums() { : >"$at/packages/fanwire_0.0.1_$arch.deb" && ./package checksums && (cd "$at/packages" && sha256sum --check --strict SHA256SUMS && [ "$(wc -l <SHA256SUMS)" -eq 3 ]); }
check "their checksums hold" checksums

# What is in them.
lint() { lintian --fail-on error,warning --allow-root "$1"; }
check "lintian finds nothing in the program's" lint "$program"
check "lintian finds nothing in the library's" lint "$library"
check "lintian finds nothing in that for C and C++" lint "$development"
mkdir "$at/files" && dpkg-deb -x "$program" "$at/files" && dpkg-deb -x "$library" "$at/files" && dpkg-deb -x "$development" "$at/files"
unit=$at/files/usr/lib/systemd/system/fanwire.service
exposure() { systemd-analyze security --offline=true --threshold=25 "$unit"; }
check "systemd's exposure of the service is at most 2.5" exposure
pages() {
    local page
    for page in "" -serve -sub -config-init; do zcat "$at/files/usr/share/man/man1/fanwire$page.1.gz" | grep -q '^\.SH NAME' || return; done
}
check "each command has its manual page" pages
completes() {
    # As bash does it at `fanwire se<TAB>`.
    bash -c '. "$1" && COMP_WORDS=(fanwire se) COMP_CWORD=1 && _fanwire fanwire se fanwire && [ "${COMPREPLY[*]}" = serve ]' \
        bash "$at/files/usr/share/bash-completion/completions/fanwire"
}
check "bash completes a command" completes
compiles() {
    local libdir
    libdir=$at/files/usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH)
    printf '#include <fanwire.h>\n#include <stdio.h>\nint main(void) { printf("%%s\\n", fw_version()); return 0; }\n' >"$at/try.c" &&
        PKG_CONFIG_SYSROOT_DIR=$at/files PKG_CONFIG_PATH=$libdir/pkgconfig sh -c 'cc -o "$1/try" "$1/try.c" $(pkg-config --cflags --libs fanwire)' sh "$at" &&
        [ "$(LD_LIBRARY_PATH=$libdir "$at/try")" = "$version" ]
}
check "a C program is compiled with what is installed, and runs" compiles

# For other distributions.
rpm_file=$at/packages/fanwire-$version-1.$(uname -m).rpm
check "an RPM package is built" ./package rpm --from "$FANWIRE_BUILT"
# It is not signed here, its changes stand in CHANGELOG.md, and names of licences are those of SPDX.
lint_rpm() {
    rpmlint "$rpm_file" >"$at/rpmlint"
    # Its last line counts: without it, it has looked at nothing.
    grep '1 packages and 0 specfiles checked' "$at/rpmlint" && ! grep ': E: ' "$at/rpmlint" | grep -v -e no-signature -e no-changelogname-tag
}
check "rpmlint finds no error in it" lint_rpm
configuration() { [ "$(rpm -qp --configfiles "$rpm_file")" = /etc/fanwire/fanwire.toml ] && rpm -qp --list "$rpm_file" | grep -qx /usr/bin/fanwire; }
check "it has the program, and settings that an upgrade keeps" configuration

# The image.
image=$at/packages/fanwire-$version-oci.tar
check "an image is built" ./package oci --from "$FANWIRE_BUILT"
image_again() { sha256sum "$image" >"$at/image" && ./package oci --from "$FANWIRE_BUILT" && sha256sum --check "$at/image"; }
check "built again, it is the same to the byte" image_again
unpacked() { mkdir "$at/layout" && tar -C "$at/layout" -xf "$image" && umoci unpack --rootless --image "$at/layout:$version" "$at/bundle"; }
check "it is an OCI layout" unpacked
nobody() { grep -q '"uid": *65532' "$at/bundle/config.json" || grep -q 65532 "$at"/layout/blobs/sha256/*; }
check "its user is not root" nobody
read_only() {
    local output=$at/container
    timeout 60 bwrap --ro-bind "$at/bundle/rootfs" / --dev /dev --proc /proc --tmpfs /tmp --unshare-user --uid 65532 --gid 65532 \
        --unshare-pid --die-with-parent --new-session /usr/bin/fanwire serve --config /etc/fanwire/fanwire.toml --listen 127.0.0.1:0 \
        --admin-listen none >"$output" 2>&1 &
    server=$!
    for _ in $(seq 300); do
        grep -q '^listening on ws://' "$output" && break
        sleep 0.1
    done
    kill $server
    wait $server
    server=
    grep '^listening on ws://' "$output" || { cat "$output"; return 1; }
}
check "it runs from a root that nobody can write to" read_only

# What is in the program, and of whom.
check "bills of materials are written" ./package sbom
valid() { "${FANWIRE_SBOM_PYTHON:-python3}" packaging/valid.py "$at"/packages/*.cdx.json; }
check "they are CycloneDX, name each crate once, and its licence" valid

# What comes before a release: in a copy, where each thing on the list is wrong once.
export GIT_AUTHOR_NAME=test GIT_AUTHOR_EMAIL=test@localhost GIT_COMMITTER_NAME=test GIT_COMMITTER_EMAIL=test@localhost
gates=(committed versions changelog untagged)
copy() {
    git clone -q . "$at/source" && sed -i "s/^## \[$version\] - .*/## [$version] - 2026-01-01/" "$at/source/CHANGELOG.md" &&
        git -C "$at/source" commit -q --allow-empty -am "a date" && "$at/source/release" --dry-run "${gates[@]}"
}
check "a release that is ready passes" copy
# stops GATE COMMAND…: after the command, this gate and no other says no.
stops() {
    local gate=$1
    shift
    (cd "$at/source" && "$@") || return
    if "$at/source/release" --dry-run "${gates[@]}" >"$at/said"; then
        return 1
    fi
    grep -qx "3 well, 1 wrong: $gate" "$at/said" || { cat "$at/said"; return 1; }
    git -C "$at/source" reset -q --hard HEAD~ && git -C "$at/source" clean -qfd
}
planted() { git commit -q --allow-empty -m planted; }
dirty() { planted && echo >left; }
other_version() { sed -i '0,/"version"/s/"version": ".*"/"version": "9.9.9"/' clients/typescript/package.json && git commit -qam planted; }
undated() { sed -i "s/^## \[$version\] - .*/## [$version] - unreleased/" CHANGELOG.md && git commit -qam planted; }
tagged() { planted && git tag "v$version"; }
check "what is not committed stops it" stops committed dirty
check "another version in one package stops it" stops versions other_version
check "a changelog without a date stops it" stops changelog undated
check "a tag that is there stops it" stops untagged tagged

# A root with a shell and the C library, and nothing else.
if [ "$(id -u)" -ne 0 ]; then
    echo "not root: the packages are not installed"
    end
fi
root=$at/root
download() { apt-get download busybox-static libc6 libgcc-s1; }
fresh() {
    mkdir -p "$root/var/lib/dpkg/info" "$root/debs" "$root/dev" "$root/proc" "$root/tmp" && touch "$root/var/lib/dpkg/status" || return
    (cd "$at" && download || { apt-get update && download; }) || return
    local deb
    for deb in "$at"/*.deb; do dpkg-deb -x "$deb" "$root" || return; done
    chroot "$root" /bin/busybox --install -s /bin || chroot "$root" /bin/busybox sh -c 'cd /bin && for name in $(busybox --list); do ln -sf busybox $name; done'
    mknod -m 666 "$root/dev/null" c 1 3 && mknod -m 666 "$root/dev/urandom" c 1 9
}
check "a root is made" fresh
inside() { dpkg --root="$root" --force-depends "$@"; }
listed() { (cd "$root" && find . -path ./var -prune -o -path ./tmp -prune -o -print | LC_ALL=C sort); }
listed >"$at/list"
check "the package is installed there" inside --install "$program"

# The service's own command line.
starts() {
    local command line
    command=$(sed -n 's/^ExecStart=//p' "$unit")
    chroot "$root" $command --listen 127.0.0.1:0 --driver epoll --publish-access loopback >"$at/out" 2>"$at/err" &
    server=$!
    for _ in $(seq 600); do
        line=$(grep -o 'ws://[0-9.:]*' "$at/out") && { url=$line; return; }
        kill -0 $server || break
        sleep 0.1
    done
    cat "$at/err"
    return 1
}
check "its command line starts the server" starts
delivers() {
    # What a topic keeps comes to who subscribes later.
    echo hello | chroot "$root" /usr/bin/fanwire pub "$url" a &&
        [ "$(timeout 60 chroot "$root" /usr/bin/fanwire sub "$url" a --count 1)" = hello ]
}
check "a message is delivered" delivers
stops() { kill -TERM $server && wait $server; }
check "it stops in good order" stops
server=

# A later version over it, with settings that somebody has changed.
later() {
    mkdir -p "$at/later" && dpkg-deb -R "$program" "$at/later" && sed -i "s/^Version: .*/Version: $version+1/" "$at/later/DEBIAN/control" &&
        dpkg-deb --root-owner-group --build "$at/later" "$at/later.deb" && echo '# mine' >>"$root/etc/fanwire/fanwire.toml" &&
        inside --install "$at/later.deb" && grep -q '^# mine$' "$root/etc/fanwire/fanwire.toml"
}
check "an upgrade keeps the settings" later
removed() { inside --remove fanwire && [ ! -e "$root/usr/bin/fanwire" ] && [ -e "$root/etc/fanwire/fanwire.toml" ]; }
check "removed, its settings are left" removed
purged() { inside --purge fanwire && listed | diff "$at/list" -; }
check "purged, nothing is left" purged
end
