//! The forms in which a subscriber can have its messages: a subprotocol, with or without permessage-deflate.

use anyhow::{Result, bail};

/// How messages are wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Bare payloads.
    Raw,
    /// `fanwire.json.v1`.
    Json,
    /// `fanwire.msgpack.v1`.
    Msgpack,
    /// `fanwire.batch.v1`.
    Batch,
    /// A rival's: the NATS protocol in binary messages.
    Nats,
    /// A rival's: `foxglove.sdk.v1`.
    Foxglove,
}

/// One form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// How messages are wrapped.
    pub encoding: Encoding,
    /// Whether LZ4 blocks are asked for (batches only).
    pub lz4: bool,
    /// Whether permessage-deflate is offered, and has to be accepted.
    pub deflate: bool,
}

impl Form {
    /// Reads `raw`, `json`, `msgpack` or `batch`, each with or without `+deflate`, or `batch+lz4`; or a rival's, `nats` or
    /// `foxglove`.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn parse(name: &str) -> Result<Self> {
        let mut parts = name.split('+');
        let encoding = match parts.next().unwrap_or_default() {
            "raw" => Encoding::Raw,
            "json" => Encoding::Json,
            "msgpack" => Encoding::Msgpack,
            "batch" => Encoding::Batch,
            "nats" => Encoding::Nats,
            "foxglove" => Encoding::Foxglove,
            _ => bail!("`{name}` is no form: raw, json, msgpack or batch, then +deflate, or batch+lz4"),
        };
        let mut form = Form { encoding, lz4: false, deflate: false };
        for part in parts {
            match part {
                "deflate" if !matches!(encoding, Encoding::Nats | Encoding::Foxglove) => form.deflate = true,
                "lz4" if encoding == Encoding::Batch => form.lz4 = true,
                _ => bail!("`+{part}` is not to be had with {name}"),
            }
        }
        Ok(form)
    }

    /// The subprotocol to ask for; none for raw.
    pub fn protocol(self) -> Option<&'static str> {
        match (self.encoding, self.lz4) {
            (Encoding::Raw | Encoding::Nats, _) => None,
            (Encoding::Foxglove, _) => Some("foxglove.sdk.v1"),
            (Encoding::Json, _) => Some("fanwire.json.v1"),
            (Encoding::Msgpack, _) => Some("fanwire.msgpack.v1"),
            (Encoding::Batch, false) => Some("fanwire.batch.v1"),
            (Encoding::Batch, true) => Some("fanwire.batch.v1+lz4"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_forms_are_read_and_others_refused() {
        let form = Form::parse("batch+lz4").unwrap();
        assert_eq!((form.protocol(), form.deflate), (Some("fanwire.batch.v1+lz4"), false));
        let form = Form::parse("json+deflate").unwrap();
        assert_eq!((form.protocol(), form.deflate), (Some("fanwire.json.v1"), true));
        assert_eq!(Form::parse("raw").unwrap().protocol(), None);
        for wrong in ["", "jsn", "json+lz4", "batch+zstd", "raw+"] {
            assert!(Form::parse(wrong).is_err(), "{wrong}");
        }
    }
}
