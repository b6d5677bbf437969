//! One SCTP association of the library with what we need to know about it.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use rtc_sctp::{
    Association, AssociationHandle, Payload, PayloadProtocolIdentifier as Ppid, ReliabilityType,
    Side,
};

use super::screen::{Screen, Verdict};
use crate::limits::{SCTP_RECEIVE_WINDOW_BYTES, SCTP_RETRY_MAX};
use crate::transport::channels::{Channel, Dcep, Limit};

const COOKIE_ECHO: u8 = 10;
const COMMON_HEADER_BYTES: usize = 12;

pub(super) struct Running {
    pub(super) handle: AssociationHandle,
    pub(super) association: Association,
    pub(super) established: bool,
    /// We initiated it and hold the peer's cookie: it will come up, whoever else calls.
    pub(super) cookie_echoed: bool,
    pub(super) screen: Screen,
    /// A timer of the library that is far away, and when it is served at the latest.
    far: Option<(Instant, Instant)>,
}

impl Running {
    pub(super) fn new(handle: AssociationHandle, association: Association) -> Running {
        Running {
            handle,
            association,
            established: false,
            cookie_echoed: false,
            screen: Screen::default(),
            far: None,
        }
    }

    /// When its timers are due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let next = self.association.poll_timeout()?;
        let far = self.far.filter(|(at, _)| *at == next);
        Some(far.map_or(next, |(at, due)| at.min(due)))
    }

    /// Looks at the library's timers anew. Its retransmissions back off to a minute, but a path
    /// that was down must carry data soon after it is up again. Nearer timers come and go with
    /// what the peer sends, which is no reason for more patience.
    pub(super) fn note_timers(&mut self, now: Instant) {
        let patience = now + SCTP_RETRY_MAX;
        match self.association.poll_timeout() {
            None => self.far = None,
            Some(at) if self.established && at > patience => {
                if self.far.is_none_or(|(known, _)| known != at) {
                    self.far = Some((at, patience));
                }
            }
            Some(_) => {}
        }
    }

    /// The time of its far timer, if that is not waited for any longer.
    pub(super) fn out_of_patience(&self, now: Instant) -> Option<Instant> {
        let (at, _) = self.far.filter(|(at, due)| *due <= now && now < *at)?;
        (self.association.poll_timeout() == Some(at)).then_some(at)
    }

    pub(super) fn serve_timers(&mut self, now: Instant) {
        if self.association.poll_timeout().is_some_and(|at| at <= now) {
            self.association.handle_timeout(now);
        }
    }

    /// What is to be done with a packet of the peer.
    pub(super) fn judge(&mut self, packet: &[u8]) -> Verdict {
        let association = &mut self.association;
        let streams = association.stream_ids().len();
        self.screen
            .judge(packet, streams, |stream| association.stream(stream).is_ok())
    }

    pub(super) fn transmit(&mut self, now: Instant, out: &mut VecDeque<Bytes>) {
        while let Some(transmit) = self.association.poll_transmit(now) {
            let Payload::RawEncode(packets) = transmit.message else {
                continue;
            };
            for packet in packets {
                self.cookie_echoed |= self.association.side() == Side::Client
                    && packet.get(COMMON_HEADER_BYTES) == Some(&COOKIE_ECHO);
                self.screen.sent(&packet, SCTP_RECEIVE_WINDOW_BYTES);
                out.push_back(packet);
            }
        }
    }

    pub(super) fn open_stream(&mut self, channel: &Channel) {
        let _ = self.association.open_stream(channel.stream, Ppid::Binary);
        self.set_delivery(channel);
    }

    pub(super) fn set_delivery(&mut self, channel: &Channel) {
        let (kind, value) = match channel.delivery.limit {
            Limit::Never => (ReliabilityType::Reliable, 0),
            Limit::Retransmissions(count) => (ReliabilityType::Rexmit, count),
            Limit::Milliseconds(time) => (ReliabilityType::Timed, time),
        };
        if let Ok(mut stream) = self.association.stream(channel.stream) {
            let _ = stream.set_reliability_params(!channel.delivery.ordered, kind, value);
        }
    }

    pub(super) fn send_open(&mut self, now: Instant, channel: &Channel) {
        let open = Dcep::Open {
            label: channel.label.clone(),
            delivery: channel.delivery,
        };
        self.write_dcep(now, channel.stream, &open);
    }

    pub(super) fn write_dcep(&mut self, now: Instant, stream: u16, message: &Dcep) {
        if let Ok(mut stream) = self.association.stream(stream) {
            let _ = stream.write_chunk_with_ppi(now, &message.encode(), Ppid::Dcep);
        }
    }
}
