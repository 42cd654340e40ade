#!/usr/bin/env bash
# Runs perf/flame.sh in each mode on a scenario of two seconds and looks at what comes out. FANWIRE_BUILT: where the binaries are.
# Ends with `N passed, N failed[, N skipped]`, or with 77 where perf may do nothing at all.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
: "${FANWIRE_BUILT:?the folder of fanwire and fanwire-perf}"
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
passed=0
failed=0
skipped=0
scenario=(fanout --set n=40 --set rate=200 --set seconds=2 --set shards=1)

# check NAME MODE END PATTERN…: the result must be there, and it or what was printed must have each pattern.
check() {
    local name=$1 mode=$2 out=$scratch/$2.$3 status pattern
    shift 3
    bash perf/flame.sh "--$mode" -o "$out" "${scenario[@]}" >"$scratch/log" 2>&1
    status=$?
    if [ $status -eq 77 ] && [ "${CI:-false}" != true ]; then
        skipped=$((skipped + 1))
        echo "$name: SKIPPED, $(tail -n 1 "$scratch/log")"
        return
    fi
    [ $status -eq 0 ] && [ -s "$out" ] || { bad "$name (status $status)"; return; }
    for pattern; do
        grep -aqE -- "$pattern" "$out" "$scratch/log" || { bad "$name: no $pattern"; return; }
    done
    passed=$((passed + 1))
    echo "$name: ok"
}
bad() {
    failed=$((failed + 1))
    echo "FAILED: $1"
    cat "$scratch/log"
}

check "the flame graph has the engine's functions below its thread" on-cpu svg '<svg' 'fw-shard-0' 'fanwire::(shard|driver)::'
check "the graph of waiting has the shard asleep in the kernel" off-cpu svg '<svg' 'fw-shard-0' 'asleep' 'schedule'
check "system calls are counted for each delivery" syscalls txt 'io_uring_enter +[0-9]+ +[0-9]+\.[0-9]+|epoll_p?wait2? +[0-9]+ +[0-9]+\.[0-9]+' '(8000|[1-9][0-9]+) deliveries'
check "io_uring's tracepoints are recorded" tracepoints data 'io_uring_complete +[0-9]+'

# Ended in the middle, it leaves neither the server nor the clients nor perf.
setsid bash perf/flame.sh --on-cpu -o "$scratch/ended.svg" fanout --set n=40 --set rate=10 --set seconds=60 >"$scratch/log" 2>&1 &
script=$!
children() { cat "/proc/$1"/task/*/children 2>/dev/null; }
below() { local pid; for pid in $(children "$1"); do echo "$pid"; below "$pid"; done; }
for _ in $(seq 300); do
    started=$(below $script)
    for pid in $started; do { tr '\0' ' ' <"/proc/$pid/cmdline"; echo; } 2>/dev/null; done >"$scratch/started"
    grep -q ' serve ' "$scratch/started" && grep -q '^perf record .* -p ' "$scratch/started" && break
    kill -0 $script 2>/dev/null || break
    sleep 0.1
done
if ! kill -0 $script 2>/dev/null; then
    wait $script
    if [ $? -eq 77 ] && [ "${CI:-false}" != true ]; then skipped=$((skipped + 1)); else bad "it ended by itself"; fi
elif ! grep -q ' serve ' "$scratch/started"; then
    kill -TERM $script
    bad "no server was started"
else
    kill -TERM $script
    wait $script
    left=$(for pid in $started; do { tr '\0' ' ' <"/proc/$pid/cmdline"; } 2>/dev/null | grep -E 'fanwire|perf record'; done)
    if [ -z "$left" ]; then
        passed=$((passed + 1))
        echo "ended in the middle, it leaves no process: ok"
    else
        bad "these are left: $left"
    fi
fi

[ $skipped -eq 0 ] || [ $((passed + failed)) -gt 0 ] || { echo "cannot run here: perf is not permitted"; exit 77; }
if [ $skipped -gt 0 ]; then
    echo "$passed passed, $failed failed, $skipped skipped"
else
    echo "$passed passed, $failed failed"
fi
[ $failed -eq 0 ]
