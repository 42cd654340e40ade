//! Lanes written and read back: in step, late, across gaps, and without trust.

use super::*;

const CODECS: [Codec; 2] = [Codec::Lz4, Codec::Deflate];
const LIMITS: Limits = Limits { block_bytes_max: 64 << 10, lanes_max: 4 };
const LANE: Lane = Lane { topic_id: TopicId(3), priority: Priority::Normal };

/// Telemetry: what changes from message to message stands among what does not.
fn telemetry(n: u64) -> Vec<u8> {
    let (a, b) = (n.wrapping_mul(2_654_435_761) % 100_000, n.wrapping_mul(40_503) % 997);
    format!(
        r#"{{"timestamp":{},"roll":0.{a:05},"pitch":-0.{b:03},"battery":{{"volts":11.{:02},"cell":[3.7,3.7,3.8]}},"mode":"AUTO"}}"#,
        1_700_000_000 + n,
        n % 83
    )
    .into_bytes()
}

/// Number and payload of what was or should be delivered.
type Told = Vec<(u64, u64, Vec<u8>)>;

fn told(numbers: impl Iterator<Item = u64>) -> Told {
    numbers.map(|n| (n, 1_700_000_000_000_000 + 10_000 * n, telemetry(n))).collect()
}

struct Writer(LaneEncoder, Packer);

impl Writer {
    fn new(codec: Codec) -> Self {
        Writer(LaneEncoder::new(LANE), Packer::new(codec))
    }

    fn frame(&mut self, messages: &Told) -> Vec<u8> {
        let messages: Vec<_> =
            messages.iter().map(|(seq, time_us, payload)| Message { seq: *seq, time_us: *time_us, payload }).collect();
        let mut out = b"before".to_vec();
        self.0.data(&mut self.1, Kind::Json, &messages, &mut out).unwrap();
        out.split_off(6)
    }

    fn history(&mut self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        self.0.history(&mut self.1, &mut Vec::new(), |out, start| frames.push(out.split_off(start)));
        frames
    }
}

fn read(decoder: &mut Decoder, frame: &[u8]) -> Result<Told, DictionaryError> {
    match decoder.frame(frame)? {
        Frame::Data { lane, kind, messages } => {
            assert_eq!((lane, kind), (LANE, Kind::Json));
            Ok(messages.iter().map(|message| (message.seq, message.time_us, message.payload.to_vec())).collect())
        }
        Frame::Nothing => Ok(Vec::new()),
        Frame::Control(object) => panic!("{object}"),
    }
}

#[test]
fn a_reader_in_step_reads_everything_at_a_third_of_the_bytes() {
    for (codec, hundredths) in [(Codec::Lz4, 45), (Codec::Deflate, 36)] {
        let (mut writer, mut decoder) = (Writer::new(codec), Decoder::new(codec, LIMITS));
        let (mut plain, mut packed) = (0, 0);
        for n in 1..=500 {
            let messages = told(n..n + 1);
            let frame = writer.frame(&messages);
            assert_eq!(read(&mut decoder, &frame).unwrap(), messages, "{codec:?} {n}");
            plain += messages[0].2.len();
            packed += frame.len();
        }
        assert!(packed * 100 <= plain * hundredths, "{codec:?}: {packed} of {plain}");
    }
}

#[test]
fn the_head_of_a_steady_lane_has_at_most_ten_bytes() {
    let (mut writer, mut seen) = (Writer::new(Codec::Lz4), 0);
    for n in 1..=300 {
        let frame = writer.frame(&told(n..n + 1));
        if frame[0] & (WITH | BEGINS) == WITH {
            let mut reader = number::Reader(&frame[1..]);
            assert_eq!(reader.number(), Ok(LANE.to_wire()));
            reader.byte().unwrap();
            assert!(reader.number().is_ok() && reader.number().is_ok());
            assert!(frame.len() - reader.0.len() <= 10, "{}", frame.len() - reader.0.len());
            seen += 1;
        }
    }
    assert!(seen > 250, "{seen}");
}

#[test]
fn frames_of_several_messages_come_back_with_holes_and_times_that_step_back() {
    for codec in CODECS {
        let (mut writer, mut decoder) = (Writer::new(codec), Decoder::new(codec, LIMITS));
        for n in 0..100 {
            let mut messages = told([1, 2, 5, 6, 9].into_iter().map(|k| 10 * n + k));
            messages[2].1 -= 123_456;
            messages[3].2.clear();
            assert_eq!(read(&mut decoder, &writer.frame(&messages)).unwrap(), messages);
        }
    }
}

