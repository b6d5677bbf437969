//! One track on its way to one subscriber: chooses what to send, renumbers it, writes packets with
//! the subscriber's payload types and extension ids, and repeats what got lost. The shard gives it
//! packets of the track's cache and a buffer; sealing and sending are not its business.

pub(crate) mod history;
pub(crate) mod layer_selector;
pub(crate) mod munger;
pub(crate) mod offset_map;
pub(crate) mod payload_map;
pub(crate) mod redundancy;
pub(crate) mod reports;
pub(crate) mod sender;
pub(crate) mod svc_selector;
pub(crate) mod temporal;
pub(crate) mod vp8_munger;

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use crate::downstream::history::{History, Sent};
use crate::downstream::layer_selector::LayerSelector;
use crate::downstream::munger::{Munger, clock_delta};
use crate::downstream::payload_map::{PayloadMap, RedRule, Target};
use crate::downstream::reports::Reports;
use crate::downstream::svc_selector::Verdict;
use crate::downstream::temporal::TemporalFilter;
use crate::downstream::vp8_munger::{Vp8Munger, Vp8Values};
use crate::ids::DownTrackKey;
use crate::limits::{KEY_FRAME_RETRY_MAX, KEY_FRAME_RETRY_MIN, MID_PACKETS, PADDING_BYTES_MAX};
use crate::quality::{Sample, Scorer, loss_weight};
use crate::rtp::red::{Red, renumber};
use crate::rtp::sequence::SequenceExtender;
use crate::rtp::writer::{Element, Head, write_head};
use crate::types::{Extensions, LayerLimit, SendSection};
use crate::upstream::UpTrack;
use crate::upstream::packet_cache::PacketInfo;
use crate::upstream::rtx::OSN_BYTES;

/// What is the same for all packets of one run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    pub(crate) now: Instant,
    /// The abs-send-time element.
    pub(crate) abs_send_time: [u8; 3],
}

/// A packet the track's cache still holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cached<'a> {
    pub(crate) layer: u8,
    pub(crate) info: &'a PacketInfo,
    pub(crate) packet: &'a [u8],
}

#[derive(Debug)]
pub(crate) struct DownTrack {
    pub(crate) key: DownTrackKey,
    /// Index of the track it forwards.
    pub(crate) track: u32,
    /// Position among the track's subscribers.
    pub(crate) slot: usize,
    /// Index of the subscriber's transport.
    pub(crate) transport: u32,
    pub(crate) ssrc: u32,
    pub(crate) rtx_ssrc: Option<u32>,
    pub(crate) selector: LayerSelector,
    pub(crate) reports: Reports,
    pub(crate) scorer: Scorer,
    /// Since when it waits for bandwidth.
    pub(crate) paused_at: Option<Instant>,
    /// Given by the client; 0 = the default of its kind.
    pub(crate) priority: u8,
    mid: Box<[u8]>,
    extensions: Extensions,
    payload_map: PayloadMap,
    munger: Munger,
    vp8: Vp8Munger,
    temporal: TemporalFilter,
    history: History,
    /// For the 64-bit view of numbers in NACKs.
    sequences: SequenceExtender,
    rtx_sequence: u16,
    /// When the subscriber last asked for a key frame and got its way.
    asked_at: Option<Instant>,
    /// When to ask for the missing key frame again; `None` = none is missing.
    key_frame_due: Option<Instant>,
}

