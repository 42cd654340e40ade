#!/usr/bin/env bash
# Runs fuzz targets for a while, never endlessly, and says how many inputs were executed.
#
#   core/fuzz/run.sh TARGET|all SECONDS        each target for so many seconds
#   core/fuzz/run.sh TARGET|all --runs N       each target for so many executions, at most an hour
#   core/fuzz/run.sh TARGET FILE               one input
#   core/fuzz/run.sh TARGET|all --minimise     the corpus in the repository, made anew from it and from what was found
#   core/fuzz/run.sh --list                    the targets
#
# The value profile is on: without it, what hangs on two values at once is not found. An input that fails is kept in
# core/fuzz/artifacts/TARGET (not in the repository): put it into core/fuzz/corpus/TARGET, where every ./test replays it, together
# with the fix. What is merely new is kept below the build directory, together with a list of all runs (executions.tsv).
#
# FANWIRE_FUZZ_SANITIZER=address also sees what unsafe code of dependencies does, more slowly. FANWIRE_FUZZ_CORPUS=none begins
# with nothing, FANWIRE_FUZZ_CORPUS=FILE with that one input.
# FANWIRE_FUZZ_OPTIONS are further options for libFuzzer (-max_len=200: shorter inputs, more of them). FANWIRE_FUZZ_TREE names another checkout to build from (core/fuzz/bite.sh).
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1

targets=(frame http negotiation inflate deflate json msgpack batch dictionary proxy forwarded token records configuration engine)
usage() {
    sed -n '2,/^set/s/^# \{0,1\}//p' core/fuzz/run.sh | grep -v '^set' >&2
    exit 2
}
[ "${1:-}" = --list ] && printf '%s\n' "${targets[@]}" && exit 0
[ $# -ge 2 ] || usage
one=()
if [ "$1" != all ]; then
    [[ " ${targets[*]} " == *" $1 "* ]] || usage
    targets=("$1")
    one=("$1")
fi
what=$2
[ "$what" = --runs ] && { [[ "${3:-}" =~ ^[0-9]+$ ]] || usage; }

sanitizer=${FANWIRE_FUZZ_SANITIZER:-none}
build=${CARGO_TARGET_DIR:-$PWD/target}
[[ $build == /* ]] || build=$PWD/$build
build=$build/fuzz
mkdir -p "$build"
cargo fuzz --version >/dev/null 2>&1 || { echo "cargo-fuzz is missing: cargo install cargo-fuzz --locked" >&2; exit 1; }
triple=$(rustc -vV | sed -n 's/^host: //p')

# libFuzzer's instrumentation is no stable option of rustc.
(
    cd "${FANWIRE_FUZZ_TREE:-.}" &&
        CARGO_TARGET_DIR='' RUSTC_BOOTSTRAP=1 cargo fuzz build --sanitizer "$sanitizer" --fuzz-dir core/fuzz --target-dir "$build" "${one[@]}"
) >"$build/build.log" 2>&1 || { cat "$build/build.log" >&2; exit 1; }

# The longest input that is of use: a target's own work is what takes time.
longest() {
    case $1 in
    negotiation | deflate) echo 1024 ;;
    forwarded) echo 512 ;;
    json | msgpack) echo 2048 ;;
    *) echo 4096 ;;
    esac
}

failed=0
for target in "${targets[@]}"; do
    program=$build/$triple/release/$target
    found=$build/found/$target artifacts=${FANWIRE_FUZZ_ARTIFACTS:-core/fuzz/artifacts}/$target corpus=core/fuzz/corpus/$target seeds=core/fuzz/seeds/$target
    mkdir -p "$found" "$artifacts" "$corpus"
    options=(-rss_limit_mb=512 -timeout=10 "-max_len=$(longest "$target")" "-artifact_prefix=$artifacts/")
    if [ -f "$what" ]; then
        "$program" "${options[@]}" "$what" || failed=1
        continue
    fi
    if [ "$what" = --minimise ]; then
        # What the seeds reach needs no other file. Edges count here, not how often they are passed, and at most 150 files stay: a corpus in
        # the repository is small.
        merged=$(mktemp -d)
        cp "$seeds"/* "$merged" &&
            "$program" "${options[@]}" -max_len=8192 -use_counters=0 -set_cover_merge=1 "$merged" "$corpus" "$found" >"$build/merge.log" 2>&1 ||
            { tail -n 20 "$build/merge.log" >&2; failed=1; continue; }
        rm -f "$corpus"/*
        for file in "$seeds"/*; do rm "$merged/${file##*/}"; done
        find "$merged" -type f -printf '%s %p\n' | sort -n | head -n 150 | cut -d ' ' -f 2- | xargs -r cp -t "$corpus"
        rm -rf "$merged"
        echo "$target: $(find "$corpus" -type f | wc -l) files, $(du -sb "$corpus" | cut -f 1) bytes"
        continue
    fi
    case $what in
    --runs) seconds=3600 options+=("-runs=$3") ;;
    *[!0-9]* | '') usage ;;
    *) seconds=$what ;;
    esac
    options+=("-max_total_time=$seconds" -use_value_profile=1 -print_final_stats=1)
    [ -f "core/fuzz/dictionaries/$target.dict" ] && options+=("-dict=core/fuzz/dictionaries/$target.dict")
    read -ra more <<<"${FANWIRE_FUZZ_OPTIONS:-}"
    options+=("${more[@]}")
    inputs=("$found" "$corpus" "$seeds")
    if [ -n "${FANWIRE_FUZZ_CORPUS:-}" ]; then
        inputs=()
        if [ "$FANWIRE_FUZZ_CORPUS" != none ]; then
            inputs=("$build/first")
            rm -rf "$build/first" && mkdir "$build/first" && cp "$FANWIRE_FUZZ_CORPUS" "$build/first" || exit 1
        fi
        # Longer inputs sooner.
        options+=(-len_control=10)
    fi
    log=$build/$target.log
    began=$(date +%s)
    timeout --kill-after=10 $((seconds + 60)) "$program" "${options[@]}" "${inputs[@]}" >"$log" 2>&1
    status=$?
    took=$(($(date +%s) - began))
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    edges=$(grep -o ' cov: [0-9]*' "$log" | tail -n 1 | grep -o '[0-9]*')
    printf '%s\t%s\t%s\t%s\t%s\n' "$(date -u +%FT%TZ)" "$target" "${executions:-0}" "$took" "$status" >>"$build/executions.tsv"
    if [ $status -eq 0 ]; then
        echo "$target: ${executions:-no} executions in $took s, ${edges:-0} edges, nothing found"
    else
        failed=1
        grep -v -e '^#' -e '^NEW' -e '^stat::' -e '^INFO' "$log" | tail -n 40
        echo "$target: FAILED (status $status) after ${executions:-some} executions, $took s"
    fi
done
[ $failed -eq 0 ]
