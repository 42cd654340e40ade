//! A long `since`, read in pieces: tens of thousands of topics may stand in a request.

use super::Encoding;
use crate::subscribe::fields::{RawValue, ValueReader, add_since};
use crate::subscribe::{Beginning, ControlError, Parsed, SinceList};

/// See the module's head.
#[derive(Debug)]
pub struct LongSince {
    /// The object, as it was written; it was read past before.
    raw: Raw,
    at: usize,
    /// Members that are left in it; `None`: none was read yet.
    left: Option<u32>,
    list: SinceList,
}

impl Default for Raw {
    fn default() -> Self {
        Raw::Msgpack(Box::default())
    }
}

#[derive(Debug)]
enum Raw {
    Json(Box<str>),
    Msgpack(Box<[u8]>),
}

impl LongSince {
    /// The object `raw` of a request, whose `from` is the other thing.
    pub fn new(encoding: Encoding, raw: &[u8], unnamed: Beginning) -> Self {
        let mut list = SinceList::new(unnamed);
        list.reserve_for(raw.len());
        let raw = match encoding {
            // It was UTF-8 as a part of the request.
            Encoding::Json => Raw::Json(String::from_utf8_lossy(raw).into()),
            Encoding::Msgpack => Raw::Msgpack(raw.into()),
        };
        LongSince { raw, at: 0, left: None, list }
    }

    /// How far it has come, in bytes.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Memory that it holds.
    pub fn held_bytes(&self) -> usize {
        let raw = match &self.raw {
            Raw::Json(text) => text.len(),
            Raw::Msgpack(bytes) => bytes.len(),
        };
        raw + self.list.held_bytes()
    }

    /// Reads so many topics. True: those were the last.
    ///
    /// # Errors
    /// What to answer the client, but for the request's `id`.
    pub fn advance(&mut self, topics: u32) -> Result<bool, ControlError<'static>> {
        let raw = std::mem::take(&mut self.raw);
        let done = match &raw {
            Raw::Json(text) => self.read(&**text, topics).map_err(without_id),
            Raw::Msgpack(bytes) => self.read(&**bytes, topics).map_err(without_id),
        };
        self.raw = raw;
        done
    }

    /// All that was read.
    pub fn into_list(self) -> SinceList {
        self.list
    }

    fn read<'a, V: RawValue<'a>>(&mut self, raw: V, topics: u32) -> Parsed<'a, bool>
    where
        V::Reader: ValueReader<'a, Raw = V>,
    {
        let mut reader = <V::Reader as ValueReader<'a>>::resume(raw, self.at);
        let mut left = match self.left {
            Some(left) => left,
            None => {
                reader = raw.reader();
                reader.enter().unwrap_or(0)
            }
        };
        for _ in 0..topics {
            let Some(topic) = reader.next_member(&mut left)? else { return Ok(true) };
            let entry = reader.raw()?;
            add_since(&mut self.list, &topic, entry)?;
        }
        self.at = reader.at();
        self.left = Some(left);
        Ok(false)
    }
}

/// The request's `id` is not known here.
fn without_id(error: ControlError<'_>) -> ControlError<'static> {
    ControlError { id: None, code: error.code, message: error.message }
}