impl DownTrack {
    #[allow(
        clippy::too_many_arguments,
        reason = "one call site, all of them facts of a command"
    )]
    pub(crate) fn new(
        key: DownTrackKey,
        track_index: u32,
        track: &UpTrack,
        transport: u32,
        section: SendSection,
        limit: LayerLimit,
        paused: bool,
        first_sequence: u16,
        first_rtx_sequence: u16,
    ) -> DownTrack {
        let mut payload_map = PayloadMap::new(section.payload_types);
        payload_map.bind(&track.payload_types, &track.config);
        DownTrack {
            key,
            track: track_index,
            slot: 0,
            transport,
            ssrc: section.ssrc,
            rtx_ssrc: section.rtx_ssrc,
            selector: LayerSelector::new(&track.config, limit, paused),
            reports: Reports::default(),
            scorer: Scorer::default(),
            paused_at: None,
            priority: 0,
            mid: section.mid.into_bytes().into_boxed_slice(),
            extensions: section.extensions,
            payload_map,
            munger: Munger::new(first_sequence),
            vp8: Vp8Munger::default(),
            temporal: TemporalFilter::default(),
            history: History::default(),
            sequences: SequenceExtender::default(),
            rtx_sequence: first_rtx_sequence,
            asked_at: None,
            key_frame_due: None,
        }
    }

    /// The track's section changed: payload types may mean something else.
    pub(crate) fn rebind(&mut self, track: &UpTrack) {
        self.payload_map.bind(&track.payload_types, &track.config);
    }

    /// Goes on from another track with continuous numbers.
    pub(crate) fn switch_source(&mut self, index: u32, track: &UpTrack) {
        self.track = index;
        self.selector = self.selector.for_source(&track.config);
        self.munger.forget_source();
        self.history.clear();
        self.rebind(track);
    }

    /// What was sent is of no use to the subscriber any more: nothing of it is repeated.
    pub(crate) fn forget_sent(&mut self) {
        self.history.clear();
    }

    /// Nothing was or will be forwarded for a while; the next packet follows the last one sent.
    pub(crate) fn interrupt(&mut self) {
        self.munger.interrupt();
    }

    pub(crate) fn wants_transport_cc(&self) -> bool {
        self.extensions.transport_cc.is_some()
    }

    /// Writes the packet as the subscriber gets it; `None`: it is not for it.
    pub(crate) fn forward(
        &mut self,
        stamp: &Stamp,
        transport_cc: u16,
        track: &UpTrack,
        cached: Cached<'_>,
        out: &mut [u8],
    ) -> Option<usize> {
        let info = cached.info;
        if info.recovered && self.payload_map.takes_red() {
            return None; // it is in the packet this was taken out of
        }
        let target = self.payload_map.get(info.payload_type);
        let payload = payload_for(target, info.payload.of(cached.packet));
        let verdict = match track.layer(cached.layer) {
            Some(layer) if !payload.is_empty() => {
                self.selector.judge(&info.frame, &layer.structure)
            }
            _ => Verdict::Drop,
        };
        let wanted = target.is_some()
            && self
                .temporal
                .passes(&info.frame, self.selector.max_temporal());
        let (Some(target), true, Verdict::Keep { ends_picture }) = (target, wanted, verdict) else {
            self.skip(cached.layer, info);
            return None;
        };
        let old = self.munger.layer();
        let mapped = self.munger.map(cached.layer, info, || {
            delta_between(track, old, cached.layer, info)
        })?;
        let vp8 = match &info.frame.vp8 {
            Some(vp8) => self.vp8.map(vp8, mapped.anchored)?,
            None => Vp8Values::default(),
        };
        let sent = Sent {
            sequence: mapped.sequence,
            source_sequence: info.sequence,
            timestamp: mapped.timestamp,
            marker: info.marker || ends_picture,
            layer: cached.layer,
            generation: info.generation,
            repeats: 0,
            vp8,
            at: stamp.now,
        };
        let head = Head {
            marker: sent.marker,
            payload_type: target.pt,
            sequence: mapped.sequence as u16,
            timestamp: mapped.timestamp,
            ssrc: self.ssrc,
        };
        let at = self.write_head(out, &head, stamp, transport_cc, Some(cached))?;
        let len = match target.red {
            RedRule::Wrap { opus_pt } => {
                let first = self.munger.first_of_source();
                let cache = &track.layer(cached.layer)?.cache;
                redundancy::put(out, at, opus_pt, cache, cached, first)?
            }
            red => put_payload(out, at, payload, info, &vp8, red)?,
        };
        self.reports.sent(len - at);
        self.sequences.extend(mapped.sequence as u16);
        if self.rtx_ssrc.is_some() && target.rtx_pt.is_some() {
            self.history.push(sent);
        }
        Some(len)
    }

    /// A packet that is dropped on purpose leaves no gap in what the subscriber sees.
    fn skip(&mut self, layer: u8, info: &PacketInfo) {
        if self.munger.continues(layer, info) {
            self.munger.skip(layer, info);
            if let Some(vp8) = &info.frame.vp8 {
                self.vp8.skip(vp8);
            }
        }
    }

    /// Whether a NACK for `sequence` is to be answered now. Marks it as answered.
    pub(crate) fn take_for_repeat(
        &mut self,
        now: Instant,
        sequence: u16,
        interval: Duration,
    ) -> Option<Sent> {
        let sequence = self.sequences.peek(sequence);
        self.history.take_for_repeat(now, sequence, interval)
    }

    /// What was sent under an extended number, if it is still remembered.
    pub(crate) fn sent(&self, sequence: u64) -> Option<Sent> {
        self.history.get(sequence).copied()
    }

    /// Writes a packet again, on the retransmission SSRC.
    pub(crate) fn repeat(
        &mut self,
        stamp: &Stamp,
        transport_cc: u16,
        sent: &Sent,
        cached: Cached<'_>,
        out: &mut [u8],
    ) -> Option<usize> {
        let info = cached.info;
        if info.generation != sent.generation {
            return None;
        }
        let target = self.payload_map.get(info.payload_type)?;
        let head = Head {
            marker: sent.marker,
            payload_type: target.rtx_pt?,
            sequence: self.rtx_sequence,
            timestamp: sent.timestamp,
            ssrc: self.rtx_ssrc?,
        };
        let at = self.write_head(out, &head, stamp, transport_cc, Some(cached))?;
        out.get_mut(at..at + OSN_BYTES)?
            .copy_from_slice(&(sent.sequence as u16).to_be_bytes());
        let payload = payload_for(Some(target), info.payload.of(cached.packet));
        let len = put_payload(out, at + OSN_BYTES, payload, info, &sent.vp8, target.red)?;
        self.rtx_sequence = self.rtx_sequence.wrapping_add(1);
        Some(len)
    }

    /// Writes a packet of nothing but padding on the retransmission SSRC: it moves no number that
    /// a decoder sees.
    pub(crate) fn pad(
        &mut self,
        stamp: &Stamp,
        transport_cc: u16,
        padding: usize,
        out: &mut [u8],
    ) -> Option<usize> {
        let padding = padding.clamp(1, PADDING_BYTES_MAX);
        let head = Head {
            marker: false,
            payload_type: self.payload_map.any_rtx()?,
            sequence: self.rtx_sequence,
            timestamp: self.munger.last_timestamp().unwrap_or(0),
            ssrc: self.rtx_ssrc?,
        };
        let at = self.write_head(out, &head, stamp, transport_cc, None)?;
        out.get_mut(at..at + padding)?.fill(0);
        *out.get_mut(at + padding - 1)? = padding as u8;
        *out.first_mut()? |= 0x20;
        self.rtx_sequence = self.rtx_sequence.wrapping_add(1);
        Some(at + padding)
    }

    fn write_head(
        &self,
        out: &mut [u8],
        head: &Head,
        stamp: &Stamp,
        transport_cc: u16,
        cached: Option<Cached<'_>>,
    ) -> Option<usize> {
        let ids = &self.extensions;
        let transport_cc = transport_cc.to_be_bytes();
        let mut elements: SmallVec<[Element<'_>; 6]> = SmallVec::new();
        let mut add = |id: Option<u8>, bytes| {
            if let Some(id) = id {
                elements.push((id, bytes));
            }
        };
        if self.reports.packets() < MID_PACKETS && !self.mid.is_empty() {
            add(ids.mid, &*self.mid);
        }
        match ids.transport_cc {
            Some(_) => add(ids.transport_cc, &transport_cc),
            None => add(ids.abs_send_time, &stamp.abs_send_time),
        }
        if let Some(Cached { info, packet, .. }) = cached {
            let passed = [
                (ids.dependency_descriptor, info.dependency_descriptor),
                (ids.abs_capture_time, info.abs_capture_time),
                (ids.video_orientation, info.video_orientation),
            ];
            for (id, span) in passed {
                if !span.is_empty() {
                    add(id, span.of(packet));
                }
            }
        }
        write_head(out, head, &elements)
    }

    /// The layer to ask a key frame of, when it is time to ask (again).
    pub(crate) fn key_frame_wish(&mut self, now: Instant, rtt: Duration) -> Option<u8> {
        let Some(layer) = self.selector.wanted_key_frame() else {
            self.key_frame_due = None;
            return None;
        };
        if self.key_frame_due.is_some_and(|due| due > now) {
            return None;
        }
        let wait = (rtt * 2).clamp(KEY_FRAME_RETRY_MIN, KEY_FRAME_RETRY_MAX);
        self.key_frame_due = Some(now + wait);
        Some(layer)
    }

    /// Whether a key frame the subscriber asks for is to be asked of the publisher; `rest`: how
    /// long after the last one it is not.
    pub(crate) fn grants_key_frame(&mut self, now: Instant, rest: Duration) -> bool {
        let rested = |at| now.saturating_duration_since(at) >= rest;
        let grants = self.asked_at.is_none_or(rested);
        if grants {
            self.asked_at = Some(now);
        }
        grants
    }

    /// A change makes waiting for the next retry pointless.
    pub(crate) fn want_key_frame_now(&mut self) {
        self.key_frame_due = None;
    }

    /// Judges how well the subscriber gets the track; nothing to judge before its first report.
    pub(crate) fn judge_quality(&mut self, now: Instant, track: &UpTrack, rtt: Duration) {
        if self.reports.at.is_none() {
            return;
        }
        let packets = self.reports.packets();
        // What the publisher's path lost is not the subscriber's fault.
        let holes = self.munger.numbers().saturating_sub(packets);
        let first = self.payload_map.first();
        let clock_hz = first.map_or(1, |first| first.codec.clock_rate_hz());
        let jitter_us = u64::from(self.reports.jitter_units) * 1_000_000 / u64::from(clock_hz);
        let sample = Sample {
            flow: self.selector.flow(track.muted),
            expected: packets,
            lost: self.reports.lost.saturating_sub(holes),
            rtt,
            jitter: Duration::from_micros(jitter_us),
            missing_layers: self.selector.missing_layers(),
            reported: self.reports.at,
            loss_weight: loss_weight(first),
        };
        self.scorer.sample(now, &sample, false);
    }

    /// Clock of the source and what its timestamps are shifted by, for sender reports.
    pub(crate) fn source(&self) -> Option<(u8, u32)> {
        Some((self.munger.layer()?, self.munger.timestamp_offset()?))
    }
}

