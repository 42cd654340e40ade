//! Job: one simulated rover: it drives between waypoints over hills, and its sensors say what that does to it.
//! Knows: a little mechanics. Must never know: topics, sockets, clocks (time is counted in steps).

use std::f64::consts::{PI, TAU};

use super::random::Random;

/// Wheels, each with a motor.
pub const WHEELS: usize = 6;
/// Amperes at which a motor counts as stalled.
pub const MOTOR_AMPERES_MAX: f64 = 8.0;
/// Degrees of tilt that are dangerous.
pub const TILT_DEGREES_MAX: f64 = 14.0;
/// Percent of charge that is low, and critically low.
pub const CHARGE_LOW: f64 = 25.0;
/// See [`CHARGE_LOW`].
pub const CHARGE_CRITICAL: f64 = 12.0;

const GRAVITY: f64 = 9.806_65;
/// Half the side of the square they drive in, metres.
const FIELD: f64 = 60.0;
const SPEED_MAX: f64 = 2.4;
const TURN_MAX: f64 = 0.7;
/// Where the demo takes place: a desert that rover people know.
const ORIGIN_LATITUDE: f64 = 38.406_460;
const ORIGIN_LONGITUDE: f64 = -110.791_917;
const METRES_PER_DEGREE: f64 = 111_320.0;

/// A condition that begins or ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Alarm {
    /// A wheel is blocked: its number from 1, and its current.
    MotorStalled(usize, f64),
    /// The wheel turns again.
    MotorFree(usize),
    /// Degrees of tilt.
    Tilted(f64),
    /// Less than [`TILT_DEGREES_MAX`] again.
    Level,
    /// Less than [`CHARGE_LOW`] percent.
    ChargeLow(f64),
    /// Less than [`CHARGE_CRITICAL`] percent.
    ChargeCritical(f64),
    /// The battery was exchanged.
    Charged,
    /// No position any more: satellites in view.
    FixLost(u32),
    /// A position again.
    FixFound,
}

/// What the inertial unit measures.
#[derive(Clone, Copy, Debug, Default)]
pub struct Imu {
    /// Metres per second squared: forward, left, up.
    pub acceleration: [f64; 3],
    /// Degrees per second: roll, pitch, yaw.
    pub rotation: [f64; 3],
}

/// What the receiver says.
#[derive(Clone, Copy, Debug)]
pub struct Gps {
    /// Degrees.
    pub latitude: f64,
    /// Degrees.
    pub longitude: f64,
    /// Metres east and north of the origin: what a map wants.
    pub east_north: [f64; 2],
    /// Degrees clockwise from north.
    pub heading: f64,
    /// Metres per second.
    pub speed: f64,
    /// Satellites in view.
    pub satellites: u32,
    /// True while there is a position.
    pub has_fix: bool,
}

/// What the battery says.
#[derive(Clone, Copy, Debug)]
pub struct Battery {
    /// 0 to 100.
    pub percent: f64,
    /// Volts.
    pub volts: f64,
    /// Amperes, drawn by everything.
    pub amperes: f64,
    /// Degrees Celsius.
    pub celsius: f64,
}

/// The rover.
#[derive(Debug)]
pub struct Rover {
    random: Random,
    position: [f64; 2],
    /// Counter-clockwise from east, radians.
    heading: f64,
    speed: f64,
    waypoint: [f64; 2],
    imu: Imu,
    /// Roll and pitch, radians.
    tilt: [f64; 2],
    /// Height of a shock and how long ago it was: the suspension rings after a stone.
    shock: (f64, f64),
    currents: [f64; WHEELS],
    /// Seconds for which the wheel stays blocked.
    blocked_for: [f64; WHEELS],
    is_stalled: [bool; WHEELS],
    percent: f64,
    celsius: f64,
    charge_level: u8,
    is_tilted: bool,
    /// Seconds for which rocks hide the sky.
    hidden_for: f64,
    has_fix: bool,
    /// How far off the reported position is, metres: it wanders without a fix.
    drift: [f64; 2],
    satellites: u32,
    elapsed: f64,
}

