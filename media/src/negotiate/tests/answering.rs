//! Answers to publishers.

use super::*;

/// The offers of the acceptance kit's publish goldens, as Chromium writes them in short.
fn golden_offer(media: &str) -> String {
    let transport = "c=IN IP4 0.0.0.0\na=ice-ufrag:abcd\na=ice-pwd:abcdefghijklmnopqrstuvwx\n\
        a=ice-options:trickle\na=setup:actpass\n";
    let fingerprint = ["AB"; 32].join(":");
    let media = media.replace("TRANSPORT\n", transport);
    format!(
        "v=0\no=- 1 2 IN IP4 127.0.0.1\ns=-\nt=0 0\na=group:BUNDLE 0 1\na=extmap-allow-mixed\n\
         a=fingerprint:sha-256 {fingerprint}\na=msid-semantic: WMS\n\
         m=application 9 UDP/DTLS/SCTP webrtc-datachannel\n{transport}a=mid:0\n\
         a=sctp-port:5000\na=max-message-size:262144\n{media}"
    )
}

fn golden_audio() -> String {
    golden_offer(
        "m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13\nTRANSPORT\na=mid:1\n\
         a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\n\
         a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\n\
         a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\n\
         a=sendonly\na=rtcp-mux\na=rtcp-rsize\na=msid:- cid-audio\na=rtpmap:111 opus/48000/2\n\
         a=rtcp-fb:111 transport-cc\na=fmtp:111 minptime=10;useinbandfec=1\n\
         a=rtpmap:63 red/48000/2\na=fmtp:63 111/111\na=rtpmap:9 G722/8000\na=rtpmap:0 PCMU/8000\n\
         a=rtpmap:8 PCMA/8000\na=rtpmap:13 CN/8000\na=ssrc:1000 cname:x\n",
    )
}

fn answer(negotiator: &mut Negotiator) -> String {
    negotiator.create_answer().unwrap().sdp
}

#[test]
fn the_audio_answer_has_the_golden_shape() {
    let mut negotiator = negotiator(PeerRole::Publisher);
    negotiator.set_candidates(Vec::new());
    let offer = negotiator.accept_offer(&golden_audio()).unwrap();
    assert!(offer.has_data && !offer.ice_restart);
    assert_eq!(offer.sections.len(), 1);
    assert_eq!(offer.sections[0].track_id.as_deref(), Some("cid-audio"));
    let codecs = [Codec::Opus, Codec::Red, Codec::Pcmu, Codec::Pcma];
    assert_eq!(offer.sections[0].codecs, codecs);
    let preferences = PublishPreferences::default();
    negotiator
        .bind_receive("1", TrackKey(5), preferences)
        .unwrap();
    let sdp = answer(&mut negotiator);
    let ice = negotiator.local_ice().clone();
    let expected = [
        "a=fingerprint:sha-256 ".to_owned() + &["AB"; 32].join(":"),
        "a=extmap-allow-mixed".into(),
        "a=group:BUNDLE 0 1".into(),
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel".into(),
        "c=IN IP4 0.0.0.0".into(),
        "a=setup:passive".into(),
        "a=mid:0".into(),
        "a=sendrecv".into(),
        "a=sctp-port:5000".into(),
        "a=max-message-size:65535".into(),
        format!("a=ice-ufrag:{}", ice.ufrag),
        format!("a=ice-pwd:{}", ice.pwd),
        "m=audio 9 UDP/TLS/RTP/SAVPF 63 111 0 8".into(),
        "c=IN IP4 0.0.0.0".into(),
        "a=setup:passive".into(),
        "a=mid:1".into(),
        format!("a=ice-ufrag:{}", ice.ufrag),
        format!("a=ice-pwd:{}", ice.pwd),
        "a=rtcp-mux".into(),
        "a=rtcp-rsize".into(),
        "a=rtpmap:63 red/48000/2".into(),
        "a=fmtp:63 111/111".into(),
        "a=rtpmap:111 opus/48000/2".into(),
        "a=fmtp:111 minptime=10;useinbandfec=1;usedtx=1".into(),
        "a=rtpmap:0 PCMU/8000".into(),
        "a=rtpmap:8 PCMA/8000".into(),
        "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level".into(),
        "a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid".into(),
        "a=recvonly".into(),
    ];
    let lines: Vec<&str> = sdp.lines().skip(5).collect();
    assert_eq!(lines, expected);
    assert!(sdp.ends_with("\r\n"));
    let sections = negotiator.receive_sections();
    assert_eq!(sections[0].track, Some(TrackKey(5)));
    assert_eq!(sections[0].payload_types[0].codec, Codec::Red);
    assert_eq!(sections[0].extensions.audio_level, Some(1));
    assert_eq!(sections[0].ssrcs[0].ssrc, 1000);
    assert_eq!(negotiator.remote().unwrap().role, DtlsRole::Server);
}

