#!/usr/bin/env bash
# Job: mutation tests. cargo-mutants changes one thing at a time in the code named below, and the unit tests must notice.
#
#   core/mutants.sh [--minutes N] [--seed N] [AREA…]    goes on with the sample: codec, log, cursors, or all of them in turn
#   core/mutants.sh --report [AREA…]                    what has come of it so far
#
# The mutants of an area are dealt out to pieces of about four; the seed says in which order the pieces are taken. What has been
# done is kept in $CARGO_TARGET_DIR/mutants until the area's code or tests change, so that a run goes on where the last one
# stopped. Mutants that no test can tell from the original are left out, with the reason, in .cargo/mutants.toml. Ends with 1 where
# fewer than 85 % are killed.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

BAR=85
PIECE=4
minutes=30
seed=1
report=false
areas=()
while [ $# -gt 0 ]; do
    case "$1" in
    --minutes) minutes=$2; shift 2 ;;
    --seed) seed=$2; shift 2 ;;
    --report) report=true; shift ;;
    codec | log | cursors) areas+=("$1"); shift ;;
    *) sed -n '2,/^set/s/^# \{0,1\}//p' core/mutants.sh >&2; exit 2 ;;
    esac
done
[ ${#areas[@]} -gt 0 ] || areas=(codec log cursors)

# What is changed, which tests look, and what else decides what comes of it.
files_of() {
    case "$1" in
    codec) echo core/proto/src/{header,mask,decoder,encoder,close,utf8}.rs ;;
    log) echo core/src/log/{pool,stream}.rs ;;
    cursors) echo core/src/shard/{topics,pick,pressure,send}.rs ;;
    esac
}
package_of() { [ "$1" = codec ] && echo fanwire-proto || echo fanwire; }
tests_of() {
    case "$1" in
    codec) echo header:: mask:: decoder:: encoder:: close:: utf8:: ;;
    log) echo log:: sim::stage sim::seeds::chosen_seeds ;;
    cursors) echo shard:: sim::stage sim::seeds::chosen_seeds ;;
    esac
}
around() {
    case "$1" in
    codec) echo core/proto/src ;;
    log) echo core/src/log core/src/sim ;;
    cursors) echo core/src/shard core/src/log core/src/sim ;;
    esac
}

mkdir -p "${CARGO_TARGET_DIR:-target}/mutants" && target=$(realpath "${CARGO_TARGET_DIR:-target}") || exit 1
work=$target/mutants
exec 9>"$work/lock"
flock --nonblock 9 || { echo "another run is at work in $work" >&2; exit 1; }

# Where the results of an area are kept.
kept() {
    local hash
    # shellcheck disable=SC2046
    hash=$(find $(around "$1") core/mutants.sh .cargo/mutants.toml -type f -print0 | sort -z | xargs -0 cat | sha256sum | cut -c1-12)
    echo "$work/$1-$hash"
}

# Whether an area's tests pass as things are: looked at once a run. (If they do not, every mutant seems killed.)
declare -A baseline=()

# piece AREA NUMBER COUNT: one piece, in a copy of the sources. Its place is always the same, so that cargo builds little.
piece() {
    local area=$1 number=$2 count=$3 tree=$work/tree file arguments=()
    rm -rf "$tree" "$work/out" && mkdir -p "$tree" || return
    git ls-files -z --cached --others --exclude-standard | tar -cf - --null -T - | tar -xf - -C "$tree" || return
    for file in $(files_of "$area"); do arguments+=(--file "$file"); done
    (
        cd "$tree" || exit
        # The dependencies as in every test, the engine unoptimised: that is built most quickly.
        export CARGO_TARGET_DIR=$target CARGO_PROFILE_DEV_OPT_LEVEL=0 CARGO_PROFILE_DEV_DEBUG=0 FANWIRE_SEEDS=1..11
        # shellcheck disable=SC2046
        cargo mutants --in-place --package "$(package_of "$area")" "${arguments[@]}" --shard "$number/$count" --sharding round-robin \
            --baseline "${baseline[$area]:-run}" --timeout 120 --build-timeout 600 --no-times --output "$work/out" --cargo-arg=--lib \
            -- -- $(tests_of "$area")
    )
    # 2: some survived, 3: some took too long.
    case $? in 0 | 2 | 3) baseline[$area]=skip; cp "$work/out/mutants.out/outcomes.json" "$(kept "$area")/$number.json" ;; *) return 1 ;; esac
}

count_of() {
    local file arguments=()
    for file in $(files_of "$1"); do arguments+=(--file "$file"); done
    cargo mutants --list --package "$(package_of "$1")" "${arguments[@]}" | wc -l
}

sample() {
    cargo mutants --version >/dev/null 2>&1 || cargo install --locked cargo-mutants || exit 1
    local until=$((SECONDS + minutes * 60)) area pieces number is_done
    while [ $SECONDS -lt $until ]; do
        is_done=true
        for area in "${areas[@]}"; do
            mkdir -p "$(kept "$area")" || exit 1
            pieces=$((($(count_of "$area") + PIECE - 1) / PIECE))
            for number in $(seq 0 $((pieces - 1)) | shuf --random-source=<(yes "$seed")); do
                [ -e "$(kept "$area")/$number.json" ] && continue
                is_done=false
                printf '== %s: piece %s of %s\n' "$area" "$number" "$pieces"
                piece "$area" "$number" "$pieces" || exit 1
                break
            done
            [ $SECONDS -lt $until ] || break
        done
        $is_done && break
    done
}

tell() {
    local area
    for area in "${areas[@]}"; do echo "$area $(kept "$area")"; done | python3 -c '
import json, pathlib, sys

bar = int(sys.argv[1])
all_killed = all_made = 0
for line in sys.stdin:
    area, kept = line.split()
    made = {"CaughtMutant": 0, "Timeout": 0, "MissedMutant": 0, "Unviable": 0}
    survivors = []
    for path in pathlib.Path(kept).glob("*.json"):
        for outcome in json.loads(path.read_text())["outcomes"]:
            if outcome["scenario"] == "Baseline":
                continue
            made[outcome["summary"]] += 1
            if outcome["summary"] == "MissedMutant":
                survivors.append(outcome["scenario"]["Mutant"]["name"])
    killed = made["CaughtMutant"] + made["Timeout"]
    viable = killed + made["MissedMutant"]
    all_killed, all_made = all_killed + killed, all_made + viable
    for name in sorted(survivors):
        print(f"{area}: survived: {name}")
    share = f"{100 * killed / viable:.1f} %" if viable else "nothing yet"
    unviable = made["Unviable"]
    print(f"{area}: {killed} of {viable} killed: {share} ({unviable} did not compile)")
share = 100 * all_killed / all_made if all_made else 0
print(f"all: {all_killed} of {all_made} killed: {share:.1f} %, at least {bar} % are wanted")
sys.exit(share < bar)
' "$BAR"
}

$report || sample
tell
