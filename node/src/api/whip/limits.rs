//! Bounds of WHIP sessions.

use std::time::Duration;

/// An encoder offers a handful of sections; a browser's offer with all codecs has 8 KiB.
pub(super) const OFFER_BYTES_MAX: usize = 256 << 10;
/// Candidates of one PATCH and the credentials.
pub(super) const FRAGMENT_BYTES_MAX: usize = 64 << 10;
/// Candidates read from one fragment; hosts with many interfaces have about twenty.
pub(super) const FRAGMENT_CANDIDATES_MAX: usize = 64;
/// Tracks one session may announce.
pub(super) const TRACKS_MAX: usize = 16;
/// A room answers in milliseconds; beyond this the request fails.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(12);
/// As `ANSWER_TIMEOUT` where another node asks its room, and the way there.
pub(super) const FORWARD_TIMEOUT: Duration = Duration::from_secs(14);
/// Restarts of ICE that wait for their answer.
pub(super) const RESTARTS_WAITING_MAX: usize = 8;
