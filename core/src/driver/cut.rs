//! Test knob: sends of which the kernel is handed only a part, as if the socket had no more room.
//!
//! Knows numbers. Must never know what is sent.

/// How much of a send is handed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SendCut {
    /// All of it.
    #[default]
    Whole,
    /// At most so many bytes.
    #[cfg(test)]
    At(usize),
    /// Seven sends of 1 to 7 bytes, then one that is not cut.
    #[cfg(any(test, feature = "test-knobs"))]
    Ragged,
}

/// Goes through the sends of a driver.
#[derive(Debug)]
pub struct Cutter {
    cut: SendCut,
    #[cfg(any(test, feature = "test-knobs"))]
    count: usize,
}

impl Cutter {
    /// From the first send on.
    pub fn new(cut: SendCut) -> Self {
        Self {
            cut,
            #[cfg(any(test, feature = "test-knobs"))]
            count: 0,
        }
    }

    /// Most bytes of the next send, at least one; `None`: it is not cut.
    pub fn next(&mut self) -> Option<usize> {
        match self.cut {
            SendCut::Whole => None,
            #[cfg(test)]
            SendCut::At(bytes) => Some(bytes.max(1)),
            #[cfg(any(test, feature = "test-knobs"))]
            SendCut::Ragged => {
                self.count = (self.count + 1) % 8;
                Some(if self.count == 0 { usize::MAX } else { self.count })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ragged_sends_are_cut_everywhere_and_still_get_on() {
        let mut cutter = Cutter::new(SendCut::Ragged);
        let cuts: Vec<_> = (0..9).map(|_| cutter.next().unwrap()).collect();
        assert_eq!(cuts, [1, 2, 3, 4, 5, 6, 7, usize::MAX, 1]);
        assert_eq!(Cutter::new(SendCut::At(0)).next(), Some(1));
        assert_eq!(Cutter::new(SendCut::Whole).next(), None);
    }
}