#[test]
fn who_lost_frames_reads_on_as_long_as_the_dictionary_lasts() {
    for codec in CODECS {
        let (mut writer, mut decoder) = (Writer::new(codec), Decoder::new(codec, LIMITS));
        let mut read_after_loss = 0;
        for n in 1..=60 {
            let messages = told(n..n + 1);
            let frame = writer.frame(&messages);
            if n <= 20 || n % 3 == 0 {
                assert_eq!(read(&mut decoder, &frame).unwrap(), messages);
                read_after_loss += usize::from(n > 20);
            }
        }
        assert_eq!(read_after_loss, 14);
    }
}

#[test]
fn a_newcomer_needs_the_history_and_is_in_step_with_it() {
    for codec in CODECS {
        for join in [1, 5, 16, 17, 18, 40, 90, 150, 333] {
            let (mut writer, mut decoder) = (Writer::new(codec), Decoder::new(codec, LIMITS));
            let mut stranger = Decoder::new(codec, LIMITS);
            let mut failed = None;
            for n in 1..=500 {
                if n == join {
                    for frame in writer.history() {
                        assert_eq!(decoder.frame(&frame), Ok(Frame::Nothing));
                    }
                }
                // Half-way the messages change, so that there is another dictionary.
                let messages = told(if n < 250 { n..n + 1 } else { n + 1_000_000..n + 1_000_001 });
                let frame = writer.frame(&messages);
                if n >= join {
                    assert_eq!(read(&mut decoder, &frame).unwrap(), messages, "{codec:?}, joined at {join}, {n}");
                    failed = failed.or(read(&mut stranger, &frame).err());
                }
            }
            let is_late = join > 17;
            assert_eq!(matches!(failed, Some(DictionaryError::Unknown(_))), is_late, "{join}: {failed:?}");
        }
    }
}

#[test]
fn what_cannot_be_compressed_is_sent_as_it_is_and_tried_again() {
    let mut random = crate::compress::tests::samples::Random::new(11);
    for codec in CODECS {
        let (mut writer, mut decoder) = (Writer::new(codec), Decoder::new(codec, LIMITS));
        let (mut plain, mut packed) = (0, 0);
        for n in 1..=400 {
            let messages = vec![(n, 5, random.bytes(200))];
            let frame = writer.frame(&messages);
            assert_eq!(read(&mut decoder, &frame).unwrap(), messages);
            plain += 200;
            packed += frame.len();
        }
        assert!(packed <= plain + 400 * 14, "{packed} of {plain}");
        for n in 401..=6_000 {
            let frame = writer.frame(&told(n..n + 1));
            assert_eq!(read(&mut decoder, &frame).unwrap(), told(n..n + 1));
            packed = frame.len();
        }
        assert!(packed * 2 < telemetry(6_000).len(), "it is compressed again: {packed}");
    }
}

#[test]
fn a_message_beyond_the_tail_is_read_and_ends_no_lane() {
    for codec in CODECS {
        let (mut writer, mut decoder) = (Writer::new(codec), Decoder::new(codec, LIMITS));
        for n in 1..=200 {
            let mut messages = told(n..n + 1);
            if n % 50 == 30 {
                messages[0].2 = vec![b'x'; TAIL_BYTES_MAX + (n as usize / 100)];
            }
            assert_eq!(read(&mut decoder, &writer.frame(&messages)).unwrap(), messages, "{codec:?} {n}");
        }
    }
}

#[test]
fn numbers_are_written_up_to_the_largest_and_not_beyond() {
    let (mut writer, mut decoder) = (Writer::new(Codec::Lz4), Decoder::new(Codec::Lz4, LIMITS));
    let last = vec![(NUMBER_MAX, NUMBER_MAX, b"x".to_vec())];
    assert_eq!(read(&mut decoder, &writer.frame(&last)).unwrap(), last);
    let mut out = Vec::new();
    for messages in [
        &[Message { seq: NUMBER_MAX + 1, time_us: 0, payload: b"" }][..],
        &[Message { seq: 1, time_us: NUMBER_MAX + 1, payload: b"" }],
        &[Message { seq: 2, time_us: 0, payload: b"" }, Message { seq: 2, time_us: 0, payload: b"" }],
        &[],
    ] {
        let written = writer.0.data(&mut writer.1, Kind::Text, messages, &mut out);
        assert_eq!((written, out.len()), (Err(DictionaryError::Sequence), 0));
    }
}