fn delta_between(track: &UpTrack, old: Option<u8>, new: u8, info: &PacketInfo) -> Option<u32> {
    let clock = |layer: u8| track.layer(layer).and_then(|layer| layer.stats.clock());
    clock_delta(clock(old?), clock(new), info.codec.clock_rate_hz())
}

/// What of a payload the subscriber gets; nothing of RED that cannot be taken apart.
fn payload_for(target: Option<Target>, payload: &[u8]) -> &[u8] {
    match target {
        Some(target) if target.red == RedRule::Unwrap => {
            Red::parse(payload).map_or(&[][..], |red| red.primary.of(payload))
        }
        _ => payload,
    }
}

/// Copies the payload to `at` and puts codec values in; returns the packet's length.
fn put_payload(
    out: &mut [u8],
    at: usize,
    payload: &[u8],
    info: &PacketInfo,
    vp8: &Vp8Values,
    red: RedRule,
) -> Option<usize> {
    let end = at + payload.len();
    let target = out.get_mut(at..end)?;
    target.copy_from_slice(payload);
    if let RedRule::Renumber { opus_pt } = red {
        renumber(target, opus_pt);
    }
    if let Some(descriptor) = &info.frame.vp8 {
        descriptor.rewrite(target, vp8.picture_id, vp8.tl0, vp8.key_index);
    }
    Some(end)
}
