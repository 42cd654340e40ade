//! What costs a server most, all of it by the rules: so the client's account is as exact as anybody's.

use std::collections::BTreeMap;

use serde_json::json;

use super::client::{Client, NEVER_HAD};
use super::nature::WIDE;
use crate::proto::header::Opcode;

/// Patterns that overlap with each other, and with what there is.
const OVERLAPPING: [&str; 6] = ["**", "*/*", "d/*", "d/**", "*/1", "*/x"];

impl Client {
    /// One thing that costs much for the bytes that it takes to say it.
    pub(super) fn cost_most(&mut self) {
        match self.rng.below(8) {
            0 => self.give_back_what_it_never_had(),
            1 => self.ask_for_many_patterns(),
            2 => self.ask_for_everything_and_leave(),
            3 => self.flood_with_pings(),
            4 => self.flood_with_said_pings(),
            5 => self.say_much_of_nothing(),
            6 => self.go_on_from_much(),
            _ => self.ask_for_many_names(),
        }
    }

    fn give_back_what_it_never_had(&mut self) {
        let count = 1 + self.rng.skewed(300);
        let stars = if self.rng.chance(500) { "/**" } else { "" };
        let topics: Vec<String> = (0..count).map(|i| format!("{NEVER_HAD}{i}{stars}")).collect();
        let id = self.next_id();
        self.request(&json!({"type": "unsubscribe", "id": id, "topics": topics}));
        self.unknown += count;
    }

    fn ask_for_many_patterns(&mut self) {
        let mut topics: Vec<String> = Vec::new();
        for _ in 0..1 + self.rng.skewed(60) {
            let number = self.rng.below(300);
            topics.push(match self.rng.below(5) {
                0 => (*self.rng.pick(&OVERLAPPING)).to_owned(),
                1 => format!("*/{number}"),
                2 => format!("*/*/{number}"),
                3 => format!("*/*/*/{number}/**"),
                _ => format!("{WIDE}{number}/**"),
            });
        }
        self.ask(topics);
    }

    fn ask_for_many_names(&mut self) {
        let from = self.rng.below(300);
        let topics = (from..from + 1 + self.rng.skewed(40)).map(|number| format!("{WIDE}{number}")).collect();
        self.ask(topics);
    }

    fn ask(&mut self, topics: Vec<String>) {
        if self.unsubscribing.is_empty() {
            self.subscribe(&topics, &BTreeMap::new());
        }
    }

    fn ask_for_everything_and_leave(&mut self) {
        let pattern = (*self.rng.pick(&OVERLAPPING)).to_owned();
        self.ask(vec![pattern.clone()]);
        if self.view.asked.contains(&pattern) && !self.unsubscribing.contains(&pattern) {
            let id = self.next_id();
            self.request(&json!({"type": "unsubscribe", "id": id, "topics": [&pattern]}));
            self.unsubscribing.push_back(pattern);
        }
    }

    /// A request that is long, and ignored; often it is sent compressed, and short.
    fn say_much_of_nothing(&mut self) {
        let text = self.rng.pick(&["x", "é\n", " ", "[{"]).repeat(self.rng.skewed(40_000) as usize);
        self.request(&json!({"type": "dance", "much": [text]}));
    }

    /// Thousands of topics to go on from, none of which is there.
    fn go_on_from_much(&mut self) {
        if self.unsubscribing.is_empty() && !self.view.from_oldest {
            let since = (0..self.rng.skewed(4_000)).map(|n| (format!("{NEVER_HAD}{n}"), (1, Default::default())));
            let pattern = (*self.rng.pick(&OVERLAPPING)).to_owned();
            self.subscribe(&[pattern], &since.collect());
        }
    }

    fn flood_with_pings(&mut self) {
        for _ in 0..self.rng.skewed(2_000) {
            let payload = self.next_id().to_le_bytes().to_vec();
            self.wire.send_frame(Opcode::Ping, true, &payload, &mut self.rng);
            self.pings.push_back(payload);
        }
    }

    fn flood_with_said_pings(&mut self) {
        for _ in 0..self.rng.skewed(300) {
            let id = self.next_id();
            self.request(&json!({"type": "ping", "id": id}));
            self.said_pings.push_back(id);
        }
    }
}
