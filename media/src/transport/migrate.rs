//! Freezing a live transport into a snapshot and thawing it elsewhere: same ICE credentials, same
//! DTLS association, same SRTP keys behind the used indexes, a fresh SCTP association with the
//! channels as they were (DESIGN: "a transport is a value"). `follow` and `standby` do the same
//! with a transport that lives on.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::channels::{Channel, Delivery, Limit};
use super::snapshot::{ChannelSnapshot, StreamSnapshot, TransportSnapshot};
use super::srtp::StreamIndex;
use super::{
    Agent, Dtls, DtlsIdentity, Life, Media, Sctp, SnapshotError, Transport, TransportCounters,
    TransportOptions, Unproved,
};
use crate::types::{DtlsRole, Fingerprint, IceCredentials};

impl Transport {
    /// Everything another shard or node needs to continue; this transport is silent afterwards.
    /// Messages the peer has not acknowledged stay behind: who sent them repeats what matters.
    /// `None`: it was closed or frozen before, so there is nothing to go on with.
    pub fn freeze(&mut self, now: Instant) -> Option<Bytes> {
        if self.life == Life::Silent {
            return None;
        }
        self.pump(now);
        // It is silent from here on: what was used is all that counts, not what was leased.
        self.unfollow();
        let snapshot = self.snapshot().encode();
        self.silence();
        Some(snapshot.into())
    }

    /// Continues a frozen transport without a handshake. Nothing is sent to a path until it is
    /// nominated by `nominate` or by the peer.
    pub fn thaw(
        now: Instant,
        snapshot: &[u8],
        identity: &Arc<DtlsIdentity>,
        options: TransportOptions,
        seed: [u8; 32],
    ) -> Result<Transport, SnapshotError> {
        let snapshot = TransportSnapshot::decode(snapshot)?;
        let local = IceCredentials {
            ufrag: snapshot.local_ufrag.clone(),
            pwd: snapshot.local_pwd.clone(),
        };
        let mut ice = Agent::new(now, local, options, seed);
        ice.set_nomination(snapshot.nomination);
        if !snapshot.remote_ufrag.is_empty() {
            ice.set_remote(
                now,
                IceCredentials {
                    ufrag: snapshot.remote_ufrag.clone(),
                    pwd: snapshot.remote_pwd.clone(),
                },
            );
        }
        Transport::from_snapshot(now, ice, &snapshot, identity)
    }

    /// A transport that goes on where `snapshot` says, with paths of its own.
    pub(super) fn from_snapshot(
        now: Instant,
        ice: Agent,
        snapshot: &TransportSnapshot,
        identity: &Arc<DtlsIdentity>,
    ) -> Result<Transport, SnapshotError> {
        let mut transport = Transport {
            ice,
            dtls: Dtls::new(identity),
            sctp: None,
            media: None,
            fingerprint: None,
            role: None,
            max_message_bytes: snapshot.max_message_bytes,
            life: Life::Active,
            state: None,
            following: None,
            sought: false,
            dtls_path: None,
            unproved: Unproved::default(),
            counters: TransportCounters::default(),
            out: Default::default(),
        };
        if !snapshot.fingerprint.is_empty() {
            transport.fingerprint = Some(Fingerprint {
                algorithm: snapshot.fingerprint_algorithm.clone(),
                digest: snapshot.fingerprint.clone(),
            });
        }
        transport.thaw_dtls(now, snapshot, identity)?;
        transport.thaw_sctp(now, snapshot);
        transport.pump(now);
        Ok(transport)
    }

    /// Username fragment that checks for this transport carry, also after a thaw.
    pub fn local_ufrag(&self) -> &str {
        &self.ice.local().ufrag
    }

