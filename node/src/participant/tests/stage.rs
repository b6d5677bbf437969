//! A participant's core under test: virtual time, drained outputs, and SDP as Chromium and aiortc
//! write it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use media::event::TransportState;
use media::types::{Codec, Fingerprint, LocalCandidate, Protocol};
use media::{Command, Event, TransportKey};
use protocol::ids::{ParticipantSid, TrackSid};
use protocol::proto;
use protocol::proto::signal_response::Message;

use crate::participant::image::{MediaImage, ThawKind};
use crate::participant::{
    Environment, KeySpace, MediaInput, MediaOutput, ParticipantMedia, ParticipantSettings,
    Published, Source, WallClock,
};

pub(super) struct Stage {
    pub(super) media: ParticipantMedia,
    pub(super) now: Instant,
    pub(super) outputs: Vec<MediaOutput>,
}

pub(crate) fn settings(single: bool) -> ParticipantSettings {
    let mimes = [
        "audio/opus",
        "audio/red",
        "video/VP8",
        "video/H264",
        "video/VP9",
        "video/AV1",
        "video/rtx",
    ];
    let codec = |mime: &str| proto::Codec {
        mime: mime.into(),
        fmtp_line: String::new(),
    };
    ParticipantSettings {
        sid: ParticipantSid("PA_me".into()),
        identity: "me".into(),
        client: proto::ClientInfo {
            protocol: 17,
            ..Default::default()
        },
        single_peer_connection: single,
        auto_subscribe: true,
        adaptive_stream: false,
        congestion_control: true,
        allow_pause: false,
        permission: proto::ParticipantPermission {
            can_subscribe: true,
            can_publish: true,
            can_publish_data: true,
            ..Default::default()
        },
        enabled_codecs: mimes.into_iter().map(codec).collect(),
        sif_trailer: Vec::new(),
        sync_streams: false,
        playout_delay: None,
        dynacast_pause_delay: Duration::from_secs(5),
        build_red: false,
        prefers_regression: true,
        subscription_limit_video: 0,
        subscription_limit_audio: 0,
        seed: [1; 32],
    }
}

impl Stage {
    pub(super) fn new(settings: ParticipantSettings) -> Self {
        let now = Instant::now();
        Self {
            media: ParticipantMedia::new(settings, Self::environment(now)),
            now,
            outputs: Vec::new(),
        }
    }

    /// What another node makes of it.
    pub(super) fn thawed(&self, kind: ThawKind) -> Self {
        let environment = Self::environment(self.now);
        let clock = environment.clock;
        let image = MediaImage {
            record: self.media.image(&clock),
            kind,
            now: self.now,
            clock,
        };
        let single = self.media.settings.single_peer_connection;
        let mut stage = Self {
            media: ParticipantMedia::thaw(settings(single), environment, image),
            now: self.now,
            outputs: Vec::new(),
        };
        stage.feed(MediaInput::Timeout);
        stage
    }

    fn environment(now: Instant) -> Environment {
        let keys = KeySpace::new(1, 1);
        let candidate = |protocol, port: u16| LocalCandidate {
            protocol,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            priority: 1,
            foundation: "1".into(),
        };
        Environment {
            room: keys.room,
            candidates: Arc::new([
                candidate(Protocol::Udp, 7882),
                candidate(Protocol::Tcp, 7881),
            ]),
            fingerprint: Fingerprint {
                algorithm: "sha-256".into(),
                digest: vec![7; 32],
            },
            ufrag_prefix: 'a',
            spare: None,
            keys: keys.allocator(),
            clock: WallClock {
                instant: now,
                unix_micros: 1_000_000,
            },
        }
    }

    /// On `/rtc`, after the JoinResponse.
    pub(super) fn dual() -> Self {
        Self::joined(settings(false))
    }

    /// On `/rtc/v1`, after the JoinResponse.
    pub(super) fn single() -> Self {
        Self::joined(settings(true))
    }

    pub(super) fn joined(settings: ParticipantSettings) -> Self {
        let mut stage = Self::new(settings);
        stage.feed(MediaInput::Joined);
        stage
    }

    pub(super) fn feed(&mut self, input: MediaInput) {
        self.media.handle(self.now, input);
        while let Some(output) = self.media.poll() {
            self.outputs.push(output);
        }
    }

