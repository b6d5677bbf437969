//! Runs the unit tests of checkers: the program itself defines symbols of libc, and is no place for
//! a test harness. A checker that is tested here uses nothing of the program but its limits.
#![allow(dead_code)]

#[path = "../src/nodes/consent.rs"]
mod consent;
#[path = "../src/limits.rs"]
mod limits;
#[path = "../src/nodes/mail.rs"]
mod mail;