#[test]
fn a_block_is_read_up_to_the_maximum_and_not_beyond() {
    for codec in CODECS {
        let frame = Writer::new(codec).frame(&vec![(1, 1, vec![b'a'; 1_000])]);
        assert!(frame[0] & COMPRESSED != 0 && frame.len() < 100);
        for (max, expected) in [(1_000, Ok(1)), (999, Err(DictionaryError::Block))] {
            let mut decoder = Decoder::new(codec, Limits { block_bytes_max: max, lanes_max: 1 });
            assert_eq!(read(&mut decoder, &frame).map(|messages| messages.len()), expected, "{codec:?} {max}");
            let plain = [&[KIND_DATA | 2 << 2, 14, 1, 1][..], &[7; 1_000]].concat();
            assert_eq!(read(&mut decoder, &plain).map(|messages| messages.len()), expected);
        }
    }
}

#[test]
fn lanes_are_read_up_to_the_maximum_and_not_beyond() {
    let mut decoder = Decoder::new(Codec::Lz4, LIMITS);
    for lane in 0..4 {
        assert!(decoder.frame(&[KIND_DATA, lane, 1, 1, b'x']).is_ok());
    }
    assert_eq!(decoder.frame(&[KIND_DATA, 4, 1, 1, b'x']), Err(DictionaryError::Lanes(4)));
    decoder.forget(Lane { topic_id: TopicId(0), priority: Priority::High });
    assert!(decoder.frame(&[KIND_DATA, 4, 1, 1, b'x']).is_ok() && decoder.lanes() == 4);
}

/// Each row is a frame for who has had messages 1 and 2, `ab` and `c`, and what is wrong with it.
#[test]
fn hostile_frames_are_refused_for_what_is_wrong_with_them() {
    use DictionaryError as E;
    const BEGIN: u8 = KIND_DATA | WITH | BEGINS;
    // Adler-32 of `abc`, of which the lowest byte comes first.
    const ABC: [u8; 4] = [0x27, 0x01, 0x4d, 0x02];
    let begin = |rest: &[u8]| [&[BEGIN, 14, 9][..], rest].concat();
    let rows: Vec<(&str, Vec<u8>, DictionaryError)> = vec![
        ("nothing", vec![], E::Short),
        ("payload kind 3", vec![KIND_DATA | 3 << 2, 14, 1, 1], E::Head(13)),
        ("control with flags", vec![WITH], E::Head(WITH)),
        ("control that is no text", vec![0, 0xFF], E::Control),
        ("begins, but not with", vec![KIND_DATA | BEGINS, 14], E::Head(KIND_DATA | BEGINS)),
        ("earlier, with", vec![KIND_EARLIER | WITH, 14], E::Head(KIND_EARLIER | WITH)),
        ("topic above 32 bits", vec![KIND_DATA, 0x80, 0x80, 0x80, 0x80, 0x40, 1, 1], E::Lane(1 << 34)),
        ("no such dictionary", vec![KIND_DATA | WITH, 14, 9, 1, 0, b'x'], E::Unknown(9)),
        ("no ranges", begin(&[1, 0]), E::Size),
        ("65 ranges", begin(&[1, 65]), E::Size),
        ("an empty range", begin(&[1, 1, 0, 0]), E::Size),
        ("65 messages", begin(&[1, 1, 0, 65]), E::Size),
        ("the first range skips", begin(&[1, 1, 1, 1]), E::Sequence),
        ("ranges that touch", begin(&[1, 2, 0, 1, 0, 1]), E::Sequence),
        ("a message that is not there", begin(&[&[1, 1, 0, 3][..], &ABC].concat()), E::Missing(3)),
        ("another dictionary", begin(&[&[1, 1, 0, 1][..], &ABC].concat()), E::Check),
        ("cut in the check", begin(&[1, 1, 0, 2, 0x27]), E::Short),
        ("a time before 0", begin(&[&[1, 1, 0, 2][..], &ABC, &[1, 0x7F]].concat()), E::Sequence),
        ("a record too long", vec![KIND_DATA | SEVERAL, 14, 3, 0, 2, b'x'], E::Short),
        ("a record cut", vec![KIND_DATA | SEVERAL, 14, 3, 0, 1, b'x', 0, 0], E::Short),
        ("no record", vec![KIND_DATA | SEVERAL, 14, 3, 0], E::Short),
        ("no block of the codec", vec![KIND_DATA | COMPRESSED, 14, 3, 0, 0xFF, 0xFF], E::Block),
        ("an empty dictionary", vec![KIND_EARLIER | BEGINS, 14, 9, 3, 0], E::Size),
        ("earlier messages too long", [&[KIND_EARLIER, 14, 3, 0][..], &[7; TAIL_BYTES_MAX + 1]].concat(), E::Size),
    ];
    for codec in CODECS {
        let after = |frame: &[u8]| {
            let mut decoder = Decoder::new(codec, LIMITS);
            decoder.frame(&[KIND_DATA, 14, 1, 10, b'a', b'b']).unwrap();
            decoder.frame(&[KIND_DATA, 14, 2, 20, b'c']).unwrap();
            decoder.frame(frame).map(|_| ())
        };
        for (name, frame, error) in &rows {
            assert_eq!(after(frame), Err(*error), "{codec:?}: {name}");
        }
        assert_eq!(after(&begin(&[&[1, 1, 0, 2][..], &ABC, &[1, 0x00, b'x']].concat())), Ok(()), "a right one");
        assert_eq!(after(&[&[KIND_EARLIER | BEGINS, 14, 9, 3, 0][..], &[7; TAIL_BYTES_MAX]].concat()), Ok(()));
        assert_eq!(after(&[3, 1, 2, 3]), Ok(()), "kind 3 is ignored");
    }
}

