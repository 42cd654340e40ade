//! The binary's integration tests in one program, so that there is one to build and to link: a module for each subject.

#![allow(clippy::disallowed_macros, reason = "a test's own output, that its runner reads")]

mod support;
#[path = "support/tree.rs"]
mod tree;

mod access;
mod admin;
mod attacks;
mod cluster;
mod commands;
mod config;
mod demo;
mod doctor;
mod ends;
mod forgeries;
mod forms;
mod handover;
mod jwks;
mod links;
mod notices;
mod operate;
mod pages;
mod pipes;
mod probes;
mod protocol_client;
#[cfg(feature = "mcap")]
mod record;
mod replay;
#[cfg(feature = "mcap")]
mod replay_mcap;
mod report;
mod seccomp;
mod spans;
mod state;
mod systemd;
mod top;
mod tune;
mod wss;
