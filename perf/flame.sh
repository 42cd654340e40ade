#!/usr/bin/env bash
# Where a server's time goes: runs a scenario of fanwire-perf and looks at the server's process, and only at that.
#
#   perf/flame.sh [--on-cpu] SCENARIO [--set NAME=VALUE]…   a flame graph of CPU time (SVG), and the functions that use most
#   perf/flame.sh --off-cpu SCENARIO …      a flame graph of waiting: threads asleep, or ready while others ran
#   perf/flame.sh --syscalls SCENARIO …     system calls and io_uring's requests, in all and for each delivered message
#   perf/flame.sh --tracepoints SCENARIO …  records every io_uring:* tracepoint with its time and arguments
#
# Options: -o FILE   where the result goes [default: target/profile/SCENARIO-MODE.svg, .txt or .data]
# Environment:
#   FANWIRE_BUILT=DIR   takes `fanwire` and `fanwire-perf` from there; else they are built: cargo profile `profiling`, frame pointers
#   CARGO_TARGET_DIR    as for cargo; inferno, which draws, is installed into its folder `tools` when it is missing
# Exit codes: 0 done, 1 failed, 2 wrong usage, 77 this host does not permit it (one line says what).
#
# perf/PROFILING.md explains how to read what comes out.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

usage() { sed -n '2,/^set/s/^# \{0,1\}//p' perf/flame.sh; }
fail() { echo "flame.sh: $*" >&2; exit 1; }
refuse() { echo "cannot run here: $*" >&2; exit 77; }

arguments=("$@")
mode=on-cpu
out=
scenario=
settings=()
while [ $# -gt 0 ]; do
    case "$1" in
    --on-cpu | --off-cpu | --syscalls | --tracepoints) mode=${1#--} ;;
    -o) [ $# -ge 2 ] || { usage >&2; exit 2; }; out=$2; shift ;;
    --set) [ $# -ge 2 ] || { usage >&2; exit 2; }; settings+=(--set "$2"); shift ;;
    -h | --help) usage; exit 0 ;;
    -*) usage >&2; exit 2 ;;
    *) [ -z "$scenario" ] || { usage >&2; exit 2; }; scenario=$1 ;;
    esac
    shift
done
[ -n "$scenario" ] || { usage >&2; exit 2; }

# Tracepoints are files of tracefs. Where nobody has mounted it, it is mounted for this script alone and gone with it.
if [ $mode != on-cpu ] && [ "$(id -u)" -eq 0 ] && [ -z "${FANWIRE_TRACEFS:-}" ] &&
    [ ! -e /sys/kernel/tracing/events ] && [ ! -e /sys/kernel/debug/tracing/events ] && command -v unshare >/dev/null; then
    export FANWIRE_TRACEFS=tried
    exec unshare --mount bash -c 'mount -t tracefs nodev /sys/kernel/tracing 2>/dev/null; exec bash perf/flame.sh "$@"' flame.sh "${arguments[@]}"
fi
has_tracepoints() {
    local at
    for at in /sys/kernel/tracing /sys/kernel/debug/tracing; do [ -r "$at/events/$1" ] && return; done
    return 1
}

target=${CARGO_TARGET_DIR:-target}
scratch=$(mktemp -d) || exit 1
running=()

# Nothing stays behind: everything is started in a session of its own and ended with all that it has started.
finish() {
    local pid
    for pid in "${running[@]}"; do kill -TERM -- "-$pid" 2>/dev/null; done
    for pid in "${running[@]}"; do gone "$pid" 30 || kill -KILL -- "-$pid" 2>/dev/null; done
    wait
    rm -rf "$scratch"
}
# gone PID TENTHS: true once the session that PID leads has no process left.
gone() {
    local left=$2
    while kill -0 -- "-$1" 2>/dev/null; do
        [ "$left" -gt 0 ] || return
        left=$((left - 1))
        sleep 0.1
    done
}
trap finish EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# --- what is needed -------------------------------------------------------------------------------------------------------------