#[test]
fn control_frames_hold_one_object() {
    let mut out = Vec::new();
    control(&mut out, br#"{"type":"pong"}"#);
    assert_eq!(Decoder::new(Codec::Lz4, LIMITS).frame(&out), Ok(Frame::Control(r#"{"type":"pong"}"#)));
}

/// The frames that every client's tests read: from the beginning, and from `join` on.
#[test]
fn the_vectors_of_the_clients_are_read() {
    for (codec, text) in [
        (Codec::Lz4, include_str!("../../../../clients/conformance/dictionary/lz4.txt")),
        (Codec::Deflate, include_str!("../../../../clients/conformance/dictionary/deflate.txt")),
    ] {
        let mut joined: Option<Decoder> = None;
        let (mut first, mut got, mut late, mut expected) =
            (Decoder::new(codec, LIMITS), Told::new(), Told::new(), Told::new());
        let mut expected_late = 0;
        for line in text.lines() {
            if let Some(hex) = line.strip_prefix("frame ") {
                let digits: Vec<u8> = hex.chars().map(|c| c.to_digit(16).unwrap() as u8).collect();
                let frame: Vec<u8> = digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect();
                got.extend(read(&mut first, &frame).unwrap());
                if let Some(joined) = &mut joined {
                    late.extend(read(joined, &frame).unwrap());
                }
            } else if let Some(message) = line.strip_prefix("message ") {
                let mut parts = message.splitn(3, ' ');
                let mut number = || parts.next().unwrap().parse().unwrap();
                let (seq, time_us) = (number(), number());
                expected.push((seq, time_us, parts.next().unwrap().into()));
            } else {
                assert_eq!(line, "join");
                joined = Some(Decoder::new(codec, LIMITS));
                expected_late = expected.len();
            }
        }
        assert!(expected.len() > 130 && expected_late > 0);
        assert_eq!(got, expected);
        assert_eq!(late, expected[expected_late..]);
    }
}

#[test]
fn checksums_are_those_of_rfc_1950() {
    assert_eq!(libdeflater::adler32(b""), 1);
    assert_eq!(libdeflater::adler32(b"Wikipedia"), 0x11E6_0398, "the article's example");
    // Sums that would overflow 32 bits; the plain reading of section 8.2.
    let bytes = vec![0xFF; 3 * 5_552 + 7];
    let (mut a, mut b) = (1u64, 0u64);
    for &byte in &bytes {
        a = (a + u64::from(byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    assert_eq!(u64::from(libdeflater::adler32(&bytes)), b << 16 | a);
}
