//! A negotiator's image as a record and back. Payload types are written once for all sections.

use media::negotiate::{
    Direction, NegotiatorImage, PublishPreferences, SectionImage, SectionKind, SenderConfig,
    SenderImage,
};
use media::types::{
    DtlsRole, Fingerprint, IceCredentials, MediaKind, PayloadType, RemoteTransport, SctpParameters,
    SsrcInfo,
};
use media::{DownTrackKey, TrackKey};

use super::records::{
    FingerprintRecord, NegotiatorRecord, PayloadRecord, ReceiverRecord, RemoteRecord,
    SectionRecord, SenderRecord, SsrcRecord, section,
};
use super::{Rekey, bits, codec_number, codec_of, kind_of, low};

pub(super) fn record(image: &NegotiatorImage) -> NegotiatorRecord {
    let mut payloads = Vec::new();
    let sections = image.sections.iter();
    let sections = sections
        .map(|one| section_record(one, &mut payloads))
        .collect();
    let waiting = image.waiting.iter().map(sender_record);
    NegotiatorRecord {
        session_id: image.session_id,
        version: image.version,
        ufrag: image.ice.ufrag.clone(),
        pwd: image.ice.pwd.clone(),
        fingerprint: Some(fingerprint_record(&image.fingerprint)),
        remote: image.remote.as_ref().map(remote_record),
        outstanding: image.outstanding.and_then(|n| u32::try_from(n).ok()),
        sections,
        waiting: waiting.collect(),
        payloads,
    }
}

pub(super) fn image(record: NegotiatorRecord, rekey: Rekey) -> NegotiatorImage {
    let payloads: Vec<PayloadType> = record.payloads.into_iter().map(payload_type).collect();
    let sections = record.sections.into_iter();
    NegotiatorImage {
        session_id: record.session_id,
        version: record.version,
        ice: IceCredentials {
            ufrag: record.ufrag,
            pwd: record.pwd,
        },
        fingerprint: fingerprint(record.fingerprint),
        remote: record.remote.map(remote),
        outstanding: record.outstanding.map(|count| count as usize),
        sections: sections
            .map(|one| section_image(one, &payloads, rekey))
            .collect(),
        waiting: record
            .waiting
            .into_iter()
            .map(|one| sender(one, rekey))
            .collect(),
    }
}

fn fingerprint_record(fingerprint: &Fingerprint) -> FingerprintRecord {
    FingerprintRecord {
        algorithm: fingerprint.algorithm.clone(),
        digest: fingerprint.digest.clone(),
    }
}

fn fingerprint(record: Option<FingerprintRecord>) -> Fingerprint {
    let record = record.unwrap_or_default();
    Fingerprint {
        algorithm: record.algorithm,
        digest: record.digest,
    }
}

fn remote_record(remote: &RemoteTransport) -> RemoteRecord {
    RemoteRecord {
        ufrag: remote.ice.ufrag.clone(),
        pwd: remote.ice.pwd.clone(),
        fingerprint: Some(fingerprint_record(&remote.fingerprint)),
        dtls_client: remote.role == DtlsRole::Client,
        sctp_port: remote.sctp.map_or(0, |sctp| u32::from(sctp.port)),
        max_message_bytes: remote.sctp.map_or(0, |sctp| sctp.max_message_size_bytes),
    }
}

fn remote(record: RemoteRecord) -> RemoteTransport {
    let port = u16::try_from(record.sctp_port)
        .ok()
        .filter(|port| *port > 0);
    RemoteTransport {
        ice: IceCredentials {
            ufrag: record.ufrag,
            pwd: record.pwd,
        },
        fingerprint: fingerprint(record.fingerprint),
        role: match record.dtls_client {
            true => DtlsRole::Client,
            false => DtlsRole::Server,
        },
        sctp: port.map(|port| SctpParameters {
            port,
            max_message_size_bytes: record.max_message_bytes,
        }),
        candidates: Vec::new(),
    }
}

fn section_record(image: &SectionImage, payloads: &mut Vec<PayloadRecord>) -> SectionRecord {
    let sender = image.sender.as_ref();
    let flags = [
        (image.rejected, section::REJECTED),
        (image.direction.sends(), section::SENDS),
        (image.direction.receives(), section::RECEIVES),
        (image.announced, section::ANNOUNCED),
        (image.used, section::USED),
        (image.receiving, section::RECEIVING),
        (sender.is_some_and(|s| s.described), section::DESCRIBED),
        (sender.is_some_and(|s| s.live), section::LIVE),
    ];
    SectionRecord {
        mid: image.mid.clone(),
        kind: match image.kind {
            SectionKind::Media(MediaKind::Audio) => 0,
            SectionKind::Media(MediaKind::Video) => 1,
            SectionKind::Application => 2,
            SectionKind::Unknown => 3,
        },
        flags: bits(&flags),
        receiver: image.receiver.as_ref().map(receiver_record),
        sender: sender.map(|sender| SenderRecord {
            ssrc: sender.ssrc,
            rtx_ssrc: sender.rtx_ssrc,
            ..sender_record(&sender.config)
        }),
        receive_payloads: places(&image.receive_payloads, payloads),
        send_payloads: places(&image.send_payloads, payloads),
        extensions: image
            .extensions
            .iter()
            .flat_map(|(n, e)| [*n, *e])
            .collect(),
        rids: image.rids.clone(),
        ssrcs: image.ssrcs.iter().map(ssrc_record).collect(),
    }
}

