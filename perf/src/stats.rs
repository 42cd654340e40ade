//! Medians, and how sure they are.

/// A median with bounds that hold with the given probability.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Median {
    /// The median.
    pub value: f64,
    /// Lower bound.
    pub low: f64,
    /// Upper bound.
    pub high: f64,
    /// Probability that the true median lies within: at least 0.95 where there are six values or more, less below.
    pub confidence: f64,
}

/// The median and its bounds by order statistics: exact for whatever distribution. NaN for no values.
pub fn median(values: &[f64]) -> Median {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    if n == 0 {
        return Median { value: f64::NAN, low: f64::NAN, high: f64::NAN, confidence: 0.0 };
    }
    let value = (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0;
    // The true median lies outside [k-th least, k-th greatest] with the probability that a fair coin falls the same way in all but
    // fewer than k of n throws, twice.
    let mut outside = 2.0 * 0.5f64.powi(n as i32);
    let mut confidence = 1.0 - outside;
    let mut k = 0;
    let mut choose = 1.0;
    while k + 1 < n / 2 {
        choose *= (n - k) as f64 / (k + 1) as f64;
        let next = outside + 2.0 * choose * 0.5f64.powi(n as i32);
        if 1.0 - next < 0.95 {
            break;
        }
        outside = next;
        confidence = 1.0 - outside;
        k += 1;
    }
    Median { value, low: sorted[k], high: sorted[n - 1 - k], confidence: confidence.max(0.0) }
}

/// The ratios of pairs.
pub fn ratios(above: &[f64], below: &[f64]) -> Vec<f64> {
    above.iter().zip(below).map(|(above, below)| above / below).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_those_of_the_sign_test() {
        let values: Vec<f64> = (1..=9).map(f64::from).collect();
        let found = median(&values);
        assert_eq!((found.value, found.low, found.high), (5.0, 2.0, 8.0));
        assert!((found.confidence - 0.9609).abs() < 1e-3);
        let found = median(&values[..6]);
        assert_eq!((found.value, found.low, found.high), (3.5, 1.0, 6.0));
        assert!((found.confidence - 0.96875).abs() < 1e-6);
        let found = median(&values[..5]);
        assert_eq!((found.low, found.high), (1.0, 5.0));
        assert!((found.confidence - 0.9375).abs() < 1e-6);
        assert_eq!(median(&[2.0]).value, 2.0);
        assert!(median(&[]).value.is_nan());
    }

    #[test]
    fn bounds_hold_as_often_as_they_say() {
        let mut state = 12345u64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        let inside = (0..2000)
            .filter(|_| {
                let values: Vec<f64> = (0..9).map(|_| random()).collect();
                let found = median(&values);
                found.low <= 0.5 && 0.5 <= found.high
            })
            .count();
        assert!(inside > 1850, "{inside} of 2000");
    }
}
