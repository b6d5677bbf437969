//! Offers to subscribers and their answers.

use super::*;

/// Answers an offer of ours as browsers do: everything echoed, every section received.
fn echo(offer: &str) -> String {
    let mut answer = String::new();
    for line in offer.lines() {
        let line = match line {
            "a=setup:actpass" => "a=setup:active",
            "a=sendonly" => "a=recvonly",
            l if l.starts_with("a=ssrc") || l.starts_with("a=msid:") => continue,
            l if l.starts_with("a=candidate") || l == "a=end-of-candidates" => continue,
            l if l.starts_with("a=ice-ufrag:") => "a=ice-ufrag:peer",
            l if l.starts_with("a=ice-pwd:") => "a=ice-pwd:peerpeerpeerpeerpeerpeer",
            l => l,
        };
        answer.push_str(line);
        answer.push_str("\r\n");
    }
    answer
}

fn exchange(negotiator: &mut Negotiator) -> (String, AnswerAccepted) {
    let offer = negotiator.create_offer(false).unwrap().sdp;
    let accepted = negotiator.accept_answer(&echo(&offer)).unwrap();
    (offer, accepted)
}

#[test]
fn the_first_offer_has_the_data_section_and_the_golden_shape() {
    let mut negotiator = negotiator(PeerRole::Subscriber);
    negotiator.set_candidates(Vec::new());
    let offer = negotiator.create_offer(false).unwrap();
    assert!(offer.senders.is_empty());
    let ice = negotiator.local_ice();
    let lines: Vec<&str> = offer.sdp.lines().skip(5).collect();
    assert_eq!(
        lines,
        [
            &format!("a=fingerprint:sha-256 {}", ["AB"; 32].join(":")),
            "a=extmap-allow-mixed",
            "a=group:BUNDLE 0",
            "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
            "c=IN IP4 0.0.0.0",
            "a=setup:actpass",
            "a=mid:0",
            "a=sendrecv",
            "a=sctp-port:5000",
            "a=max-message-size:65535",
            &format!("a=ice-ufrag:{}", ice.ufrag),
            &format!("a=ice-pwd:{}", ice.pwd),
        ]
    );
}

#[test]
fn an_audio_track_is_offered_in_the_golden_shape() {
    let mut negotiator = negotiator(PeerRole::Subscriber);
    let placement = negotiator.add_sender(sender(1, &[Codec::Opus]));
    assert_eq!(placement, Placement::Ready);
    assert!(negotiator.needs_negotiation());
    let offer = negotiator.create_offer(false).unwrap();
    assert!(!negotiator.needs_negotiation());
    assert_eq!(offer.senders, [("1".to_owned(), DownTrackKey(1))]);
    let parts = split(&offer.sdp);
    let audio = &parts[2];
    assert_eq!(payload_list(audio), [111, 63, 0, 8]);
    for line in [
        "a=mid:1",
        "a=fmtp:111 minptime=10;useinbandfec=1",
        "a=rtcp-fb:111 nack",
        "a=fmtp:63 111/111",
        "a=extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time",
        "a=msid:PA_x|TR_1 TR_1",
        "a=sendonly",
    ] {
        assert!(contains(audio, line), "{line}");
    }
    assert!(
        audio
            .iter()
            .any(|l| l.starts_with("a=ssrc:") && l.ends_with("cname:PA_x|TR_1"))
    );
    assert!(!contains(audio, "a=rtcp-fb:63 nack"));
    assert_eq!(
        negotiator.send_section(DownTrackKey(1)),
        None,
        "not before the answer"
    );
}

#[test]
fn the_answer_makes_the_section_sendable() {
    let mut negotiator = negotiator(PeerRole::Subscriber);
    negotiator.add_sender(sender(1, &[Codec::Opus]));
    negotiator.add_sender(sender(2, &[Codec::Vp8]));
    let (offer, accepted) = exchange(&mut negotiator);
    assert_eq!(accepted.remote.role, DtlsRole::Server);
    assert!(accepted.refused.is_empty());
    let section = negotiator.send_section(DownTrackKey(2)).unwrap();
    assert_eq!(section.mid, "2");
    assert_eq!(
        (section.payload_types[0].pt, section.payload_types[0].rtx_pt),
        (96, Some(97))
    );
    assert!(section.payload_types[0].nack);
    assert_eq!(section.extensions.abs_send_time, Some(3));
    assert_eq!(section.extensions.transport_cc, None);
    let group = format!(
        "a=ssrc-group:FID {} {}",
        section.ssrc,
        section.rtx_ssrc.unwrap()
    );
    assert!(offer.contains(&group));
    assert!(
        !offer.contains("profile-level-id=64"),
        "no High profile to subscribers"
    );
    assert_eq!(
        negotiator.send_section(DownTrackKey(1)).unwrap().rtx_ssrc,
        None
    );
}

