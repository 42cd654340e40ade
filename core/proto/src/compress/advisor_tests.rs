//! The advisor's rules, and what they come to on whole lanes.

use super::super::Deflater;
use super::super::tests::samples::{self, Random};
use super::*;

/// Sends the messages down a lane; which of them were tried, and how many bytes went out.
fn lane(advisor: &mut Advisor, messages: impl IntoIterator<Item = Vec<u8>>) -> (Vec<Option<Effort>>, usize) {
    let (mut deflater, mut out, mut sent) = (Deflater::new(), Vec::new(), 0);
    let tried = messages
        .into_iter()
        .map(|message| {
            out.clear();
            let effort = advisor.advise(&message);
            if let Some(effort) = effort {
                let outcome = deflater.compress(&message, effort, 15, &mut out);
                advisor.record(message.len(), outcome);
            }
            sent += if out.is_empty() { message.len() } else { out.len() };
            effort
        })
        .collect();
    (tried, sent)
}

fn tries(tried: &[Option<Effort>]) -> usize {
    tried.iter().flatten().count()
}

fn base64_of_noise(random: &mut Random, len: usize) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    random.bytes(len).iter().map(|byte| LETTERS[usize::from(byte % 64)]).collect()
}

#[test]
fn it_is_eight_bytes_a_lane() {
    assert_eq!(size_of::<Advisor>(), 8);
}

#[test]
fn messages_below_the_threshold_are_left_alone() {
    let json = samples::json(2000, 1);
    assert_eq!(Advisor::default().advise(&json[..1023]), None);
    assert_eq!(Advisor::default().advise(&json[..1024]), Some(Effort::Fast));
    assert_eq!(Advisor::new(300).advise(&json[..299]), None);
    assert_eq!(Advisor::new(300).advise(&json[..300]), Some(Effort::Fast));
    assert_eq!(Advisor::new(0).advise(b""), None);
}

#[test]
fn noise_is_told_from_text_numbers_and_base64_by_its_first_bytes() {
    let mut random = Random::new(1);
    for len in [300, 1024, 1200, 5000] {
        for round in 0..200 {
            assert!(looks_like_noise(&random.bytes(len)), "noise {len}");
            assert!(!looks_like_noise(&samples::json(len, round)), "json {len}");
            assert!(!looks_like_noise(&base64_of_noise(&mut random, len)), "base64 {len}");
            let floats: Vec<_> = (0..len / 4).flat_map(|i| (i as f32 * 0.37).sin().to_le_bytes()).collect();
            assert!(!looks_like_noise(&floats), "floats {len}");
            assert!(!looks_like_noise(&vec![round as u8; len]), "one byte {len}");
        }
    }
    for (name, log) in samples::recorded() {
        assert!(log.chunks(1200).all(|message| !looks_like_noise(message)), "{name}");
    }
}

#[test]
fn a_lane_of_noise_costs_one_try_in_64() {
    let mut random = Random::new(2);
    let mut advisor = Advisor::default();
    let (tried, _) = lane(&mut advisor, (0..1000).map(|_| random.bytes(2000)));
    assert_eq!(tries(&tried[..100]), 1, "the sample already says no, but for the try");
    assert!((14..=16).contains(&tries(&tried)), "{} tries", tries(&tried));
    assert!(advisor.ratio() > 0.9);
}

#[test]
fn a_lane_that_pays_again_is_found_within_64_messages() {
    let mut random = Random::new(3);
    let mut advisor = Advisor::default();
    lane(&mut advisor, (0..500).map(|_| random.bytes(2000)));
    let (tried, _) = lane(&mut advisor, (0..200).map(|n| samples::json(2000, n)));
    let first = tried.iter().position(Option::is_some).unwrap();
    assert!(first < 64, "tried after {first} messages");
    assert!(tried[first..].iter().all(Option::is_some), "and from then on");
}

/// Noise twice in a row: no sample of the first KiB can see that it repeats, a try does.
#[test]
fn repetition_that_a_sample_cannot_see_is_found_by_a_try() {
    let mut random = Random::new(4);
    let (tried, _) = lane(&mut Advisor::default(), (0..1000).map(|_| random.bytes(3000).repeat(4)));
    assert!(tries(&tried) > 10);
}

#[test]
fn in_a_mixed_lane_the_text_is_compressed_and_the_noise_is_not() {
    let mut random = Random::new(5);
    let mut advisor = Advisor::default();
    let messages = (0..400).map(|n| if n % 2 == 0 { samples::json(2000, n) } else { random.bytes(2000) });
    let (tried, _) = lane(&mut advisor, messages);
    for (n, tried) in tried.iter().enumerate().skip(1) {
        assert_eq!(tried.is_some(), n % 2 == 0, "message {n}");
    }
}

#[test]
fn a_saving_below_a_tenth_does_not_pay() {
    let mut advisor = Advisor::new(0);
    let json = samples::json(1000, 6);
    for _ in 0..20 {
        if advisor.advise(&json).is_some() {
            advisor.record(1000, Compressed::Deflated(930));
        }
    }
    assert_eq!(advisor.advise(&json), None);
    let mut advisor = Advisor::new(0);
    for _ in 0..200 {
        assert!(advisor.advise(&json).is_some());
        advisor.record(1000, Compressed::Deflated(850));
    }
}

#[test]
fn repetition_earns_effort_unless_the_message_is_long() {
    let mut advisor = Advisor::default();
    let zeros = vec![0; 200_000];
    assert_eq!(advisor.advise(&zeros), Some(Effort::Fast), "nothing is known yet");
    for _ in 0..5 {
        advisor.record(1000, Compressed::Deflated(20));
    }
    assert_eq!(advisor.advise(&zeros[..2000]), Some(Effort::Thorough));
    assert_eq!(advisor.advise(&zeros[..THOROUGH_BYTES_MAX]), Some(Effort::Thorough));
    assert_eq!(advisor.advise(&zeros[..=THOROUGH_BYTES_MAX]), Some(Effort::Fast));
}

#[test]
fn what_was_never_tried_teaches_nothing() {
    let mut advisor = Advisor::default();
    for _ in 0..1000 {
        advisor.record(100_000, Compressed::BeyondWindow);
    }
    assert_eq!(advisor.ratio(), Advisor::default().ratio());
}

#[test]
fn no_outcome_leaves_the_range() {
    let mut advisor = Advisor::new(0);
    let mut random = Random::new(7);
    for _ in 0..10_000 {
        let outcome = match random.next() % 4 {
            0 => Compressed::NotSmaller,
            1 => Compressed::Deflated(0),
            2 => Compressed::Deflated(usize::MAX >> 20),
            _ => Compressed::Deflated(random.next() as usize % 5000),
        };
        advisor.record(random.next() as usize % 4000, outcome);
        assert!((0.0..=1.0).contains(&advisor.ratio()));
        let _ = advisor.advise(&[1; 10]);
    }
    for _ in 0..100 {
        advisor.record(1000, Compressed::Deflated(0));
    }
    assert_eq!(advisor.ratio(), 0.0);
}
