//! Keys that look like any other, and are known not to hold.

/// Whether a point of Ed25519 has order 1, 2, 4 or 8: then a signature of zeros is right for every message, or for many of them. The
/// encodings are those of y without the sign of x, y up to 2^255 - 1 (RFC 8032 section 5.1.3).
pub fn is_of_small_order(point: &[u8]) -> bool {
    const ORDER_8: [[u8; 32]; 2] = [
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
            0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
            0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
        ],
    ];
    let Ok(mut y) = <[u8; 32]>::try_from(point) else { return false };
    y[31] &= 0x7f;
    // 0 and 1, then p - 1, p and p + 1, with p = 2^255 - 19.
    let is_near = |first: std::ops::RangeInclusive<u8>, inner: u8, last: u8| {
        first.contains(&y[0]) && y[31] == last && y[1..31].iter().all(|byte| *byte == inner)
    };
    ORDER_8.contains(&y) || is_near(0..=1, 0, 0) || is_near(0xec..=0xee, 0xff, 0x7f)
}

/// Whether a modulus is of the form that Infineon's library made: modulo each of these primes it is a power of 65537 (Nemec et al.,
/// "The Return of Coppersmith's Attack", 2017). By chance that is one in 2^27.
pub fn is_roca(n: &[u8]) -> bool {
    const PRIMES: [u32; 24] =
        [11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157, 163, 167, 173, 179, 181, 191, 193];
    PRIMES[..17].iter().all(|&prime| {
        let rest = n.iter().fold(0u32, |rest, byte| (rest * 256 + u32::from(*byte)) % prime);
        let mut power = 1;
        (0..prime).any(|_| {
            power = power * (65_537 % prime) % prime;
            power == rest
        })
    })
}

#[cfg(test)]
mod tests {
    use ring::signature::{ED25519, UnparsedPublicKey};

    use super::*;

    #[test]
    fn a_point_of_small_order_would_sign_what_it_never_saw() {
        let point = |first: u8, inner: u8, last: u8| {
            let mut point = [inner; 32];
            (point[0], point[31]) = (first, last);
            point
        };
        let text = |text: &str| -> [u8; 32] {
            std::array::from_fn(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("two digits"))
        };
        let neutral = point(1, 0, 0);
        // R the neutral point, S = 0.
        let forged = [&neutral[..], &[0; 32]].concat();
        let orders = [
            neutral,
            point(0xec, 0xff, 0x7f),
            point(0, 0, 0),
            text("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
            text("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
        ];
        for mut point in orders {
            let is_forged = |n: u8| UnparsedPublicKey::new(&ED25519, point).verify(&[n], &forged).is_ok();
            assert!((0..=255).any(is_forged), "right for one message in eight at least: {point:?}");
            assert!(is_of_small_order(&point));
            point[31] |= 0x80;
            assert!(is_of_small_order(&point));
        }
        assert!(is_of_small_order(&point(0xed, 0xff, 0x7f)) && is_of_small_order(&point(0xee, 0xff, 0xff)));
        assert!(!is_of_small_order(&point(3, 0, 0)) && !is_of_small_order(&point(0xeb, 0xff, 0x7f)));
        assert!(!is_of_small_order(&[0; 31]));
    }
}
