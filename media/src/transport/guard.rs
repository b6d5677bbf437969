//! Keeps a panic inside a third-party protocol library from taking a shard down: the association
//! it happened in is given up, nothing else.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `call`; `None` if it panicked. The caller must not use the state `call` worked on again,
/// except to drop it.
pub(super) fn guarded<T>(call: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(value) => Some(value),
        Err(_) => {
            tracing::error!("a protocol library panicked; its association is given up");
            None
        }
    }
}
