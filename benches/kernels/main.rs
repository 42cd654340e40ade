//! The kernels that a message passes, each beside what a library would do in its place.
//!
//! One criterion group a kernel; `fanwire` is ours, the other names are the twins. Every one of them checks its result before
//! it is timed. `cargo bench -p fanwire-benches --features kernels -- FILTER`; README.md says more.

mod forms;
mod log;
#[path = "../src/payload.rs"]
mod payload;
mod ring;
mod shard;
mod wire;

use std::time::Duration;

use criterion::Criterion;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(30)
        .configure_from_args();
    wire::benches(&mut criterion);
    forms::benches(&mut criterion);
    log::benches(&mut criterion);
    ring::benches(&mut criterion);
    shard::benches(&mut criterion);
    criterion.final_summary();
}
