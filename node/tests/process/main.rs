//! The program as shipped, run as a process on loopback ports of its own: what an operator and a
//! stranger meet. Nothing here waits for a fixed time: a server says when it serves.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout
)]

mod asking;
mod cluster;
mod command_line;
mod configuration;
mod floods;
mod metrics;
mod server;
