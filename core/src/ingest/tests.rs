use std::sync::Arc;

use super::*;
use crate::types::{Kind, Priority, TopicId};

fn head(topic: u32) -> Head {
    Head::message(TopicId(topic), Priority::Normal, Kind::Binary)
}

#[test]
fn a_record_comes_out_as_it_went_in() {
    let (ring, mut readers) = Ring::new(RING_BYTES_MIN, 2).unwrap();
    let pool = PayloadPool::new(1 << 20);
    let full = Head { numbering: Some(Numbering { epoch: 7, seq: u64::MAX }), key: 9, ttl_ms: 5, flags: 0xff, ..head(3) };
    let first = ring.try_publish(&full, b"hello").unwrap();
    let second = ring.try_publish_shared(&head(4), pool.copy_from(&[1; 1000]).unwrap()).unwrap();
    assert_eq!(ring.try_publish_many(&head(5), &[b"a", b"", b"ccc"]), Ok(3));
    for reader in &mut readers {
        let record = reader.next().unwrap();
        assert_eq!((record.position, record.head, record.body.bytes()), (first, full, &b"hello"[..]));
        let record = reader.next().unwrap();
        assert_eq!((record.position, record.head), (second, head(4)));
        assert!(matches!(record.body, Body::Shared(payload) if **payload == [1; 1000]));
        for expected in [&b"a"[..], b"", b"ccc"] {
            assert_eq!(reader.next().unwrap().body.bytes(), expected);
        }
        assert!(reader.next().is_none());
        reader.release();
    }
    assert_eq!(pool.used_bytes(), 0);
    assert!(Arc::strong_count(&ring) == 3);
}
