//! Reads the objects of `fanwire.json.v1` without building anything: the fields a load client checks, as slices.
//!
//! Knows the members of `message`, `gap` and the small control objects in any order. Trusts the server's JSON to be
//! JSON (what is not comes back as `None`). Written apart from the engine on purpose. Never allocates.

/// The members of one object that matter here. Strings are as they stand on the wire, escapes included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// `type`.
    pub kind: &'a [u8],
    /// `topic`.
    pub topic: &'a [u8],
    /// `priority`.
    pub priority: &'a [u8],
    /// `seq` of a message (of `subscribed` it is an object: zero here).
    pub seq: u64,
    /// `from` of a gap.
    pub from: u64,
    /// `to` of a gap.
    pub to: u64,
    /// `topic_id` of `subscribed`.
    pub topic_id: u64,
    /// `epoch` of `subscribed`.
    pub epoch: u64,
    /// `data`, verbatim: with its quotes if it is a string.
    pub data: &'a [u8],
    /// `code` of an error.
    pub code: &'a [u8],
    /// `message` of an error.
    pub message: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Reads one object.
    #[inline]
    pub fn read(json: &'a [u8]) -> Option<Self> {
        let mut found = Envelope::default();
        let mut at = blanks(json, 0);
        if json.get(at) != Some(&b'{') {
            return None;
        }
        at = blanks(json, at + 1);
        if json.get(at) == Some(&b'}') {
            return Some(found);
        }
        loop {
            let key_end = after_value(json, at)?;
            let key = unquoted(&json[at..key_end])?;
            at = blanks(json, key_end);
            if json.get(at) != Some(&b':') {
                return None;
            }
            at = blanks(json, at + 1);
            let end = after_value(json, at)?;
            let value = &json[at..end];
            match key {
                b"type" => found.kind = unquoted(value)?,
                b"topic" => found.topic = unquoted(value)?,
                b"priority" => found.priority = unquoted(value)?,
                b"seq" => found.seq = number(value).unwrap_or(0),
                b"from" => found.from = number(value)?,
                b"to" => found.to = number(value)?,
                b"topic_id" => found.topic_id = number(value)?,
                b"epoch" => found.epoch = number(value)?,
                b"data" => found.data = value,
                b"code" => found.code = value,
                b"message" => found.message = value,
                _ => {}
            }
            at = blanks(json, end);
            match json.get(at)? {
                b',' => at = blanks(json, at + 1),
                b'}' => return (blanks(json, at + 1) == json.len()).then_some(found),
                _ => return None,
            }
        }
    }
}

/// The payload in `data`: the inside of a string (escapes as they are), or the JSON value as it stands.
pub fn payload_of(data: &[u8]) -> &[u8] {
    unquoted(data).unwrap_or(data)
}

/// The inside of a string, escapes as they are.
pub fn unquoted(value: &[u8]) -> Option<&[u8]> {
    value.strip_prefix(b"\"")?.strip_suffix(b"\"")
}

fn number(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 19 {
        return None;
    }
    value.iter().try_fold(0u64, |n, &digit| digit.is_ascii_digit().then(|| n * 10 + (digit - b'0') as u64))
}

#[inline]
fn blanks(json: &[u8], mut at: usize) -> usize {
    while matches!(json.get(at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
        at += 1;
    }
    at
}

/// The position after the value that begins at `at`.
fn after_value(json: &[u8], at: usize) -> Option<usize> {
    match json.get(at)? {
        b'"' => after_string(json, at),
        b'{' | b'[' => {
            let mut depth = 0usize;
            let mut at = at;
            loop {
                match json.get(at)? {
                    b'"' => {
                        at = after_string(json, at)?;
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    return Some(at);
                }
            }
        }
        _ => {
            let length = json[at..].iter().take_while(|byte| !b",}] \t\r\n:".contains(byte)).count();
            (length > 0).then_some(at + length)
        }
    }
}

fn after_string(json: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        // A long string is skipped eight bytes at a time.
        while let Some(word) = json.get(at..at + 8) {
            let word = u64::from_le_bytes(word.try_into().expect("eight bytes"));
            if has_byte(word, b'"') || has_byte(word, b'\\') {
                break;
            }
            at += 8;
        }
        match json.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

#[inline]
fn has_byte(word: u64, byte: u8) -> bool {
    let zeroed = word ^ (u64::from(byte) * 0x0101_0101_0101_0101);
    zeroed.wrapping_sub(0x0101_0101_0101_0101) & !zeroed & 0x8080_8080_8080_8080 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_in_any_order() {
        let text = br#" {"data" : {"a":["}",1,{"b":"\""}]},"seq":42, "type":"message","extra":null,"topic":"a/b","priority":"normal"} "#;
        let read = Envelope::read(text).unwrap();
        assert_eq!(
            (read.kind, read.topic, read.priority, read.seq),
            (&b"message"[..], &b"a/b"[..], &b"normal"[..], 42)
        );
        assert_eq!(read.data, br#"{"a":["}",1,{"b":"\""}]}"#);
        let gap = Envelope::read(br#"{"type":"gap","from":3,"to":9,"reason":"lag"}"#).unwrap();
        assert_eq!((gap.from, gap.to), (3, 9));
        let subscribed = Envelope::read(br#"{"type":"subscribed","topic_id":3,"epoch":5,"seq":{"normal":7}}"#).unwrap();
        assert_eq!((subscribed.seq, subscribed.topic_id, subscribed.epoch), (0, 3, 5));
    }

    #[test]
    fn a_long_string_ends_at_its_own_quote() {
        for length in 0..40 {
            let text = format!("{{\"data\":\"{}\\\\\",\"seq\":1}}", "x".repeat(length));
            assert_eq!(Envelope::read(text.as_bytes()).unwrap().data.len(), length + 4);
        }
    }

    #[test]
    fn what_is_not_one_object_is_refused() {
        for text in [
            "",
            "[]",
            "{",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1",
            "{\"a\":1}}",
            "{\"a\":\"x}",
            "{\"from\":-1}",
            "{\"a\":[1}",
        ] {
            assert_eq!(Envelope::read(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn no_cut_of_an_object_passes_for_an_object() {
        let text =
            br#"{"type":"message","topic":"a/b","priority":"normal","seq":42,"time_us":1,"data":{"a":[1,"\\"]}}"#;
        for cut in 0..text.len() {
            assert_eq!(Envelope::read(&text[..cut]), None);
        }
    }
}
