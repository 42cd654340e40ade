#!/usr/bin/env bash
# User instructions per delivery and per message, counted by callgrind: the same at every run, whatever else the machine does.
#
#   benches/instructions.sh [FIGURE…]           holds them against benches/instructions.toml; exit 1 above a bound
#   benches/instructions.sh --record            writes that file anew, all figures
#   benches/instructions.sh --profile FIGURE    which functions they go to (set-up included)
#
# Each figure is the difference of two runs of fanwire-instructions that publish few and many messages, divided by the
# deliveries (or messages) between them: set-up cancels out. A baseline of another compiler, C library, valgrind or kind of
# CPU is compared with a wide bound.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2

baseline=benches/instructions.toml
# Per cent above the baseline that pass: with the tools that it was recorded with, and with others.
tolerance=1
tolerance_elsewhere=25

record=false
profile=
only=()
while [ $# -gt 0 ]; do
    case "$1" in
    --record) record=true ;;
    --profile)
        profile=${2:?--profile FIGURE}
        shift
        ;;
    -h | --help)
        sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
    -*)
        echo "unknown option $1" >&2
        exit 2
        ;;
    *) only+=("$1") ;;
    esac
    shift
done
$record && [ ${#only[@]} -gt 0 ] && echo "--record writes all figures" >&2 && exit 2

command -v valgrind >/dev/null || { echo "valgrind is missing" >&2; exit 2; }
cargo build --quiet --release -p fanwire-benches --features kernels --bin fanwire-instructions || exit 2
program=${CARGO_TARGET_DIR:-target}/release/fanwire-instructions
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# What else the number of instructions depends on.
simd=none
grep -qw avx2 /proc/cpuinfo && simd=avx2
environment() {
    echo "rustc = \"$(rustc --version)\""
    echo "libc = \"$(ldd --version 2>/dev/null | head -n 1)\""
    echo "valgrind = \"$(valgrind --version)\""
    echo "cpu = \"$(uname -m) $simd\""
}

# field KEY: a line of the baseline.
field() { sed -n "s/^$1 = //p" "$baseline" 2>/dev/null | tr -d '"'; }

# count FIGURE MESSAGES: prints `INSTRUCTIONS UNITS`.
count() {
    valgrind --tool=callgrind --callgrind-out-file="$scratch/callgrind" "$program" "$1" "$2" >"$scratch/log" 2>&1 ||
        { cat "$scratch/log" >&2; return 2; }
    awk '/^units / { units = $2 } /Collected *:/ { counted = $NF } END { if (!units || !counted) exit 2; print counted, units }' "$scratch/log"
}

if [ -n "$profile" ]; then
    large=$("$program" list | awk -v name="$profile" '$1 == name { print $3 }')
    count "$profile" "${large:?no such figure: $profile}" || exit 2
    callgrind_annotate --auto=no "$scratch/callgrind" | sed '/^$/d' | head -n 45
    exit
fi

elsewhere=
while read -r line; do
    key=${line%% *}
    now=$(sed 's/^[^"]*"//; s/"$//' <<<"$line")
    was=$(field "$key")
    [ "$now" = "$was" ] || elsewhere+="  $key: $now, recorded with ${was:-nothing}"$'\n'
done < <(environment)
bound_percent=$tolerance
if ! $record && [ -n "$elsewhere" ]; then
    bound_percent=$tolerance_elsewhere
    printf 'recorded with other tools, so up to %s %% more pass:\n%s' "$bound_percent" "$elsewhere"
fi

$record || printf '%-14s %10s %10s %8s %10s  %s\n' figure now baseline change bound verdict
above=0
measured=0
while read -r name small large _ unit what; do
    if [ ${#only[@]} -gt 0 ] && [[ " ${only[*]} " != *" $name "* ]]; then continue; fi
    few=$(count "$name" "$small") && many=$(count "$name" "$large") || exit 2
    measured=$((measured + 1))
    now=$(awk -v few="$few" -v many="$many" 'BEGIN { split(few, a); split(many, b); printf "%.2f", (b[1] - a[1]) / (b[2] - a[2]) }')
    if $record; then
        echo "# per $unit $what" >>"$scratch/record"
        echo "$name = $now" >>"$scratch/record"
        printf '%-14s %10s per %s %s\n' "$name" "$now" "$unit" "$what"
        continue
    fi
    was=$(field "$name")
    verdict=$(awk -v name="$name" -v now="$now" -v was="${was:-0}" -v percent="$bound_percent" 'BEGIN {
        if (was <= 0) { printf "%-14s %10.2f %10s %8s %10s  NO BASELINE: --record\n", name, now, "-", "-", "-"; exit 1 }
        bound = was * (1 + percent / 100)
        word = now > bound ? "ABOVE" : now < was * (1 - percent / 100) ? "ok (less: --record keeps it so)" : "ok"
        printf "%-14s %10.2f %10.2f %+7.1f%% %10.2f  %s\n", name, now, was, 100 * (now / was - 1), bound, word
        exit now > bound
    }') || above=$((above + 1))
    echo "$verdict"
done < <("$program" list)
[ $measured -gt 0 ] || { echo "no such figure: ${only[*]}" >&2; exit 2; }

if $record; then
    {
        echo "# Written by benches/instructions.sh --record: user instructions, and what they were counted with."
        environment
        echo
        echo "[instructions]"
        cat "$scratch/record"
    } >"$baseline"
    echo "written to $baseline"
    exit
fi
if [ $above -gt 0 ]; then
    echo "$above above the bound. Where they go: benches/instructions.sh --profile FIGURE; where that is meant: --record"
    exit 1
fi
