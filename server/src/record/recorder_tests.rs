//! A disk that takes nothing holds up the reading, and nothing else.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use fanwire::{Kind, Priority};

use super::super::file::Place;
use super::super::files::Wanted;
use super::*;

static IS_STUCK: AtomicBool = AtomicBool::new(true);

/// A disk that takes nothing while [`IS_STUCK`].
#[derive(Debug)]
struct Stuck(std::fs::File);

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        while IS_STUCK.load(Ordering::Acquire) {
            clock::sleep(Duration::from_millis(1));
        }
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Place for Stuck {
    fn cut(&self, length: u64) -> io::Result<()> {
        self.0.cut(length)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn again(&self) -> io::Result<Box<dyn Place>> {
        Ok(Box::new(Stuck(self.0.try_clone()?)))
    }
}

fn delivery(seq: u64, payload: &[u8]) -> Delivery<'_> {
    let (priority, kind, time_us) = (Priority::Normal, Kind::Binary, Some(1));
    Delivery { topic: "a", priority, seq, time_us, kind, payload, object: None }
}

#[test]
fn while_the_disk_takes_nothing_there_is_room_for_the_queue_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.mcap");
    let open = |path: &Path| -> io::Result<Box<dyn Place>> { Ok(Box::new(Stuck(std::fs::File::create_new(path)?))) };
    let flush_every = Duration::from_secs(3600);
    let (max_bytes, every, compression, about) = (None, None, None, BTreeMap::new());
    let wanted = Wanted { path: path.clone(), max_bytes, every, flush_every, compression, about };
    let payload = [0; 1000];
    // Room for ten messages to the byte: a topic's name and number go before them.
    let entry = size_of::<Entry>();
    let limit = entry + 10 * (entry + payload.len());
    let mut recorder = Recorder::start(Files::new(wanted, open).unwrap(), limit, false).unwrap();
    let mut taken = 0;
    while recorder.has_room() {
        taken += 1;
        recorder.on_message(&delivery(taken, &payload));
        assert_eq!(recorder.write().unwrap(), Written::Some);
    }
    assert_eq!(taken, 10);
    let due = recorder.next_line().expect("it will be said");
    assert!(recorder.full.is_some_and(|(_, is_said)| !is_said));
    recorder.say(due);
    assert!(recorder.full.is_some_and(|(_, is_said)| is_said), "and is said once");
    assert_eq!(recorder.next_line(), None);

    IS_STUCK.store(false, Ordering::Release);
    while recorder.write().unwrap() != Written::All {
        clock::sleep(Duration::from_millis(1));
    }
    assert!(recorder.has_room() && recorder.full.is_none());
    assert_eq!(recorder.finish().unwrap().messages, 10);
}
