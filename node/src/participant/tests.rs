//! Behaviours of `ParticipantMedia` with scripted clients: what it says and what it tells the
//! packet plane. `stage` has the harness and the descriptions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, deprecated)]

mod bandwidth;
mod publishing;
mod regression;
mod resuming;
pub(crate) mod stage;
mod subscribing;
mod thawing;
