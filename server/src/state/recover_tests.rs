use std::fs::{self, OpenOptions};
use std::path::Path;

use super::*;
use crate::output::Output;
use crate::state::{Recorder, WriteError};

const TOPICS: [&str; 3] = ["a/b", "c \"quoted\"", "ü"];

/// A moment at which a process may end: what the state file holds by then, and the output.
type Moment = (Vec<u8>, Vec<u8>);

/// A recorder and its output, a file that is appended to.
fn recorder(folder: &Path) -> (Recorder, Output) {
    let file = OpenOptions::new().append(true).create(true).open(folder.join("out")).unwrap();
    let out = Output::file(file);
    let (recorder, _) = Recorder::open(&folder.join("state"), &out).unwrap();
    (recorder, out)
}

/// Queues message number `n` of all: its topics take turns, and each line says which message of which topic it is.
fn queue(recorder: &mut Recorder, out: &mut Output, n: usize) {
    let (topic, seq) = (TOPICS[n % TOPICS.len()], (n / TOPICS.len()) as u64 + 1);
    if seq == 1 {
        recorder.note(topic, Change::Set(Numbers { epoch: 7, seq: [None; 4] }), out.end());
    }
    out.push(format!("{topic} {seq} {}\n", "x".repeat(n % 5)).as_bytes());
    recorder.note(topic, Change::Advance(Priority::Low, seq), out.end());
}

/// Every moment of a run that writes `messages` in pieces of `piece`.
fn moments(messages: usize, piece: usize) -> (Vec<Moment>, FileEnd) {
    let folder = tempfile::tempdir().unwrap();
    let (mut recorder, mut out) = recorder(folder.path());
    let read = || (fs::read(folder.path().join("state")).unwrap(), fs::read(folder.path().join("out")).unwrap());
    let mut moments = vec![read()];
    for n in 0..messages {
        queue(&mut recorder, &mut out, n);
        if n % piece + 1 < piece {
            continue;
        }
        assert!(recorder.write(&mut out).unwrap());
        let (before, after) = (moments.last().unwrap().clone(), read());
        assert!(after.0.starts_with(&before.0), "a line is appended");
        // First the state, byte by byte, then the output.
        moments.extend((before.0.len()..after.0.len()).map(|at| (after.0[..at].to_vec(), before.1.clone())));
        moments.extend((before.1.len()..after.1.len()).map(|at| (after.0.clone(), after.1[..at].to_vec())));
        moments.push(after);
    }
    (moments, out.file_end().unwrap().unwrap())
}

fn at(end: FileEnd, length: usize) -> Option<FileEnd> {
    Some(FileEnd { length: length as u64, ..end })
}

#[test]
fn wherever_it_ends_the_numbers_are_those_of_the_whole_lines_in_the_output() {
    for piece in [1, 2, 3, 7] {
        let (moments, end) = moments(21, piece);
        assert!(moments.len() > 300);
        for (state, out) in moments {
            let recovered = recover(&state, at(end, out.len())).unwrap();
            let kept = recovered.cut.map_or(out.len(), |cut| cut as usize);
            let kept = std::str::from_utf8(&out[..kept]).unwrap();
            assert!(kept.is_empty() || kept.ends_with('\n'), "no half line is left: {kept:?}");
            for topic in TOPICS {
                let lines = kept.lines().filter(|line| line.starts_with(topic)).count() as u64;
                let numbers = recovered.topics.get(topic).copied().unwrap_or_default();
                assert_eq!(numbers.seq[Priority::Low as usize].unwrap_or(0), lines, "{topic} {kept:?}");
            }
        }
    }
}

#[test]
fn output_that_is_another_one_tells_nothing_of_the_last_write() {
    let (moments, end) = moments(21, 7);
    let (state, out) = moments.last().unwrap();
    let sum = |end| {
        let recovered = recover(state, end).unwrap();
        assert_eq!(recovered.cut, None);
        recovered.topics.values().map(|numbers| numbers.seq[3].unwrap_or(0)).sum::<u64>()
    };
    assert_eq!(sum(at(end, out.len())), 21);
    assert_eq!(sum(at(end, out.len() + 100)), 21, "somebody has added something");
    let another = FileEnd { inode: end.inode + 1, ..end };
    assert_eq!((sum(Some(another)), sum(None)), (14, 14));
}

#[test]
fn every_beginning_of_a_state_is_a_state_or_refused_and_none_panics() {
    let (moments, end) = moments(21, 7);
    let (state, out) = moments.last().unwrap();
    for cut in 0..state.len() {
        let _ = recover(&state[..cut], at(end, out.len()));
        let mut damaged = state.clone();
        damaged[cut] = b'9';
        let _ = recover(&damaged, at(end, out.len()));
    }
    let huge = format!(
        "{{\"fanwire_state\":1,\"asked\":[],\"output\":null,\"topics\":{{}}}}\n{{\"at\":{0},\"intent\":[{{\"topic\":\"a\",\"lane\":\"low\",\
         \"seq\":{0},\"bytes\":[{0},{0}]}}]}}\n{{\"asked\":[]}}\n",
        u64::MAX
    );
    assert!(recover(huge.as_bytes(), None).is_err());
}

