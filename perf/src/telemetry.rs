//! A rover's telemetry as JSON: the members of an object that change from message to message as real ones do.
//!
//! After the shape of a recorded PX4 flight: descriptive names, the elements of a vector as members of their own, seven digits for
//! what wanders, and a good third of the members that stand still for long. Seeded: the same seed gives the same sequence. Never
//! knows what stands in front of the members.

use std::io::Write as _;

/// How a member's value comes about.
#[derive(Clone, Copy)]
enum Value {
    /// Wanders around a middle with a width.
    Walk(f64, f64),
    /// Counts messages, in steps.
    Count(u64),
    /// Stands still.
    Still(&'static str),
}
use Value::{Count, Still, Walk};

/// The members, vectors with the number of their elements (0: a single one).
const MEMBERS: &[(&str, u32, Value)] = &[
    ("timestamp_sample", 0, Count(5_000)),
    ("gyro_rad", 3, Walk(0.0, 0.01)),
    ("gyro_integral_dt", 0, Still("0.004")),
    ("accelerometer_m_s2", 3, Walk(1.0, 0.5)),
    ("accelerometer_integral_dt", 0, Still("0.004")),
    ("magnetometer_ga", 3, Walk(0.2, 0.1)),
    ("baro_alt_meter", 0, Walk(488.2, 0.3)),
    ("baro_temp_celcius", 0, Walk(38.0, 0.1)),
    ("q", 4, Walk(0.4, 0.3)),
    ("delta_q_reset", 4, Still("0.0")),
    ("quat_reset_counter", 0, Still("2")),
    ("x", 0, Walk(12.0, 4.0)),
    ("y", 0, Walk(-3.0, 4.0)),
    ("z", 0, Walk(-0.4, 0.1)),
    ("vx", 0, Walk(0.8, 0.2)),
    ("vy", 0, Walk(0.1, 0.2)),
    ("xy_valid", 0, Still("true")),
    ("z_valid", 0, Still("true")),
    ("ref_lat", 0, Still("47.397742")),
    ("ref_lon", 0, Still("8.545594")),
    ("vel_pos_innov", 6, Walk(0.0, 0.05)),
    ("heading_innov", 0, Walk(0.0, 0.02)),
    ("airspeed_innov", 0, Still("0.0")),
    ("flow_innov", 2, Still("0.0")),
    ("voltage_filtered_v", 0, Walk(15.9, 0.01)),
    ("current_filtered_a", 0, Walk(7.1, 0.4)),
    ("remaining", 0, Still("0.84")),
    ("cell_count", 0, Still("4")),
    ("warning", 0, Still("\"none\"")),
    ("wheel_speed_rad_s", 4, Walk(6.2, 0.6)),
    ("control_mode", 0, Still("\"AUTO.MISSION\"")),
    ("flag_armed", 0, Still("true")),
    ("flag_control_rates_enabled", 0, Still("true")),
    ("flag_control_attitude_enabled", 0, Still("true")),
    ("sequence_current", 0, Count(0)),
];
const WALKS: usize = 64;
const WORDS: [&str; 16] = [
    "wheel",
    "slip",
    "left",
    "rear",
    "estimator",
    "reset",
    "gps",
    "fix",
    "lost",
    "regained",
    "motor",
    "current",
    "high",
    "link",
    "quality",
    "low",
];

/// The rover.
pub struct Telemetry {
    state: u64,
    values: [f64; WALKS],
    steps: u64,
}

impl Telemetry {
    /// A rover at its start.
    pub fn new(seed: u64) -> Self {
        let mut telemetry =
            Telemetry { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, values: [0.0; WALKS], steps: 0 };
        for i in 0..telemetry.values.len() {
            telemetry.values[i] = telemetry.random() * 20.0 - 10.0;
        }
        telemetry
    }

    /// 0 to 1.
    fn random(&mut self) -> f64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Continues an object whose first member ends with an open string, until it has `len` bytes, its end included.
    pub fn fill(&mut self, out: &mut Vec<u8>, len: usize) {
        self.steps += 1;
        for i in 0..self.values.len() {
            let step = self.random() + self.random() + self.random() - 1.5;
            self.values[i] = self.values[i] * 0.999 + step * 0.01;
        }
        out.extend_from_slice(b"\"");
        // The last member is a string of whatever length is left: 10 bytes of frame, and no less than nothing inside.
        const LAST: usize = br#","log":""}"#.len();
        let mut member = Vec::with_capacity(64);
        let mut walk = 0;
        'full: for round in 0.. {
            for &(name, elements, value) in MEMBERS {
                for element in 0..elements.max(1) {
                    member.clear();
                    self.member(&mut member, (round, name, elements, element), value, walk);
                    walk += 1;
                    if out.len() + member.len() + LAST > len {
                        break 'full;
                    }
                    out.extend_from_slice(&member);
                }
            }
        }
        out.extend_from_slice(br#","log":""#);
        while out.len() + 2 < len {
            let word = WORDS[(self.random() * WORDS.len() as f64) as usize % WORDS.len()];
            let room = len - 2 - out.len();
            out.extend_from_slice(&word.as_bytes()[..word.len().min(room)]);
            if out.len() + 2 < len {
                out.push(b' ');
            }
        }
        out.extend_from_slice(b"\"}");
    }

    /// One member. The names come round in a larger message, with a number in front.
    fn member(&self, out: &mut Vec<u8>, name: (u32, &str, u32, u32), value: Value, walk: usize) {
        let (round, name, elements, element) = name;
        // Writing to a Vec does not fail.
        let _ = match (round, elements) {
            (0, 0) => write!(out, r#","{name}":"#),
            (0, _) => write!(out, r#","{name}[{element}]":"#),
            (_, 0) => write!(out, r#","{round}.{name}":"#),
            _ => write!(out, r#","{round}.{name}[{element}]":"#),
        };
        let _ = match value {
            Walk(middle, width) => {
                let value = middle + width * self.values[walk % WALKS];
                // Seven digits, as a 32-bit float has.
                let decimals = (6.0 - value.abs().max(1e-3).log10().floor()).clamp(0.0, 10.0) as usize;
                write!(out, "{value:.decimals$}")
            }
            Count(step) => {
                write!(out, "{}", if step == 0 { self.steps / 400 } else { 1_700_000_000_000_000 + self.steps * step })
            }
            Still(text) => write!(out, "{text}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_messages_and_they_change() {
        let run = |seed| {
            let mut telemetry = Telemetry::new(seed);
            let mut all = Vec::new();
            for _ in 0..50 {
                let mut out = br#"{"fw":"x"#.to_vec();
                telemetry.fill(&mut out, 1_200);
                assert_eq!(out.len(), 1_200);
                serde_json::from_slice::<serde_json::Value>(&out).expect("JSON");
                all.push(out);
            }
            all
        };
        let (one, again, other) = (run(1), run(1), run(2));
        assert_eq!(one, again);
        assert_ne!(one, other);
        assert!(one.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
