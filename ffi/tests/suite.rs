//! The C interface's tests in one program, so that there is one to build and to link: a module for each subject.

mod kit;

mod examples;
mod flight;
mod header;
mod hosts;
mod packages;
mod panics;