#[test]
fn the_source_codec_comes_first_for_the_packet_plane() {
    let mut negotiator = negotiator(PeerRole::Subscriber);
    negotiator.add_sender(sender(1, &[Codec::Vp9, Codec::Vp8]));
    negotiator.add_sender(sender(2, &[Codec::H264]));
    negotiator.add_sender(sender(3, &[Codec::Red, Codec::Opus]));
    exchange(&mut negotiator);
    let codecs = |id| {
        let section = negotiator.send_section(DownTrackKey(id)).unwrap();
        section
            .payload_types
            .iter()
            .map(|p| p.codec)
            .take(3)
            .collect::<Vec<_>>()
    };
    assert_eq!(codecs(1), [Codec::Vp9, Codec::Vp9, Codec::Vp8]);
    assert_eq!(codecs(2)[0], Codec::H264);
    assert_eq!(codecs(3)[..2], [Codec::Red, Codec::Opus]);
    let h264 = negotiator.send_section(DownTrackKey(2)).unwrap();
    assert!(h264.payload_types[0].fmtp.contains("packetization-mode=1"));
}

#[test]
fn a_client_without_a_codec_leaves_it_out_of_the_section() {
    let mut negotiator = negotiator(PeerRole::Subscriber);
    negotiator.add_sender(sender(1, &[Codec::Vp9, Codec::Vp8]));
    let offer = negotiator.create_offer(false).unwrap().sdp;
    let answer: String = echo(&offer)
        .lines()
        .filter(|l| !l.contains("VP9/90000") && *l != "a=rtcp-fb:96 nack")
        .map(|l| l.to_owned() + "\r\n")
        .collect();
    negotiator.accept_answer(&answer).unwrap();
    let section = negotiator.send_section(DownTrackKey(1)).unwrap();
    assert_eq!(section.payload_types[0].codec, Codec::Vp8);
    assert!(!section.payload_types[0].nack);
    assert!(section.payload_types.iter().all(|p| p.codec != Codec::Vp9));
}

#[test]
fn only_one_offer_is_outstanding() {
    let mut negotiator = negotiator(PeerRole::Subscriber);
    assert!(negotiator.accept_answer("v=0\r\n").is_err());
    let offer = negotiator.create_offer(false).unwrap().sdp;
    assert!(negotiator.offer_outstanding());
    assert!(matches!(
        negotiator.create_offer(false),
        Err(NegotiateError::WrongState(_))
    ));
    assert!(negotiator.accept_answer("nonsense").is_err());
    assert!(
        negotiator.offer_outstanding(),
        "an unreadable answer is no answer"
    );
    negotiator.accept_answer(&echo(&offer)).unwrap();
    assert!(!negotiator.offer_outstanding());
}

#[test]
fn a_track_added_meanwhile_waits_for_the_next_offer() {
    let mut negotiator = negotiator(PeerRole::Subscriber);
    let first = negotiator.create_offer(false).unwrap().sdp;
    negotiator.add_sender(sender(1, &[Codec::Vp8]));
    let accepted = negotiator.accept_answer(&echo(&first)).unwrap();
    assert!(accepted.refused.is_empty());
    assert_eq!(negotiator.send_section(DownTrackKey(1)), None);
    assert!(negotiator.needs_negotiation());
    exchange(&mut negotiator);
    assert!(negotiator.send_section(DownTrackKey(1)).is_some());
}

#[test]
fn a_section_is_reused_only_after_the_client_saw_its_track_go() {
    let mut negotiator = negotiator(PeerRole::Subscriber);
    negotiator.add_sender(sender(1, &[Codec::Vp8]));
    exchange(&mut negotiator);
    let before = negotiator.send_section(DownTrackKey(1)).unwrap();
    negotiator.remove_sender(DownTrackKey(1));
    assert!(negotiator.needs_negotiation());
    assert_eq!(negotiator.send_section(DownTrackKey(1)), None);
    negotiator.add_sender(sender(2, &[Codec::Vp8]));
    let (offer, _) = exchange(&mut negotiator);
    let parts = split(&offer);
    assert!(contains(&parts[2], "a=inactive") && contains(&parts[3], "a=sendonly"));
    assert!(!offer.contains("TR_1"));
    negotiator.add_sender(sender(3, &[Codec::Vp8]));
    let (offer, _) = exchange(&mut negotiator);
    assert_eq!(split(&offer).len(), 4, "no new section");
    let after = negotiator.send_section(DownTrackKey(3)).unwrap();
    assert_eq!(after.mid, before.mid);
    assert_ne!(after.ssrc, before.ssrc);
}

