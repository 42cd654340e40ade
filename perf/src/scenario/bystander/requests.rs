//! Attacks by requests that ask for much: each a few kilobytes, sent again as soon as it is answered.

use std::sync::Arc;

use anyhow::{Result, ensure};

use super::attacks::Assault;
use super::client::{Client, Field, Wish, framed, request};
use crate::payload::Look;
use crate::publisher;

/// Requests of an attack, at most.
const MOST: u64 = 20_000;
/// The most names that one request may have.
const NAMES: usize = 1_024;

/// Sends this again and again, each time behind the answers to the last one.
fn again_and_again(mut client: Client, frames: Vec<Vec<u8>>, field: Arc<Field>) -> Assault {
    Box::new(move || {
        let mut sent = 0;
        while sent < MOST && !field.is_over() {
            for frame in &frames {
                if !client.write(frame, &field)? {
                    return Ok(sent);
                }
            }
            sent += 1;
            if !client.settle(&field)? {
                break;
            }
        }
        Ok(sent)
    })
}

/// Many patterns over many topics, and names that nobody has.
pub fn unsubscribe(field: &Arc<Field>) -> Result<Assault> {
    let mut client = field.stranger()?;
    // Only the last of the patterns matches any.
    let patterns = (0..299).map(|i| format!("*/y{i}")).chain(["a/*".into()]);
    client.send(&request("subscribe", patterns), field)?;
    ensure!(client.settle(field)?, "the preparation is not answered");
    let mut other = field.stranger()?;
    for half in 0..2 {
        other.send(&request("subscribe", (0..500).map(|i| format!("a/x{}", half * 500 + i))), field)?;
    }
    ensure!(other.settle(field)?, "the preparation is not answered");
    let names = framed(&request("unsubscribe", (0..NAMES).map(|i| format!("n{i}"))));
    let assault = again_and_again(client, vec![names], field.clone());
    Ok(Box::new(move || {
        // It keeps its topics meanwhile.
        let _other = other;
        assault()
    }))
}

/// Publishes to topics `t/0` and so on, `each` messages of `bytes` bytes.
fn fill(field: &Field, topics: usize, each: usize, payload: &[u8]) -> Result<()> {
    let mut publisher = field.publisher()?;
    let (mut object, mut frames) = (Vec::new(), Vec::new());
    for topic in 0..topics {
        object.clear();
        publisher::write_publish(&mut object, &format!("t/{topic}"), "normal", Look::Telemetry, payload);
        let frame = framed(std::str::from_utf8(&object)?);
        for _ in 0..each {
            frames.extend_from_slice(&frame);
        }
        if frames.len() > 1 << 20 || topic + 1 == topics {
            publisher.write(&frames, field)?;
            ensure!(publisher.settle(field)?, "the topics could not be filled");
            frames.clear();
        }
    }
    ensure!(publisher.errors == 0, "the topics could not be filled: {} errors", publisher.errors);
    Ok(())
}

/// Everything, joined and left.
pub fn wildcard(field: &Arc<Field>) -> Result<Assault> {
    fill(field, 20_000, 1, b"1")?;
    let client = field.stranger()?;
    let all = |kind| framed(&request(kind, std::iter::once("**".to_string())));
    Ok(again_and_again(client, vec![all("subscribe"), all("unsubscribe")], field.clone()))
}

/// Comes back to much that is kept, without having read it the last time.
pub fn since(field: &Arc<Field>) -> Result<Assault> {
    const TOPICS: usize = 200;
    const BYTES: usize = 8 << 10;
    const EACH: usize = (1 << 20) / BYTES;
    let numbers: Vec<String> = (0..BYTES / 7).map(|i| format!("{:.4}", (i as f64 * 0.618_034).fract())).collect();
    fill(field, TOPICS, EACH, format!("[{}]", numbers.join(",")).as_bytes())?;
    let topics: Vec<String> = (0..TOPICS).map(|i| format!("t/{i}")).collect();
    let since: serde_json::Map<String, serde_json::Value> =
        topics.iter().map(|topic| (topic.clone(), serde_json::json!({"epoch": 1, "seq": {}}))).collect();
    let join = framed(&serde_json::json!({"type": "subscribe", "topics": topics, "since": since}).to_string());
    let wish = Wish { is_stranger: true, deflate: true, ..Wish::default() };
    let mut client = Some(field.connect(&wish)?);
    let field = field.clone();
    Ok(Box::new(move || {
        let mut sent = 0;
        while sent < MOST && !field.is_over() {
            let mut coming = match client.take() {
                Some(client) => client,
                None => field.connect(&wish)?,
            };
            if !coming.write(&join, &field)? || !coming.settle(&field)? {
                break;
            }
            sent += 1;
        }
        Ok(sent)
    }))
}

/// Names that nobody has used before, subscribed to and left.
pub fn topic_names(field: &Arc<Field>) -> Result<Assault> {
    let mut client = field.stranger()?;
    let field = field.clone();
    Ok(Box::new(move || {
        let mut sent = 0;
        while sent < MOST && !field.is_over() {
            let names = || (0..NAMES).map(|i| format!("made-up/{sent}/{i}"));
            for kind in ["subscribe", "unsubscribe"] {
                if !client.send(&request(kind, names()), &field)? {
                    return Ok(sent);
                }
            }
            sent += 1;
            if !client.settle(&field)? {
                break;
            }
        }
        Ok(sent)
    }))
}
