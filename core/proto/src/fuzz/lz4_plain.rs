//! The LZ4 block format in its plainest form.

/// The block's contents, if it is one and holds at most `max` bytes.
pub(super) fn decompress(block: &[u8], max: usize) -> Option<Vec<u8>> {
    decompress_with(&[], block, max)
}

/// The same of a block that may reach back into a dictionary.
pub(super) fn decompress_with(dictionary: &[u8], block: &[u8], max: usize) -> Option<Vec<u8>> {
    let max = max + dictionary.len();
    let mut out = dictionary.to_vec();
    let mut bytes = block.iter().copied();
    loop {
        let token = bytes.next()?;
        for _ in 0..length(token >> 4, &mut bytes)? {
            out.push(bytes.next()?);
        }
        if out.len() > max {
            return None;
        }
        let Some(low) = bytes.next() else { return Some(out.split_off(dictionary.len())) };
        let offset = usize::from(u16::from_le_bytes([low, bytes.next()?]));
        let length = 4 + length(token & 15, &mut bytes)?;
        if offset == 0 || offset > out.len() || out.len() + length > max {
            return None;
        }
        for _ in 0..length {
            out.push(out[out.len() - offset]);
        }
    }
}

fn length(nibble: u8, bytes: &mut impl Iterator<Item = u8>) -> Option<usize> {
    let mut length = usize::from(nibble);
    if nibble == 15 {
        loop {
            let more = bytes.next()?;
            length += usize::from(more);
            if more != 255 {
                break;
            }
        }
    }
    Some(length)
}
