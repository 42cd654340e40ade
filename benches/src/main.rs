//! How many instructions a message takes: one shard, its ring, logs and cursors, on a driver that takes every byte at once.
//!
//! `fanwire-instructions FIGURE MESSAGES` sets a figure up, checks what subscribers are sent, publishes so many messages and
//! prints `units N`: deliveries or messages. `benches/instructions.sh` counts the instructions of two such runs; their
//! difference, divided by that of the units, knows nothing of the set-up. `fanwire-instructions list` names the figures.
//!
//! Nothing here depends on time or chance. Knows the wire as a client does; `check` reads it.

mod check;
mod figures;
mod payload;

use std::process::ExitCode;

use figures::FIGURES;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["list"] => {
            for figure in FIGURES {
                let [small, large] = figure.sizes;
                println!("{} {small} {large} per {}: {}", figure.name, figure.unit.name(), figure.what);
            }
            ExitCode::SUCCESS
        }
        [name, messages] => {
            let figure = FIGURES.iter().find(|figure| figure.name == name);
            let (Some(figure), Ok(messages)) = (figure, messages.parse::<std::num::NonZeroU32>()) else {
                eprintln!("no such figure, or no number: {name} {messages}");
                return ExitCode::from(2);
            };
            println!("units {}", figure.run(messages.get()));
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("usage: fanwire-instructions list | FIGURE MESSAGES");
            ExitCode::from(2)
        }
    }
}
