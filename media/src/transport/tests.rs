//! Two transports on an in-memory network in virtual time: connecting, media, data, restarts and
//! moves, under loss and reordering from printed seeds.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod connect;
mod hostile;
mod network;
mod restart;
mod standby;
mod thaw;