impl Rover {
    /// Rover `number` (from 0) of a fleet made with `seed`.
    pub fn new(number: usize, seed: u64) -> Self {
        let mut random = Random::new(seed.wrapping_mul(31).wrapping_add(number as u64));
        let angle = number as f64 * TAU / 3.0 + 0.4;
        let position = [angle.cos() * 32.0, angle.sin() * 32.0];
        let heading = angle + PI / 2.0;
        let percent = [78.0, 46.0, 29.0][number % 3] + random.between(-2.0, 2.0);
        Rover {
            position,
            heading,
            speed: 1.0,
            waypoint: [-position[1], position[0]],
            imu: Imu::default(),
            tilt: tilt_at(position, heading),
            shock: (0.0, 10.0),
            currents: [1.5; WHEELS],
            blocked_for: [0.0; WHEELS],
            is_stalled: [false; WHEELS],
            percent,
            celsius: random.between(22.0, 30.0),
            charge_level: 0,
            is_tilted: false,
            hidden_for: 0.0,
            has_fix: true,
            drift: [0.0; 2],
            satellites: 14,
            elapsed: number as f64 * 100.0,
            random,
        }
    }

    /// Moves on by `dt` seconds and tells what began or ended.
    pub fn step(&mut self, dt: f64, mut tell: impl FnMut(Alarm)) {
        self.elapsed += dt;
        let (yaw_rate, push) = self.drive(dt);
        self.feel(dt, yaw_rate, push, &mut tell);
        self.turn_wheels(dt, yaw_rate, push, &mut tell);
        self.use_charge(dt, &mut tell);
        self.look_up(dt, &mut tell);
    }

    /// What the inertial unit measures now.
    pub fn imu(&self) -> Imu {
        self.imu
    }

    /// What the motors draw, in amperes.
    pub fn currents(&self) -> [f64; WHEELS] {
        self.currents
    }

    /// What the receiver says.
    pub fn gps(&mut self) -> Gps {
        let east = self.position[0] + self.drift[0] + self.random.noise() * 0.05;
        let north = self.position[1] + self.drift[1] + self.random.noise() * 0.05;
        Gps {
            latitude: ORIGIN_LATITUDE + north / METRES_PER_DEGREE,
            longitude: ORIGIN_LONGITUDE + east / (METRES_PER_DEGREE * ORIGIN_LATITUDE.to_radians().cos()),
            east_north: [east, north],
            heading: (90.0 - self.heading.to_degrees()).rem_euclid(360.0),
            speed: self.speed,
            satellites: self.satellites,
            has_fix: self.has_fix,
        }
    }

    /// What the battery says.
    pub fn battery(&self) -> Battery {
        let amperes = 1.8 + self.currents.iter().sum::<f64>();
        Battery {
            percent: self.percent,
            volts: 21.0 + 0.084 * self.percent - 0.02 * amperes,
            amperes,
            celsius: self.celsius,
        }
    }

    fn drive(&mut self, dt: f64) -> (f64, f64) {
        let to = [self.waypoint[0] - self.position[0], self.waypoint[1] - self.position[1]];
        if to[0].hypot(to[1]) < 4.0 {
            self.waypoint = [self.random.between(-FIELD, FIELD) * 0.9, self.random.between(-FIELD, FIELD) * 0.9];
        }
        let off = (to[1].atan2(to[0]) - self.heading + PI).rem_euclid(TAU) - PI;
        let weave = 0.12 * (self.elapsed * 0.9).sin();
        let yaw_rate = (off * 0.9 + weave).clamp(-TURN_MAX, TURN_MAX);
        let blocked = self.blocked_for.iter().filter(|s| **s > 0.0).count() as f64;
        let wanted = SPEED_MAX
            * (1.0 - 0.55 * (yaw_rate.abs() / TURN_MAX))
            * (1.0 - 0.3 * blocked).max(0.1)
            * (1.0 - self.tilt[1] * 1.5);
        let push = (wanted - self.speed).clamp(-1.6, 0.8);
        self.speed = (self.speed + push * dt).max(0.0);
        self.heading = (self.heading + yaw_rate * dt).rem_euclid(TAU);
        self.position[0] += self.heading.cos() * self.speed * dt;
        self.position[1] += self.heading.sin() * self.speed * dt;
        (yaw_rate, push)
    }

