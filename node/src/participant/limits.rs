//! Bounds of one participant's media state. Every one exists because a client can fill what it
//! names; the unit is in the name.

use std::time::Duration;

/// AddTrack requests that wait for their media. Upstream has no limit; real clients publish a
/// handful, and thirty at once must pass.
pub(crate) const PENDING_TRACKS_MAX: usize = 256;
/// AddTrack requests that wait for an earlier track with the same cid.
pub(crate) const QUEUED_TRACKS_MAX: usize = 64;
/// Codecs of one AddTrack request; the surface knows nine.
pub(crate) const CODECS_PER_TRACK_MAX: usize = 8;
/// Layers of one codec; clients send up to three.
pub(crate) const LAYERS_PER_CODEC_MAX: usize = 8;
/// Name, stream and client's id of a track: browsers' ids have 38 characters.
pub(crate) const TRACK_TEXT_BYTES_MAX: usize = 1_024;
/// SSRCs of one codec remembered for a standby: three layers with their retransmissions, and as
/// many of a client that began them anew.
pub(crate) const STREAMS_PER_CODEC_MAX: usize = 12;
/// Data channels a client that resumes may name; it has three on each connection.
pub(crate) const CHANNELS_NAMED_MAX: usize = 16;
/// Name of one simulcast layer; clients send `q`, `h` and `f`.
pub(crate) const RID_BYTES_MAX: usize = 64;
/// What a participant's tracks may weigh in an update about it, less the newest: each change of it
/// is told to everybody, with all of them. A camera with three layers weighs 300 bytes.
pub(crate) const TRACK_INFOS_BYTES_MAX: usize = 256 * 1024;
/// Published tracks of one participant.
pub(crate) const PUBLICATIONS_MAX: usize = 256;
/// Subscriptions and stored wishes of one participant: rooms are large, wishes are cheap.
pub(crate) const SUBSCRIPTIONS_MAX: usize = 10_000;
/// Ours have 15 bytes.
pub(crate) const SID_BYTES_MAX: usize = 64;
/// Subscribers of one track whose quality is remembered for its publisher.
pub(crate) const SUBSCRIBERS_PER_TRACK_MAX: usize = 20_000;
/// Remote candidates kept before their description arrives; a host has a few dozen addresses.
pub(crate) const EARLY_CANDIDATES_MAX: usize = 64;
/// Length of one `candidateInit`: an SDP line in JSON.
pub(crate) const CANDIDATE_INIT_BYTES_MAX: usize = 4 * 1024;
/// Length of one client SDP: an offer with hundreds of sections stays below.
pub(crate) const SDP_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Reliable messages for the client that wait for its data channel to open: those of the time it
/// takes to come back after its room moved, behind those from before the move.
pub(crate) const WAITING_DATA_MESSAGES_MAX: usize = 4_096;
/// The same in bytes: the oldest go first.
pub(crate) const WAITING_DATA_BYTES_MAX: usize = 1024 * 1024;
/// Lossy messages and frames of data tracks beside them: worth a moment only.
pub(crate) const WAITING_LOSSY_MESSAGES_MAX: usize = 64;
pub(crate) const WAITING_LOSSY_BYTES_MAX: usize = 128 * 1024;

/// Least time between two offers: many subscriptions of one moment share one.
pub(crate) const OFFER_INTERVAL: Duration = Duration::from_millis(150);
/// How long the first change after a quiet time is held back for company.
pub(crate) const OFFER_DELAY: Duration = Duration::from_millis(10);
/// A connected client that has not answered an offer by then never will: upstream's
/// `negotiationFailedTimeout`.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// A wish for a track nobody publishes is given up then: upstream's `notFoundTimeout`.
pub(crate) const NOT_FOUND_TIMEOUT: Duration = Duration::from_secs(60);