fn section_image(record: SectionRecord, payloads: &[PayloadType], rekey: Rekey) -> SectionImage {
    let has = |bit: u32| record.flags & bit != 0;
    let payloads = |places: &[u32]| {
        let found = places
            .iter()
            .filter_map(|place| payloads.get(*place as usize));
        found.cloned().collect()
    };
    SectionImage {
        kind: match record.kind {
            0 => SectionKind::Media(MediaKind::Audio),
            1 => SectionKind::Media(MediaKind::Video),
            2 => SectionKind::Application,
            _ => SectionKind::Unknown,
        },
        rejected: has(section::REJECTED),
        direction: match (has(section::SENDS), has(section::RECEIVES)) {
            (true, true) => Direction::SendRecv,
            (true, false) => Direction::SendOnly,
            (false, true) => Direction::RecvOnly,
            (false, false) => Direction::Inactive,
        },
        announced: has(section::ANNOUNCED),
        used: has(section::USED),
        receiving: has(section::RECEIVING),
        sender: record.sender.clone().map(|one| SenderImage {
            ssrc: one.ssrc,
            rtx_ssrc: one.rtx_ssrc,
            described: has(section::DESCRIBED),
            live: has(section::LIVE),
            config: sender(one, rekey),
        }),
        receive_payloads: payloads(&record.receive_payloads),
        send_payloads: payloads(&record.send_payloads),
        receiver: record.receiver.map(|one| receiver(one, rekey)),
        extensions: record
            .extensions
            .chunks_exact(2)
            .map(|pair| (pair[0], pair[1]))
            .collect(),
        ssrcs: record.ssrcs.into_iter().map(ssrc).collect(),
        mid: record.mid,
        rids: record.rids,
    }
}

fn receiver_record((track, preferences): &(TrackKey, PublishPreferences)) -> ReceiverRecord {
    ReceiverRecord {
        track: low(track.0),
        stereo: preferences.stereo,
        no_dtx: !preferences.dtx,
        no_red: !preferences.red,
        codec: preferences.codec.map_or(0, codec_number),
    }
}

fn receiver(record: ReceiverRecord, rekey: Rekey) -> (TrackKey, PublishPreferences) {
    let preferences = PublishPreferences {
        stereo: record.stereo,
        dtx: !record.no_dtx,
        red: !record.no_red,
        codec: codec_of(record.codec),
    };
    (TrackKey(rekey.key(record.track)), preferences)
}

fn sender_record(config: &SenderConfig) -> SenderRecord {
    let named = config.stream_id.ends_with(&config.track_id);
    SenderRecord {
        id: low(config.id.0),
        video: config.kind == MediaKind::Video,
        codecs: config.codecs.iter().copied().map(codec_number).collect(),
        stream_id: config.stream_id.clone(),
        track_id: match named {
            true => String::new(),
            false => config.track_id.clone(),
        },
        stereo: config.stereo,
        ssrc: 0,
        rtx_ssrc: 0,
    }
}

fn sender(record: SenderRecord, rekey: Rekey) -> SenderConfig {
    let of_stream = record.stream_id.rsplit('|').next().unwrap_or_default();
    SenderConfig {
        id: DownTrackKey(rekey.key(record.id)),
        kind: kind_of(record.video),
        codecs: record.codecs.into_iter().filter_map(codec_of).collect(),
        track_id: match record.track_id.is_empty() {
            true => of_stream.to_owned(),
            false => record.track_id,
        },
        stream_id: record.stream_id,
        stereo: record.stereo,
    }
}

fn places(wanted: &[PayloadType], all: &mut Vec<PayloadRecord>) -> Vec<u32> {
    let place = |payload: &PayloadType| {
        let record = PayloadRecord {
            codec: codec_number(payload.codec),
            pt: u32::from(payload.pt),
            rtx_pt: payload.rtx_pt.map(u32::from),
            fmtp: payload.fmtp.clone(),
            nack: payload.nack,
        };
        let known = all.iter().position(|known| *known == record);
        let place = known.unwrap_or_else(|| {
            all.push(record);
            all.len() - 1
        });
        u32::try_from(place).unwrap_or(u32::MAX)
    };
    wanted.iter().map(place).collect()
}

/// One of a codec only a newer node knows keeps its place, as a codec nobody negotiates here.
fn payload_type(record: PayloadRecord) -> PayloadType {
    PayloadType {
        codec: codec_of(record.codec).unwrap_or(media::types::Codec::Pcmu),
        pt: u8::try_from(record.pt).unwrap_or_default(),
        rtx_pt: record.rtx_pt.and_then(|pt| u8::try_from(pt).ok()),
        fmtp: record.fmtp,
        nack: record.nack,
    }
}

fn ssrc_record(info: &SsrcInfo) -> SsrcRecord {
    SsrcRecord {
        ssrc: info.ssrc,
        repairs: info.repairs,
        layer: info.layer.map(u32::from),
    }
}

fn ssrc(record: SsrcRecord) -> SsrcInfo {
    SsrcInfo {
        ssrc: record.ssrc,
        repairs: record.repairs,
        layer: record.layer.and_then(|layer| u8::try_from(layer).ok()),
    }
}