    fn feel(&mut self, dt: f64, yaw_rate: f64, push: f64, tell: &mut impl FnMut(Alarm)) {
        let [roll, pitch] = tilt_at(self.position, self.heading);
        if self.random.happens(0.5 * self.speed / SPEED_MAX, dt) {
            self.shock = (self.random.between(1.0, 6.5), 0.0);
        }
        self.shock.1 += dt;
        let (height, ago) = self.shock;
        let ring = height * (-ago * 6.0).exp() * (ago * TAU * 9.0).sin();
        let shake = (0.08 + 0.34 * self.speed / SPEED_MAX)
            * (1.0 + 0.6 * (self.position[0] * 0.11).sin() * (self.position[1] * 0.13).cos());
        let rates = [(roll - self.tilt[0]) / dt, (pitch - self.tilt[1]) / dt];
        self.tilt = [roll, pitch];
        let mut noise = |deviation: f64| self.random.noise() * deviation;
        self.imu = Imu {
            acceleration: [
                push + GRAVITY * pitch.sin() + noise(shake * 0.7) - 0.25 * ring,
                self.speed * yaw_rate - GRAVITY * roll.sin() + noise(shake * 0.6),
                GRAVITY * pitch.cos() * roll.cos() + noise(shake) + ring,
            ],
            rotation: [
                rates[0].to_degrees() + noise(1.2) + 0.8 * ring,
                rates[1].to_degrees() + noise(1.2) - 1.6 * ring,
                yaw_rate.to_degrees() + noise(0.9),
            ],
        };
        let tilt = roll.hypot(pitch).to_degrees();
        let limit = if self.is_tilted { TILT_DEGREES_MAX - 2.0 } else { TILT_DEGREES_MAX };
        if (tilt > limit) != self.is_tilted {
            self.is_tilted = !self.is_tilted;
            tell(if self.is_tilted { Alarm::Tilted(tilt) } else { Alarm::Level });
        }
    }

    fn turn_wheels(&mut self, dt: f64, yaw_rate: f64, push: f64, tell: &mut impl FnMut(Alarm)) {
        let climb = GRAVITY * self.tilt[1].sin();
        for wheel in 0..WHEELS {
            if self.blocked_for[wheel] > 0.0 {
                self.blocked_for[wheel] -= dt;
            } else if self.random.happens(0.011, dt) {
                self.blocked_for[wheel] = self.random.between(0.7, 2.4);
            }
            let side = if wheel % 2 == 0 { -1.0 } else { 1.0 };
            let driven = 0.7 + 0.75 * self.speed + 0.55 * (push + climb).max(-0.8) + 0.6 * side * yaw_rate * self.speed;
            let aim = if self.blocked_for[wheel] > 0.0 { 10.2 } else { driven.max(0.15) };
            let sway = 0.25 * (self.elapsed * (5.0 + wheel as f64)).sin() * self.speed / SPEED_MAX;
            // A motor's current follows its load within about 60 ms.
            let follow = (dt / 0.06).min(1.0);
            self.currents[wheel] += (aim + sway + self.random.noise() * 0.25 - self.currents[wheel]) * follow;
            self.currents[wheel] = self.currents[wheel].max(0.0);
            let limit = if self.is_stalled[wheel] { MOTOR_AMPERES_MAX - 2.0 } else { MOTOR_AMPERES_MAX };
            let is_over = self.currents[wheel] > limit;
            if is_over != self.is_stalled[wheel] {
                self.is_stalled[wheel] = is_over;
                tell(if is_over {
                    Alarm::MotorStalled(wheel + 1, self.currents[wheel])
                } else {
                    Alarm::MotorFree(wheel + 1)
                });
            }
        }
    }

    fn use_charge(&mut self, dt: f64, tell: &mut impl FnMut(Alarm)) {
        let battery = self.battery();
        // A small battery, so that a visitor sees it empty within minutes.
        self.percent = (self.percent - battery.amperes * dt * 0.012).max(0.0);
        self.celsius += (18.0 + battery.amperes * 1.1 - self.celsius) * dt / 90.0;
        let level = match self.percent {
            p if p < CHARGE_CRITICAL => 2,
            p if p < CHARGE_LOW => 1,
            _ => 0,
        };
        if level > self.charge_level {
            tell(if level == 2 { Alarm::ChargeCritical(self.percent) } else { Alarm::ChargeLow(self.percent) });
        }
        self.charge_level = level;
        if self.percent < 6.0 {
            self.percent = 98.0;
            self.charge_level = 0;
            tell(Alarm::Charged);
        }
    }

