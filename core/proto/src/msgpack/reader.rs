//! A strict, allocation-free pull reader of MessagePack.
//!
//! Knows the format's specification and nothing of what the values mean. Never trusts its bytes, never recurses and never
//! allocates: counts and lengths are held against what is left before they are used. Strings must be UTF-8, wherever they
//! stand. Longer forms of integers and lengths than needed are taken, as the specification permits.

use super::super::json::reader::DEPTH_MAX;
use std::ops::Range;
use thiserror::Error;

/// Why bytes are not MessagePack, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{fault} at byte {at}")]
pub struct MsgpackError {
    /// Byte offset of the value that cannot be.
    pub at: usize,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with a MessagePack value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// The bytes end inside a value.
    #[error("unexpected end")]
    End,
    /// The byte 0xc1, which begins nothing.
    #[error("reserved byte")]
    Reserved,
    /// Something after the value.
    #[error("trailing bytes")]
    Trailing,
    /// A value of another type than the reader asked for.
    #[error("another type of value was expected")]
    Type,
    /// A string that is not UTF-8.
    #[error("a string is not UTF-8")]
    Utf8,
    /// More levels than [`DEPTH_MAX`].
    #[error("nested too deeply")]
    Depth,
}

/// A value, its contents left in place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// nil
    Nil,
    /// true or false
    Bool(bool),
    /// An integer that is not negative.
    Unsigned(u64),
    /// A negative integer.
    Negative(i64),
    /// float 32 or float 64
    Float(f64),
    /// str, valid UTF-8
    Str(&'a str),
    /// bin
    Bin(&'a [u8]),
    /// An array of so many values, which follow.
    Array(u32),
    /// A map of so many pairs, which follow.
    Map(u32),
    /// An extension type with its contents.
    Ext(i8, &'a [u8]),
}

/// Reads one MessagePack value from front to back.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes, at: 0 }
    }

    /// A reader that stands at a value inside of `bytes`.
    pub(crate) fn new_at(bytes: &'a [u8], at: usize) -> Self {
        Reader { bytes, at }
    }

    /// Where it stands.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// Reads the next value; of an array or a map only its head.
    ///
    /// # Errors
    /// What is wrong with it. A count that is larger than the bytes left can hold is [`Fault::End`].
    pub fn value(&mut self) -> Result<Value<'a>, MsgpackError> {
        let start = self.at;
        let result = self.head().map_err(|fault| MsgpackError { at: start, fault });
        if result.is_err() {
            self.at = start;
        }
        result
    }

    /// Reads a map, calling `pair` in front of each value with its key; `pair` must read exactly one value.
    ///
    /// # Errors
    /// Those of `pair`; [`Fault::Type`] if the value ahead is no map, or a key is no string.
    pub fn map<E: From<MsgpackError>>(
        &mut self,
        mut pair: impl FnMut(&'a str, &mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.at;
        let Value::Map(pairs) = self.value()? else {
            return Err(MsgpackError { at: start, fault: Fault::Type }.into());
        };
        for _ in 0..pairs {
            let key = self.key()?;
            pair(key, self)?;
        }
        Ok(())
    }

    /// Reads a map's key.
    ///
    /// # Errors
    /// [`Fault::Type`] if it is no string; what is wrong with it.
    pub(crate) fn key(&mut self) -> Result<&'a str, MsgpackError> {
        let at = self.at;
        match self.value()? {
            Value::Str(key) => Ok(key),
            _ => Err(MsgpackError { at, fault: Fault::Type }),
        }
    }

    /// Reads the head of a string or of `bin` that may be long, and passes over what it holds: where that stands, and whether
    /// it is a string, which is not checked to be UTF-8. `None`: another value is ahead.
    pub(crate) fn long(&mut self) -> Result<Option<(Range<usize>, bool)>, MsgpackError> {
        let start = self.at;
        let read = (|| {
            let [first] = self.array()?;
            let length = match first {
                0xa0..=0xbf => u32::from(first & 0x1f),
                0xc4 | 0xd9 => self.length::<1>()?,
                0xc5 | 0xda => self.length::<2>()?,
                0xc6 | 0xdb => self.length::<4>()?,
                _ => return Ok(None),
            };
            let from = self.at;
            self.take(length as usize)?;
            Ok(Some((from..self.at, !matches!(first, 0xc4..=0xc6))))
        })();
        if !matches!(read, Ok(Some(_))) {
            self.at = start;
        }
        read.map_err(|fault| MsgpackError { at: start, fault })
    }

    /// Reads on with a reader whose errors count their bytes from here.
    pub(super) fn apart<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        let mut reader = Reader::new(self.bytes.get(self.at..).unwrap_or_default());
        let result = read(&mut reader);
        self.at += reader.at;
        result
    }

    /// Reads past one whole value and returns its bytes.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn raw_value(&mut self) -> Result<&'a [u8], MsgpackError> {
        let start = self.at;
        let inside = children(self.value()?);
        if inside > 0 {
            self.skip_inside(start, inside)?;
        }
        Ok(&self.bytes[start..self.at])
    }

    /// Skips what is inside the array or map that began at `start`: `inside` values, with all that is in them.
    fn skip_inside(&mut self, start: usize, inside: u64) -> Result<(), MsgpackError> {
        // How many values are still to come, by level.
        let mut left = [0; DEPTH_MAX as usize];
        let mut level = 0;
        let mut deeper = (start, inside);
        loop {
            let (at, inside) = deeper;
            *left.get_mut(level).ok_or(MsgpackError { at, fault: Fault::Depth })? = inside;
            deeper = loop {
                while left[level] == 0 {
                    match level.checked_sub(1) {
                        Some(up) => level = up,
                        None => return Ok(()),
                    }
                }
                left[level] -= 1;
                let at = self.at;
                let value = self.value()?;
                if let Value::Array(_) | Value::Map(_) = value {
                    level += 1;
                    break (at, children(value));
                }
            };
        }
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    /// [`Fault::Trailing`]
    pub fn finish(self) -> Result<(), MsgpackError> {
        if self.at == self.bytes.len() { Ok(()) } else { Err(MsgpackError { at: self.at, fault: Fault::Trailing }) }
    }

    fn head(&mut self) -> Result<Value<'a>, Fault> {
        let [first] = self.array()?;
        Ok(match first {
            0x00..=0x7f => Value::Unsigned(first.into()),
            0x80..=0x8f => self.count(u32::from(first & 0x0f), 2).map(Value::Map)?,
            0x90..=0x9f => self.count(u32::from(first & 0x0f), 1).map(Value::Array)?,
            0xa0..=0xbf => self.text(u32::from(first & 0x1f))?,
            0xc0 => Value::Nil,
            0xc1 => return Err(Fault::Reserved),
            0xc2 => Value::Bool(false),
            0xc3 => Value::Bool(true),
            0xc4 => Value::Bin(self.sized::<1>()?),
            0xc5 => Value::Bin(self.sized::<2>()?),
            0xc6 => Value::Bin(self.sized::<4>()?),
            0xc7 => self.extension::<1>()?,
            0xc8 => self.extension::<2>()?,
            0xc9 => self.extension::<4>()?,
            0xca => Value::Float(f32::from_be_bytes(self.array()?).into()),
            0xcb => Value::Float(f64::from_be_bytes(self.array()?)),
            0xcc => Value::Unsigned(self.unsigned::<1>()?),
            0xcd => Value::Unsigned(self.unsigned::<2>()?),
            0xce => Value::Unsigned(self.unsigned::<4>()?),
            0xcf => Value::Unsigned(self.unsigned::<8>()?),
            0xd0 => signed(i8::from_be_bytes(self.array()?).into()),
            0xd1 => signed(i16::from_be_bytes(self.array()?).into()),
            0xd2 => signed(i32::from_be_bytes(self.array()?).into()),
            0xd3 => signed(i64::from_be_bytes(self.array()?)),
            // fixext 1, 2, 4, 8, 16
            0xd4..=0xd8 => {
                let [kind] = self.array()?;
                Value::Ext(i8::from_be_bytes([kind]), self.take(1 << (first - 0xd4))?)
            }
            0xd9 => self.length::<1>().and_then(|length| self.text(length))?,
            0xda => self.length::<2>().and_then(|length| self.text(length))?,
            0xdb => self.length::<4>().and_then(|length| self.text(length))?,
            0xdc => self.length::<2>().and_then(|items| self.count(items, 1)).map(Value::Array)?,
            0xdd => self.length::<4>().and_then(|items| self.count(items, 1)).map(Value::Array)?,
            0xde => self.length::<2>().and_then(|pairs| self.count(pairs, 2)).map(Value::Map)?,
            0xdf => self.length::<4>().and_then(|pairs| self.count(pairs, 2)).map(Value::Map)?,
            0xe0..=0xff => Value::Negative(i8::from_be_bytes([first]).into()),
        })
    }

    /// A count, if that many items of at least `bytes` bytes each can still come.
    fn count(&self, count: u32, bytes: u64) -> Result<u32, Fault> {
        let left = self.bytes.len() - self.at;
        if u64::from(count) * bytes > left as u64 { Err(Fault::End) } else { Ok(count) }
    }

    fn text(&mut self, length: u32) -> Result<Value<'a>, Fault> {
        simdutf8::basic::from_utf8(self.take(length as usize)?).map(Value::Str).map_err(|_| Fault::Utf8)
    }

    fn extension<const N: usize>(&mut self) -> Result<Value<'a>, Fault> {
        let length = self.length::<N>()?;
        let [kind] = self.array()?;
        Ok(Value::Ext(i8::from_be_bytes([kind]), self.take(length as usize)?))
    }

    fn sized<const N: usize>(&mut self) -> Result<&'a [u8], Fault> {
        let length = self.length::<N>()?;
        self.take(length as usize)
    }

    /// A big-endian length of at most 4 bytes.
    fn length<const N: usize>(&mut self) -> Result<u32, Fault> {
        Ok(self.array::<N>()?.iter().fold(0, |n, &byte| n << 8 | u32::from(byte)))
    }

    fn unsigned<const N: usize>(&mut self) -> Result<u64, Fault> {
        Ok(self.array::<N>()?.iter().fold(0, |n, &byte| n << 8 | u64::from(byte)))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Fault> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest.get(..length).ok_or(Fault::End)?;
        self.at += length;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest.first_chunk().ok_or(Fault::End)?;
        self.at += N;
        Ok(*taken)
    }
}

/// How many values follow a value's head as its contents.
pub(super) fn children(value: Value<'_>) -> u64 {
    match value {
        Value::Array(items) => items.into(),
        Value::Map(pairs) => u64::from(pairs) * 2,
        _ => 0,
    }
}

fn signed(number: i64) -> Value<'static> {
    u64::try_from(number).map_or(Value::Negative(number), Value::Unsigned)
}
