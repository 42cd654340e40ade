//! Those who wait for the ring share it by bytes, whatever the sizes of their messages.

use super::*;
use crate::config::{MemoryConfig, PublishAccess};

/// Bytes that each of some flooding publishers got through a small ring: each on a topic of its own, of which it hears.
fn shares(sizes: &[usize]) -> Vec<usize> {
    let mut config = Config { shards: Some(1), ..Config::default() };
    config.memory = MemoryConfig { ring_bytes: 64 << 10, ..MemoryConfig::default() };
    config.access.publish = PublishAccess::Everyone;
    let mut stage = Stage::new(config, 4 << 20);
    let mut players: Vec<Player> = (0..sizes.len()).map(|i| stage.raw(&format!("/t/p{i}"))).collect();
    let mut shares = vec![0; sizes.len()];
    for _ in 0..600 {
        for (player, &size) in players.iter_mut().zip(sizes) {
            while player.wire.queued() < 128 << 10 {
                player.says(&"x".repeat(size));
            }
        }
        stage.turn_of(&mut players);
        for (share, player) in shares.iter_mut().zip(&mut players) {
            for incoming in player.wire.read_some(usize::MAX) {
                if let Incoming::Message { bytes, .. } = incoming {
                    *share += bytes.len();
                }
            }
        }
    }
    shares
}

fn assert_equal(sizes: &[usize]) {
    let shares = shares(sizes);
    let (least, most) = (shares.iter().min().expect("some"), shares.iter().max().expect("some"));
    assert!(*least > 0 && *most <= 2 * *least, "{sizes:?}: {shares:?}");
}

#[test]
fn eight_that_flood_get_equal_shares() {
    assert_equal(&[100; 8]);
    assert_equal(&[3_000; 8]);
    assert_equal(&[20_000; 8]);
}

#[test]
fn who_sends_large_messages_gets_no_more_than_who_sends_small_ones() {
    assert_equal(&[300, 300, 300, 300, 3_000, 3_000, 3_000, 3_000]);
    assert_equal(&[500, 1_000, 1_500, 2_000, 2_500, 3_000, 3_500, 4_000]);
}
