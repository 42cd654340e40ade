#!/usr/bin/env bash
# Shows that the fuzz targets bite: plants one defect for each in a copy of the sources and counts the inputs until it is found.
#
#   core/fuzz/bite.sh              all targets
#   core/fuzz/bite.sh TARGET…      some
#
# Each target has 60 s. It begins with nothing, and where a text has to be right in many places at once (http, negotiation, token, configuration) with one that
# is, and is harmless. What it finds has to pass in the sources as they are: it is the planted
# defect that was found, not another one. Takes two builds of the copy (the codecs' defects at once, then the engine's) and about ten
# minutes at most.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1

root=$PWD
target=${CARGO_TARGET_DIR:-$root/target}
[[ $target == /* ]] || target=$root/$target
tree=$target/bite/tree
wanted=("$@")
[ $# -gt 0 ] || mapfile -t wanted < <(core/fuzz/run.sh --list)

# plant FILE OLD NEW: replaces what has to be there exactly once.
plant() {
    local file=$tree/$1 text rest
    text=$(cat "$file"; printf x)
    text=${text%x}
    rest=${text#*"$2"}
    if [ "$rest" = "$text" ] || [ "${rest#*"$2"}" != "$rest" ]; then
        echo "the line to break in $1 is not there, or twice: $2" >&2
        exit 1
    fi
    printf %s "${text%%"$2"*}$3$rest" >"$file"
}

# A copy of the sources, without what fuzzing has found.
copy() {
    rm -rf "$tree"
    mkdir -p "$tree"
    git ls-files -z --cached --others --exclude-standard -- . ':!core/fuzz/corpus' ':!core/fuzz/seeds' |
        xargs -0 cp --parents -t "$tree" || exit 1
}

codec_defects() {
    # A length of exactly 125 in the 16-bit form is taken.
    plant core/proto/src/header.rs '(126, 0..=125) | (127, 0..=0xFFFF)' '(126, 0..=124) | (127, 0..=0xFFFF)'
    # Two Content-Length headers are taken.
    plant core/proto/src/request.rs 'const SINGLE: [&str; 6] =' 'const SINGLE: [&str; 5] ='
    plant core/proto/src/request.rs '"Authorization", "Content-Length", "Sec' '"Authorization", "Sec'
    # A window of 16 bits is agreed to.
    plant core/proto/src/deflate.rs "unit @ b'0'..=b'5'" "unit @ b'0'..=b'6'"
    # A stored block that the left-out tail fills up is taken.
    plant core/proto/src/inflate.rs 'self.message.has_ended && out.len() - self.message.start == len' 'self.message.has_ended'
    # A stream that ends two bits before its byte does is thought to have room for three.
    plant core/proto/src/compress/blocks.rs 'last.end % 8, 1..=5' 'last.end % 8, 1..=6'
    # One control character is not escaped where strings are looked through in chunks.
    plant core/proto/src/json.rs 'any | (b < 0x20)' 'any | (b < 0x1f)'
    # An extension with a 16-bit length is read with 8 bits.
    plant core/proto/src/msgpack/reader.rs '0xc8 => self.extension::<2>()?' '0xc8 => self.extension::<1>()?'
    # The head of a record is forgotten where a batch's size is foreseen.
    plant core/proto/src/batch.rs 'self.block_bytes(out).saturating_add(RECORD_HEAD_BYTES).saturating_add(payload_bytes)' \
        'self.block_bytes(out).saturating_add(payload_bytes)'
    # A dictionary is not held against its checksum.
    plant core/proto/src/dictionary/decoder.rs 'if adler32(made.bytes()) == check {' 'if adler32(made.bytes()) == check || check == 0 {'
    # An IPv6 client's port is taken to be the proxy's.
    plant core/proto/src/proxy.rs 'u16::from_be_bytes([block[32], block[33]])' 'u16::from_be_bytes([block[34], block[35]])'
    # Of several lines the first is taken for the last.
    plant core/proto/src/forwarded.rs 'lines.rev().flat_map' 'lines.flat_map'
    # A name that is there twice is taken where it is not the only one.
    plant core/token/src/json.rs 'if map.insert(name, value).is_some() {' 'if map.insert(name, value).is_some() && map.len() == 1 {'
    # An alert may be longer than an alert.
    plant core/tls/src/connection.rs 'let &[_, what] = content else' 'let &[_, what, ..] = content else'
    # A dotted name that is misspelt is passed over.
    plant server/src/config/file.rs '(None, _) => self.unknown(' '(None, _) if prefix == "limits" => _ = at,
                (None, _) => self.unknown('
}

engine_defects() {
    # A gap is told one message too long.
    plant core/src/shard/send.rs 'self.announce_gap(slot, id, sub.seq, next - 1, GapReason::Lag)' \
        'self.announce_gap(slot, id, sub.seq, next, GapReason::Lag)'
}

failed=0
# bite TARGET…
bite() {
    local name line artifacts=$target/bite/artifacts found first
    for name; do
        [[ " ${wanted[*]} " == *" $name "* ]] || continue
        rm -rf "${artifacts:?}/$name"
        case $name in
        http) first=core/fuzz/seeds/http/good ;;
        negotiation) first=core/fuzz/seeds/negotiation/offer-09 ;;
        token) first=core/fuzz/seeds/token/claims ;;
        configuration) first=core/fuzz/seeds/configuration/sections ;;
        *) first=none ;;
        esac
        line=$(CARGO_TARGET_DIR=$target/bite FANWIRE_FUZZ_TREE=$tree FANWIRE_FUZZ_CORPUS=$first FANWIRE_FUZZ_ARTIFACTS=$artifacts \
            core/fuzz/run.sh "$name" 60 2>&1)
        found=$(find "$artifacts/$name" -type f 2>/dev/null | head -n 1)
        if [ -z "$found" ]; then
            failed=1
            printf '%s\n%s: the planted defect was NOT found\n' "$(tail -n 5 <<<"$line")" "$name"
        elif ! core/fuzz/run.sh "$name" "$found" >"$target/bite/replay.log" 2>&1; then
            failed=1
            cat "$target/bite/replay.log"
            echo "$name: $found fails without the planted defect, too"
        else
            echo "$name: planted defect found$(tail -n 1 <<<"$line" | sed -n 's/.*FAILED (status [0-9]*)//p')"
        fi
    done
}

# any TARGET…: whether one of them is wanted.
any() {
    local name
    for name; do [[ " ${wanted[*]} " == *" $name "* ]] && return 0; done
    return 1
}

codecs=(frame http negotiation inflate deflate json msgpack batch dictionary proxy forwarded token records configuration)
if any "${codecs[@]}"; then
    copy
    codec_defects
    bite "${codecs[@]}"
fi
if any engine; then
    copy
    engine_defects
    bite engine
fi
[ $failed -eq 0 ]