    pub(super) fn snapshot(&self) -> TransportSnapshot {
        let local = self.ice.local();
        let remote = self.ice.remote();
        let fingerprint = self.fingerprint.as_ref();
        let media = self.media.as_ref();
        TransportSnapshot {
            local_ufrag: local.ufrag.clone(),
            local_pwd: local.pwd.clone(),
            remote_ufrag: remote.map(|r| r.ufrag.clone()).unwrap_or_default(),
            remote_pwd: remote.map(|r| r.pwd.clone()).unwrap_or_default(),
            nomination: self.ice.nomination(),
            client: self.ice.selected().map(|path| path.remote),
            led: self.sought && self.ice.controls() && self.ice.is_on_udp(),
            dtls: media.and_then(|_| self.dtls.snapshot()),
            fingerprint_algorithm: fingerprint.map(|f| f.algorithm.clone()).unwrap_or_default(),
            fingerprint: fingerprint.map(|f| f.digest.clone()).unwrap_or_default(),
            rtp_in: media
                .map(|m| streams(&m.rtp_in.indexes()))
                .unwrap_or_default(),
            rtp_out: media
                .map(|m| streams(&m.rtp_out.indexes()))
                .unwrap_or_default(),
            unknown_first: media.map(|m| m.rtp_out.unknown_first()).unwrap_or(0),
            rtcp_out: media.map(|m| m.rtcp_out.end()).unwrap_or_default(),
            sctp: self.sctp.is_some(),
            max_message_bytes: self.max_message_bytes,
            channels: self.channel_snapshots(),
        }
    }

    fn channel_snapshots(&self) -> Vec<ChannelSnapshot> {
        let of = |channel: &Channel| {
            let (limit_kind, limit) = match channel.delivery.limit {
                Limit::Never => (0, 0),
                Limit::Retransmissions(count) => (1, count),
                Limit::Milliseconds(time) => (2, time),
            };
            ChannelSnapshot {
                stream: channel.stream,
                label: channel.label.clone(),
                ordered: channel.delivery.ordered,
                limit_kind,
                limit,
                open: channel.open,
            }
        };
        self.sctp
            .iter()
            .flat_map(|sctp| sctp.channels().iter().map(of))
            .collect()
    }

    fn thaw_dtls(
        &mut self,
        now: Instant,
        snapshot: &TransportSnapshot,
        identity: &Arc<DtlsIdentity>,
    ) -> Result<(), SnapshotError> {
        let Some(dtls) = &snapshot.dtls else {
            return Ok(());
        };
        self.dtls = Dtls::thaw(now, identity, dtls).map_err(SnapshotError::Dtls)?;
        self.role = Some(if dtls.is_client {
            DtlsRole::Client
        } else {
            DtlsRole::Server
        });
        let (profile, material) = self.dtls.srtp_keys().ok_or(SnapshotError::Damaged)?;
        let mut media = Media::new(profile, &material, dtls.is_client, snapshot.rtcp_out)
            .ok_or(SnapshotError::Damaged)?;
        media.rtp_in.restore(&indexes(&snapshot.rtp_in));
        let used = indexes(&snapshot.rtp_out);
        media.rtp_out.restore(&used, snapshot.unknown_first);
        self.media = Some(media);
        Ok(())
    }

    fn thaw_sctp(&mut self, now: Instant, snapshot: &TransportSnapshot) {
        if !snapshot.sctp {
            return;
        }
        let mut sctp = Sctp::new();
        sctp.set_max_message_bytes(snapshot.max_message_bytes);
        if self.media.is_some() {
            let channels = snapshot.channels.iter().map(thawed_channel).collect();
            sctp.restart(now, self.dtls.is_client(), channels);
        }
        self.sctp = Some(sctp);
    }
}

fn thawed_channel(snapshot: &ChannelSnapshot) -> Channel {
    Channel {
        stream: snapshot.stream,
        label: snapshot.label.clone(),
        delivery: Delivery {
            ordered: snapshot.ordered,
            limit: match snapshot.limit_kind {
                1 => Limit::Retransmissions(snapshot.limit),
                2 => Limit::Milliseconds(snapshot.limit),
                _ => Limit::Never,
            },
        },
        open: snapshot.open,
    }
}

fn streams(indexes: &[StreamIndex]) -> Vec<StreamSnapshot> {
    let of = |index: &StreamIndex| StreamSnapshot {
        ssrc: index.ssrc,
        highest: index.highest,
    };
    indexes.iter().map(of).collect()
}

fn indexes(streams: &[StreamSnapshot]) -> Vec<StreamIndex> {
    let of = |stream: &StreamSnapshot| StreamIndex {
        ssrc: stream.ssrc,
        highest: stream.highest,
    };
    streams.iter().map(of).collect()
}
