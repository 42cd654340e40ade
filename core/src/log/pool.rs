//! The block pool: all memory that a shard's logs are made of, capped once, recycled for ever.

/// Block sizes, small first: a lane that holds little costs little.
pub const BLOCK_BYTES: [usize; 3] = [4 << 10, 16 << 10, 64 << 10];
// A block without room could never be filled, and a log goes on to the next size as it grows.
const _: () = assert!(0 < BLOCK_BYTES[0] && BLOCK_BYTES[0] < BLOCK_BYTES[1] && BLOCK_BYTES[1] < BLOCK_BYTES[2]);

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

/// Which of a shard's logs holds a block, or refers to a payload.
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
    /// By [`Referrer`].
    lent_bytes: [usize; 2],
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
            lent_bytes: [0; 2],
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
    pub fn take(&mut self, class: usize, referrer: Referrer) -> Option<Block> {
        let size = BLOCK_BYTES[class];
        if let Some(block) = self.free[class].pop() {
            self.lent_bytes[referrer as usize] += size;
            return Some(block);
        }
        // Room for a new block may be held by free blocks of another size: give those up.
        while self.made_bytes + size > self.limit_bytes {
            let victim = self.free.iter_mut().rev().find_map(Vec::pop)?;
            self.give_up(victim);
        }
        self.made_bytes += size;
        self.lent_bytes[referrer as usize] += size;
        Some(Block { bytes: vec![0; size].into_boxed_slice(), class: class as u8 })
    }

    /// Takes a block back from a log of this kind.
    pub fn give_back(&mut self, block: Block, referrer: Referrer) {
        self.lent_bytes[referrer as usize] -= block.capacity();
        if cfg!(feature = "guard-pages") {
            self.give_up(block);
        } else {
            self.free[block.class as usize].push(block);
        }
    }

    /// Gives a block to the allocator: the pool may make another instead.
    fn give_up(&mut self, block: Block) {
        self.made_bytes -= block.capacity();
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
        self.lent_bytes.iter().sum()
    }

    /// Bytes lent to logs of one kind.
    pub fn lent_to(&self, referrer: Referrer) -> usize {
        self.lent_bytes[referrer as usize]
    }

    /// Bytes that may be lent at most.
    pub fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    /// True if not even the smallest block is left.
    pub fn is_dry(&self) -> bool {
        self.made_bytes + BLOCK_BYTES[0] > self.limit_bytes && self.free.iter().all(Vec::is_empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pool_lends_up_to_its_limit_and_not_one_block_more() {
        let mut pool = BlockPool::new(2 * BLOCK_BYTES[2]);
        let a = pool.take(2, Referrer::Source).unwrap();
        let b = pool.take(2, Referrer::Source).unwrap();
        assert!(pool.take(0, Referrer::Source).is_none() && pool.is_dry());
        assert_eq!(pool.lent_bytes(), pool.limit_bytes);
        pool.give_back(a, Referrer::Source);
        assert!(pool.take(2, Referrer::Source).is_some());
        pool.give_back(b, Referrer::Source);
    }

    #[test]
    fn free_blocks_of_one_size_make_room_for_another() {
        let mut pool = BlockPool::new(BLOCK_BYTES[2]);
        let small: Vec<_> = (0..16).map(|_| pool.take(0, Referrer::Source).unwrap()).collect();
        assert!(pool.take(2, Referrer::Source).is_none());
        small.into_iter().for_each(|b| pool.give_back(b, Referrer::Source));
        assert_eq!(pool.take(2, Referrer::Source).unwrap().capacity(), BLOCK_BYTES[2]);
        assert!(pool.take(0, Referrer::Source).is_none());
    }

    #[test]
    fn what_a_pool_has_made_of_one_size_counts_until_it_is_given_up() {
        let mut pool = BlockPool::new(BLOCK_BYTES[2] + BLOCK_BYTES[0]);
        for class in [2, 1, 0, 2] {
            let blocks: Vec<_> = std::iter::from_fn(|| pool.take(class, Referrer::Source)).collect();
            assert_eq!(blocks.len(), (BLOCK_BYTES[2] + BLOCK_BYTES[0]) / BLOCK_BYTES[class], "class {class}");
            assert!(blocks.iter().all(|b| b.capacity() == BLOCK_BYTES[class] && b.bytes().len() == b.capacity()));
            assert_eq!(pool.lent_bytes(), blocks.len() * BLOCK_BYTES[class]);
            blocks.into_iter().for_each(|b| pool.give_back(b, Referrer::Source));
            assert_eq!(pool.lent_bytes(), 0);
        }
    }

    #[test]
    #[cfg(not(feature = "guard-pages"))] // With it, no block is used twice.
    fn the_block_that_came_back_last_is_lent_first() {
        let mut pool = BlockPool::new(1 << 20);
        let [mut a, mut b] = [pool.take(0, Referrer::Source).unwrap(), pool.take(0, Referrer::Source).unwrap()];
        a.bytes_mut()[..3].copy_from_slice(b"one");
        b.bytes_mut()[BLOCK_BYTES[0] - 3..].copy_from_slice(b"two");
        pool.give_back(a, Referrer::Source);
        pool.give_back(b, Referrer::Source);
        assert!(pool.take(0, Referrer::Source).unwrap().bytes().ends_with(b"two"));
        assert_eq!(pool.lent_bytes(), BLOCK_BYTES[0]);
        assert!(pool.take(0, Referrer::Source).unwrap().bytes().starts_with(b"one"));
        assert_eq!(pool.lent_bytes(), 2 * BLOCK_BYTES[0]);
    }

    #[test]
    fn references_are_counted_up_to_the_limit_of_their_kind() {
        let mut pool = BlockPool::new(0).with_referred_limits(100, 50);
        assert!(!pool.lacks_references(Referrer::Source, 100));
        assert!(pool.lacks_references(Referrer::Source, 101));
        assert!(!pool.lacks_references(Referrer::Derived, 50));
        assert!(pool.lacks_references(Referrer::Derived, 51));
        assert!(pool.charge_reference(Referrer::Source, 60));
        // What is refused is not counted.
        assert!(!pool.charge_reference(Referrer::Source, 41));
        assert!(pool.charge_reference(Referrer::Source, 40));
        assert!(pool.lacks_references(Referrer::Source, 1));
        assert!(!pool.lacks_references(Referrer::Derived, 50), "the other kind has room as before");
        pool.release_reference(Referrer::Source, 60);
        assert!(pool.lacks_references(Referrer::Source, 61));
        assert!(pool.charge_reference(Referrer::Source, 60));
    }

    #[test]
    fn a_pool_without_limits_for_references_never_lacks_any() {
        let mut pool = BlockPool::new(0);
        assert!(pool.charge_reference(Referrer::Source, 1_000));
        assert!(!pool.lacks_references(Referrer::Source, usize::MAX));
    }

    #[test]
    fn the_index_has_half_as_much_again_as_the_pool() {
        assert_eq!(BlockPool::index_limit_bytes(64 << 10), 32 << 10);
        let mut pool = BlockPool::new(2_000);
        assert!(!pool.charge_index(1_001));
        assert!(pool.charge_index(600));
        assert!(!pool.charge_index(401));
        assert!(pool.charge_index(400));
        pool.release_index(300);
        assert!(!pool.charge_index(301));
        assert!(pool.charge_index(300));
        assert!(pool.charge_index(0) && !pool.charge_index(1));
    }
}