    /// Lets time pass, timers included.
    pub(super) fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(deadline) = self.media.deadline().filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            self.feed(MediaInput::Timeout);
        }
        self.now = end;
    }

    /// Long enough for every debounce.
    pub(super) fn settle(&mut self) {
        self.wait(Duration::from_millis(500));
    }

    pub(super) fn signals(&self) -> Vec<&Message> {
        let signal = |output: &'_ MediaOutput| matches!(output, MediaOutput::Signal(_));
        let signals = self.outputs.iter().filter(|output| signal(output));
        signals
            .map(|output| match output {
                MediaOutput::Signal(message) => message,
                _ => unreachable!("filtered"),
            })
            .collect()
    }

    pub(super) fn commands(&self) -> Vec<&Command> {
        let command = |output: &'_ MediaOutput| matches!(output, MediaOutput::Shard(_));
        let commands = self.outputs.iter().filter(|output| command(output));
        commands
            .map(|output| match output {
                MediaOutput::Shard(command) => command,
                _ => unreachable!("filtered"),
            })
            .collect()
    }

    pub(super) fn clear(&mut self) {
        self.outputs.clear();
    }

    pub(super) fn offers(&self) -> Vec<proto::SessionDescription> {
        let offer = |message: &&Message| match message {
            Message::Offer(offer) => Some(offer.clone()),
            _ => None,
        };
        self.signals().iter().filter_map(offer).collect()
    }

    pub(super) fn answers(&self) -> Vec<proto::SessionDescription> {
        let answer = |message: &&Message| match message {
            Message::Answer(answer) => Some(answer.clone()),
            _ => None,
        };
        self.signals().iter().filter_map(answer).collect()
    }

    pub(super) fn responses(&self) -> Vec<proto::RequestResponse> {
        let response = |message: &&Message| match message {
            Message::RequestResponse(response) => Some(response.clone()),
            _ => None,
        };
        self.signals().iter().filter_map(response).collect()
    }

    pub(super) fn track_published(&self) -> Vec<proto::TrackInfo> {
        let published = |message: &&Message| match message {
            Message::TrackPublished(published) => published.track.clone(),
            _ => None,
        };
        self.signals().iter().filter_map(published).collect()
    }

    pub(super) fn requirements(&self) -> Vec<(u32, u32)> {
        let requirement = |message: &&Message| match message {
            Message::MediaSectionsRequirement(r) => Some((r.num_audios, r.num_videos)),
            _ => None,
        };
        self.signals().iter().filter_map(requirement).collect()
    }

    pub(super) fn published(&self) -> Vec<Published> {
        let published = |output: &MediaOutput| match output {
            MediaOutput::Published(published) => Some(published.clone()),
            _ => None,
        };
        self.outputs.iter().filter_map(published).collect()
    }

    pub(super) fn changed(&self) -> Vec<Published> {
        let changed = |output: &MediaOutput| match output {
            MediaOutput::TrackChanged(published) => Some(published.clone()),
            _ => None,
        };
        self.outputs.iter().filter_map(changed).collect()
    }

    pub(super) fn unpublished(&self) -> Vec<TrackSid> {
        let unpublished = |output: &MediaOutput| match output {
            MediaOutput::Unpublished(sid) => Some(sid.clone()),
            _ => None,
        };
        self.outputs.iter().filter_map(unpublished).collect()
    }

    pub(super) fn has(&self, wanted: impl Fn(&MediaOutput) -> bool) -> bool {
        self.outputs.iter().any(wanted)
    }

    /// The transport added first or second.
    pub(super) fn transport(&self, index: usize) -> TransportKey {
        let added = |command: &&Command| match command {
            Command::AddTransport { transport, .. } => Some(*transport),
            _ => None,
        };
        self.commands()
            .iter()
            .filter_map(added)
            .nth(index)
            .expect("a transport")
    }

    pub(super) fn connect(&mut self, transport: TransportKey) {
        let state = TransportState::Connected;
        self.feed(MediaInput::Shard(Event::Transport { transport, state }));
    }

    pub(super) fn open_channels(&mut self, transport: TransportKey) {
        for label in ["_reliable", "_lossy"] {
            let label = label.to_owned();
            self.feed(MediaInput::Shard(Event::ChannelOpen { transport, label }));
        }
    }

    pub(super) fn client_offers(&mut self, id: u32, sections: &[String]) {
        self.feed(MediaInput::Offer(proto::SessionDescription {
            r#type: "offer".into(),
            sdp: description("actpass", sections),
            id,
            ..Default::default()
        }));
    }

    /// Answers the last offer as a browser that takes everything.
    pub(super) fn client_answers(&mut self) {
        let offer = self.offers().pop().expect("an offer to answer");
        let sdp = answer_to(&offer.sdp);
        let answer = proto::SessionDescription {
            r#type: "answer".into(),
            sdp,
            id: offer.id,
            ..Default::default()
        };
        self.feed(MediaInput::Answer(answer));
    }

    pub(super) fn add_track(&mut self, cid: &str, source: proto::TrackSource) {
        self.feed(MediaInput::AddTrack(request(cid, source)));
    }

    /// A published and connected track on `/rtc`; returns its sid.
    pub(super) fn publish(&mut self, cid: &str, source: proto::TrackSource) -> TrackSid {
        self.add_track(cid, source);
        let sections = match source {
            proto::TrackSource::Camera | proto::TrackSource::ScreenShare => {
                [data(0), video(1, cid)]
            }
            _ => [data(0), audio(1, cid)],
        };
        self.client_offers(1, &sections);
        let transport = self.media.publisher.as_ref().expect("a connection").key;
        self.connect(transport);
        TrackSid(self.published().pop().expect("published").info.sid.clone())
    }
}

