//! What simulated clients do: subscribe, publish, churn, leave, and break rules on purpose.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::client::{Client, Outcome};
use super::nature::KEYS_FEW;
use super::payload::Stamp;
use super::speech;
use super::truth::DIRECT;
use super::view::Since;
use crate::event::Protocol;
use crate::proto::header::Opcode;
use crate::types::{Kind, Priority};

impl Client {
    pub(super) fn do_something(&mut self) {
        if !self.is_open() || self.wire.queued() > 100_000 {
            return;
        }
        if self.nature.hostile && self.rng.chance(50) {
            return self.break_rules();
        }
        if self.rng.chance(self.nature.leaves) {
            return self.begin_leaving();
        }
        if !self.nature.publishes.is_empty() && self.rng.chance(500) {
            return self.publish();
        }
        if !self.nature.is_raw() && self.rng.chance(self.nature.churns) {
            return self.churn();
        }
        if self.rng.chance(self.nature.costs) {
            return self.cost_most();
        }
        match self.rng.below(20) {
            0 => {
                let payload = vec![b'p'; self.rng.below(126) as usize];
                let payload = [self.next_id().to_le_bytes().to_vec(), payload].concat();
                let payload = payload[..payload.len().min(125)].to_vec();
                self.wire.send_frame(Opcode::Ping, true, &payload, &mut self.rng);
                self.pings.push_back(payload);
            }
            1 if !self.nature.is_raw() => {
                let id = self.next_id();
                self.request(&json!({"type": "ping", "id": id}));
                self.said_pings.push_back(id);
            }
            2 if !self.nature.is_raw() => {
                let wrong: [&[u8]; 6] =
                    [br#"{"type":"#, b"[]", br#"{"type":"subscribe","topics":["a//b"]}"#, b"\x01", b"", b"null"];
                let wrong = *self.rng.pick(&wrong);
                let is_text = self.nature.protocol != Protocol::MsgpackV1 || self.rng.chance(300);
                let opcode = if is_text { Opcode::Text } else { Opcode::Binary };
                self.wire.send_message(opcode, wrong, 1, &mut self.rng);
            }
            3 => self.wire.send_frame(Opcode::Pong, true, b"unasked", &mut self.rng),
            _ => {}
        }
    }

    pub(super) fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    pub(super) fn request(&mut self, object: &Value) {
        let (opcode, bytes) = speech::request(self.nature.protocol, object, &mut self.rng);
        let fragments = if self.rng.chance(100) { 5 } else { 1 };
        self.wire.send_message(opcode, &bytes, fragments, &mut self.rng);
    }

    pub(super) fn subscribe_at_first(&mut self) {
        let topics = self.nature.topics.clone();
        let since = self.view.since.clone();
        self.subscribe(&topics, &since);
    }

    pub(super) fn subscribe(&mut self, topics: &[String], since: &BTreeMap<String, Since>) {
        let id = self.next_id();
        let mut object = json!({"type": "subscribe", "id": id, "topics": topics, "unknown": [1, {}]});
        if !self.nature.echo {
            object["echo"] = json!(false);
        }
        if let Some(hz) = self.nature.max_hz {
            object["max_hz"] = json!(hz);
        }
        if let Some(ms) = self.nature.max_delay_ms {
            object["max_delay_ms"] = json!(ms);
        }
        if !since.is_empty() {
            let entry = |(epoch, seqs): &Since| {
                let lanes = Priority::ALL.into_iter().zip(seqs);
                let seq: serde_json::Map<String, Value> =
                    lanes.filter_map(|(p, seq)| Some((p.name().to_owned(), json!((*seq)?)))).collect();
                json!({"epoch": epoch, "seq": seq})
            };
            object["since"] = since.iter().map(|(topic, since)| (topic.clone(), entry(since))).collect();
            if self.view.from_oldest {
                object["from"] = json!("oldest");
            }
        }
        self.request(&object);
        self.view.on_asks(id, topics);
    }

    fn churn(&mut self) {
        let wanted = self.rng.pick(&self.nature.topics).clone();
        if self.rng.chance(500) {
            // Nothing is asked for while an `unsubscribed` is awaited: else nobody could say what that one ended.
            if self.unsubscribing.is_empty() {
                self.subscribe(&[wanted], &BTreeMap::new());
            }
        } else if self.view.asked.contains(&wanted) && !self.unsubscribing.contains(&wanted) {
            let id = self.next_id();
            self.request(&json!({"type": "unsubscribe", "id": id, "topics": [&wanted]}));
            self.unsubscribing.push_back(wanted);
        }
    }

    fn publish(&mut self) {
        let is_raw = self.nature.is_raw();
        let topic = match self.nature.topics.first() {
            _ if !is_raw => self.rng.pick(&self.nature.publishes).clone(),
            Some(topic) => topic.clone(),
            None => DIRECT.to_owned(),
        };
        let priority = if is_raw { Priority::Normal } else { *self.rng.pick(&Priority::ALL) };
        let kind = match self.rng.below(3) {
            // A raw client cannot say that its text is JSON.
            2 if is_raw => 0,
            kind => kind as u8,
        };
        let number = self.numbers.entry((topic.clone(), priority)).or_default();
        *number += 1;
        let filling = if self.rng.chance(30) { self.rng.skewed(70_000) } else { self.rng.skewed(300) } as u32;
        let mut stamp = Stamp::new(&topic, priority, self.number, *number, kind, filling);
        if self.rng.chance(20) {
            stamp.fill_to_an_edge(&mut self.rng, 70_000);
        }
        if !is_raw {
            stamp.season(KEYS_FEW, &mut self.rng);
        }
        let fragments = if self.rng.chance(300) { 4 } else { 1 };
        let (opcode, bytes) = if is_raw {
            (if stamp.kind() == Kind::Binary { Opcode::Binary } else { Opcode::Text }, stamp.render())
        } else {
            speech::publish(self.nature.protocol, &stamp, &mut self.rng)
        };
        self.wire.send_message(opcode, &bytes, fragments, &mut self.rng);
        self.handed += 1;
    }

    fn begin_leaving(&mut self) {
        match self.rng.below(5) {
            0 => {
                self.wire.reset();
                self.outcome = Outcome::Left;
            }
            1 => self.leave(),
            2 => {
                // FIN without a close frame.
                self.misbehaved = true;
                self.wire.finish();
            }
            _ => {
                let code = *self.rng.pick(&[None, Some(1000), Some(1001), Some(4000)]);
                self.wire.send_close(code, &mut self.rng);
                self.sent_close = true;
            }
        }
    }

    fn break_rules(&mut self) {
        self.misbehaved = true;
        self.nature.publishes.clear();
        let rng = &mut self.rng;
        match rng.below(9) {
            0 => {
                let noise: Vec<u8> = (0..rng.skewed(2000)).map(|_| rng.next_u64() as u8).collect();
                self.wire.send_bytes(&noise);
            }
            // Unmasked, reserved bits, reserved opcode, long control frame, lengths of 2^63 and in the wrong form.
            1 => self.wire.send_bytes(&[0x81, 0x03, b'a', b'b', b'c']),
            2 => self.wire.send_bytes(&[0xF1, 0x80, 0, 0, 0, 0]),
            3 => self.wire.send_bytes(&[0x83, 0x80, 0, 0, 0, 0]),
            4 => self.wire.send_bytes(&[0x89, 0xFE, 0, 126, 0, 0, 0, 0]),
            5 => self.wire.send_bytes(&[0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]),
            6 => self.wire.send_bytes(&[0x82, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1, 2, 3, 4, 5]),
            7 => self.wire.send_frame(Opcode::Text, true, &[b'x', 0xC3, 0x28], rng),
            // Half a frame, and then nothing for ever.
            _ => self.wire.send_bytes(&[0x82, 0xFE, 0x10]),
        }
    }
}
