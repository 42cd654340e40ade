//! Job: three rovers on one thread, 200 steps a second, each reading published to its topic.
//! Knows: topics, priorities, rates, the readings' JSON. Must never know: mechanics, who subscribes.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fanwire::{Engine, Kind, Priority, Topic, TopicConfig};

use super::rover::{Alarm, Rover};
use crate::clock;
use crate::exit::{Exit, Failure, OrExit};

/// How many there are.
pub const ROVERS: usize = 3;
/// Steps a second: the rate of the inertial units.
const STEPS: u64 = 200;
const STEP: Duration = Duration::from_nanos(1_000_000_000 / STEPS);
const MOTORS_EVERY: u64 = STEPS / 50;
const GPS_EVERY: u64 = STEPS / 10;
const BATTERY_EVERY: u64 = STEPS;
const HEARTBEAT_EVERY: u64 = STEPS / 2;
/// Budget of the rovers' lanes, in bytes: a subscriber on a slow link is told after a second what it lost, not after minutes.
pub const LANE_BYTES: usize = 32 << 10;
/// Behind by more than this (the machine slept), it goes on from now instead of catching up.
const BEHIND_MAX: Duration = Duration::from_millis(500);

/// The running simulation.
pub struct Fleet {
    is_stopped: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Fleet {
    /// Ends it.
    pub fn stop(self) {
        self.is_stopped.store(true, Ordering::Release);
        if self.thread.join().is_err() {
            tracing::error!("the simulation ended with a panic");
        }
    }
}

/// How the engine is to treat the rovers' topics.
pub fn topic_settings() -> Vec<TopicConfig> {
    let settings =
        |pattern: &str, lane_bytes| TopicConfig { pattern: pattern.into(), lane_bytes, ..TopicConfig::default() };
    // A critical lane that is over its budget costs its subscriber the connection: the usual budget for those.
    vec![settings("rover/*/alarm", None), settings("rover/*/heartbeat", None), settings("rover/**", Some(LANE_BYTES))]
}

/// Starts the rovers.
///
/// # Errors
/// Where topics or the thread cannot be had.
pub fn start(engine: &Engine, seed: u64) -> Result<Fleet, Failure> {
    let mut vehicles = (0..ROVERS).map(|n| Vehicle::new(engine, n, seed)).collect::<Result<Vec<_>, _>>()?;
    let is_stopped = Arc::new(AtomicBool::new(false));
    let asked = is_stopped.clone();
    let thread = thread::Builder::new()
        .name("rovers".into())
        .spawn(move || {
            let mut due = clock::now();
            let mut step = 0;
            while !asked.load(Ordering::Acquire) {
                for vehicle in &mut vehicles {
                    vehicle.step(step);
                }
                step += 1;
                due = next_due(due, clock::now());
                clock::sleep(due.saturating_duration_since(clock::now()));
            }
        })
        .or_exit(Exit::Software, || "cannot start the simulation's thread".into())?;
    Ok(Fleet { is_stopped, thread })
}

fn next_due(due: Instant, now: Instant) -> Instant {
    let next = due + STEP;
    if now.saturating_duration_since(next) > BEHIND_MAX { now } else { next }
}

/// One rover and its topics.
struct Vehicle {
    rover: Rover,
    number: u64,
    imu: Topic,
    motors: Topic,
    gps: Topic,
    battery: Topic,
    alarm: Topic,
    heartbeat: Topic,
    text: String,
    alarms: Vec<Alarm>,
}

impl Vehicle {
    fn new(engine: &Engine, number: usize, seed: u64) -> Result<Self, Failure> {
        let topic = |what: &str| {
            let name = format!("rover/{}/{what}", number + 1);
            engine.topic(&name).or_exit(Exit::Software, || format!("cannot make the topic {name}"))
        };
        Ok(Vehicle {
            rover: Rover::new(number, seed),
            number: number as u64,
            imu: topic("imu")?,
            motors: topic("motors")?,
            gps: topic("gps")?,
            battery: topic("battery")?,
            alarm: topic("alarm")?,
            heartbeat: topic("heartbeat")?,
            text: String::with_capacity(512),
            alarms: Vec::new(),
        })
    }

    fn step(&mut self, step: u64) {
        let alarms = &mut self.alarms;
        self.rover.step(STEP.as_secs_f64(), |alarm| alarms.push(alarm));
        let t_us = clock::unix_us();
        self.publish_imu(t_us);
        // The rovers take turns, so that their slow readings do not all fall into one step.
        let turn = step + self.number * 7;
        if turn.is_multiple_of(MOTORS_EVERY) {
            self.publish_motors(t_us);
        }
        if turn.is_multiple_of(GPS_EVERY) {
            self.publish_gps(t_us);
        }
        if turn.is_multiple_of(BATTERY_EVERY) {
            self.publish_battery(t_us);
        }
        if turn.is_multiple_of(HEARTBEAT_EVERY) {
            self.publish_heartbeat(t_us, step / HEARTBEAT_EVERY);
        }
        let mut alarms = std::mem::take(&mut self.alarms);
        for alarm in alarms.drain(..) {
            self.publish_alarm(t_us, alarm);
        }
        self.alarms = alarms;
    }

