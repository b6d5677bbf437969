//! A Skein node: sockets, actors and APIs. Composes `media` and `protocol`; holds the only sockets
//! of the program and no packet logic.

pub mod agent;
mod alarm;
pub mod api;
pub mod auth;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod debug;
pub mod doctor;
pub mod limits;
pub mod net;
pub mod page;
pub mod participant;
pub mod room;
pub mod rooms;
pub mod run;
pub mod shards;
pub mod shutdown;
pub mod signal;
pub mod status;
pub mod telemetry;
pub mod turn;
pub mod webhook;
pub mod worker;
