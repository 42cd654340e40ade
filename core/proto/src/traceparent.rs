//! Where a message belongs in somebody's trace: the value of `traceparent`, after W3C Trace Context.
//! <https://www.w3.org/TR/trace-context/#traceparent-header>
//!
//! Knows the value, and how attributes of a message name it: `traceparent=00-…`, on a line of its own. Must never know what becomes
//! of it.

use std::fmt;

/// Bytes of a value of version 00, and of what later versions begin with.
pub const TRACEPARENT_BYTES: usize = 55;
/// What attributes call it.
const NAME: &[u8] = b"traceparent=";
/// Bytes of the line in attributes that says it.
pub const TRACEPARENT_LINE_BYTES: usize = NAME.len() + TRACEPARENT_BYTES;
/// Bit of the flags: whoever called has recorded it.
const SAMPLED: u8 = 1;

/// A trace, and the span in it that something belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceParent {
    /// The trace.
    pub trace: [u8; 16],
    /// The span that is the parent.
    pub span: [u8; 8],
    /// The flags.
    pub flags: u8,
}

impl TraceParent {
    /// Reads a value. `None`: it is none.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (first, rest) = value.split_at_checked(TRACEPARENT_BYTES)?;
        let [version] = hex(&first[..2])?;
        // Later versions may say more behind what this one says.
        let is_whole = if version == 0 { rest.is_empty() } else { rest.first().is_none_or(|byte| *byte == b'-') };
        if version == 0xff || !is_whole || [2, 35, 52].iter().any(|dash| first[*dash] != b'-') {
            return None;
        }
        let (trace, span, [flags]) = (hex(&first[3..35])?, hex(&first[36..52])?, hex(&first[53..])?);
        // All zeros name nothing.
        (trace != [0; 16] && span != [0; 8]).then_some(Self { trace, span, flags })
    }

    /// The value that a message's attributes say, if they say one.
    pub fn of_attributes(attributes: &[u8]) -> Option<Self> {
        let mut lines = attributes.split(|byte| *byte == b'\n');
        lines.find_map(|line| line.strip_prefix(NAME)).and_then(Self::parse)
    }

    /// The line that says it in attributes, without its end.
    pub fn line(&self) -> [u8; TRACEPARENT_LINE_BYTES] {
        let mut line = [0; TRACEPARENT_LINE_BYTES];
        let text = format!("traceparent={self}");
        line.copy_from_slice(text.as_bytes());
        line
    }

    /// Whoever called has recorded it, so that what follows is to be recorded, too.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }
}

/// As a value of version 00.
impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace, span, flags } = self;
        write!(f, "00-{:032x}-{:016x}-{flags:02x}", u128::from_be_bytes(*trace), u64::from_be_bytes(*span))
    }
}

/// Bytes out of twice as many digits, which are small ones: others are not allowed.
fn hex<const BYTES: usize>(digits: &[u8]) -> Option<[u8; BYTES]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; BYTES];
    for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_value_is_read_and_written_alike() {
        let parent = TraceParent::parse(VALUE.as_bytes()).unwrap();
        assert_eq!(parent.trace[..2], [0x4b, 0xf9]);
        assert_eq!((parent.span, parent.flags), ([0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7], 1));
        assert_eq!((parent.to_string(), parent.is_sampled()), (VALUE.to_owned(), true));
        let not_sampled = TraceParent::parse(VALUE.replace("-01", "-02").as_bytes()).unwrap();
        assert!(!not_sampled.is_sampled());
    }

    #[test]
    fn what_is_no_value_is_none() {
        let with = |at: usize, byte: u8| {
            let mut value = VALUE.as_bytes().to_vec();
            value[at] = byte;
            value
        };
        for (at, byte) in [(0, b'f'), (2, b'_'), (35, b' '), (52, b'0'), (3, b'A'), (40, b'g'), (54, b'-')] {
            let is_version = at == 0;
            assert_eq!(TraceParent::parse(&with(at, byte)).is_some(), is_version, "{at} {byte}");
        }
        for wrong in [
            "",
            &VALUE[..TRACEPARENT_BYTES - 1],
            &format!("{VALUE}-"),
            &VALUE.replace("00-4", "ff-4"),
            &format!("{}x", VALUE.replace("00-4", "01-4")),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        ] {
            assert_eq!(TraceParent::parse(wrong.as_bytes()), None, "{wrong}");
        }
        // A later version may say more, behind a dash.
        assert!(TraceParent::parse(format!("{}-more", VALUE.replace("00-4", "01-4")).as_bytes()).is_some());
    }

    #[test]
    fn attributes_say_it_on_a_line_of_its_own() {
        let parent = TraceParent::parse(VALUE.as_bytes());
        assert_eq!(TraceParent::of_attributes(&parent.unwrap().line()), parent);
        for (attributes, expected) in [
            (format!("level=3\ntraceparent={VALUE}\nx=y"), parent),
            (format!("traceparent={VALUE}\n"), parent),
            (format!("xtraceparent={VALUE}"), None),
            (format!("traceparent={VALUE} "), None),
            // The first counts.
            (format!("traceparent=\ntraceparent={VALUE}"), None),
            (String::new(), None),
        ] {
            assert_eq!(TraceParent::of_attributes(attributes.as_bytes()), expected, "{attributes}");
        }
    }
}
