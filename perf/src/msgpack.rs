//! The little of MessagePack that a client of `fanwire.msgpack.v1` needs: to read one map of known keys, to write one request.
//!
//! Written apart from the engine on purpose. Reading never allocates.

use crate::envelope::Envelope;

/// Reads one object of the server. `None` for what is not one map.
pub fn read(bytes: &[u8]) -> Option<Envelope<'_>> {
    let mut found = Envelope::default();
    let mut at = 0;
    let Value::Map(pairs) = value(bytes, &mut at)? else { return None };
    for _ in 0..pairs {
        let Value::Bytes(key) = value(bytes, &mut at)? else { return None };
        let begin = at;
        let read = value(bytes, &mut at)?;
        let number = || if let Value::Number(number) = read { Some(number) } else { None };
        let text = || if let Value::Bytes(text) = read { Some(text) } else { None };
        match key {
            b"type" => found.kind = text()?,
            b"topic" => found.topic = text()?,
            b"priority" => found.priority = text()?,
            // Of `subscribed` it is a map by priority.
            b"seq" => found.seq = number().unwrap_or(0),
            b"from" => found.from = number()?,
            b"to" => found.to = number()?,
            b"topic_id" => found.topic_id = number()?,
            b"epoch" => found.epoch = number()?,
            b"data" => found.data = text()?,
            b"code" => found.code = text()?,
            b"message" => found.message = text()?,
            _ => {}
        }
        at = begin;
        skip(bytes, &mut at)?;
    }
    (at == bytes.len()).then_some(found)
}

#[derive(Clone, Copy)]
enum Value<'a> {
    Bytes(&'a [u8]),
    Number(u64),
    Map(usize),
    Array(usize),
    Other,
}

/// The value at `at`; of a map or an array only its head.
fn value<'a>(bytes: &'a [u8], at: &mut usize) -> Option<Value<'a>> {
    let mut take = |count: usize| {
        let taken = bytes.get(*at..at.checked_add(count)?)?;
        *at += count;
        Some(taken)
    };
    let uint = |width: usize, take: &mut dyn FnMut(usize) -> Option<&'a [u8]>| {
        take(width).map(|digits| digits.iter().fold(0u64, |number, &digit| number << 8 | u64::from(digit)))
    };
    let first = take(1)?[0];
    Some(match first {
        0x00..=0x7f => Value::Number(first.into()),
        0x80..=0x8f => Value::Map((first & 15).into()),
        0x90..=0x9f => Value::Array((first & 15).into()),
        0xa0..=0xbf => Value::Bytes(take((first & 31).into())?),
        0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => Value::Other,
        0xc4 | 0xd9 => {
            let length = uint(1, &mut take)? as usize;
            Value::Bytes(take(length)?)
        }
        0xc5 | 0xda => {
            let length = uint(2, &mut take)? as usize;
            Value::Bytes(take(length)?)
        }
        0xc6 | 0xdb => {
            let length = uint(4, &mut take)? as usize;
            Value::Bytes(take(length)?)
        }
        0xca => take(4).map(|_| Value::Other)?,
        0xcb => take(8).map(|_| Value::Other)?,
        0xcc..=0xcf => Value::Number(uint(1 << (first - 0xcc), &mut take)?),
        0xd0..=0xd3 => take(1 << (first - 0xd0)).map(|_| Value::Other)?,
        0xdc => Value::Array(uint(2, &mut take)? as usize),
        0xdd => Value::Array(uint(4, &mut take)? as usize),
        0xde => Value::Map(uint(2, &mut take)? as usize),
        0xdf => Value::Map(uint(4, &mut take)? as usize),
        _ => return None,
    })
}

/// Passes over one whole value.
fn skip(bytes: &[u8], at: &mut usize) -> Option<()> {
    let mut left = 1usize;
    while left > 0 {
        left -= 1;
        match value(bytes, at)? {
            Value::Map(pairs) => left = left.checked_add(pairs.checked_mul(2)?)?,
            Value::Array(values) => left = left.checked_add(values)?,
            _ => {}
        }
    }
    Some(())
}

/// Appends a request, given as JSON.
pub fn write(out: &mut Vec<u8>, request: &serde_json::Value) {
    match request {
        serde_json::Value::Null => out.push(0xc0),
        serde_json::Value::Bool(so) => out.push(if *so { 0xc3 } else { 0xc2 }),
        serde_json::Value::Number(number) => match number.as_u64() {
            Some(number) => {
                out.push(0xcf);
                out.extend_from_slice(&number.to_be_bytes());
            }
            None => {
                out.push(0xcb);
                out.extend_from_slice(&number.as_f64().unwrap_or(f64::NAN).to_be_bytes());
            }
        },
        serde_json::Value::String(text) => {
            out.push(0xdb);
            out.extend_from_slice(&(text.len() as u32).to_be_bytes());
            out.extend_from_slice(text.as_bytes());
        }
        serde_json::Value::Array(values) => {
            out.push(0xdd);
            out.extend_from_slice(&(values.len() as u32).to_be_bytes());
            values.iter().for_each(|value| write(out, value));
        }
        serde_json::Value::Object(pairs) => {
            out.push(0xdf);
            out.extend_from_slice(&(pairs.len() as u32).to_be_bytes());
            for (key, value) in pairs {
                write(out, &serde_json::Value::from(key.as_str()));
                write(out, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_no_cut_of_it_is() {
        let object = serde_json::json!({
            "type": "message", "topic": "a/b", "priority": "normal", "seq": 70_000, "extra": {"list": [1, null, 2.5, true]},
            "data": "x".repeat(300),
        });
        let mut bytes = Vec::new();
        write(&mut bytes, &object);
        let read_back = read(&bytes).unwrap();
        assert_eq!(
            (read_back.kind, read_back.topic, read_back.seq, read_back.data.len()),
            (&b"message"[..], &b"a/b"[..], 70_000, 300)
        );
        for cut in 0..bytes.len() {
            assert!(read(&bytes[..cut]).is_none(), "cut at {cut}");
        }
        bytes.push(0);
        assert!(read(&bytes).is_none());
        assert!(read(&[0x93, 1, 2, 3]).is_none());
    }
}
