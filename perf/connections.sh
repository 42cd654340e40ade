#!/usr/bin/env bash
# Very many connections to one server process: perf/connections.sh [N, default 100000]
#
# io_uring's own descriptors are limited per ring, so the server needs a shard for as many connections as a process may have files;
# clients need a process for as many. Both ends' sockets cost the kernel some 20 KB of memory a connection. What this host
# cannot hold is left out, and said.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
wanted=${1:-100000}
files=$(ulimit -Hn)
ulimit -Sn "$files"
[ "$files" = unlimited ] && files=1000000
each=$((files - 100))
memory=$(($(awk '/^MemAvailable:/ { print $2 }' /proc/meminfo) / 24))
n=$wanted
if [ "$memory" -lt "$n" ]; then
    n=$memory
    echo "memory: room for $n connections of $wanted (24 KB each for both ends)"
fi
most=$((64 * each))
if [ "$most" -lt "$n" ]; then
    n=$most
    echo "files: 64 shards of $each connections"
fi
shards=$(((n + each - 1) / each))
echo "$n connections: $shards shards, $shards client processes, at most $files files each"
exec "${CARGO_TARGET_DIR:-target}/release/fanwire-perf" run fanout --set "n=$n" --set "shards=$shards" --set "crowds=$shards" \
    --set cpus=none --set driver=uring --set rate=0.5 --set seconds=20