#[test]
fn a_client_that_cannot_reuse_sections_gets_new_ones() {
    let mut config = config(PeerRole::Subscriber);
    config.quirks.no_section_reuse = true;
    let mut negotiator = Negotiator::new(config);
    for id in 1..4 {
        negotiator.add_sender(sender(id, &[Codec::Opus]));
        exchange(&mut negotiator);
        negotiator.remove_sender(DownTrackKey(id));
        exchange(&mut negotiator);
    }
    let (offer, _) = exchange(&mut negotiator);
    assert_eq!(split(&offer).len(), 5);
}

#[test]
fn refused_sections_are_reported() {
    let mut negotiator = negotiator(PeerRole::Subscriber);
    negotiator.add_sender(sender(1, &[Codec::Vp8]));
    negotiator.add_sender(sender(2, &[Codec::Vp8]));
    let offer = negotiator.create_offer(false).unwrap().sdp;
    let answer = echo(&offer)
        .replacen("m=video 9", "m=video 0", 1)
        .replace("BUNDLE 0 1 2", "BUNDLE 0 2");
    let accepted = negotiator.accept_answer(&answer).unwrap();
    assert_eq!(accepted.refused, [DownTrackKey(1)]);
    assert!(negotiator.send_section(DownTrackKey(2)).is_some());
    negotiator.remove_sender(DownTrackKey(1));
    negotiator.add_sender(sender(3, &[Codec::Vp8]));
    let (offer, _) = exchange(&mut negotiator);
    assert!(
        split(&offer)[2][0].starts_with("m=video 0 "),
        "a rejected section stays rejected"
    );
    assert_eq!(negotiator.send_section(DownTrackKey(3)).unwrap().mid, "3");
}

#[test]
fn an_ice_restart_changes_the_credentials_and_keeps_the_tracks() {
    let mut negotiator = negotiator(PeerRole::Subscriber);
    negotiator.add_sender(sender(1, &[Codec::Opus]));
    exchange(&mut negotiator);
    let (ice, section) = (
        negotiator.local_ice().clone(),
        negotiator.send_section(DownTrackKey(1)),
    );
    let offer = negotiator.create_offer(true).unwrap().sdp;
    assert_ne!(*negotiator.local_ice(), ice);
    assert!(offer.contains(&negotiator.local_ice().ufrag) && !offer.contains(&ice.ufrag));
    negotiator.accept_answer(&echo(&offer)).unwrap();
    assert_eq!(negotiator.send_section(DownTrackKey(1)), section);
}

#[test]
fn an_offer_whose_answer_got_lost_is_repeated_with_its_sections() {
    let mut negotiator = negotiator(PeerRole::Subscriber);
    negotiator.add_sender(sender(1, &[Codec::Opus]));
    negotiator.create_offer(false).unwrap();
    negotiator.roll_back_offer();
    assert!(!negotiator.offer_outstanding() && negotiator.needs_negotiation());
    let (offer, _) = exchange(&mut negotiator);
    assert!(offer.contains("TR_1"));
    assert!(negotiator.send_section(DownTrackKey(1)).is_some());
}

#[test]
fn stereo_sources_say_so() {
    let mut negotiator = negotiator(PeerRole::Subscriber);
    let mut stereo = sender(1, &[Codec::Opus]);
    stereo.stereo = true;
    negotiator.add_sender(stereo);
    let (offer, _) = exchange(&mut negotiator);
    assert!(offer.contains("a=fmtp:111 minptime=10;useinbandfec=1;sprop-stereo=1"));
}

#[test]
fn send_side_estimation_asks_for_transport_wide_feedback() {
    let mut config = config(PeerRole::Subscriber);
    config.send_side_bandwidth = true;
    config.playout_delay = true;
    let mut negotiator = Negotiator::new(config);
    negotiator.add_sender(sender(1, &[Codec::Vp8]));
    let (offer, _) = exchange(&mut negotiator);
    assert!(offer.contains("a=rtcp-fb:96 transport-cc") && offer.contains("goog-remb"));
    let extensions = negotiator.send_section(DownTrackKey(1)).unwrap().extensions;
    assert_eq!(
        (extensions.transport_cc, extensions.abs_send_time),
        (Some(4), Some(3))
    );
    assert_eq!(extensions.playout_delay, Some(5));
}

#[test]
fn an_answer_with_other_sections_is_refused() {
    let mut negotiator = negotiator(PeerRole::Subscriber);
    negotiator.add_sender(sender(1, &[Codec::Opus]));
    let offer = negotiator.create_offer(false).unwrap().sdp;
    let answer = echo(&offer);
    let short = &answer[..answer.find("m=audio").unwrap()];
    assert_eq!(
        negotiator.accept_answer(short),
        Err(NegotiateError::SectionsChanged)
    );
    let other_mid = answer
        .replace("a=mid:1", "a=mid:9")
        .replace("BUNDLE 0 1", "BUNDLE 0 9");
    assert_eq!(
        negotiator.accept_answer(&other_mid),
        Err(NegotiateError::SectionsChanged)
    );
    negotiator.accept_answer(&answer).unwrap();
}
