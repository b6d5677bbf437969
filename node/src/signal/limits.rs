//! Bounds of signalling sessions: every message, queue and wait that a stranger can make grow. They
//! protect the node, so they are generous towards honest clients.

use std::time::Duration;

/// A join request may inflate to this (LiveKit's limit, Go's largest header).
pub(super) const JOIN_REQUEST_BYTES_MAX: usize = 1 << 20;
/// A room answers a join in milliseconds; LiveKit's three attempts together wait this long.
pub(super) const ATTACH_TIMEOUT: Duration = Duration::from_secs(12);
/// Client addresses and names from headers are cut here: they end up in logs and messages.
pub(super) const CLIENT_TEXT_BYTES_MAX: usize = 512;
/// Signal message size where the configuration sets none (newer LiveKit's default).
pub(super) const SIGNAL_MESSAGE_BYTES_DEFAULT: usize = 2 << 20;
/// Proxies cut silent connections after 10 to 60 s; LiveKit pings as often.
pub(super) const SOCKET_PING_INTERVAL: Duration = Duration::from_secs(10);
/// Without any frame for this long, three pings unanswered, the client is gone.
pub(super) const SOCKET_IDLE_TIMEOUT: Duration = Duration::from_secs(35);
/// Queued for a client that does not read: beyond either, its session ends.
pub(super) const OUTBOX_MESSAGES_MAX: usize = 4096;
pub(super) const OUTBOX_BYTES_MAX: usize = 32 << 20;
/// The last frames have this long to leave before the socket is dropped.
pub(super) const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// A client that said leave is closed by its room in milliseconds, or else by its session then.
pub(super) const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
/// Messages a client may send at once: a browser publishing ten tracks sends about 200.
pub(super) const INBOX_BURST_MESSAGES: u32 = 1000;
/// Sustained; beyond it the socket is simply read more slowly.
pub(super) const INBOX_MESSAGES_PER_SECOND: u32 = 200;
/// A posted form carries what a query could: tokens are some KiB, a join request more.
pub(super) const FORM_BYTES_MAX: usize = 64 << 10;
