//! What a lane can be sent as.

use crate::event::Protocol;

/// How messages are written for a subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// The payload itself.
    Raw,
    /// The `message` object of `fanwire.json.v1`.
    Json,
    /// The same of `fanwire.msgpack.v1`.
    Msgpack,
    /// Frames of `fanwire.batch.v1`.
    Batch,
}

/// How frames are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Plain,
    /// permessage-deflate.
    Deflate,
    /// LZ4 inside batch frames.
    Lz4,
}

/// What a lane can be sent as: an encoding and a packing. Each has its own stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Form {
    /// The message itself: the source log.
    Raw = 0,
    /// See [`Encoding`] and [`Packing`].
    Json,
    /// Likewise.
    Msgpack,
    /// Likewise.
    Batch,
    /// Likewise.
    RawDeflate,
    /// Likewise.
    JsonDeflate,
    /// Likewise.
    MsgpackDeflate,
    /// Likewise.
    BatchDeflate,
    /// Likewise.
    BatchLz4,
}

/// Number of [`Form`]s.
pub const FORMS: usize = 9;

impl Form {
    /// How messages are written.
    pub const fn encoding(self) -> Encoding {
        match self {
            Form::Raw | Form::RawDeflate => Encoding::Raw,
            Form::Json | Form::JsonDeflate => Encoding::Json,
            Form::Msgpack | Form::MsgpackDeflate => Encoding::Msgpack,
            Form::Batch | Form::BatchDeflate | Form::BatchLz4 => Encoding::Batch,
        }
    }

    /// How frames are packed.
    pub const fn packing(self) -> Packing {
        match self {
            Form::Raw | Form::Json | Form::Msgpack | Form::Batch => Packing::Plain,
            Form::RawDeflate | Form::JsonDeflate | Form::MsgpackDeflate | Form::BatchDeflate => Packing::Deflate,
            Form::BatchLz4 => Packing::Lz4,
        }
    }

    /// Bytes that rendering takes a step for (`benches/instructions.sh`: 25 instructions a byte, 80 with permessage-deflate).
    pub const fn bytes_a_step(self) -> u32 {
        match self.packing() {
            Packing::Deflate => 4,
            Packing::Plain | Packing::Lz4 => 16,
        }
    }

    /// What a connection gets that speaks `protocol`. `deflate`: permessage-deflate with the full window was agreed.
    pub const fn of(protocol: Protocol, deflate: bool) -> Self {
        match (protocol, deflate) {
            (Protocol::Raw, false) => Form::Raw,
            (Protocol::Raw, true) => Form::RawDeflate,
            (Protocol::JsonV1, false) => Form::Json,
            (Protocol::JsonV1, true) => Form::JsonDeflate,
            (Protocol::MsgpackV1, false) => Form::Msgpack,
            (Protocol::MsgpackV1, true) => Form::MsgpackDeflate,
            (Protocol::BatchV1, false) => Form::Batch,
            (Protocol::BatchV1, true) => Form::BatchDeflate,
            // Packed once is enough.
            (Protocol::BatchV1Lz4, _) => Form::BatchLz4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_protocol_has_its_form_and_what_is_packed_is_packed_once() {
        for (protocol, plain, deflated, encoding) in [
            (Protocol::Raw, Form::Raw, Form::RawDeflate, Encoding::Raw),
            (Protocol::JsonV1, Form::Json, Form::JsonDeflate, Encoding::Json),
            (Protocol::MsgpackV1, Form::Msgpack, Form::MsgpackDeflate, Encoding::Msgpack),
            (Protocol::BatchV1, Form::Batch, Form::BatchDeflate, Encoding::Batch),
        ] {
            assert_eq!(
                (Form::of(protocol, false), plain.packing(), plain.encoding()),
                (plain, Packing::Plain, encoding)
            );
            let packed = (Form::of(protocol, true), deflated.packing(), deflated.encoding());
            assert_eq!(packed, (deflated, Packing::Deflate, encoding));
        }
        for deflate in [false, true] {
            assert_eq!(Form::of(Protocol::BatchV1Lz4, deflate), Form::BatchLz4);
        }
        assert_eq!((Form::BatchLz4.packing(), Form::BatchLz4.encoding()), (Packing::Lz4, Encoding::Batch));
    }
}
