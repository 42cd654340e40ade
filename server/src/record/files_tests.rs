//! What becomes of a recording on disks that are full, and in files that are cut.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use fanwire::{Kind, Priority};

use super::super::file::CHANNELS_MAX;
use super::*;

fn wanted(path: PathBuf) -> Wanted {
    let flush_every = Duration::from_secs(3600);
    let (max_bytes, every, compression, about) = (None, None, Some(Compression::Lz4), BTreeMap::new());
    Wanted { path, max_bytes, every, flush_every, compression, about }
}

fn topic(id: u32) -> Entry {
    Entry::Topic { id, name: format!("t/{id}"), epoch: 7 }
}

fn message(topic: u32, seq: u64, bytes: usize) -> Entry {
    let (priority, kind) = (Priority::Normal, Kind::Binary);
    Entry::Message(Stamp { topic, priority, kind, seq, log_ns: seq.saturating_add(1), publish_ns: seq, bytes })
}

/// One topic's messages of these payloads.
fn batch(payloads: &[Vec<u8>]) -> Batch {
    let mut batch = Batch::default();
    batch.push(topic(0), &[]);
    for (seq, payload) in (1..).zip(payloads) {
        batch.push(message(0, seq, payload.len()), payload);
    }
    batch
}

/// What does not compress: each byte out of the one before.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 1u64;
    let step = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..bytes).map(step).collect()
}

fn sequences(path: &Path) -> Vec<u32> {
    let bytes = std::fs::read(path).unwrap();
    mcap::MessageStream::new(&bytes).unwrap().map(|message| message.unwrap().sequence).collect()
}

/// The same of a file that has no end.
fn sequences_of_a_part(path: &Path) -> Vec<u32> {
    let bytes = std::fs::read(path).unwrap();
    let messages = mcap::MessageStream::new_with_options(&bytes, mcap::read::Options::IgnoreEndMagic.into()).unwrap();
    messages.map(|message| message.unwrap().sequence).collect()
}

#[test]
fn files_are_at_most_as_large_as_was_asked_for_and_hold_everything() {
    let folder = tempfile::tempdir().unwrap();
    let limit = 200_000;
    for compression in [None, Some(Compression::Lz4), Some(Compression::Zstd)] {
        let path = folder.path().join(format!("{compression:?}.mcap"));
        let mut files =
            Files::new(Wanted { max_bytes: Some(limit), compression, ..wanted(path.clone()) }, create).unwrap();
        files.write(&batch(&vec![noise(9_000); 60])).unwrap();
        files.end_file().unwrap();
        let mut found = Vec::new();
        for number in 1..=files.totals().files {
            let path = numbered(&path, number as u32);
            assert!(std::fs::metadata(&path).unwrap().len() <= limit, "{}", path.display());
            found.extend(sequences(&path));
        }
        assert_eq!(found, (1..=60).collect::<Vec<_>>());
        assert!(files.totals().files > 1 && files.totals().messages == 60);
    }
}

#[test]
fn a_message_that_is_larger_than_a_file_has_one_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.mcap");
    let mut files = Files::new(Wanted { max_bytes: Some(65_536), ..wanted(path.clone()) }, create).unwrap();
    files.write(&batch(&[noise(100), noise(100_000), noise(100)])).unwrap();
    files.end_file().unwrap();
    assert_eq!((1..=3).map(|n| sequences(&numbered(&path, n))).collect::<Vec<_>>(), [[1], [2], [3]]);
}

#[test]
fn a_file_ends_at_its_time_and_the_next_takes_the_next_free_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("day.mcap");
    let every = Duration::from_secs(60);
    std::fs::write(numbered(&path, 2), "somebody's").unwrap();
    let mut files = Files::new(Wanted { every: Some(every), ..wanted(path.clone()) }, create).unwrap();
    assert_eq!(files.next_due(), None);
    files.write(&batch(&[noise(10)])).unwrap();
    let ends = files.next_due().unwrap();
    files.on_time(ends - Duration::from_nanos(1)).unwrap();
    assert_eq!(files.totals().files, 0, "not before its time");
    files.on_time(ends).unwrap();
    assert_eq!(files.totals().files, 1);
    let mut more = Batch::default();
    more.push(message(0, 2, 0), &[]);
    files.write(&more).unwrap();
    files.end_file().unwrap();
    assert_eq!((sequences(&numbered(&path, 1)), sequences(&numbered(&path, 3))), (vec![1], vec![2]));
    assert_eq!(std::fs::read(numbered(&path, 2)).unwrap(), b"somebody's");
}

