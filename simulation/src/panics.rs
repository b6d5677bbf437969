//! A panic anywhere in a run is a finding: tokio would swallow it with its task.

use std::sync::{Mutex, PoisonError};

static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// From now on panics are collected instead of printed.
pub(crate) fn collect() {
    std::panic::set_hook(Box::new(|info| {
        let mut panics = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
        // One line of the trace each.
        panics.push(info.to_string().replace('\n', " "));
    }));
}

pub(crate) fn take() -> Vec<String> {
    std::mem::take(&mut *PANICS.lock().unwrap_or_else(PoisonError::into_inner))
}
