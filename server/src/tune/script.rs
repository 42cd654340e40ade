//! Job: `fanwire tune script`: a shell script that does what `apply` and `revert` do, to be read before it is run.
//! Knows: POSIX sh. Must never know: any particular knob.

use std::fmt::Write as _;
use std::process::ExitCode;

use super::arguments::ScriptArgs;
use super::knob::{Reading, Verdict};
use super::{named, persist, table};
use crate::engine::say;
use crate::exit::Outcome;
use crate::units::grouped;

/// What stands before the list of settings.
const HEAD: &str = r#"
set -u
root=${FANWIRE_TUNE_ROOT-}
notes=${FANWIRE_TUNE_NOTES-$root/var/lib/fanwire/tune.script}
kept=$root/etc/sysctl.d/60-fanwire.conf
tab=$(printf '\t')
failed=0

# What a file says: blanks made one; of "always [madvise] never" the chosen word.
value() {
    v=$(cat "$1") || return 1
    case $v in *\[*\]*) v=${v#*\[}; v=${v%%\]*} ;; esac
    set -f
    # shellcheck disable=SC2086
    set -- $v
    set +f
    printf '%s' "$*"
}

# Writes VALUE into FILE, and says what it says then.
put() {
    before=$(value "$root$1") || { failed=1; return 1; }
    if printf '%s\n' "$2" >"$root$1" && after=$(value "$root$1") && [ "$after" != "$before" ]; then
        echo "$1: $before -> $after"
    else
        echo "$1: cannot be written" >&2
        failed=1
        return 1
    fi
}

# Each line: FILE, blank, VALUE. Values for this host, as it was when this script was made.
settings() {
    cat <<'SETTINGS'
"#;

/// What stands after it.
const TAIL: &str = r#"SETTINGS
}

# The noted line of FILE: FILE, tab, former value, tab, ours.
noted() { [ -f "$notes" ] && grep -F "$1$tab" "$notes"; }

# Puts stdin in the place of FILE, on the disk.
replace() { cat >"$1.new" && sync && mv "$1.new" "$1" && sync; }

apply() {
    mkdir -p "$(dirname "$notes")" || exit 77
    [ -f "$notes" ] || true >"$notes" || exit 77
    # First the notes, on the disk: the first former value stays.
    settings | while read -r file wanted; do
        now=$(value "$root$file") || continue
        [ "$now" = "$wanted" ] && continue
        former=$(noted "$file" | cut -f 2)
        printf '%s\t%s\t%s\n' "$file" "${former:-$now}" "$wanted"
    done >"$notes.more" || exit 77
    cut -f 1 "$notes.more" | sed "s/\$/$tab/" >"$notes.files"
    { grep -v -F -f "$notes.files" "$notes"; cat "$notes.more"; } |
        replace "$notes" || exit 77
    # Then the changes.
    while IFS=$tab read -r file former wanted; do
        put "$file" "$wanted" || continue
        after=$(value "$root$file")
        { grep -v -F "$file$tab" "$notes"; printf '%s\t%s\t%s\n' "$file" "$former" "$after"; } | replace "$notes"
    done <"$notes.more"
    rm -f "$notes.more" "$notes.files"
    if [ "${1-}" = --persist ]; then persist; fi
    echo "former values: $notes"
}

persist() {
    if [ -f "$kept" ] && ! grep -q "^# Written by .fanwire tune" "$kept"; then
        echo "$kept: there is such a file already; left alone" >&2
        failed=1
        return
    fi
    mkdir -p "$(dirname "$kept")"
    {
        echo "@MARK@"
        grep "^/proc/sys/" "$notes" | while IFS=$tab read -r file former ours; do
            echo "-$(echo "${file#/proc/sys/}" | tr / .) = $ours"
        done
    } | replace "$kept"
}

revert() {
    [ -f "$notes" ] || { echo "nothing to revert: no $notes"; return; }
    true >"$notes.left" || exit 77
    while IFS=$tab read -r file former ours; do
        now=$(value "$root$file") || now=nothing
        [ "$now" = "$former" ] && continue
        if [ "$now" != "$ours" ] && [ "${1-}" != --force ]; then
            echo "$file says $now, neither ours ($ours) nor the former $former: left alone, --force writes $former" >&2
        elif put "$file" "$former"; then
            continue
        fi
        printf '%s\t%s\t%s\n' "$file" "$former" "$ours" >>"$notes.left"
        failed=1
    done <"$notes"
    if [ -s "$notes.left" ]; then mv "$notes.left" "$notes"; else rm -f "$notes.left" "$notes"; fi
    if [ -f "$kept" ] && grep -q "^# Written by .fanwire tune" "$kept"; then rm -f "$kept"; fi
}

case ${1-} in
apply) apply "${2-}" ;;
revert) revert "${2-}" ;;
*) echo "usage: sh $0 apply [--persist] | revert [--force]" >&2; exit 2 ;;
esac
exit $failed
"#;

/// Runs the command.
///
/// # Errors
/// Names that are no knob's.
pub fn run(args: &ScriptArgs) -> Outcome {
    let knobs = named(&args.knobs)?.unwrap_or_else(|| table::all().filter(|knob| knob.standing.is_usual()).collect());
    let host = args.plan.host();
    let plan = args.plan.plan(&host);
    let readings: Vec<Reading> = knobs.into_iter().map(|knob| knob.read(&host, &plan)).collect();
    let mut text = format!(
        "#!/bin/sh\n# What `fanwire tune apply` would do on this host for {} connections on {} shards.\n",
        grouped(plan.connections.into()),
        plan.shards
    );
    text += "# sh tune.sh apply [--persist] notes the former values and writes; sh tune.sh revert [--force] writes them back.\n";
    for reading in readings.iter().filter(|reading| reading.verdict() == Verdict::Differs) {
        let knob = reading.knob;
        let _ = writeln!(text, "#\n# {}: {} (now {})\n#   {}", knob.id, reading.wanted(), reading.now(), knob.why);
        if !knob.is_live() {
            let _ = writeln!(text, "#   Not done here: set it in {}.", knob.lasting());
        }
    }
    text += HEAD;
    for reading in readings.iter().filter(|reading| reading.knob.is_live()) {
        for setting in reading.settings.iter().filter(|setting| setting.verdict() == Verdict::Differs) {
            let now = setting.now.as_deref().unwrap_or_default();
            if let Some(value) = setting.want.value(now) {
                let _ = writeln!(text, "{} {value}", setting.path);
            }
        }
    }
    text += &TAIL.replace("@MARK@", &persist::MARK.replace('`', "\\`"));
    say(text.trim_end());
    Ok(ExitCode::SUCCESS)
}