#[test]
fn what_came_can_be_read_after_the_flush_without_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.mcap");
    let mut files = Files::new(wanted(path.clone()), create).unwrap();
    files.write(&batch(&[noise(10), noise(20)])).unwrap();
    assert_eq!(sequences_of_a_part(&path), [0; 0]);
    files.on_time(files.next_due().unwrap()).unwrap();
    assert_eq!(sequences_of_a_part(&path), [1, 2]);
    assert_eq!(files.next_due(), None, "nothing is pending");
}

#[test]
fn a_file_is_never_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.mcap");
    std::fs::write(&path, "mine").unwrap();
    let failure = Files::new(wanted(path.clone()), create).err().unwrap();
    assert_eq!(failure.code, Exit::Usage as i32);
    assert_eq!(std::fs::read(&path).unwrap(), b"mine");
}

#[test]
fn topics_for_which_a_file_has_no_channel_go_to_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.mcap");
    let mut files = Files::new(wanted(path.clone()), create).unwrap();
    for id in 0..=CHANNELS_MAX as u32 {
        let mut batch = Batch::default();
        batch.push(topic(id), &[]);
        batch.push(message(id, 1, 0), &[]);
        files.write(&batch).unwrap();
        if id as usize == CHANNELS_MAX - 1 {
            assert_eq!(files.totals().files, 0, "as many as there may be");
        }
    }
    files.end_file().unwrap();
    assert_eq!((files.totals().files, files.totals().messages), (2, CHANNELS_MAX as u64 + 1));
    assert_eq!(sequences(&numbered(&path, 2)), [1]);
}

#[test]
fn a_number_beyond_32_bits_is_kept_by_its_channel() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.mcap");
    let mut files = Files::new(wanted(path.clone()), create).unwrap();
    let mut batch = Batch::default();
    batch.push(topic(0), &[]);
    let numbers = [u64::from(u32::MAX), u64::from(u32::MAX) + 1, u64::MAX];
    for seq in numbers {
        let Entry::Message(stamp) = message(0, seq, 0) else { unreachable!() };
        batch.push(Entry::Message(Stamp { log_ns: 1, publish_ns: 1, ..stamp }), &[]);
    }
    files.write(&batch).unwrap();
    files.end_file().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let found = mcap::MessageStream::new(&bytes).unwrap().map(|message| {
        let message = message.unwrap();
        message.channel.metadata["seq_base"].parse::<u64>().unwrap() + u64::from(message.sequence)
    });
    assert_eq!(found.collect::<Vec<_>>(), numbers);
}

/// Bytes that [`Full`] takes yet.
static ROOM: AtomicU64 = AtomicU64::new(0);

/// A disk without room for more.
#[derive(Debug)]
struct Full(std::fs::File);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = (bytes.len() as u64).min(ROOM.load(Ordering::Relaxed));
        if taken == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        ROOM.fetch_sub(taken, Ordering::Relaxed);
        self.0.write_all(&bytes[..taken as usize])?;
        Ok(taken as usize)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Place for Full {
    fn cut(&self, length: u64) -> io::Result<()> {
        self.0.cut(length)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn again(&self) -> io::Result<Box<dyn Place>> {
        Ok(Box::new(Full(self.0.try_clone()?)))
    }
}

#[test]
fn on_a_full_disk_it_ends_and_leaves_what_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.mcap");
    let full = |path: &Path| -> io::Result<Box<dyn Place>> { Ok(Box::new(Full(std::fs::File::create_new(path)?))) };
    ROOM.store(1_500_000, Ordering::Relaxed);
    let wanted = Wanted { compression: None, ..wanted(path.clone()) };
    let mut files = Files::new(wanted, full).unwrap();
    let failure = files.write(&batch(&vec![noise(10_000); 300])).unwrap_err();
    assert_eq!(failure.code, Exit::Io as i32);
    assert!(format!("{:#}", failure.error).contains("a.mcap"), "{:#}", failure.error);
    let found = sequences_of_a_part(&path);
    assert!(found.len() > 100 && found.len() < 150, "a chunk of a MiB: {}", found.len());
    assert_eq!(found, (1..=found.len() as u32).collect::<Vec<_>>());
    assert!(std::fs::metadata(&path).unwrap().len() < 1_200_000, "the piece behind it is cut off");
}
