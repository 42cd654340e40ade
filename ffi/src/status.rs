//! Statuses, and the text of each thread's last error.
//!
//! # Contract of the unsafe code
//! Only the exported names need it. A thread's error text stays where it is until the thread's next failed call.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};

use fanwire::{DecideError, PublishError, SendError, SnapshotError, StartError, TopicError};
use fanwire_access::{AccessError, ErrorKind};

/// What a call came to. A value never changes its meaning; later versions may add some, so treat an unknown one as
/// an error.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum fw_status {
    /// Done.
    FW_OK = 0,
    /// No room now: the slowest shard is a whole ring behind, or the memory for payloads is in use. Nothing was done; try
    /// again later, or wait with a time-out.
    FW_WOULD_BLOCK = 1,
    /// A pointer that must not be NULL is.
    FW_NULL = 2,
    /// Not a handle of this kind, or one that was freed.
    FW_BAD_HANDLE = 3,
    /// An argument is out of its range.
    FW_BAD_ARGUMENT = 4,
    /// The message is larger than message_bytes_max, or its attributes than 1,024 bytes.
    FW_TOO_LARGE = 5,
    /// A text or JSON message that is not UTF-8.
    FW_NOT_UTF8 = 6,
    /// Not a topic name.
    FW_BAD_NAME = 7,
    /// A limit on the number of things is reached; fw_last_error says which.
    FW_TOO_MANY = 8,
    /// The topic was removed.
    FW_REMOVED = 9,
    /// No such topic or connection.
    FW_GONE = 10,
    /// The engine has stopped.
    FW_STOPPED = 11,
    /// The time was over before all was done.
    FW_TIMED_OUT = 12,
    /// Another thread is in this call now, or it was made from inside a release callback.
    FW_BUSY = 13,
    /// This handle belongs to the process that forked this one.
    FW_FORKED = 14,
    /// The configuration cannot be used; fw_last_error says why, one line for each reason.
    FW_BAD_CONFIG = 15,
    /// io_uring was asked for and is not to be had; fw_last_error names the cause and the fix.
    FW_NO_URING = 16,
    /// An address cannot be listened on.
    FW_CANNOT_LISTEN = 17,
    /// The system refused something; fw_last_error says what.
    FW_SYSTEM = 18,
    /// A struct_size is of no version that this library knows.
    FW_ABI_MISMATCH = 19,
    /// A bug in fanwire. The host is unharmed; stop the engine.
    FW_INTERNAL = 99,
}

impl fw_status {
    const ALL: [fw_status; 21] = [
        Self::FW_OK,
        Self::FW_WOULD_BLOCK,
        Self::FW_NULL,
        Self::FW_BAD_HANDLE,
        Self::FW_BAD_ARGUMENT,
        Self::FW_TOO_LARGE,
        Self::FW_NOT_UTF8,
        Self::FW_BAD_NAME,
        Self::FW_TOO_MANY,
        Self::FW_REMOVED,
        Self::FW_GONE,
        Self::FW_STOPPED,
        Self::FW_TIMED_OUT,
        Self::FW_BUSY,
        Self::FW_FORKED,
        Self::FW_BAD_CONFIG,
        Self::FW_NO_URING,
        Self::FW_CANNOT_LISTEN,
        Self::FW_SYSTEM,
        Self::FW_ABI_MISMATCH,
        Self::FW_INTERNAL,
    ];