    fn look_up(&mut self, dt: f64, tell: &mut impl FnMut(Alarm)) {
        if self.hidden_for > 0.0 {
            self.hidden_for -= dt;
        } else if self.random.happens(0.02, dt) {
            self.hidden_for = self.random.between(2.0, 6.0);
        }
        let is_hidden = self.hidden_for > 0.0;
        if self.random.happens(2.0, dt) {
            self.satellites = if is_hidden { 2 } else { 12 + (self.random.unit() * 5.0) as u32 };
        }
        for axis in 0..2 {
            let wander = if self.has_fix { 0.0 } else { self.random.noise() * 0.9 * dt.sqrt() };
            let recover = if self.has_fix { self.drift[axis] * dt * 2.0 } else { 0.0 };
            self.drift[axis] += wander - recover;
        }
        let has_fix = self.satellites >= 4;
        if has_fix != self.has_fix {
            self.has_fix = has_fix;
            tell(if has_fix { Alarm::FixFound } else { Alarm::FixLost(self.satellites) });
        }
    }
}

/// Roll and pitch of a rover that stands there with this heading, radians.
fn tilt_at(position: [f64; 2], heading: f64) -> [f64; 2] {
    let slope = slope_at(position);
    let (sin, cos) = heading.sin_cos();
    [(-slope[0] * sin + slope[1] * cos).atan(), (slope[0] * cos + slope[1] * sin).atan()]
}

/// How steep the hills are at a place: metres up per metre east and north.
fn slope_at([x, y]: [f64; 2]) -> [f64; 2] {
    // The gradient of 1.8 sin(x/9) cos(y/11) + 0.7 sin(x/3.7 + y/5).
    let (a, b, c) = (x / 9.0, y / 11.0, x / 3.7 + y / 5.0);
    [0.2 * a.cos() * b.cos() + 0.7 / 3.7 * 0.35 * c.cos(), -1.8 / 11.0 * a.sin() * b.sin() + 0.14 * 0.35 * c.cos()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const DT: f64 = 0.005;

    fn run(seconds: u32, seed: u64) -> (Vec<Rover>, Vec<(usize, Alarm)>) {
        let mut rovers: Vec<Rover> = (0..3).map(|n| Rover::new(n, seed)).collect();
        let mut alarms = Vec::new();
        for _ in 0..seconds * 200 {
            for (n, rover) in rovers.iter_mut().enumerate() {
                rover.step(DT, |alarm| alarms.push((n, alarm)));
                let (imu, gps, battery) = (rover.imu(), rover.gps(), rover.battery());
                assert!(
                    imu.acceleration.iter().chain(&imu.rotation).all(|v| v.is_finite() && v.abs() < 400.0),
                    "{imu:?}"
                );
                assert!(gps.east_north.iter().all(|v| v.abs() < 3.0 * FIELD), "{gps:?}");
                assert!(
                    (0.0..=100.0).contains(&battery.percent) && (15.0..30.0).contains(&battery.volts),
                    "{battery:?}"
                );
                assert!(rover.currents().iter().all(|a| (0.0..15.0).contains(a)));
            }
        }
        (rovers, alarms)
    }

    #[test]
    fn rovers_stay_in_the_field_and_their_readings_within_reason() {
        for seed in 0..3 {
            run(300, seed);
        }
    }

    #[test]
    fn there_is_a_critical_alarm_every_few_seconds() {
        let (_, alarms) = run(300, 1);
        let critical = |a: &Alarm| matches!(a, Alarm::MotorStalled(..) | Alarm::Tilted(_) | Alarm::ChargeCritical(_));
        let n = alarms.iter().filter(|(_, a)| critical(a)).count();
        assert!((30..=200).contains(&n), "{n} in 300 s");
        for kind in [
            |a: &Alarm| matches!(a, Alarm::MotorStalled(..)),
            |a: &Alarm| matches!(a, Alarm::Tilted(_)),
            |a: &Alarm| matches!(a, Alarm::FixLost(_)),
            |a: &Alarm| matches!(a, Alarm::ChargeLow(_)),
            |a: &Alarm| matches!(a, Alarm::ChargeCritical(_)),
            |a: &Alarm| matches!(a, Alarm::Charged),
        ] {
            assert!(alarms.iter().any(|(_, a)| kind(a)), "{alarms:?}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_rovers() {
        assert_eq!(run(20, 7).1, run(20, 7).1);
        assert_ne!(run(60, 7).1, run(60, 8).1);
    }
}