#[test]
fn stereo_without_dtx_and_red_shapes_the_answer() {
    let mut negotiator = negotiator(PeerRole::Publisher);
    negotiator.accept_offer(&golden_audio()).unwrap();
    let preferences = PublishPreferences {
        stereo: true,
        dtx: false,
        red: false,
        codec: None,
    };
    negotiator
        .bind_receive("1", TrackKey(5), preferences)
        .unwrap();
    let sdp = answer(&mut negotiator);
    let audio = &split(&sdp)[2];
    assert_eq!(payload_list(audio), [111, 0, 8]);
    let fmtp = "a=fmtp:111 minptime=10;useinbandfec=1;stereo=1;maxaveragebitrate=510000";
    assert!(contains(audio, fmtp));
}

#[test]
fn a_chromium_publisher_gets_layers_feedback_and_its_own_numbers() {
    let mut negotiator = negotiator(PeerRole::Publisher);
    let offer = negotiator.accept_offer(CHROMIUM_DUAL).unwrap();
    assert_eq!(offer.sections.len(), 2);
    let video = &offer.sections[1];
    assert_eq!(video.rids, ["q", "h", "f"]);
    assert_eq!(
        video.track_id.as_deref(),
        Some("7c29beb6-d8b5-48cf-a1bd-1cf63c10dc75")
    );
    assert_eq!(
        video.codecs,
        [Codec::Vp8, Codec::H264, Codec::Av1, Codec::Vp9]
    );
    let sctp = offer.remote.sctp.unwrap();
    assert_eq!((sctp.port, sctp.max_message_size_bytes), (5000, 262_144));
    assert!(
        offer.remote.candidates.is_empty(),
        "mDNS names are nothing to us"
    );
    let sdp = answer(&mut negotiator);
    let parts = split(&sdp);
    assert!(contains(&parts[0], "a=group:BUNDLE 0 1 2"));
    let video = &parts[2];
    assert_eq!(
        payload_list(video),
        [
            96, 102, 104, 108, 114, 116, 39, 45, 98, 97, 103, 107, 109, 115, 117, 40, 46, 99
        ],
        "neither VP9 profile 2 nor video RED nor FEC"
    );
    for line in [
        "a=rtcp-fb:96 transport-cc",
        "a=rtcp-fb:96 ccm fir",
        "a=rtcp-fb:96 nack",
        "a=rtcp-fb:96 nack pli",
        "a=fmtp:97 apt=96",
        "a=fmtp:45 level-idx=5;profile=0;tier=0",
        "a=rid:q recv",
        "a=rid:f recv",
        "a=simulcast:recv q;h;f",
        "a=recvonly",
        "a=extmap:11 urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
    ] {
        assert!(contains(video, line), "{line}");
    }
    assert!(!contains(video, "a=rtcp-fb:96 goog-remb"));
    let sections = negotiator.receive_sections();
    assert_eq!(sections[1].payload_types[0].rtx_pt, Some(97));
    assert_eq!(sections[1].extensions.rid, Some(10));
    assert_eq!(sections[1].extensions.dependency_descriptor, Some(12));
    assert_eq!(sections[1].extensions.video_orientation, None);
}