debian() {
    [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null || return
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$1" >"$scratch/apt" 2>&1 ||
        { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$1"; } >"$scratch/apt" 2>&1
}

find_perf() {
    command -v perf >/dev/null && return
    echo "installing perf" >&2
    debian linux-perf
    command -v perf >/dev/null ||
        refuse "perf is missing (apt install linux-perf; Ubuntu: linux-tools-\$(uname -r); Fedora: dnf install perf)"
}

# may EVENT OPTION…: whether perf may record it.
may() {
    local event=$1
    shift
    perf record -q -e "$event" "$@" -o "$scratch/may.data" -- true >"$scratch/may" 2>&1 ||
        refuse "perf record -e $event $*: $(grep -v '^$' "$scratch/may" | head -n 2 | tr '\n' ' ')" \
            "(perf_event_paranoid is $(cat /proc/sys/kernel/perf_event_paranoid 2>/dev/null || echo unknown))"
}

find_inferno() {
    PATH=$PATH:$target/tools/bin
    command -v inferno-flamegraph >/dev/null && return
    echo "installing inferno into $target/tools" >&2
    cargo install inferno --version '^0.12' --locked --root "$target/tools" >"$scratch/inferno" 2>&1 ||
        { tail -n 5 "$scratch/inferno" >&2; refuse "inferno cannot be installed"; }
}

build() {
    built=${FANWIRE_BUILT:-}
    [ -n "$built" ] && return
    built=$target/profiling
    # Libraries in C are compiled on the way.
    RUSTFLAGS="${RUSTFLAGS:-} -C force-frame-pointers=yes" CFLAGS="${CFLAGS:-} -fno-omit-frame-pointer" \
        cargo build --profile profiling -p fanwire-server -p fanwire-perf --bins || fail "the build failed"
}

tracer=perf
case $mode in
on-cpu)
    find_perf
    may cpu-clock -F 997 --call-graph fp
    find_inferno
    end=svg
    ;;
off-cpu)
    find_perf
    has_tracepoints sched/sched_switch || refuse "no tracepoints: tracefs is not mounted, or not for this user (mount -t tracefs nodev /sys/kernel/tracing)"
    may sched:sched_switch -a
    find_inferno
    end=svg
    ;;
syscalls)
    end=txt
    if has_tracepoints syscalls/sys_enter_read/id; then
        find_perf
        may syscalls:sys_enter_read
    else
        tracer=strace
        command -v strace >/dev/null || debian strace
        strace -f -c -o /dev/null true 2>"$scratch/may" ||
            refuse "no tracepoints (tracefs), and no strace: $(tail -n 1 "$scratch/may")"
        echo "no tracepoints here: strace counts, which slows the server down, and io_uring's requests are not seen" >&2
    fi
    ;;
tracepoints)
    find_perf
    has_tracepoints io_uring/io_uring_complete || refuse "no io_uring tracepoints: tracefs is not mounted, or not for this user, or the kernel has none"
    may 'io_uring:*'
    end=data
    ;;
esac
build
[ -x "$built/fanwire" ] && [ -x "$built/fanwire-perf" ] || fail "no fanwire and fanwire-perf in $built"
if [ -z "$out" ]; then
    mkdir -p "$target/profile" || exit 1
    out=$target/profile/$scenario-$mode.$end
fi

# --- the run --------------------------------------------------------------------------------------------------------------------

# start NAME COMMAND…: in the background, in a session of its own, with its output in a file. Sets $started.
start() {
    local name=$1
    shift
    setsid "$@" >"$scratch/$name.log" 2>&1 </dev/null &
    started=$!
    running+=("$started")
}

# The scenario's children that are a server: the binary, or the engine with its publisher inside.
servers() {
    local pid words
    for pid in $(cat "/proc/$scenario_pid"/task/*/children 2>/dev/null); do
        words=$({ tr '\0' ' ' <"/proc/$pid/cmdline"; } 2>/dev/null)
        case "$words" in
        */fanwire" serve "*) echo "$pid" ;;
        */fanwire-perf" host "*'"kind":"engine'*) echo "$pid" ;;
        esac
    done
}

