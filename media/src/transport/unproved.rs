//! How much DTLS may go to an address whose owner has not answered a check of ours yet: a client
//! could name somebody else's as its own and have us send flights there. Owned by `Transport`.

use crate::limits::DTLS_UNPROVED_FACTOR;
use crate::types::Path;

/// What came from the last unproved path, and what went there.
#[derive(Debug, Default)]
pub(super) struct Unproved {
    path: Option<Path>,
    received_bytes: usize,
    sent_bytes: usize,
}

impl Unproved {
    /// DTLS records came from `path`.
    pub(super) fn received(&mut self, path: Path, bytes: usize) {
        if self.path != Some(path) {
            *self = Unproved {
                path: Some(path),
                ..Unproved::default()
            };
        }
        self.received_bytes = self.received_bytes.saturating_add(bytes);
    }

    /// Whether `bytes` more may go there, which counts them.
    pub(super) fn may_send(&mut self, path: Path, bytes: usize) -> bool {
        let allowed = self.received_bytes.saturating_mul(DTLS_UNPROVED_FACTOR);
        let sent = self.sent_bytes.saturating_add(bytes);
        if self.path != Some(path) || sent > allowed {
            return false;
        }
        self.sent_bytes = sent;
        true
    }
}