#[test]
fn candidates_stand_in_the_first_section_only() {
    let mut negotiator = negotiator(PeerRole::Publisher);
    negotiator.accept_offer(CHROMIUM_DUAL).unwrap();
    let sdp = answer(&mut negotiator);
    let parts = split(&sdp);
    let candidates = |section: &Vec<&str>| {
        section
            .iter()
            .filter(|l| l.starts_with("a=candidate:"))
            .count()
    };
    assert_eq!(candidates(&parts[1]), 2);
    assert!(contains(&parts[1], "a=end-of-candidates"));
    assert_eq!(candidates(&parts[2]) + candidates(&parts[3]), 0);
    let ufrag = &negotiator.local_ice().ufrag;
    assert_eq!(
        negotiator.trickle_candidates()[0],
        format!("candidate:1 1 udp 2130706431 127.0.0.1 7882 typ host ufrag {ufrag}")
    );
}

#[test]
fn the_announced_codec_comes_first() {
    let mut config = config(PeerRole::Publisher);
    let preferences = PublishPreferences {
        codec: Some(Codec::Vp9),
        ..PublishPreferences::default()
    };
    for quirky in [false, true] {
        config.quirks.ignores_codec_order = quirky;
        let mut negotiator = Negotiator::new(config.clone());
        negotiator.accept_offer(CHROMIUM_DUAL).unwrap();
        negotiator
            .bind_receive("1", TrackKey(1), preferences.clone())
            .unwrap();
        let sdp = answer(&mut negotiator);
        let payloads = payload_list(&split(&sdp)[2]);
        if quirky {
            assert_eq!(payloads, [98, 99]);
        } else {
            assert_eq!(payloads[0], 98);
            assert!(payloads.len() > 2);
        }
    }
}

#[test]
fn disabled_codecs_and_red_are_left_out() {
    let mut config = config(PeerRole::Publisher);
    config.quirks.no_audio_red = true;
    config.quirks.disabled_publish = vec![Codec::H264, Codec::Av1];
    let mut negotiator = Negotiator::new(config);
    negotiator.accept_offer(CHROMIUM_DUAL).unwrap();
    let sdp = answer(&mut negotiator);
    assert_eq!(payload_list(&split(&sdp)[1]), [111, 0, 8]);
    assert_eq!(payload_list(&split(&sdp)[2]), [96, 98, 97, 99]);
}

#[test]
fn without_retransmission_no_rtx_is_answered() {
    let mut config = config(PeerRole::Publisher);
    config.retransmission = false;
    let mut negotiator = Negotiator::new(config);
    negotiator.accept_offer(CHROMIUM_DUAL).unwrap();
    let sdp = answer(&mut negotiator);
    assert!(!sdp.contains("rtx/90000"));
    assert_eq!(
        negotiator.receive_sections()[1].payload_types[0].rtx_pt,
        None
    );
}

#[test]
fn aiortc_is_answered_with_its_numbers_and_asked_for_remb() {
    let mut negotiator = negotiator(PeerRole::Publisher);
    let offer = negotiator.accept_offer(AIORTC).unwrap();
    assert_eq!(offer.remote.fingerprint.algorithm, "sha-256");
    assert_eq!(
        offer.remote.candidates.len(),
        1,
        "of the first section only"
    );
    assert_eq!(
        offer.sections[2].track_id, None,
        "a section that only receives has no cid"
    );
    let sdp = answer(&mut negotiator);
    let parts = split(&sdp);
    assert_eq!(payload_list(&parts[1]), [96, 0, 8]);
    assert_eq!(payload_list(&parts[2]), [97, 99, 101, 98, 100, 102]);
    assert!(contains(&parts[2], "a=rtcp-fb:97 goog-remb"));
    assert!(contains(&parts[3], "a=inactive") && contains(&parts[4], "a=inactive"));
    assert!(!sdp.contains("a=extmap-allow-mixed"));
    let video = &negotiator.receive_sections()[1];
    assert_eq!(video.ssrcs.len(), 2);
    assert_eq!(video.ssrcs[1].repairs, Some(video.ssrcs[0].ssrc));
}

#[test]
fn a_section_the_client_stopped_sending_on_keeps_its_track_until_unbound() {
    let mut negotiator = negotiator(PeerRole::Publisher);
    negotiator.accept_offer(&golden_audio()).unwrap();
    negotiator
        .bind_receive("1", TrackKey(5), PublishPreferences::default())
        .unwrap();
    answer(&mut negotiator);
    let offer = golden_audio().replace("a=sendonly", "a=inactive");
    let accepted = negotiator.accept_offer(&offer).unwrap();
    assert_eq!(accepted.sections[0].direction, Direction::Inactive);
    assert_eq!(accepted.sections[0].track, Some(TrackKey(5)));
    negotiator.unbind_receive("1");
    let sdp = answer(&mut negotiator);
    assert!(contains(&split(&sdp)[2], "a=inactive"));
    assert!(negotiator.receive_sections().is_empty());
}