    const fn text(self) -> &'static CStr {
        match self {
            Self::FW_OK => c"ok",
            Self::FW_WOULD_BLOCK => c"no room now: try again, or wait with a time-out",
            Self::FW_NULL => c"a pointer that must not be NULL is",
            Self::FW_BAD_HANDLE => c"not a handle of this kind, or one that was freed",
            Self::FW_BAD_ARGUMENT => c"an argument is out of its range",
            Self::FW_TOO_LARGE => c"the message is larger than message_bytes_max",
            Self::FW_NOT_UTF8 => c"a text or JSON message must be UTF-8",
            Self::FW_BAD_NAME => c"not a topic name",
            Self::FW_TOO_MANY => c"a limit is reached",
            Self::FW_REMOVED => c"the topic was removed",
            Self::FW_GONE => c"no such topic or connection",
            Self::FW_STOPPED => c"the engine has stopped",
            Self::FW_TIMED_OUT => c"the time was over before all was done",
            Self::FW_BUSY => c"another thread is in this call, or it was made from inside a release callback",
            Self::FW_FORKED => c"this handle belongs to the process that forked this one",
            Self::FW_BAD_CONFIG => c"the configuration cannot be used",
            Self::FW_NO_URING => c"io_uring is not to be had",
            Self::FW_CANNOT_LISTEN => c"an address cannot be listened on",
            Self::FW_SYSTEM => c"the system refused something",
            Self::FW_ABI_MISMATCH => c"header and library do not belong together",
            Self::FW_INTERNAL => c"a bug in fanwire: stop the engine",
        }
    }
}

/// Why a call failed: a status, and its own text where it says more than the status.
#[derive(Debug)]
pub struct Failure {
    pub status: fw_status,
    text: Option<Box<str>>,
}

/// What the inside of a call gives.
pub type Outcome<T = ()> = Result<T, Failure>;

impl From<fw_status> for Failure {
    #[inline]
    fn from(status: fw_status) -> Self {
        Self { status, text: None }
    }
}

impl Failure {
    #[cold]
    pub fn new(status: fw_status, text: impl Into<String>) -> Self {
        Self { status, text: Some(text.into().into_boxed_str()) }
    }

    /// Leaves the text for `fw_last_error`.
    #[cold]
    pub fn tell(self) -> fw_status {
        // A thread that is past its own end has no place for a text any more.
        let _ = LAST.try_with(|last| {
            if let Ok(mut last) = last.try_borrow_mut() {
                *last = match self.text {
                    None => Text::Status(self.status),
                    Some(text) => Text::Own(CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default()),
                };
            }
        });
        self.status
    }
}

enum Text {
    Nothing,
    Status(fw_status),
    Own(CString),
}

thread_local! {
    static LAST: RefCell<Text> = const { RefCell::new(Text::Nothing) };
}

/// What went wrong in this thread's last failed call, for a log; "" if none has failed. UTF-8.
///
/// Frees: the text is the library's; it is valid until this thread's next failed call or its end. Threads: each has its own.
/// Blocks: never. Fails: never.
#[unsafe(no_mangle)]
pub extern "C" fn fw_last_error() -> *const c_char {
    LAST.try_with(|last| match last.try_borrow().as_deref() {
        Ok(Text::Own(text)) => text.as_ptr(),
        Ok(Text::Status(status)) => status.text().as_ptr(),
        _ => c"".as_ptr(),
    })
    .unwrap_or(c"".as_ptr())
}

/// What a status means, in a few words. Any number may be asked for.
///
/// Frees: the text is the library's and never changes. Threads: any. Blocks: never. Fails: never.
#[unsafe(no_mangle)]
pub extern "C" fn fw_status_str(status: i32) -> *const c_char {
    let known = fw_status::ALL.into_iter().find(|known| *known as i32 == status);
    known.map_or(c"unknown status", fw_status::text).as_ptr()
}

impl From<PublishError> for Failure {
    #[cold]
    fn from(error: PublishError) -> Self {
        match error {
            // On the way of every message while the ring is full: no text is made.
            PublishError::WouldBlock => fw_status::FW_WOULD_BLOCK.into(),
            PublishError::Stopped => fw_status::FW_STOPPED.into(),
            PublishError::Removed => fw_status::FW_REMOVED.into(),
            PublishError::NotUtf8 => fw_status::FW_NOT_UTF8.into(),
            PublishError::TooLarge { .. } | PublishError::AttributesTooLarge { .. } => {
                Failure::new(fw_status::FW_TOO_LARGE, error.to_string())
            }
            other => Failure::new(fw_status::FW_INTERNAL, other.to_string()),
        }
    }
}

