//! Which seeds are run, by whom and when.

use std::ops::Range;
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicU64, Ordering};

use super::engine::Summary;
use super::run::{STEPS, from_bytes, run_seed};
use crate::driver::sim::Rng;

/// The one place where the environment is read.
#[allow(clippy::disallowed_methods, reason = "tests take their seeds from the environment")]
fn from_environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn number_from_environment(name: &str) -> Option<u64> {
    let text = from_environment(name)?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")))
}

fn steps() -> u64 {
    number_from_environment("FANWIRE_STEPS").unwrap_or(STEPS)
}

/// Runs the seeds of a range on so many threads, and tells every one that fails.
fn run_seeds(seeds: Range<u64>, threads: usize) -> Summary {
    let next = AtomicU64::new(seeds.start);
    let work = || {
        let mut sum = Summary::default();
        let mut failed = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return (sum, failed);
            }
            if seed > seeds.start && seed.is_multiple_of(1_000) {
                println!("seeds {} to {seed} are run, or being run", seeds.start);
            }
            match catch_unwind(|| run_seed(seed, steps())) {
                Ok(summary) => sum += summary,
                Err(_) => {
                    eprintln!(
                        "seed {seed} failed. To repeat it:\n  FANWIRE_SEED={seed} cargo test -p fanwire --lib sim::seeds::one_seed -- --nocapture"
                    );
                    failed.push(seed);
                }
            }
        }
    };
    let mut sum = Summary::default();
    let mut failed = Vec::new();
    std::thread::scope(|scope| {
        let others: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for other in others {
            let (part, failures) = other.join().expect("failures are caught inside");
            sum += part;
            failed.extend(failures);
        }
    });
    println!("seeds {seeds:?}: {sum:?}");
    assert!(failed.is_empty(), "of {} seeds failed: {failed:?}", seeds.end - seeds.start);
    let Summary { gaps, holes, evicted, passed_over, resumed, compressed, batches, rebuilt, .. } = sum;
    let happenings =
        [gaps, holes, evicted as u64, passed_over, resumed, compressed, batches, rebuilt, sum.jumps, sum.out_of_order];
    assert!(seeds.end - seeds.start < 100 || !happenings.contains(&0), "the runs are too tame: {sum:?}");
    sum
}

/// `FANWIRE_SEED=123 cargo test -p fanwire --lib sim::seeds::one_seed -- --nocapture`
#[test]
fn one_seed() {
    let seed = number_from_environment("FANWIRE_SEED").unwrap_or(1);
    let summary = run_seed(seed, steps());
    println!("seed {seed}: {summary:?}");
}

/// A long run: `FANWIRE_SEEDS=20000..30000 cargo test -p fanwire --lib sim::seeds::chosen_seeds -- --nocapture`. It goes on past failures, and
/// tells how far it has come, so that it can be taken up again from there.
#[test]
fn chosen_seeds() {
    let Some(text) = from_environment("FANWIRE_SEEDS") else { return };
    let range = text.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    run_seeds(range.unwrap_or_else(|| panic!("FANWIRE_SEEDS must be FROM..TO, not {text:?}")), 2);
}

/// Seeds of one test: a quarter of those that every run has.
const PART: u64 = 500;
/// Where the seeds of days begin, far above those that long runs go through.
const DAYS_FROM: u64 = 1_000_000_000;

/// Days since 1970, or `FANWIRE_DAY`, which repeats another day's.
#[allow(clippy::disallowed_methods, reason = "which day it is decides which seeds are run, and nothing in a run")]
fn today() -> u64 {
    number_from_environment("FANWIRE_DAY").unwrap_or_else(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.expect("it is later than 1970").as_secs() / 86_400
    })
}

/// A part of the seeds of a day: no two days have one in common.
fn seeds_of(day: u64, part: u64) -> Range<u64> {
    let from = DAYS_FROM + (2 * day + part) * PART;
    from..from + PART
}

fn run_todays(part: u64) {
    let day = today();
    let seeds = seeds_of(day, part);
    let repeat = "cargo test -p fanwire --lib sim::seeds::chosen_seeds -- --nocapture";
    println!("seeds of day {day}. To repeat them:\n  FANWIRE_SEEDS={}..{} {repeat}", seeds.start, seeds.end);
    run_seeds(seeds, 1);
}

/// The seeds of every run, in four parts that run side by side: half of them the same ones always, half new ones each day.
mod every_client_gets_what_it_is_due_under_every_fault {
    #[test]
    fn part_1() {
        super::run_seeds(1..501, 1);
    }

    #[test]
    fn part_2() {
        super::run_seeds(501..1_001, 1);
    }

    #[test]
    fn todays_part_1() {
        super::run_todays(0);
    }

    #[test]
    fn todays_part_2() {
        super::run_todays(1);
    }
}

#[test]
fn no_two_days_have_a_seed_in_common() {
    let mut from = 2_001;
    for day in [0, 1, 20_000, 20_001] {
        for part in 0..2 {
            let seeds = seeds_of(day, part);
            assert!(from <= seeds.start && seeds.end - seeds.start == PART, "{seeds:?}");
            from = seeds.end;
        }
    }
}

#[test]
fn a_seed_replays_exactly() {
    for seed in 1..6 {
        let summaries = [run_seed(seed, 800), run_seed(seed, 800)];
        assert_eq!(summaries[0], summaries[1], "seed {seed}");
    }
}

/// `FANWIRE_TAPES` tapes of each length; 4 unless it is set.
#[test]
fn any_bytes_are_a_run_and_the_same_one_each_time() {
    let mut rng = Rng::new(number_from_environment("FANWIRE_SEED").unwrap_or(9));
    for len in [0, 1, 10, 100, 1_000, 5_000, 20_000, 40_000] {
        for _ in 0..number_from_environment("FANWIRE_TAPES").unwrap_or(4) {
            let bytes: Vec<u8> = (0..len).map(|_| rng.next_u64() as u8).collect();
            let summaries = [from_bytes(&bytes), from_bytes(&bytes)];
            assert_eq!(summaries[0], summaries[1]);
            assert!(len < 20_000 || summaries[0].messages > 0, "{:?}", summaries[0]);
        }
    }
    for byte in [0, 1, 7, 127, 128, 200, 255] {
        from_bytes(&vec![byte; 3_000]);
    }
}