pub(crate) fn request(cid: &str, source: proto::TrackSource) -> proto::AddTrackRequest {
    let video = [proto::TrackSource::Camera, proto::TrackSource::ScreenShare].contains(&source);
    let kind = if video {
        proto::TrackType::Video
    } else {
        proto::TrackType::Audio
    };
    proto::AddTrackRequest {
        cid: cid.into(),
        r#type: kind as i32,
        source: source as i32,
        ..Default::default()
    }
}

pub(super) fn source(sid: &str, kind: proto::TrackType, codec: Codec) -> Source {
    Source {
        publisher_sid: ParticipantSid("PA_alice".into()),
        publisher_identity: "alice".into(),
        info: Arc::new(proto::TrackInfo {
            sid: sid.into(),
            r#type: kind as i32,
            ..Default::default()
        }),
        codecs: vec![(media::TrackKey(77), codec)],
        allowed: true,
    }
}

const FINGERPRINT: &str = "AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:\
                           AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB";

fn transport_lines() -> String {
    format!(
        "c=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\n\
         a=fingerprint:sha-256 {FINGERPRINT}\r\n"
    )
}

pub(crate) fn data(mid: u32) -> String {
    format!(
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n{}a=mid:{mid}\r\na=sctp-port:5000\r\n\
         a=max-message-size:262144\r\n",
        transport_lines()
    )
}

/// A microphone as Chromium offers it.
pub(crate) fn audio(mid: u32, cid: &str) -> String {
    audio_section(
        mid,
        "sendonly",
        &format!("a=msid:- {cid}\r\na=ssrc:1000 cname:x\r\n"),
    )
}

/// A free section of a single connection.
pub(crate) fn free_audio(mid: u32) -> String {
    audio_section(mid, "recvonly", "")
}

pub(crate) fn audio_section(mid: u32, direction: &str, more: &str) -> String {
    format!(
        "m=audio 9 UDP/TLS/RTP/SAVPF 111 63\r\n{}a=mid:{mid}\r\n\
         a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\na={direction}\r\na=rtcp-mux\r\n\
         a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n\
         a=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\n{more}",
        transport_lines()
    )
}

/// A simulcast camera as Chromium offers it.
pub(crate) fn video(mid: u32, cid: &str) -> String {
    format!(
        "m=video 9 UDP/TLS/RTP/SAVPF 96 97 98 99\r\n{}a=mid:{mid}\r\n\
         a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\n\
         a=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n\
         a=extmap:11 urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id\r\n\
         a=sendonly\r\na=rtcp-mux\r\na=msid:- {cid}\r\n\
         a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\n\
         a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n\
         a=rtpmap:98 VP9/90000\r\na=rtcp-fb:98 nack\r\na=fmtp:98 profile-id=0\r\n\
         a=rtpmap:99 rtx/90000\r\na=fmtp:99 apt=98\r\n\
         a=rid:q send\r\na=rid:h send\r\na=rid:f send\r\na=simulcast:send q;h;f\r\n",
        transport_lines()
    )
}

pub(crate) fn description(setup: &str, sections: &[String]) -> String {
    let mids: Vec<String> = (0..sections.len()).map(|mid| mid.to_string()).collect();
    format!(
        "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {}\r\na=setup:{setup}\r\n{}",
        mids.join(" "),
        sections.concat()
    )
}

/// Takes every section of an offer of ours: same formats, opposite direction.
pub(crate) fn answer_to(offer: &str) -> String {
    let mut sections = Vec::new();
    for section in offer.split("\r\nm=").skip(1) {
        let mut lines = vec![format!("m={}", section.lines().next().unwrap_or_default())];
        lines.push(transport_lines().trim_end().to_owned());
        for line in section.lines().skip(1) {
            let kept = [
                "a=mid",
                "a=rtpmap",
                "a=fmtp",
                "a=rtcp-fb",
                "a=rtcp-mux",
                "a=extmap:",
            ];
            if kept.iter().any(|kept| line.starts_with(kept)) || line.starts_with("a=sctp-port") {
                lines.push(line.to_owned());
            } else if line == "a=sendrecv" || line == "a=sendonly" {
                lines.push("a=recvonly".to_owned());
            } else if line == "a=recvonly" || line == "a=inactive" {
                lines.push("a=inactive".to_owned());
            }
        }
        sections.push(lines.join("\r\n") + "\r\n");
    }
    description("active", &sections)
}