impl From<SendError> for Failure {
    #[cold]
    fn from(error: SendError) -> Self {
        match error {
            SendError::WouldBlock => fw_status::FW_WOULD_BLOCK.into(),
            SendError::Stopped => fw_status::FW_STOPPED.into(),
            SendError::NotUtf8 => fw_status::FW_NOT_UTF8.into(),
            SendError::Gone => fw_status::FW_GONE.into(),
            SendError::TooLarge { .. } => Failure::new(fw_status::FW_TOO_LARGE, error.to_string()),
            other => Failure::new(fw_status::FW_INTERNAL, other.to_string()),
        }
    }
}

impl From<DecideError> for Failure {
    #[cold]
    fn from(error: DecideError) -> Self {
        match error {
            DecideError::TooManyPatterns { .. } => Failure::new(fw_status::FW_TOO_MANY, error.to_string()),
            DecideError::LongSubject { .. } => Failure::new(fw_status::FW_BAD_ARGUMENT, error.to_string()),
            DecideError::Send(error) => error.into(),
            other => Failure::new(fw_status::FW_INTERNAL, other.to_string()),
        }
    }
}

impl From<AccessError> for Failure {
    #[cold]
    fn from(error: AccessError) -> Self {
        let status = match error.kind {
            ErrorKind::NotReadable | ErrorKind::NotUsable => fw_status::FW_BAD_CONFIG,
            ErrorKind::TooMany => fw_status::FW_TOO_MANY,
            ErrorKind::NotMeant => fw_status::FW_BAD_ARGUMENT,
            ErrorKind::NotKept => fw_status::FW_SYSTEM,
            ErrorKind::Ended => fw_status::FW_STOPPED,
            _ => fw_status::FW_INTERNAL,
        };
        Failure::new(status, error.to_string())
    }
}

impl From<SnapshotError> for Failure {
    #[cold]
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::NotGathered => Failure::new(fw_status::FW_BAD_NAME, error.to_string()),
            SnapshotError::TimedOut => fw_status::FW_TIMED_OUT.into(),
            SnapshotError::Stopped => fw_status::FW_STOPPED.into(),
            other => Failure::new(fw_status::FW_INTERNAL, other.to_string()),
        }
    }
}

impl From<TopicError> for Failure {
    fn from(error: TopicError) -> Self {
        let status = match error {
            TopicError::Name(_) | TopicError::Reserved => fw_status::FW_BAD_NAME,
            // Nothing of this interface names an epoch.
            TopicError::OtherEpoch(_) | TopicError::NoEpoch(_) => fw_status::FW_BAD_ARGUMENT,
            TopicError::TooMany => fw_status::FW_TOO_MANY,
            TopicError::WouldBlock => fw_status::FW_WOULD_BLOCK,
            TopicError::Stopped => fw_status::FW_STOPPED,
        };
        Failure::new(status, error.to_string())
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let status = match error {
            StartError::Config(_) => fw_status::FW_BAD_CONFIG,
            StartError::Uring(_) => fw_status::FW_NO_URING,
            StartError::Listen { .. } => fw_status::FW_CANNOT_LISTEN,
            _ => fw_status::FW_SYSTEM,
        };
        Failure::new(status, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_a_text_of_its_own_and_others_are_unknown() {
        let text = |status: i32| {
            // SAFETY: `fw_status_str` gives terminated text that lives for ever.
            unsafe { CStr::from_ptr(fw_status_str(status)) }.to_str().unwrap()
        };
        let mut texts: Vec<_> = fw_status::ALL.iter().map(|&status| text(status as i32)).collect();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), fw_status::ALL.len());
        for unknown in [-1, 20, 98, 100, i32::MAX, i32::MIN] {
            assert_eq!(text(unknown), "unknown status");
        }
    }

    #[test]
    fn a_failure_leaves_its_text_for_its_own_thread() {
        Failure::new(fw_status::FW_SYSTEM, "no\0 disk").tell();
        // SAFETY: terminated text, valid until the next failure of this thread.
        assert_eq!(unsafe { CStr::from_ptr(fw_last_error()) }.to_str().unwrap(), "no\u{fffd} disk");
        std::thread::spawn(|| {
            // SAFETY: as above.
            assert!(unsafe { CStr::from_ptr(fw_last_error()) }.is_empty());
        })
        .join()
        .unwrap();
    }
}
