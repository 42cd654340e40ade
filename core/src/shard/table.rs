//! A table of records by dense number, with its free numbers kept for reuse.

/// No record.
pub const NONE: u32 = u32::MAX;

/// Records numbered from 0; freed numbers are used again, last freed first.
#[derive(Debug)]
pub struct Table<T> {
    records: Vec<T>,
    free: Vec<u32>,
    max: u32,
}

impl<T> Table<T> {
    /// An empty table of at most `max` records.
    pub fn new(max: u32) -> Self {
        Self { records: Vec::new(), free: Vec::new(), max }
    }

    /// The same, with address space for all of them from the start: memory is touched as the table fills, and growing neither
    /// copies nor leaves smaller tables behind.
    pub fn reserved(max: u32) -> Self {
        Self { records: Vec::with_capacity(max as usize), ..Self::new(max) }
    }

    /// Adds a record; `None` (and the record dropped) when the table is full.
    pub fn insert(&mut self, record: T) -> Option<u32> {
        if let Some(n) = self.free.pop() {
            self.records[n as usize] = record;
            return Some(n);
        }
        let n = self.records.len() as u32;
        if n >= self.max {
            return None;
        }
        self.records.push(record);
        Some(n)
    }

    /// Frees a number. The record stays in place, unused, until the number is taken again.
    pub fn remove(&mut self, n: u32) {
        self.free.push(n);
    }

    /// One past the highest number ever used.
    #[cfg(any(test, fuzzing))]
    pub fn end(&self) -> u32 {
        self.records.len() as u32
    }

    /// Records in use.
    pub fn len(&self) -> usize {
        self.records.len() - self.free.len()
    }

    /// How many more records fit.
    pub fn room(&self) -> usize {
        self.max as usize - self.len()
    }
}

impl<T> std::ops::Index<u32> for Table<T> {
    type Output = T;

    fn index(&self, n: u32) -> &T {
        &self.records[n as usize]
    }
}

impl<T> std::ops::IndexMut<u32> for Table<T> {
    fn index_mut(&mut self, n: u32) -> &mut T {
        &mut self.records[n as usize]
    }
}
