//! The room core in virtual time.
