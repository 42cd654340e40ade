//! Job: tokens that are refused although they are good: by whom they speak of, by their own name, by when they were made.
//! Knows: what a token is known by; the file that outlives the process. Must never know: the engine, connections.
//!
//! Their number is bounded. Where tokens live for a limited time an entry goes when all that it means have ended; else it stays.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fanwire_token::Fingerprint;
use serde::{Deserialize, Serialize};

use crate::error::{AccessError, Doing as _, ErrorKind};
use crate::key_file::read_regular;
use crate::live::Bearer;

/// Longest `sub` or `jti` that can be revoked.
pub const NAME_BYTES_MAX: usize = 1_024;
/// Bytes of an entry beside its names, in memory and in the file, at most.
const ENTRY_BYTES: usize = 256;

/// Which tokens are meant: those of which all holds that is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meant {
    /// Those of this subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// The one of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// Those that were made before this time, in seconds since 1970, or do not say when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
}

/// What the settings say of it.
#[derive(Clone, Debug, Default)]
pub struct RevocationsConfig {
    /// Where they outlive the process.
    pub file: Option<PathBuf>,
    /// Most entries.
    pub entries_max: usize,
    /// How long tokens live at most; `None`: however long they like.
    pub lifetime_max: Option<Duration>,
}

/// An entry, as it stands in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    meant: Meant,
    /// When all the tokens that are meant have ended, in seconds since 1970; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<u64>,
}

/// The file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    version: u32,
    revoked: Vec<Entry>,
}

/// An entry, ready to be compared with.
#[derive(Debug)]
struct Known {
    sub: Option<Fingerprint>,
    jti: Option<Fingerprint>,
    entry: Entry,
}

impl Known {
    fn of(entry: Entry) -> Self {
        let of = |text: &Option<String>| text.as_ref().map(|text| Fingerprint::of(text.as_bytes()));
        Known { sub: of(&entry.meant.sub), jti: of(&entry.meant.jti), entry }
    }

    fn means(&self, bearer: &Bearer) -> bool {
        let is_before = |before: u64| bearer.issued_at.is_none_or(|made| made < before);
        (self.sub.is_none() || self.sub == bearer.subject)
            && (self.jti.is_none() || self.jti == bearer.id)
            && self.entry.meant.before.is_none_or(is_before)
    }

    fn has_ended(&self, now: u64) -> bool {
        self.entry.until.is_some_and(|until| until <= now)
    }
}

/// See the module's head.
#[derive(Debug, Default)]
pub struct Revocations {
    config: RevocationsConfig,
    known: Vec<Known>,
}

impl Revocations {
    /// Reads what an earlier process has left.
    ///
    /// # Errors
    /// The file cannot be read, or is none: who is revoked must not come in because a file is broken.
    pub fn open(config: RevocationsConfig) -> Result<Self, AccessError> {
        let known = match &config.file {
            Some(path) => read(path, config.entries_max)?.into_iter().map(Known::of).collect(),
            None => Vec::new(),
        };
        Ok(Revocations { config, known })
    }

    /// Bytes that they take at most.
    pub fn bytes(config: &RevocationsConfig) -> usize {
        config.entries_max * (2 * NAME_BYTES_MAX + ENTRY_BYTES)
    }

    /// Whether they outlive the process.
    pub fn are_kept(&self) -> bool {
        self.config.file.is_some()
    }

    /// Entries that count at this time.
    pub fn len(&self, now: u64) -> usize {
        self.known.iter().filter(|known| !known.has_ended(now)).count()
    }

    /// Why a token is refused that is good, if it is: it ends after so much time.
    pub fn refusal(&self, bearer: &Bearer, left: Option<Duration>) -> Option<&'static str> {
        if let (Some(left), Some(most)) = (left, self.config.lifetime_max)
            && left > most
        {
            // It would outlive its revocation.
            return Some("lives_too_long");
        }
        self.known.iter().any(|known| known.means(bearer)).then_some("revoked")
    }

    /// Refuses these tokens from now on. The question that it comes back with finds those who came in by them.
    ///
    /// # Errors
    /// There are too many entries. [`ErrorKind::NotKept`]: the file cannot be written; they are refused all the same, until the process ends.
    pub fn revoke(&mut self, meant: Meant, now: u64) -> Result<(), AccessError> {
        self.known.retain(|known| !known.has_ended(now));
        let until = self.config.lifetime_max.map(|most| now.saturating_add(most.as_secs()).saturating_add(1));
        let entry = Entry { meant, until };
        // The same once more, or for everybody until a later time, takes the place of the older one.
        let is_wider = |known: &Known| {
            let (old, new) = (&known.entry.meant, &entry.meant);
            (&old.sub, &old.jti) == (&new.sub, &new.jti)
                && (new.before.is_none() || old.before.is_some() && old.before <= new.before)
        };
        let rest = self.known.iter().filter(|known| !is_wider(known)).count();
        if rest >= self.config.entries_max {
            let what = format!("{rest} revocations are as many as there may be (token.revocations_max)");
            return Err(AccessError::new(ErrorKind::TooMany, what));
        }
        self.known.retain(|known| !is_wider(known));
        self.known.push(Known::of(entry));
        match &self.config.file {
            Some(path) => write(path, self.known.iter().map(|known| known.entry.clone()).collect())
                .doing(ErrorKind::NotKept, || {
                    format!("revoked until the server ends, but {} cannot be written", path.display())
                }),
            None => Ok(()),
        }
    }

    /// Whether the newest entry means this one.
    pub fn newest_means(&self, bearer: &Bearer) -> bool {
        self.known.last().is_some_and(|known| known.means(bearer))
    }
}