#[test]
fn what_was_left_by_earlier_versions_is_read_and_nothing_is_nothing() {
    assert_eq!(recover(b"", None).unwrap(), Recovered::default());
    assert_eq!(recover(b" \n", None).unwrap(), Recovered::default());
    let old = br#"{"a":{"epoch":7,"seq":{"normal":4}},"fanwire_state":{"epoch":7,"seq":{}}}"#;
    let recovered = recover(&[&old[..], b"\n"].concat(), None).unwrap();
    assert_eq!(recovered.topics["a"], Numbers { epoch: 7, seq: [None, None, Some(4), None] });
    assert_eq!(recovered.topics.len(), 2);
    assert_eq!(recover(old, None).unwrap(), recovered);
    for wrong in
        [&b"[]\n"[..], b"{\"a\":1}\n", b"hello", b"{\"fanwire_state\":2,\"asked\":[],\"output\":null,\"topics\":{}}\n"]
    {
        assert!(recover(wrong, None).is_err(), "{wrong:?}");
    }
}

#[test]
fn a_second_run_cuts_off_half_a_line_and_goes_on_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let (mut first, mut out) = recorder(folder.path());
    (0..9).for_each(|n| queue(&mut first, &mut out, n));
    assert!(first.write(&mut out).unwrap());
    drop((first, out));
    let path = folder.path().join("out");
    let length = fs::metadata(&path).unwrap().len();
    OpenOptions::new().write(true).open(&path).unwrap().set_len(length - 2).unwrap();
    let (second, out) = recorder(folder.path());
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 8);
    assert_eq!(second.topics.values().map(|numbers| numbers.seq[3].unwrap_or(0)).sum::<u64>(), 8);
    assert_eq!(out.file_end().unwrap().map(|end| end.length), Some(fs::metadata(&path).unwrap().len()));
}

#[test]
fn what_cannot_be_written_is_not_noted() {
    let folder = tempfile::tempdir().unwrap();
    let out = Output::file(OpenOptions::new().write(true).open("/dev/full").unwrap());
    let (mut recorder, _) = Recorder::open(&folder.path().join("state"), &out).unwrap();
    let mut out = out;
    queue(&mut recorder, &mut out, 0);
    assert!(matches!(recorder.write(&mut out), Err(WriteError::Output(_))));
    recorder.snapshot(&out).unwrap();
    let state = fs::read(folder.path().join("state")).unwrap();
    // The topic is known, nothing of it has come.
    assert_eq!(recover(&state, None).unwrap().topics[TOPICS[0]].seq, [None; 4]);
}

#[test]
fn a_state_is_one_process_s_at_a_time_and_found_unwritable_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (recorder, out) = recorder(folder.path());
    let path = folder.path().join("state");
    let failure = Recorder::open(&path, &out).unwrap_err();
    assert!(failure.code == 74 && failure.error.to_string().contains("in use"), "{:#}", failure.error);
    drop(recorder);
    assert!(Recorder::open(&path, &out).is_ok());
    for nowhere in [folder.path().join("no/such/folder"), folder.path().to_owned(), "/dev/null".into()] {
        assert_eq!(Recorder::open(&nowhere, &out).unwrap_err().code, 74, "{}", nowhere.display());
    }
    let itself = Output::file(OpenOptions::new().append(true).open(&path).unwrap());
    assert_eq!(Recorder::open(&path, &itself).unwrap_err().code, 2);
    fs::write(&path, "hello\n").unwrap();
    assert_eq!(Recorder::open(&path, &out).unwrap_err().code, 65);
    assert_eq!(fs::read(&path).unwrap(), b"hello\n", "what is not ours is left alone");
}

#[test]
fn a_long_run_does_not_let_the_state_grow() {
    let folder = tempfile::tempdir().unwrap();
    let (mut recorder, mut out) = recorder(folder.path());
    let mut most = 0;
    for n in 0..120_000 {
        queue(&mut recorder, &mut out, n);
        if n % 100 == 99 {
            assert!(recorder.write(&mut out).unwrap());
            most = most.max(fs::metadata(folder.path().join("state")).unwrap().len());
        }
    }
    assert!(most < 2 << 20, "{most}");
    drop((recorder, out));
    let (recorder, _) = self::recorder(folder.path());
    assert_eq!(recorder.topics.values().map(|numbers| numbers.seq[3].unwrap_or(0)).sum::<u64>(), 120_000);
}