# Whether a server has all its threads: perf takes those that it finds, and their children, but may miss one that begins meanwhile.
declare -A threads
is_whole() {
    local now
    now=$(cat "/proc/$1"/task/*/comm 2>/dev/null | sort)
    [ "${threads[$1]:-}" = "$now" ] && [[ $now == *fw-shard-* ]] && return
    threads[$1]=$now
    return 1
}

count=0
attach() {
    local pid=$1
    count=$((count + 1))
    case $mode in
    on-cpu) start "$count" perf record -q -e cpu-clock -F 997 --call-graph fp -p "$pid" -o "$scratch/$count.data" ;;
    # A thread's waiting ends when it is switched to, which another thread's event says.
    off-cpu) [ $count -gt 1 ] || start 1 perf record -q -a -m 4096 -e sched:sched_switch --call-graph fp -o "$scratch/1.data" ;;
    syscalls)
        if [ $tracer = perf ]; then
            # Each event costs perf time to begin and end, so only those that a server may make often have their own count.
            local call events=raw_syscalls:sys_enter
            for call in io_uring_enter sendmsg sendmmsg sendto writev write recvmsg recvfrom readv read accept4 accept shutdown close \
                epoll_wait epoll_pwait epoll_pwait2 epoll_ctl poll ppoll select pselect6 futex futex_wait futex_wake sched_yield \
                nanosleep clock_nanosleep mmap munmap madvise brk; do
                has_tracepoints syscalls/sys_enter_$call/id && events+=,syscalls:sys_enter_$call
            done
            has_tracepoints io_uring/io_uring_complete && events+=',io_uring:*'
            start "$count" perf stat -x, -e "$events" -p "$pid" -o "$scratch/$count.counts"
        else
            start "$count" strace -f -c -U calls,name -o "$scratch/$count.strace" -p "$pid"
        fi
        ;;
    tracepoints) start "$count" perf record -q -m 4096 -e 'io_uring:*' -p "$pid" -o "$scratch/$count.data" ;;
    esac
    tracers+=("$started")
}

tracers=()
seen=' '
start scenario "$built/fanwire-perf" run "$scenario" "${settings[@]}" --server "$built/fanwire" --json "$scratch/outcome.json"
scenario_pid=$started
while kill -0 "$scenario_pid" 2>/dev/null; do
    for pid in $(servers); do
        if [[ $seen != *" $pid "* ]] && is_whole "$pid"; then
            seen+="$pid "
            attach "$pid"
        fi
        if [ $mode = off-cpu ]; then
            for task in /proc/"$pid"/task/*; do
                echo "${task##*/} $(cat "$task/comm" 2>/dev/null)" >>"$scratch/threads"
            done
        fi
    done
    sleep 0.05
done
wait "$scenario_pid"
status=$?
cat "$scratch/scenario.log"
# Bounds are for runs that nobody watches.
[ $status -le 1 ] || fail "the scenario could not be run"
[ ${#tracers[@]} -gt 0 ] || fail "the scenario started no fanwire server"
# They end with the server; the one that watches the whole host does not.
for pid in "${tracers[@]}"; do
    [ $mode = off-cpu ] || gone "$pid" 100 || true
    kill -INT -- "-$pid" 2>/dev/null
    gone "$pid" 300 || fail "perf does not end: $(cat "$scratch"/[0-9]*.log)"
done
deliveries=$(sed -n 's/^  "deliveries": \([0-9]*\),$/\1/p' "$scratch/outcome.json" 2>/dev/null)

# --- the result -----------------------------------------------------------------------------------------------------------------

what="fanwire-perf run $scenario ${settings[*]}"
scripts() { for data in "$scratch"/[0-9]*.data; do perf script --no-inline -i "$data" "$@" 2>>"$scratch/script"; done; }
# per_delivery: from lines `NAME COUNT`, a table, most first.
per_delivery() {
    sort -k2,2nr | awk -v deliveries="${deliveries:-0}" '
        { sum += $2; printf "%-28s %12d", $1, $2; if (deliveries > 0) printf " %14.5f", $2 / deliveries; print "" }
        END { printf "%-28s %12d", "all", sum; if (deliveries > 0) printf " %14.5f", sum / deliveries; print "" }'
}
heading() {
    echo
    echo "$1: $what"
    echo "$2, over the life of $count server process(es); ${deliveries:-no} deliveries, those to warm up included"
    printf '%-28s %12s %14s\n' "" count "per delivery"
}

case $mode in
on-cpu)
    scripts | inferno-collapse-perf --kernel >"$scratch/folded" 2>>"$scratch/script"
    [ -s "$scratch/folded" ] || fail "no samples: $(cat "$scratch"/[0-9]*.log "$scratch/script" | tail -n 3)"
    inferno-flamegraph --title "on-CPU: $what" --subtitle "997 samples a second of CPU time; orange: kernel" --colors java --hash <"$scratch/folded" >"$out" || fail "inferno failed"
    echo
    awk '{ n = $NF; sub(/ [0-9]+$/, ""); all += n; if (/_\[k\]$/) kernel += n }
         END { printf "the kernel has %.1f %% of the server'"'"'s CPU time, the server itself %.1f %%\n", kernel * 100 / all, 100 - kernel * 100 / all }' "$scratch/folded"
    echo "share of functions: own, with callees"
    awk '
        {
            n = $NF; sub(/ [0-9]+$/, ""); all += n
            depth = split($0, frames, ";")
            own[frames[depth]] += n
            split("", once)
            for (i = 2; i <= depth; i++) if (!(frames[i] in once)) { once[frames[i]] = 1; total[frames[i]] += n }
        }
        END { for (f in own) printf "%6.1f %% %6.1f %%  %s\n", own[f] * 100 / all, total[f] * 100 / all, f }
    ' "$scratch/folded" | sort -nr | head -n 20
    ;;
off-cpu)
    sort -u "$scratch/threads" >"$scratch/named"
    scripts -F tid,time,event,trace,ip,sym | awk -f perf/waits.awk "$scratch/named" - >"$scratch/folded"
    [ -s "$scratch/folded" ] || fail "no switches: $(cat "$scratch"/[0-9]*.log "$scratch/script" | tail -n 3)"
    inferno-flamegraph --title "off-CPU: $what" --subtitle "a thread's waits, in microseconds" --countname us --colors blue --hash <"$scratch/folded" >"$out" || fail "inferno failed"
    echo
    echo "waited, by thread and why"
    awk '{ n = $NF; split($0, f, ";"); key = f[1] ": " f[2]; us[key] += n }
         END { for (k in us) printf "%10.3f s  %s\n", us[k] / 1e6, k }' "$scratch/folded" | sort -nr
    ;;
syscalls)
    {
        if [ $tracer = perf ]; then
            heading "system calls" "counted by perf stat"
            awk -F, '$3 == "raw_syscalls:sys_enter" { others += $1 }
                $3 ~ /^syscalls:/ && $1 > 0 { sub(/^syscalls:sys_enter_/, "", $3); n[$3] += $1; others -= $1 }
                END { for (c in n) print c, n[c]; if (others > 0) print "others", others }' "$scratch"/*.counts | per_delivery
            if has_tracepoints io_uring/io_uring_complete; then
                heading "io_uring tracepoints" "counted by perf stat"
                awk -F, '$3 ~ /^io_uring:/ && $1 > 0 { sub(/^io_uring:/, "", $3); n[$3] += $1 } END { for (c in n) print c, n[c] }' "$scratch"/*.counts | per_delivery
            fi
        else
            heading "system calls" "counted by strace"
            awk '$1 ~ /^[0-9]+$/ && $2 != "total" { n[$2] += $1 } END { for (c in n) print c, n[c] }' "$scratch"/*.strace | per_delivery
        fi
    } | tee "$out"
    ;;
tracepoints)
    heading "io_uring tracepoints" "recorded by perf record"
    scripts -F event | awk '{ sub(/^io_uring:/, "", $1); sub(/:$/, "", $1); n[$1]++ } END { for (c in n) print c, n[c] }' | per_delivery
    cp "$scratch/1.data" "$out" || exit 1
    echo "perf script -i $out   # each with its time, thread and arguments"
    ;;
esac
echo
echo "$out"
