//! Nodes, real NATS servers and plain clients of them.

mod support;

mod faults;
mod live;
mod plain;
