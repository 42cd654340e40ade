//! The echo example with the knobs of the tests: `--tiny true`.
//!
//! `cargo run --features test-knobs --example echo_tiny -- --tiny true`

use std::error::Error;

#[path = "echo.rs"]
mod echo;

fn main() -> Result<(), Box<dyn Error>> {
    echo::main()
}
