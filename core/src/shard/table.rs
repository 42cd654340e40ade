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

/// The same with each record in a box: a table that grows copies their addresses alone, so that it never takes long.
#[derive(Debug)]
pub struct Boxes<T>(Table<Box<T>>);

impl<T> Boxes<T> {
    /// An empty table.
    pub fn new() -> Self {
        Self(Table::new(NONE - 1))
    }

    /// Adds a record; `None` (and the record dropped) when there is no number left.
    pub fn insert(&mut self, record: T) -> Option<u32> {
        self.0.insert(Box::new(record))
    }

    /// Frees a number. The record stays in place, unused, until the number is taken again.
    pub fn remove(&mut self, n: u32) {
        self.0.remove(n);
    }

    /// Calls `change` with every record, those that are not in use too.
    pub fn each_mut(&mut self, change: impl FnMut(&mut T)) {
        self.0.records.iter_mut().map(Box::as_mut).for_each(change);
    }

    /// One past the highest number ever used.
    pub fn end(&self) -> u32 {
        self.0.end()
    }
}

impl<T> std::ops::Index<u32> for Boxes<T> {
    type Output = T;

    #[inline]
    fn index(&self, n: u32) -> &T {
        &self.0[n]
    }
}

impl<T> std::ops::IndexMut<u32> for Boxes<T> {
    #[inline]
    fn index_mut(&mut self, n: u32) -> &mut T {
        &mut self.0[n]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_uses_numbers_again_and_takes_no_more_than_it_may() {
        let mut table = Table::new(3);
        assert_eq!([7, 8, 9, 10].map(|record| table.insert(record)), [Some(0), Some(1), Some(2), None]);
        assert_eq!((table.len(), table.room(), table.end()), (3, 0, 3));
        table.remove(1);
        table.remove(0);
        assert_eq!((table.insert(11), table.insert(12), table.insert(13)), (Some(0), Some(1), None));
        table[1] += 1;
        assert_eq!((table[0], table[1], table[2]), (11, 13, 9));
    }

    #[test]
    fn boxed_records_stay_where_they_are() {
        let mut boxes = Boxes::new();
        assert_eq!(boxes.insert(0), Some(0));
        let first: *const u32 = &boxes[0];
        assert!((1..5_000).all(|n| boxes.insert(n) == Some(n)));
        assert!(std::ptr::eq(first, &boxes[0]));
        boxes.remove(7);
        assert_eq!((boxes.insert(9), boxes[7], boxes.end()), (Some(7), 9, 5_000));
        boxes[7] = 3;
        assert_eq!(boxes[7], 3);
    }
}
