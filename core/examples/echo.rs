//! Echoes every message, to 64 MiB, over the public API alone: what a host that talks to single connections looks like.
//!
//! `cargo run --release --example echo -- --listen 127.0.0.1:9002 [--driver auto|uring|epoll] [--shards N]`
//!
//! permessage-deflate is agreed to with whoever offers it. With `--fan-out true` it is no host that echoes, but topics: what is
//! sent on `/t/TOPIC` comes back to all who are connected there, and nothing is kept for those who come later.

use std::error::Error;
use std::io::Write;
use std::time::Duration;

use fanwire::{Config, DriverChoice, Engine, Event, PublishAccess, Retention, SendError, TopicConfig};

/// Events that may wait for us; a message is one.
const EVENTS: usize = 4096;
/// How long to leave a client alone whose queue is full.
const PAUSE: Duration = Duration::from_micros(200);

/// Starts the engine and echoes for ever.
///
/// # Errors
/// Where the arguments are wrong or the engine does not start.
pub fn main() -> Result<(), Box<dyn Error>> {
    let mut engine = Engine::start(config()?)?;
    let mut events = engine.events().ok_or("the engine was started without events")?;
    for address in engine.local_addrs() {
        println!("listening on ws://{address}");
    }
    std::io::stdout().flush()?;
    loop {
        let Some(event) = events.wait(Duration::from_secs(3600)) else { continue };
        if let Event::Message { connection, kind, payload } = event {
            // A clone of the payload is another reference to it: nothing is copied here.
            while let Err(SendError::WouldBlock) = engine.send_payload_to(connection, kind, payload.clone()) {
                pause();
            }
        }
    }
}

fn config() -> Result<Config, Box<dyn Error>> {
    let mut config = Config { listen: vec![([127, 0, 0, 1], 9002).into()], ..Config::default() };
    config.events.capacity = EVENTS;
    config.events.messages = true;
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} lacks its value"))?;
        match name.as_str() {
            "--listen" => config.listen = vec![value.parse()?],
            "--fan-out" if value.parse()? => {
                config.topics = vec![TopicConfig { retention: Retention::None, ..TopicConfig::default() }];
                config.access.publish = PublishAccess::Loopback;
            }
            "--shards" => config.shards = Some(value.parse()?),
            "--driver" => {
                config.driver = match value.as_str() {
                    "auto" => DriverChoice::Auto,
                    "uring" => DriverChoice::Uring,
                    "epoll" => DriverChoice::Epoll,
                    _ => return Err(format!("no such driver: {value}").into()),
                };
            }
            #[cfg(feature = "test-knobs")]
            "--tiny" => config.is_tiny = value.parse()?,
            _ => {
                return Err(format!(
                    "no such option: {name}; there are --listen, --driver, --shards and --fan-out true"
                )
                .into());
            }
        }
    }
    Ok(config)
}

/// An example has no better thing to do than to sleep; a host would go on with other connections.
#[allow(clippy::disallowed_methods)]
fn pause() {
    std::thread::sleep(PAUSE);
}
