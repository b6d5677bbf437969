//! The outgoing streams of a sealer as a snapshot carries them, and the leases a followed one keeps
//! to. Used by `follow` and `migrate`.

use std::time::Instant;

use super::{RtpOpener, RtpSealer, SendWindow, StreamIndex, Window};
use crate::limits::{FIRST_SEQUENCE_SPAN, SRTP_MAX_STREAMS_OUT, UNKNOWN_STREAM_LEASE};
use crate::transport::lease::Lease;

pub(super) struct OutStream {
    pub(super) ssrc: u32,
    pub(super) window: SendWindow,
    pub(super) lease: Lease,
}

impl OutStream {
    fn next(&self) -> u64 {
        self.window.highest().map_or(0, |highest| highest + 1)
    }
}

/// Where streams begin that nobody was told of. Whoever sends keeps such a stream below `end`, and
/// whoever takes over begins there, so that a new stream waits for no acknowledgement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::transport) struct Unknown {
    /// First index: 0 until somebody took over.
    pub(in crate::transport) first: u64,
    /// A standby follows.
    followed: bool,
}

impl Unknown {
    /// Where a standby begins.
    pub(in crate::transport) fn end(self) -> u64 {
        let spread = if self.first == 0 {
            FIRST_SEQUENCE_SPAN
        } else {
            0
        };
        self.first + spread + UNKNOWN_STREAM_LEASE
    }

    pub(super) fn stream(self, ssrc: u32) -> OutStream {
        OutStream {
            ssrc,
            window: match self.first.checked_sub(1) {
                Some(used) => Window::all_used(used),
                None => SendWindow::default(),
            },
            lease: match self.followed {
                true => Lease::implied(self.end()),
                false => Lease::FREE,
            },
        }
    }
}

impl RtpSealer {
    /// Sequence number a sender of `ssrc` goes on with, or begins with; `random` chooses among
    /// those a new stream may begin with.
    pub fn next_sequence(&self, ssrc: u32, random: u16) -> u16 {
        let known = self.streams.binary_search_by_key(&ssrc, |s| s.ssrc).ok();
        let known = known.and_then(|at| self.streams.get(at)?.window.highest());
        match (known, self.unknown.first) {
            (Some(highest), _) => (highest + 1) as u16,
            (None, 0) => random % FIRST_SEQUENCE_SPAN as u16,
            (None, first) => first as u16,
        }
    }

    /// The last index of each stream that was used, or that the standby was told of.
    pub(in crate::transport) fn indexes(&self) -> Vec<StreamIndex> {
        let of = |stream: &OutStream| {
            let next = match stream.lease.is_free() {
                true => stream.next(),
                false => stream.lease.end(),
            };
            next.checked_sub(1).map(|highest| StreamIndex {
                ssrc: stream.ssrc,
                highest,
            })
        };
        self.streams.iter().filter_map(of).collect()
    }

    /// Where whoever goes on from `indexes` begins streams it does not know.
    pub(in crate::transport) fn unknown_first(&self) -> u64 {
        match self.unknown.followed {
            true => self.unknown.end(),
            false => self.unknown.first,
        }
    }

    /// Takes over what `indexes` and `unknown_first` said.
    pub(in crate::transport) fn restore(&mut self, streams: &[StreamIndex], unknown_first: u64) {
        for stream in streams.iter().take(SRTP_MAX_STREAMS_OUT) {
            if let Some(out) = self.stream(stream.ssrc) {
                out.window = Window::all_used(stream.highest);
            }
        }
        self.unknown.first = unknown_first;
        // A receiver takes the roll-over of a new stream for 0: beyond, none can begin.
        self.exhausted |= self.unknown.end() > 0x1_0000;
    }

    /// A standby follows from now on; its first image says `indexes`.
    pub(in crate::transport) fn follow(&mut self, now: Instant) {
        self.unknown.followed = true;
        for stream in &mut self.streams {
            stream.lease.begin(now, stream.next());
        }
    }

    pub(in crate::transport) fn unfollow(&mut self) {
        self.unknown.followed = false;
        for stream in &mut self.streams {
            stream.lease = Lease::FREE;
        }
    }

    pub(in crate::transport) fn acknowledge(&mut self, version: u32) {
        for stream in &mut self.streams {
            stream.lease.acknowledge(version);
        }
    }

    /// Whether a stream needs a longer lease soon.
    pub(in crate::transport) fn needs_lease(&self, now: Instant) -> bool {
        let mut streams = self.streams.iter();
        streams.any(|stream| stream.lease.is_due(now, stream.next(), 50))
    }

    /// Offers longer leases to the streams that need them soon, or to `all`.
    pub(in crate::transport) fn renew(
        &mut self,
        now: Instant,
        version: u32,
        all: bool,
        mut told: impl FnMut(StreamIndex),
    ) {
        for stream in &mut self.streams {
            let next = stream.next();
            if all || stream.lease.is_due(now, next, 75) {
                stream.lease.renew(now, next, version);
                told(StreamIndex {
                    ssrc: stream.ssrc,
                    highest: stream.lease.end() - 1,
                });
            }
        }
    }
}

impl RtpOpener {
    /// Streams whose index moved on by `far` since the standby was told.
    pub(in crate::transport) fn moved(&mut self, far: u64, mut told: impl FnMut(StreamIndex)) {
        for stream in &mut self.streams {
            let highest = stream.window.highest().unwrap_or(0);
            if highest >= stream.told + far {
                stream.told = highest;
                told(StreamIndex {
                    ssrc: stream.ssrc,
                    highest,
                });
            }
        }
    }

    /// The standby gets all indexes with the next image.
    pub(in crate::transport) fn all_told(&mut self) {
        for stream in &mut self.streams {
            stream.told = stream.window.highest().unwrap_or(0);
        }
    }
}