    fn publish_imu(&mut self, t_us: u64) {
        let imu = self.rover.imu();
        let ([ax, ay, az], [gx, gy, gz]) = (imu.acceleration, imu.rotation);
        let json =
            format_args!(r#"{{"t_us":{t_us},"acc":[{ax:.3},{ay:.3},{az:.3}],"gyro":[{gx:.2},{gy:.2},{gz:.2}]}}"#);
        publish(&mut self.text, &self.imu, Priority::Low, json);
    }

    fn publish_motors(&mut self, t_us: u64) {
        let [a, b, c, d, e, f] = self.rover.currents();
        let json = format_args!(r#"{{"t_us":{t_us},"amperes":[{a:.2},{b:.2},{c:.2},{d:.2},{e:.2},{f:.2}]}}"#);
        publish(&mut self.text, &self.motors, Priority::Normal, json);
    }

    fn publish_gps(&mut self, t_us: u64) {
        let gps = self.rover.gps();
        let [east, north] = gps.east_north;
        let json = format_args!(
            r#"{{"t_us":{t_us},"lat":{:.7},"lon":{:.7},"east":{east:.2},"north":{north:.2},"heading":{:.1},"speed":{:.2},"satellites":{},"fix":{}}}"#,
            gps.latitude, gps.longitude, gps.heading, gps.speed, gps.satellites, gps.has_fix
        );
        publish(&mut self.text, &self.gps, Priority::Normal, json);
    }

    fn publish_battery(&mut self, t_us: u64) {
        let battery = self.rover.battery();
        let json = format_args!(
            r#"{{"t_us":{t_us},"percent":{:.1},"volts":{:.2},"amperes":{:.2},"celsius":{:.1}}}"#,
            battery.percent, battery.volts, battery.amperes, battery.celsius
        );
        publish(&mut self.text, &self.battery, Priority::High, json);
    }

    fn publish_heartbeat(&mut self, t_us: u64, beat: u64) {
        let json = format_args!(r#"{{"t_us":{t_us},"beat":{beat},"armed":true}}"#);
        publish(&mut self.text, &self.heartbeat, Priority::Critical, json);
    }

    fn publish_alarm(&mut self, t_us: u64, alarm: Alarm) {
        let (priority, code, state) = describe(alarm);
        let text = words(alarm);
        // Wheels stall by themselves: each is an alarm of its own, raised and cleared by its number.
        let part = part(alarm).map_or_else(String::new, |part| format!(r#","part":{part}"#));
        let json = format_args!(r#"{{"t_us":{t_us},"code":"{code}"{part},"state":"{state}","text":"{text}"}}"#);
        publish(&mut self.text, &self.alarm, priority, json);
    }
}

/// Publishes a reading. A sensor does not wait: where the ring is full the reading is lost, and the engine counts it.
fn publish(text: &mut String, topic: &Topic, priority: Priority, json: std::fmt::Arguments<'_>) {
    text.clear();
    if text.write_fmt(json).is_ok()
        && let Err(error) = topic.publish(priority, Kind::Json, text.as_bytes())
    {
        tracing::debug!("{}: {error}", topic.name());
    }
}

/// How important an alarm is, its code, and whether it begins or ends.
fn describe(alarm: Alarm) -> (Priority, &'static str, &'static str) {
    match alarm {
        Alarm::MotorStalled(..) => (Priority::Critical, "motor_stalled", "raised"),
        Alarm::MotorFree(_) => (Priority::Normal, "motor_stalled", "cleared"),
        Alarm::Tilted(_) => (Priority::Critical, "tilt", "raised"),
        Alarm::Level => (Priority::Normal, "tilt", "cleared"),
        // One condition that grows worse: who raises it again changes how important it is.
        Alarm::ChargeLow(_) => (Priority::High, "charge", "raised"),
        Alarm::ChargeCritical(_) => (Priority::Critical, "charge", "raised"),
        Alarm::Charged => (Priority::Normal, "charge", "cleared"),
        Alarm::FixLost(_) => (Priority::High, "gps_fix", "raised"),
        Alarm::FixFound => (Priority::Normal, "gps_fix", "cleared"),
    }
}

/// Which of several like parts it is about.
fn part(alarm: Alarm) -> Option<usize> {
    match alarm {
        Alarm::MotorStalled(wheel, _) | Alarm::MotorFree(wheel) => Some(wheel),
        _ => None,
    }
}

fn words(alarm: Alarm) -> String {
    match alarm {
        Alarm::MotorStalled(wheel, amperes) => format!("Wheel {wheel} stalled at {amperes:.1} A"),
        Alarm::MotorFree(wheel) => format!("Wheel {wheel} turns again"),
        Alarm::Tilted(degrees) => format!("Tilted by {degrees:.1}°"),
        Alarm::Level => "Level again".to_owned(),
        Alarm::ChargeLow(percent) => format!("Battery low: {percent:.0} %"),
        Alarm::ChargeCritical(percent) => format!("Battery critical: {percent:.0} %"),
        Alarm::Charged => "Battery exchanged".to_owned(),
        Alarm::FixLost(satellites) => format!("GPS fix lost: {satellites} satellites"),
        Alarm::FixFound => "GPS fix found".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_step_is_caught_up_and_a_sleeping_machine_is_not() {
        let due = clock::now();
        assert_eq!(next_due(due, due + Duration::from_millis(20)), due + STEP);
        let late = due + Duration::from_secs(3600);
        assert_eq!(next_due(due, late), late);
    }

    #[test]
    fn alarms_that_endanger_the_rover_are_critical() {
        for alarm in [Alarm::MotorStalled(1, 9.0), Alarm::Tilted(20.0), Alarm::ChargeCritical(8.0)] {
            assert_eq!(describe(alarm).0, Priority::Critical);
        }
        assert_eq!([part(Alarm::MotorFree(3)), part(Alarm::Level)], [Some(3), None]);
        assert_eq!(words(Alarm::MotorStalled(3, 9.44)), "Wheel 3 stalled at 9.4 A");
    }
}
