//! MessagePack read by recursion, and written from JSON, by the table of its specification.

use crate::json::reader::DEPTH_MAX;
use serde_json::Value;

/// The length of the value at the front of `bytes`, if it is a whole one.
pub(super) fn value_len(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes;
    skip(&mut rest, 0)?;
    Some(bytes.len() - rest.len())
}

fn skip(rest: &mut &[u8], level: u32) -> Option<()> {
    let first = number(rest, 1)? as u8;
    match first {
        0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => {}
        0x80..=0x8f => values(rest, 2 * u64::from(first & 15), level)?,
        0x90..=0x9f => values(rest, u64::from(first & 15), level)?,
        0xa0..=0xbf => text(rest, u64::from(first & 31))?,
        0xc1 => return None,
        0xc4..=0xc6 => {
            let length = number(rest, 1 << (first - 0xc4))?;
            take(rest, length)?;
        }
        0xc7..=0xc9 => {
            let length = number(rest, 1 << (first - 0xc7))?;
            take(rest, length + 1)?;
        }
        0xca => take(rest, 4).map(|_| ())?,
        0xcb => take(rest, 8).map(|_| ())?,
        0xcc..=0xcf => take(rest, 1 << (first - 0xcc)).map(|_| ())?,
        0xd0..=0xd3 => take(rest, 1 << (first - 0xd0)).map(|_| ())?,
        0xd4..=0xd8 => take(rest, 1 + (1 << (first - 0xd4))).map(|_| ())?,
        0xd9..=0xdb => {
            let length = number(rest, 1 << (first - 0xd9))?;
            text(rest, length)?;
        }
        0xdc | 0xdd => {
            let items = number(rest, 2 << (first - 0xdc))?;
            values(rest, items, level)?;
        }
        0xde | 0xdf => {
            let pairs = number(rest, 2 << (first - 0xde))?;
            values(rest, 2 * pairs, level)?;
        }
    }
    Some(())
}

fn values(rest: &mut &[u8], count: u64, level: u32) -> Option<()> {
    if level >= DEPTH_MAX {
        return None;
    }
    (0..count).try_for_each(|_| skip(rest, level + 1))
}

fn text(rest: &mut &[u8], length: u64) -> Option<()> {
    std::str::from_utf8(take(rest, length)?).ok().map(|_| ())
}

fn number(rest: &mut &[u8], bytes: u64) -> Option<u64> {
    Some(take(rest, bytes)?.iter().fold(0, |n, &byte| n << 8 | u64::from(byte)))
}

fn take<'a>(rest: &mut &'a [u8], length: u64) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = left;
    Some(taken)
}

/// Appends a JSON value; `false` if it holds a float, which the two encodings treat differently.
pub(crate) fn pack(value: &Value, out: &mut Vec<u8>) -> bool {
    match value {
        Value::Null => out.push(0xc0),
        Value::Bool(truth) => out.push(0xc2 + u8::from(*truth)),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(n @ 0..=127), _) => out.push(n as u8),
            (Some(n), _) => {
                out.push(0xcf);
                out.extend_from_slice(&n.to_be_bytes());
            }
            (None, Some(n)) => {
                out.push(0xd3);
                out.extend_from_slice(&n.to_be_bytes());
            }
            (None, None) => return false,
        },
        Value::String(text) => pack_str(text, out),
        Value::Array(items) => {
            out.push(0xdc);
            out.extend_from_slice(&(items.len() as u16).to_be_bytes());
            return items.len() < 1 << 16 && items.iter().all(|item| pack(item, out));
        }
        Value::Object(members) => {
            out.push(0xdf);
            out.extend_from_slice(&(members.len() as u32).to_be_bytes());
            return members.iter().all(|(name, value)| {
                pack_str(name, out);
                pack(value, out)
            });
        }
    }
    true
}

pub(super) fn pack_str(text: &str, out: &mut Vec<u8>) {
    match text.len() {
        length @ 0..=31 => out.push(0xa0 | length as u8),
        length => {
            out.push(0xdb);
            out.extend_from_slice(&(length as u32).to_be_bytes());
        }
    }
    out.extend_from_slice(text.as_bytes());
}
