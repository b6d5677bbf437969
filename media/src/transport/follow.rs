//! The primary's side of a standby: images of the live transport, deltas, and leases that are used
//! as far as the standby acknowledged them. The shard asks once a tick and numbers what it tells.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Instant;

use super::delta::TransportDelta;
use super::snapshot::StreamSnapshot;
use super::srtp::StreamIndex;
use super::{Life, Transport};
use crate::limits::RECEIVED_INDEX_TOLD;

/// What a followed transport remembers of what its standby was told.
#[derive(Debug)]
pub(super) struct Following {
    /// Everything of the image that deltas do not carry.
    shape: u64,
    nomination: u32,
}

impl Transport {
    /// What an image looks like now. Nothing is leased: nobody may go on with this one. `None`: not
    /// connected.
    pub fn probe(&self) -> Option<Vec<u8>> {
        let lives = self.life != Life::Silent && self.is_connected() && self.media.is_some();
        lives.then(|| self.snapshot().encode())
    }

    /// A standby follows from now on: the image for it, and control of ICE, without which nothing
    /// can be handed over. Called again: an image that replaces all before, as `version`; its
    /// leases count when that is acknowledged. `None`: not connected.
    pub fn follow(&mut self, now: Instant, version: u32) -> Option<Vec<u8>> {
        if self.life == Life::Silent || !self.is_connected() {
            return None;
        }
        self.ice.take_control(now);
        let begins = self.following.is_none();
        let media = self.media.as_mut()?;
        let (rtcp_next, dtls_next) = (media.rtcp_out.next(), self.dtls.next_record);
        if begins {
            media.rtp_out.follow(now);
            media.rtcp_out.lease.begin(now, rtcp_next);
            self.dtls.lease.begin(now, dtls_next);
        } else {
            media.rtp_out.renew(now, version, true, |_| {});
            media.rtcp_out.lease.renew(now, rtcp_next, version);
            self.dtls.lease.renew(now, dtls_next, version);
        }
        media.rtp_in.all_told();
        self.pump(now);
        self.following = Some(Following {
            shape: self.shape(),
            nomination: self.ice.nomination(),
        });
        Some(self.snapshot().encode())
    }

    /// Nobody follows any more: every number is free again.
    pub fn unfollow(&mut self) {
        self.following = None;
        self.dtls.lease = super::lease::Lease::FREE;
        if let Some(media) = &mut self.media {
            media.rtp_out.unfollow();
            media.rtcp_out.lease = super::lease::Lease::FREE;
        }
    }

    /// The client may be told where the standby is.
    pub fn controls(&self) -> bool {
        self.ice.controls()
    }

    /// How many standbys went on with it so far.
    pub fn takeovers(&self) -> u32 {
        self.ice.takeovers()
    }

    /// It goes on here, without its data channels so far.
    pub fn awaits_channels(&self) -> bool {
        self.sctp
            .as_ref()
            .is_some_and(super::sctp::Sctp::awaits_peer)
    }

    /// They are about to begin anew.
    pub fn answers_channels(&self) -> bool {
        self.sctp
            .as_ref()
            .is_some_and(super::sctp::Sctp::is_answered)
    }

    pub fn is_followed(&self) -> bool {
        self.following.is_some()
    }

    /// The standby has everything up to `version`: what was leased by then may be used.
    pub fn acknowledged(&mut self, version: u32) {
        if self.following.is_none() {
            return;
        }
        self.dtls.lease.acknowledge(version);
        if let Some(media) = &mut self.media {
            media.rtp_out.acknowledge(version);
            media.rtcp_out.lease.acknowledge(version);
        }
    }

    /// Something changed that only a new image tells: credentials, channels, the client's address
    /// and whether it may be checked from elsewhere.
    pub fn outgrew_image(&self) -> bool {
        let following = self.following.as_ref();
        following.is_some_and(|following| following.shape != self.shape())
    }

    /// Appends what changed since as `version`; false if nothing did.
    pub(crate) fn write_delta(&mut self, now: Instant, version: u32, out: &mut Vec<u8>) -> bool {
        let delta = self.delta(now, version);
        delta.write(out);
        !delta.is_empty()
    }

    fn delta(&mut self, now: Instant, version: u32) -> TransportDelta {
        let mut delta = TransportDelta::default();
        let (Some(media), Some(following)) = (&mut self.media, &mut self.following) else {
            return delta;
        };
        let (rtcp, dtls_next) = (&mut media.rtcp_out, self.dtls.next_record);
        let needed = media.rtp_out.needs_lease(now)
            || rtcp.lease.is_due(now, rtcp.next(), 50)
            || self.dtls.lease.is_due(now, dtls_next, 50);
        if needed {
            // Whoever would ask soon asks now: one message for all.
            let told = |stream| delta.rtp_out.push(snapshot_of(stream));
            media.rtp_out.renew(now, version, false, told);
            if rtcp.lease.is_due(now, rtcp.next(), 75) {
                rtcp.lease.renew(now, rtcp.next(), version);
                delta.rtcp_out = Some(rtcp.end());
            }
            if self.dtls.lease.is_due(now, dtls_next, 75) {
                self.dtls.lease.renew(now, dtls_next, version);
                delta.dtls = Some(self.dtls.lease.end());
            }
        }
        let moved = |stream| delta.rtp_in.push(snapshot_of(stream));
        media.rtp_in.moved(RECEIVED_INDEX_TOLD, moved);
        let nomination = self.ice.nomination();
        if nomination != following.nomination {
            following.nomination = nomination;
            delta.nomination = Some(nomination);
        }
        delta
    }

    /// A hash of what only an image tells.
    fn shape(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.ice.local().ufrag.hash(&mut hasher);
        self.ice.remote().map(|r| &r.ufrag).hash(&mut hasher);
        self.ice.selected().map(|p| p.remote).hash(&mut hasher);
        self.ice.controls().hash(&mut hasher);
        self.max_message_bytes.hash(&mut hasher);
        if let Some(sctp) = &self.sctp {
            for channel in sctp.channels().iter() {
                (channel.stream, &channel.label, channel.open).hash(&mut hasher);
            }
        }
        hasher.finish()
    }
}

fn snapshot_of(stream: StreamIndex) -> StreamSnapshot {
    StreamSnapshot {
        ssrc: stream.ssrc,
        highest: stream.highest,
    }
}