/// The longest that a file of so many entries can be: each byte of a name as an escape, and what else stands in it.
fn file_bytes_max(entries_max: usize) -> u64 {
    (entries_max.saturating_mul(2 * 6 * NAME_BYTES_MAX + ENTRY_BYTES) as u64).saturating_add(1 << 10)
}

fn read(path: &Path, entries_max: usize) -> Result<Vec<Entry>, AccessError> {
    let bytes = match read_regular(path, file_bytes_max(entries_max)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).doing(ErrorKind::NotReadable, || format!("cannot read {}", path.display())),
    };
    let wrong = |what: String| {
        let fix = "mend it, or remove it: what is revoked in it is then let in again";
        AccessError::new(ErrorKind::NotUsable, format!("{} (token.revocations_file): {what}; {fix}", path.display()))
    };
    let kept: Kept = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
    if kept.version != 1 {
        return Err(wrong(format!("version {} is of a newer fanwire", kept.version)));
    }
    if kept.revoked.iter().any(|entry| entry.meant == Meant::default()) {
        return Err(wrong("an entry means every token".into()));
    }
    let names = kept.revoked.iter().flat_map(|entry| [&entry.meant.sub, &entry.meant.jti]).flatten();
    if names.into_iter().any(|name| name.len() > NAME_BYTES_MAX) {
        return Err(wrong(format!("a name has at most {NAME_BYTES_MAX} bytes")));
    }
    match kept.revoked.len() {
        count if count > entries_max => {
            Err(wrong(format!("{count} entries are more than the {entries_max} of token.revocations_max")))
        }
        _ => Ok(kept.revoked),
    }
}