#[test]
fn new_credentials_of_the_client_are_an_ice_restart_for_both() {
    let mut negotiator = negotiator(PeerRole::Publisher);
    negotiator.accept_offer(&golden_audio()).unwrap();
    answer(&mut negotiator);
    let before = negotiator.local_ice().clone();
    assert!(
        !negotiator
            .accept_offer(&golden_audio())
            .unwrap()
            .ice_restart
    );
    assert_eq!(*negotiator.local_ice(), before);
    let restarted = golden_audio().replace("a=ice-ufrag:abcd", "a=ice-ufrag:efgh");
    let accepted = negotiator.accept_offer(&restarted).unwrap();
    assert!(accepted.ice_restart);
    assert_eq!(accepted.remote.ice.ufrag, "efgh");
    assert_ne!(*negotiator.local_ice(), before);
    assert!(answer(&mut negotiator).contains(&negotiator.local_ice().pwd));
}

#[test]
fn our_role_follows_the_offer() {
    for (setup, role, line) in [
        ("actpass", DtlsRole::Server, "a=setup:passive"),
        ("active", DtlsRole::Server, "a=setup:passive"),
        ("passive", DtlsRole::Client, "a=setup:active"),
    ] {
        let mut negotiator = negotiator(PeerRole::Publisher);
        let offer = golden_audio().replace("a=setup:actpass", &format!("a=setup:{setup}"));
        assert_eq!(negotiator.accept_offer(&offer).unwrap().remote.role, role);
        assert!(contains(&split(&answer(&mut negotiator))[1], line));
    }
}

#[test]
fn sections_without_a_common_codec_and_unknown_ones_are_rejected() {
    let mut config = config(PeerRole::Publisher);
    config.publish_codecs = vec![Codec::Vp8.into()];
    let mut negotiator = Negotiator::new(config);
    negotiator.accept_offer(CHROMIUM_DUAL).unwrap();
    let sdp = answer(&mut negotiator);
    let parts = split(&sdp);
    assert!(contains(&parts[0], "a=group:BUNDLE 1 2"));
    assert!(parts[1][0].starts_with("m=audio 0 UDP/TLS/RTP/SAVPF 111 63"));
    assert_eq!(payload_list(&parts[2]), [96, 97]);
    assert_eq!(negotiator.first_mid(), "1");
}

#[test]
fn the_same_seed_gives_the_same_answer() {
    let run = |seed: u8| {
        let mut config = config(PeerRole::Publisher);
        config.seed = [seed; 32];
        let mut negotiator = Negotiator::new(config);
        negotiator.accept_offer(CHROMIUM_DUAL).unwrap();
        answer(&mut negotiator)
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn reduced_size_feedback_is_answered_only_where_it_was_offered() {
    let line = "a=rtcp-rsize\r\n";
    for (offer, expected) in [
        (CHROMIUM_DUAL.to_owned(), true),
        (CHROMIUM_DUAL.replace("a=rtcp-rsize", "a=x-none"), false),
    ] {
        let mut negotiator = Negotiator::new(config(PeerRole::Publisher));
        negotiator.accept_offer(&offer).unwrap();
        assert_eq!(answer(&mut negotiator).contains(line), expected);
    }
}

#[test]
fn feedback_nobody_knows_is_not_kept() {
    use crate::negotiate::remote::RemoteDescription;
    let long = format!(
        "a=rtcp-fb:* {}\r\na=rtcp-fb:* nack\r\na=mid:",
        "x".repeat(100_000)
    );
    let offer = CHROMIUM_DUAL.replace("a=mid:", &long);
    let parsed = RemoteDescription::parse(&offer).unwrap();
    for format in parsed.sections.iter().flat_map(|section| &section.formats) {
        assert!(format.feedback.len() <= 5, "{:?}", format.feedback);
    }
}
