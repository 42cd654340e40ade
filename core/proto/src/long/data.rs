//! The payload of a long `publish`, decoded in pieces from where it stands in the request.

use std::ops::Range;

use super::Encoding;
use crate::json::skip::Whole;
use crate::json::unescape::Unescape;
use crate::msgpack::reader::Reader as PackedReader;
use crate::msgpack::request::not_json;
use crate::subscribe::{BASE64, Content, ControlError, NotBase64, code};
use base64::Engine as _;

/// See the module's head.
#[derive(Debug)]
pub struct LongData {
    /// Where it stands, apart from quotes or a head.
    inside: Range<usize>,
    how: How,
}

#[derive(Debug)]
enum How {
    /// It is to be JSON, which is not known yet.
    Judge(Whole),
    Copy {
        at: usize,
    },
    Unescape(Unescape),
    /// Digits that were not decoded yet, fewer than [`KEPT_DIGITS`] and what a piece has.
    Base64 {
        unescape: Unescape,
        digits: Vec<u8>,
    },
}

/// The last digits of base64 are decoded together: only they may be padding.
const KEPT_DIGITS: usize = 8;

impl LongData {
    /// The value at `raw` of a request, which its brief takes for `content`.
    pub fn new(request: &[u8], encoding: Encoding, raw: Range<usize>, content: &Content<'_>) -> Self {
        let quoted = raw.start + 1..raw.end.saturating_sub(1).max(raw.start + 1);
        let inside = match encoding {
            Encoding::Json => quoted,
            Encoding::Msgpack => match PackedReader::new_at(request, raw.start).long() {
                Ok(Some((inside, _))) => inside,
                _ => raw.clone(),
            },
        };
        let is_packed = encoding == Encoding::Msgpack;
        // A string of MessagePack has no escapes.
        let unescape = Unescape::new(inside.clone());
        match content {
            Content::Json(_) if is_packed => LongData { inside, how: How::Judge(Whole::new(1)) },
            Content::Json(_) => LongData { how: How::Copy { at: raw.start }, inside: raw },
            Content::Text(_) if !is_packed => LongData { inside, how: How::Unescape(unescape) },
            Content::Base64(_) => {
                let unescape = if is_packed { Unescape::plain(inside.clone()) } else { unescape };
                LongData { inside, how: How::Base64 { unescape, digits: Vec::new() } }
            }
            Content::Text(_) | Content::Binary(_) => LongData { how: How::Copy { at: inside.start }, inside },
        }
    }

    /// Upper bound of the payload's length, in bytes.
    pub fn bytes_max(&self) -> usize {
        match &self.how {
            How::Base64 { .. } => self.inside.len().div_ceil(4) * 3,
            _ => self.inside.len(),
        }
    }

    /// Goes on for about so many bytes of `request`, and appends what comes out to `out`. True: that was all.
    ///
    /// # Errors
    /// What to answer the client, but for the request's `id`.
    pub fn advance(&mut self, request: &[u8], piece: usize, out: &mut Vec<u8>) -> Result<bool, ControlError<'static>> {
        match &mut self.how {
            How::Judge(whole) => {
                let text = request.get(self.inside.clone()).unwrap_or_default();
                if whole.advance(text, whole.at().saturating_add(piece)).map_err(not_json)? {
                    self.how = How::Copy { at: self.inside.start };
                }
                Ok(false)
            }
            How::Copy { at } => {
                let end = self.inside.end.min(at.saturating_add(piece));
                out.extend_from_slice(request.get(*at..end).unwrap_or_default());
                *at = end;
                Ok(end == self.inside.end)
            }
            How::Unescape(unescape) => Ok(unescape.advance(request, piece, out)),
            How::Base64 { unescape, digits } => {
                let is_last = unescape.advance(request, piece, digits);
                let now = match is_last {
                    true => digits.len(),
                    false => digits.len().saturating_sub(KEPT_DIGITS) / 4 * 4,
                };
                let is_padded_too_soon = !is_last && digits[..now].contains(&b'=');
                let decoded = BASE64.decode_vec(&digits[..now], out).map_err(|_| NotBase64);
                if is_padded_too_soon || decoded.is_err() {
                    return Err(ControlError::new(code::BAD_DATA, NotBase64.to_string()));
                }
                digits.drain(..now);
                Ok(is_last)
            }
        }
    }
}
