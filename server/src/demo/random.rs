//! Job: small, seeded, repeatable random numbers for the simulation.
//! Knows: xorshift64*. Must never know: anything that needs unpredictability.

/// A generator; the same seed gives the same rovers.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator for `seed` (any number).
    pub fn new(seed: u64) -> Self {
        // One round of splitmix64 spreads small seeds and avoids the all-zero state.
        let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Random((z ^ (z >> 31)) | 1)
    }

    /// Evenly between 0 and 1.
    pub fn unit(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Evenly between `from` and `to`.
    pub fn between(&mut self, from: f64, to: f64) -> f64 {
        from + (to - from) * self.unit()
    }

    /// About normal, mean 0, deviation 1 (sum of four: enough for sensor noise).
    pub fn noise(&mut self) -> f64 {
        let sum = self.unit() + self.unit() + self.unit() + self.unit();
        (sum - 2.0) * 1.732
    }

    /// True with a chance of `per_second` in each second, asked every `dt` seconds.
    pub fn happens(&mut self, per_second: f64, dt: f64) -> bool {
        self.unit() < per_second * dt
    }
}
