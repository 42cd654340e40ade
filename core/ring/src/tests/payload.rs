//! The pool: limits, recycling, what is shown, and whose code runs when.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use bytes::Bytes;

use super::super::*;

#[test]
fn a_claim_never_shows_old_bytes() {
    let pool = PayloadPool::new(1 << 20);
    for len in [1, 256, 1000, 4096, 5000] {
        assert!(pool.claim(len).unwrap().iter().all(|&byte| byte == 0));
        pool.claim(len).unwrap().fill(0xff);
        assert!(pool.claim(len).unwrap().iter().all(|&byte| byte == 0), "recycled");
        pool.copy_from(&vec![0xff; len]).unwrap();
        let mut claim = pool.claim(len / 2).unwrap();
        assert!(claim.grow(len));
        assert!(claim.iter().all(|&byte| byte == 0), "grown");
        claim.fill(0xff);
        claim.truncate(len / 3);
        assert!(claim.grow(len));
        assert_eq!(claim.iter().filter(|&&byte| byte == 0).count(), len - len / 3, "truncated and grown");
    }
}

#[test]
fn a_message_grows_through_the_classes_and_keeps_its_bytes() {
    let pool = PayloadPool::new(1 << 20);
    let mut claim = pool.claim_empty(0).unwrap();
    assert_eq!((claim.len(), claim.capacity()), (0, 256));
    let mut expected = Vec::new();
    for i in 0..500usize {
        let piece = vec![i as u8; i % 190];
        assert!(claim.append(&piece));
        expected.extend_from_slice(&piece);
        assert_eq!(*claim, expected);
    }
    let used = PayloadPool::footprint(expected.len());
    assert_eq!(pool.used_bytes(), used, "the smaller buffers went back");
    assert!(claim.grow(10), "shorter than it is");
    assert_eq!(*claim, expected);
    let payload = claim.freeze();
    assert_eq!(*payload, expected);
    assert_eq!(*payload.clone(), expected);
    drop(payload);
    assert_eq!(pool.used_bytes(), 0);
}

#[test]
fn the_limit_holds_and_nothing_is_lost_at_it() {
    let limit = 4 * PayloadPool::footprint(1000);
    let pool = PayloadPool::new(limit);
    let mut claims: Vec<_> = (0..4).map(|_| pool.claim(1000).unwrap()).collect();
    assert_eq!(pool.used_bytes(), limit);
    assert!(pool.claim(1).is_none());
    assert!(pool.copy_from(b"x").is_none());
    assert!(pool.adopt(Bytes::from_static(b"x")).is_err_and(|full| *full.0 == *b"x"));
    let mut last = claims.pop().unwrap();
    last.fill(7);
    assert!(!last.grow(1025), "no room for the larger class");
    assert!(!last.append(&[1; 100]));
    assert_eq!(*last, [7; 1000]);
    drop(last);
    // A spare buffer of another size gives way.
    assert!(pool.spare_bytes() > 0);
    assert!(pool.claim(300).is_some());
    drop(claims);
    assert_eq!(pool.used_bytes(), 0);
    assert!(pool.spare_bytes() <= limit / 4);
    assert!(pool.claim(3000).is_some(), "all of the spares give way");
}

#[test]
fn sizes_that_no_pool_has_are_refused() {
    let pool = PayloadPool::new(POOL_BYTES_DEFAULT);
    assert!(pool.claim((1 << 30) + 1).is_none());
    assert!(pool.claim(usize::MAX).is_none());
    assert!(pool.claim(POOL_BYTES_DEFAULT).is_none(), "there is no room for the header");
    assert_eq!(PayloadPool::footprint(usize::MAX), usize::MAX);
    let mut claim = pool.claim(64 << 20).unwrap();
    assert!(!claim.grow(usize::MAX));
    claim[(64 << 20) - 1] = 1;
    assert_eq!(claim.freeze()[(64 << 20) - 1], 1);
    assert!(PayloadPool::new(0).claim(0).is_none());
    assert!(PayloadPool::new(0).adopt(Bytes::new()).is_err());
}

#[test]
fn steady_state_takes_nothing_from_the_system() {
    let pool = PayloadPool::new(1 << 20);
    let sizes = [0, 100, 256, 257, 5000];
    let round = || {
        let held: Vec<_> = sizes.iter().map(|&len| pool.claim(len).unwrap().freeze()).collect();
        let adopted = pool.adopt(Bytes::from_static(b"hello")).unwrap();
        let clones = (held.clone(), adopted.clone());
        drop((held, adopted, clones));
        pool.reclaim();
        assert_eq!(pool.used_bytes(), 0);
        pool.spare_bytes()
    };
    let spare = round();
    assert!(spare > 0);
    for _ in 0..10_000 {
        assert_eq!(round(), spare);
    }
}

