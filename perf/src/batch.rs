//! Reads `fanwire.batch.v1` frames: the client's half, written apart from the engine on purpose. Never allocates.

/// Bytes in front of the block.
pub const HEAD_BYTES: usize = 24;
const NAMES: [&[u8]; 4] = [b"critical", b"high", b"normal", b"low"];

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Whether the block is a JSON object of control instead of messages.
    pub is_control: bool,
    /// Whether the block is LZ4.
    pub is_lz4: bool,
    /// Number of the priority, 0 critical to 3 low.
    pub priority: u8,
    /// The topic, as `subscribed` names it.
    pub topic_id: u32,
    /// Number of the first message.
    pub first_seq: u64,
    /// Bytes of the block, unpacked.
    pub raw_size: usize,
}

/// The name of a priority.
pub fn priority_name(priority: u8) -> &'static [u8] {
    NAMES[usize::from(priority & 3)]
}

/// The head and the block behind it.
pub fn split(frame: &[u8]) -> Option<(Head, &[u8])> {
    let (head, block) = frame.split_at_checked(HEAD_BYTES)?;
    let (kind, flags, priority) = (head[1], head[2], head[3]);
    if head[0] != 1 || !matches!(kind, 1 | 2) || flags & !7 != 0 || flags >> 1 == 3 || priority > 3 {
        return None;
    }
    let head = Head {
        is_control: kind == 2,
        is_lz4: flags & 1 != 0,
        priority,
        topic_id: u32_at(head, 4)?,
        first_seq: u64_at(head, 8)?,
        raw_size: u32_at(head, 16)? as usize,
    };
    (head.is_lz4 || head.raw_size == block.len()).then_some((head, block))
}

/// The payloads of an unpacked block, in order; `each` gets one at a time. How many there were.
pub fn messages(head: &Head, block: &[u8], mut each: impl FnMut(&[u8])) -> Option<u32> {
    let count = u32_at(block, 0)?;
    if u32_at(block, 4)? as usize + 8 != block.len() || block.len() != head.raw_size || count == 0 {
        return None;
    }
    let mut at = 8;
    for _ in 0..count {
        let size = u32_at(block, at + 9)? as usize;
        if *block.get(at + 8)? != head.priority {
            return None;
        }
        each(block.get(at + 13..at + 13 + size)?);
        at += 13 + size;
    }
    (at == block.len()).then_some(count)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(payloads: &[&[u8]]) -> Vec<u8> {
        let mut block = Vec::new();
        for payload in payloads {
            block.extend_from_slice(&77u64.to_le_bytes());
            block.push(2);
            block.extend_from_slice(&(payload.len() as u32).to_le_bytes());
            block.extend_from_slice(payload);
        }
        let mut frame = vec![1, 1, 0b100, 2];
        frame.extend_from_slice(&9u32.to_le_bytes());
        frame.extend_from_slice(&1_000u64.to_le_bytes());
        frame.extend_from_slice(&(block.len() as u32 + 8).to_le_bytes());
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(&(payloads.len() as u32).to_le_bytes());
        frame.extend_from_slice(&(block.len() as u32).to_le_bytes());
        frame.extend_from_slice(&block);
        frame
    }

    #[test]
    fn a_batch_is_read_and_no_cut_of_it_is() {
        let bytes = frame(&[b"one", b"", b"three"]);
        let (head, block) = split(&bytes).unwrap();
        assert_eq!((head.topic_id, head.first_seq, priority_name(head.priority)), (9, 1_000, &b"normal"[..]));
        let mut seen = Vec::new();
        assert_eq!(messages(&head, block, |payload| seen.push(payload.to_vec())), Some(3));
        assert_eq!(seen, [&b"one"[..], b"", b"three"]);
        for cut in 0..bytes.len() {
            assert!(split(&bytes[..cut]).is_none_or(|(head, block)| messages(&head, block, |_| {}).is_none()));
        }
        let mut wrong = bytes.clone();
        wrong[HEAD_BYTES + 8 + 8] = 1;
        let (head, block) = split(&wrong).unwrap();
        assert_eq!(messages(&head, block, |_| {}), None);
    }
}
