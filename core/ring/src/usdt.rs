//! Probes for tracers: places in the engine where bpftrace, perf or gdb can stop and look.
//!
//! Each function is one USDT probe of the provider `fanwire`: a `nop` in the code, and a note (`.note.stapsdt`) in the ELF file
//! that says where it is and where its arguments stand at that moment. Nothing is asked at run time and nothing is computed: an
//! argument is a value that the code has at hand, or one that it has just written to memory. Without the feature `usdt`, and on
//! processors other than x86-64 and AArch64 (where it is untested), the functions are empty. `perf/PROFILING.md` is the users' side.
//!
//! Knows numbers, and where a record of the ring holds them. Must never know anything of the engine's types.
//!
//! # Unsafe contract
//! The one instruction is a `nop`: no register, flag or memory changes. Only a tracer reads what a pointer points to, and it copes with
//! any address; `readonly` makes the compiler finish its writes first.

#![allow(unsafe_code)]

/// Why messages were not delivered to a cursor, as [`drop`] says it. From 0 to 3 as in a `gap` notice.
#[derive(Clone, Copy)]
#[repr(u32)]
pub enum DropReason {
    /// The cursor fell too far behind.
    Lag = 0,
    /// A resumed or new subscription asked for what is not kept any more.
    Retention = 1,
    /// A resumed subscription named another epoch.
    Epoch = 2,
    /// It was served by another node.
    NodeChanged = 3,
    /// Passed over as wanted: `max_hz`, `echo: false`, expiry, the policy `latest`.
    PassedOver = 4,
    /// There was no memory to keep the message: nobody got it.
    NoMemory = 5,
}

/// In place of a connection's slot where nobody got a message.
pub const NOBODY: u32 = u32::MAX;

/// Where a tracer finds an argument, as the note says it: SIZE@PLACE.
#[cfg(target_arch = "x86_64")]
#[allow(unused_macros, reason = "without the feature nobody asks")]
macro_rules! place {
    (u32 $name:ident) => {
        concat!("4@{", stringify!($name), ":e}")
    };
    (u64 $name:ident) => {
        concat!("8@{", stringify!($name), "}")
    };
    ($bytes:tt at $offset:tt of $name:ident) => {
        concat!(stringify!($bytes), "@", stringify!($offset), "({", stringify!($name), "})")
    };
}
#[cfg(target_arch = "aarch64")]
#[allow(unused_macros, reason = "without the feature nobody asks")]
macro_rules! place {
    (u32 $name:ident) => {
        concat!("4@{", stringify!($name), ":x}")
    };
    (u64 $name:ident) => {
        concat!("8@{", stringify!($name), ":x}")
    };
    ($bytes:tt at $offset:tt of $name:ident) => {
        concat!(stringify!($bytes), "@[{", stringify!($name), "}, ", stringify!($offset), "]")
    };
}

/// Defines probes: arguments by value, and before them those that lie BYTES at OFFSET from a pointer.
macro_rules! probes {
    ($(
        $(#[$doc:meta])*
        $name:ident($(*$from:ident[$($bytes:tt at $offset:tt),+],)? $($argument:ident: $type:tt),+);
    )*) => {$(
        $(#[$doc])*
        #[inline(always)]
        pub fn $name($($from: *const u8,)? $($argument: $type),+) {
            #[cfg(all(
                feature = "usdt",
                target_os = "linux",
                any(target_arch = "x86_64", target_arch = "aarch64"),
                not(any(feature = "loom", miri))
            ))]
            // SAFETY: a nop, see the contract.
            unsafe {
                std::arch::asm!(
                    // After the kind of note (3) and the owner come three addresses: the place; a base from which it is seen how far
                    // a loader has moved the file; a counter of those who look, which these probes do without.
                    "22: nop",
                    ".pushsection .note.stapsdt, \"?\", \"note\"",
                    ".balign 4",
                    ".4byte 24f - 23f, 26f - 25f, 3",
                    "23: .asciz \"stapsdt\"",
                    "24: .balign 4",
                    "25: .8byte 22b, _.stapsdt.base, 0",
                    ".asciz \"fanwire\"",
                    concat!(".asciz \"", stringify!($name), "\""),
                    concat!(
                        ".asciz \"",
                        $($(place!($bytes at $offset of $from), " ",)+)?
                        $(place!($type $argument), " ",)+
                        "\""
                    ),
                    "26: .balign 4",
                    ".popsection",
                    ".ifndef _.stapsdt.base",
                    ".pushsection .stapsdt.base, \"aGR\", \"progbits\", .stapsdt.base, comdat",
                    ".weak _.stapsdt.base",
                    ".hidden _.stapsdt.base",
                    "_.stapsdt.base: .space 1",
                    ".size _.stapsdt.base, 1",
                    ".popsection",
                    ".endif",
                    $($from = in(reg) $from,)?
                    $($argument = in(reg) $argument,)+
                    options(readonly, nostack, preserves_flags),
                    #[cfg(target_arch = "x86_64")]
                    options(att_syntax),
                );
            }
            #[cfg(not(all(
                feature = "usdt",
                target_os = "linux",
                any(target_arch = "x86_64", target_arch = "aarch64"),
                not(any(feature = "loom", miri))
            )))]
            let _ = ($($from,)? $($argument,)+);
        }
    )*};
}

// Six arguments at most: bpftrace knows no more on x86-64.
probes! {
    /// A connection was accepted. `open`: connections of this shard now.
    accept(shard: u32, slot: u32, generation: u32, open: u32);
    /// A record has its place in the ring; its head is written at `record`, its payload is being written. The probe's arguments: topic (4 bytes),
    /// lane (1), kind of record (1: 0 is a message), origin (8); then bytes of the payload, and the record's position.
    publish(*record[4 at 8, 1 at 1, 1 at 0, 8 at 24], bytes: u64, position: u64);
    /// A turn is over. The other arguments count since the shard's start.
    turn(shard: u32, messages: u64, deliveries: u64, sends: u64);
    /// The kernel took `bytes` of the `offered` for a connection; `messages` became complete with them.
    send(shard: u32, slot: u32, bytes: u64, offered: u64, messages: u64);
    /// `count` messages will not be delivered to a connection. `reason`: [`DropReason`].
    drop(shard: u32, slot: u32, topic: u32, lane: u32, count: u64, reason: u32);
    /// A connection is closed and its slot free. `code`: the close code; 1006 without a close frame.
    close(shard: u32, slot: u32, generation: u32, code: u32);
}