/// Bytes of the host's whose release is counted.
struct Owner {
    bytes: Vec<u8>,
    released: Arc<AtomicUsize>,
    panics: bool,
}

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.released.fetch_add(1, Ordering::SeqCst);
        assert!(!self.panics, "the host's own trouble");
    }
}

fn owned(released: &Arc<AtomicUsize>, panics: bool) -> Bytes {
    Bytes::from_owner(Owner { bytes: vec![9; 1000], released: Arc::clone(released), panics })
}

#[test]
fn adopted_bytes_count_until_they_are_reclaimed() {
    let released = Arc::new(AtomicUsize::new(0));
    let pool = PayloadPool::new(2500);
    let first = pool.adopt(owned(&released, false)).unwrap();
    let second = pool.adopt(owned(&released, false)).unwrap();
    assert!(pool.used_bytes() >= 2000);
    assert!(pool.adopt(owned(&released, false)).is_err());
    assert_eq!(released.load(Ordering::SeqCst), 1, "the refused one came back and was dropped here");
    assert_eq!(*first, [9; 1000]);
    let clone = first.clone();
    drop(first);
    pool.reclaim();
    assert_eq!(*clone, [9; 1000]);
    drop((clone, second));
    assert_eq!(released.load(Ordering::SeqCst), 1, "the last drop runs no code of the owner's");
    let third = pool.adopt(owned(&released, false)).unwrap();
    assert_eq!(released.load(Ordering::SeqCst), 3, "the next adoption does");
    drop(third);
    pool.reclaim();
    assert_eq!((released.load(Ordering::SeqCst), pool.used_bytes()), (4, 0));
}

#[test]
fn an_owner_that_panics_takes_nobody_with_it() {
    let released = Arc::new(AtomicUsize::new(0));
    let pool = PayloadPool::new(1 << 20);
    for panics in [false, true, false] {
        drop(pool.adopt(owned(&released, false)).unwrap());
        let payload = pool.adopt(owned(&released, panics)).unwrap();
        drop(payload);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pool.reclaim()));
        assert_eq!(result.is_err(), panics);
    }
    pool.reclaim();
    assert_eq!((released.load(Ordering::SeqCst), pool.used_bytes()), (6, 0));
}

#[test]
fn payloads_outlive_the_pool() {
    let released = Arc::new(AtomicUsize::new(0));
    let pool = PayloadPool::new(1 << 20);
    let copied = pool.copy_from(b"still here").unwrap();
    let adopted = pool.adopt(owned(&released, false)).unwrap();
    let retired = pool.adopt(owned(&released, false)).unwrap();
    drop(retired);
    drop(pool);
    assert_eq!((&*copied, adopted.len()), (&b"still here"[..], 1000));
    drop((copied, adopted));
    assert_eq!(released.load(Ordering::SeqCst), 2);
}

#[test]
fn bytes_made_of_a_payload_keep_counting() {
    let pool = PayloadPool::new(1 << 20);
    let bytes = Bytes::from(pool.copy_from(b"to the host").unwrap());
    let part = bytes.slice(3..);
    drop(bytes);
    assert_eq!(&part[..], b"the host");
    assert!(pool.used_bytes() > 0);
    drop(part);
    assert_eq!(pool.used_bytes(), 0);
}

#[test]
fn threads_share_the_pool_and_the_payloads() {
    let pool = PayloadPool::new(64 << 10);
    thread::scope(|scope| {
        for thread in 0..4u8 {
            let pool = &pool;
            scope.spawn(move || {
                let mut kept = Vec::new();
                for i in 0..20_000usize {
                    let bytes = [thread; 700];
                    let len = (i * 37) % 700;
                    let payload = if i % 8 == 0 {
                        pool.adopt(Bytes::from(bytes[..len].to_vec())).ok()
                    } else {
                        pool.copy_from(&bytes[..len])
                    };
                    let Some(payload) = payload else {
                        kept.clear();
                        continue;
                    };
                    assert!(pool.used_bytes() <= pool.limit_bytes());
                    kept.push((len, payload.clone()));
                    if kept.len() > 20 {
                        kept.swap_remove(i % 20);
                    }
                    for (len, payload) in &kept {
                        assert!(payload.len() == *len && payload.iter().all(|&byte| byte == thread));
                    }
                }
            });
        }
    });
    pool.reclaim();
    assert_eq!(pool.used_bytes(), 0);
}
