//! The block pool: all memory that a shard's logs are made of, capped once, recycled for ever.

/// Block sizes, small first: a lane that holds little costs little.
pub const BLOCK_BYTES: [usize; 3] = [4 << 10, 16 << 10, 64 << 10];

/// A run of log memory. Only its pool makes one.
#[derive(Debug)]
pub struct Block {
    bytes: Box<[u8]>,
    class: u8,
}

impl Block {
    /// Size in bytes.
    pub fn capacity(&self) -> usize {
        self.bytes.len()
    }

    /// The memory.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The memory, to be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

/// Which of a shard's logs a payload is referred to by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Referrer {
    /// Logs of what was published: all shards refer to the same memory.
    Source,
    /// Logs of another form, this shard's own.
    Derived,
}

/// Blocks up to a byte limit. Free blocks are kept by size, last in first out, so that hot memory is used again first.
///
/// Memory is taken from the allocator when a block is first needed and kept: steady state allocates nothing.
#[derive(Debug)]
pub struct BlockPool {
    free: [Vec<Block>; BLOCK_BYTES.len()],
    /// Bytes of blocks in existence, lent or free.
    made_bytes: usize,
    lent_bytes: usize,
    limit_bytes: usize,
    index_bytes: usize,
    /// By [`Referrer`]: bytes of the payload pool that the logs keep from being used again, and most such bytes.
    referred_bytes: [usize; 2],
    referred_limits: [usize; 2],
}

impl BlockPool {
    /// A pool that never holds more than `limit_bytes`. Payloads may be referred to without limit.
    pub fn new(limit_bytes: usize) -> Self {
        Self {
            free: Default::default(),
            made_bytes: 0,
            lent_bytes: 0,
            limit_bytes,
            index_bytes: 0,
            referred_bytes: [0; 2],
            referred_limits: [usize::MAX; 2],
        }
    }

    /// The same, with limits for the payloads that source logs and derived logs refer to.
    pub fn with_referred_limits(mut self, source: usize, derived: usize) -> Self {
        self.referred_limits = [source, derived];
        self
    }

    /// True if no log of this kind may refer to so many bytes more.
    pub fn lacks_references(&self, referrer: Referrer, bytes: usize) -> bool {
        self.referred_bytes[referrer as usize].saturating_add(bytes) > self.referred_limits[referrer as usize]
    }

    /// Counts bytes that a log refers to; false if that is more than the limit.
    pub fn charge_reference(&mut self, referrer: Referrer, bytes: usize) -> bool {
        let is_within = !self.lacks_references(referrer, bytes);
        self.referred_bytes[referrer as usize] += if is_within { bytes } else { 0 };
        is_within
    }

    /// Undoes [`BlockPool::charge_reference`].
    pub fn release_reference(&mut self, referrer: Referrer, bytes: usize) {
        self.referred_bytes[referrer as usize] -= bytes;
    }

    /// A block of size class `class` (index into [`BLOCK_BYTES`]), or `None` when the pool is dry.
    pub fn take(&mut self, class: usize) -> Option<Block> {
        let size = BLOCK_BYTES[class];
        if let Some(block) = self.free[class].pop() {
            self.lent_bytes += size;
            return Some(block);
        }
        // Room for a new block may be held by free blocks of another size: give those up.
        while self.made_bytes + size > self.limit_bytes {
            let victim = (0..BLOCK_BYTES.len()).rev().find(|&c| !self.free[c].is_empty())?;
            self.free[victim].pop();
            self.made_bytes -= BLOCK_BYTES[victim];
        }
        self.made_bytes += size;
        self.lent_bytes += size;
        Some(Block { bytes: vec![0; size].into_boxed_slice(), class: class as u8 })
    }

    /// Takes a block back.
    pub fn give_back(&mut self, block: Block) {
        self.lent_bytes -= block.capacity();
        if cfg!(feature = "guard-pages") {
            self.made_bytes -= block.capacity();
            return;
        }
        self.free[block.class as usize].push(block);
    }

    /// Counts index memory of a log; false if that is more than the allowance ([`BlockPool::index_limit_bytes`]).
    pub fn charge_index(&mut self, bytes: usize) -> bool {
        let is_within = self.index_bytes + bytes <= Self::index_limit_bytes(self.limit_bytes);
        self.index_bytes += if is_within { bytes } else { 0 };
        is_within
    }

    /// Undoes [`BlockPool::charge_index`].
    pub fn release_index(&mut self, bytes: usize) {
        self.index_bytes -= bytes;
    }

    /// Index memory that the logs of a pool of `limit_bytes` may have: half as much again.
    pub const fn index_limit_bytes(limit_bytes: usize) -> usize {
        limit_bytes / 2
    }

    /// Bytes lent to logs.
    pub fn lent_bytes(&self) -> usize {
        self.lent_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pool_lends_up_to_its_limit_and_not_one_block_more() {
        let mut pool = BlockPool::new(2 * BLOCK_BYTES[2]);
        let a = pool.take(2).unwrap();
        let b = pool.take(2).unwrap();
        assert!(pool.take(0).is_none());
        assert_eq!(pool.lent_bytes(), pool.limit_bytes);
        pool.give_back(a);
        assert!(pool.take(2).is_some());
        pool.give_back(b);
    }

    #[test]
    fn free_blocks_of_one_size_make_room_for_another() {
        let mut pool = BlockPool::new(BLOCK_BYTES[2]);
        let small: Vec<_> = (0..16).map(|_| pool.take(0).unwrap()).collect();
        assert!(pool.take(2).is_none());
        small.into_iter().for_each(|b| pool.give_back(b));
        assert_eq!(pool.take(2).unwrap().capacity(), BLOCK_BYTES[2]);
        assert!(pool.take(0).is_none());
    }
}