/// Beside it first, then in its place: at each moment one of the two is whole.
fn write(path: &Path, revoked: Vec<Entry>) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(&Kept { version: 1, revoked })?;
    text.push(b'\n');
    let mut beside = path.to_path_buf().into_os_string();
    beside.push(".new");
    let mut file = File::create(&beside)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn bearer(sub: &str, jti: &str, issued_at: Option<u64>) -> Bearer {
        let of = |text: &str| Some(Fingerprint::of(text.as_bytes()));
        Bearer { key: Fingerprint::of(b"key"), issuer: None, subject: of(sub), id: of(jti), issued_at }
    }

    fn sub(name: &str) -> Meant {
        Meant { sub: Some(name.into()), ..Meant::default() }
    }

    fn of(entries_max: usize, lifetime_max: Option<Duration>, file: Option<PathBuf>) -> RevocationsConfig {
        RevocationsConfig { file, entries_max, lifetime_max }
    }

    #[test]
    fn an_entry_means_those_of_which_all_holds() {
        let mut revocations = Revocations::open(of(10, None, None)).unwrap();
        let refused = |revocations: &Revocations, bearer| revocations.refusal(&bearer, None);
        assert_eq!(refused(&revocations, bearer("u1", "t1", Some(5))), None);
        revocations.revoke(sub("u1"), 100).unwrap();
        revocations.revoke(Meant { jti: Some("t9".into()), ..Meant::default() }, 100).unwrap();
        revocations.revoke(Meant { before: Some(50), ..sub("u2") }, 100).unwrap();
        for (who, expected) in [
            (bearer("u1", "t1", Some(5_000)), Some("revoked")),
            (bearer("u3", "t9", Some(5_000)), Some("revoked")),
            (bearer("u3", "t8", Some(5)), None),
            (bearer("u2", "t1", Some(49)), Some("revoked")),
            (bearer("u2", "t1", None), Some("revoked")),
            (bearer("u2", "t1", Some(50)), None),
        ] {
            assert_eq!(refused(&revocations, who), expected, "{who:?}");
        }
        revocations.revoke(Meant { before: Some(60), ..Meant::default() }, 100).unwrap();
        assert_eq!(refused(&revocations, bearer("u3", "t8", Some(59))), Some("revoked"));
        assert_eq!(refused(&revocations, bearer("u3", "t8", Some(60))), None);
    }

    #[test]
    fn there_are_so_many_and_they_go_when_their_tokens_have_ended() {
        let mut revocations = Revocations::open(of(2, Some(HOUR), None)).unwrap();
        revocations.revoke(sub("a"), 1_000).unwrap();
        revocations.revoke(sub("b"), 2_000).unwrap();
        // The same once more takes no place.
        revocations.revoke(sub("b"), 2_000).unwrap();
        let failure = revocations.revoke(sub("c"), 4_600).unwrap_err();
        assert!(failure.kind == ErrorKind::TooMany && failure.to_string().contains("token.revocations_max"));
        assert_eq!(revocations.refusal(&bearer("c", "t", None), None), None);
        assert_eq!((revocations.len(4_600), revocations.len(4_601)), (2, 1));
        revocations.revoke(sub("c"), 4_601).unwrap();
        assert_eq!(revocations.refusal(&bearer("a", "t", None), None), None);
        assert_eq!(revocations.refusal(&bearer("b", "t", None), None), Some("revoked"));
        // A token that would outlive its revocation is none that is taken.
        let left = |seconds| revocations.refusal(&bearer("d", "t", None), Some(HOUR + Duration::from_secs(seconds)));
        assert_eq!((left(0), left(1)), (None, Some("lives_too_long")));
    }

    #[test]
    fn later_times_take_the_place_of_earlier_ones() {
        let mut revocations = Revocations::open(of(1, None, None)).unwrap();
        for before in [10, 20] {
            revocations.revoke(Meant { before: Some(before), ..Meant::default() }, 100).unwrap();
        }
        assert_eq!(revocations.len(100), 1);
        assert!(revocations.revoke(Meant { before: Some(15), ..Meant::default() }, 100).is_err(), "one is there");
    }

    #[test]
    fn they_outlive_the_process_and_a_broken_file_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("revoked.json");
        let open = || Revocations::open(of(2, None, Some(path.clone())));
        open().unwrap().revoke(sub("a"), 100).unwrap();
        let mut revocations = open().unwrap();
        assert!(revocations.are_kept());
        assert_eq!(revocations.refusal(&bearer("a", "t", None), None), Some("revoked"));
        revocations.revoke(sub("b"), 100).unwrap();
        assert_eq!(open().unwrap().len(100), 2);
        assert_eq!(Revocations::open(of(1, None, Some(path.clone()))).unwrap_err().kind, ErrorKind::NotUsable);
        let whole = fs::read(&path).unwrap();
        for wrong in [
            &whole[..whole.len() / 2],
            b"",
            b"{\"version\":2,\"revoked\":[]}",
            b"{\"version\":1,\"revoked\":[{\"meant\":{}}]}",
        ] {
            fs::write(&path, wrong).unwrap();
            let failure = open().unwrap_err();
            assert_eq!(failure.kind, ErrorKind::NotUsable);
            assert!(failure.to_string().contains("token.revocations_file"), "{failure}");
        }
        // A name at its longest, however it is written, and one byte longer.
        let named = |length: usize| {
            format!(r#"{{"version":1,"revoked":[{{"meant":{{"sub":"{}"}}}}]}}"#, "\\u0061".repeat(length))
        };
        fs::write(&path, named(NAME_BYTES_MAX)).unwrap();
        assert_eq!(open().unwrap().len(100), 1);
        fs::write(&path, named(NAME_BYTES_MAX + 1)).unwrap();
        assert_eq!(open().unwrap_err().kind, ErrorKind::NotUsable);
        // What never ends, and what never comes.
        fs::write(&path, vec![b' '; file_bytes_max(2) as usize + 1]).unwrap();
        assert_eq!(open().unwrap_err().kind, ErrorKind::NotReadable);
        fs::remove_file(&path).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
        assert_eq!(open().unwrap_err().kind, ErrorKind::NotReadable);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(open().unwrap_err().kind, ErrorKind::NotReadable);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_told_and_the_token_is_refused_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("none").join("revoked.json");
        let mut revocations = Revocations::open(of(2, None, Some(path))).unwrap();
        assert_eq!(revocations.revoke(sub("a"), 100).unwrap_err().kind, ErrorKind::NotKept);
        assert_eq!(revocations.refusal(&bearer("a", "t", None), None), Some("revoked"));
    }
}
