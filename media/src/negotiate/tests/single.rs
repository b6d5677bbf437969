//! One connection both ways: the client offers, its sections carry our tracks.

use super::*;

fn round(negotiator: &mut Negotiator, offer: &str) -> LocalDescription {
    negotiator.accept_offer(offer).unwrap();
    negotiator.create_answer().unwrap()
}

#[test]
fn unused_sections_of_the_first_offer_are_inactive() {
    let mut negotiator = negotiator(PeerRole::Single);
    let answer = round(&mut negotiator, CHROMIUM_SINGLE);
    assert!(answer.senders.is_empty());
    let parts = split(&answer.sdp);
    let inactive = parts.iter().filter(|p| contains(p, "a=inactive")).count();
    assert_eq!(inactive, 6);
    assert!(!answer.sdp.contains("a=msid:"));
    assert_eq!(negotiator.free_sections(MediaKind::Audio), 3);
    assert_eq!(negotiator.free_sections(MediaKind::Video), 3);
    assert_eq!(negotiator.sections_required(), None);
    assert_eq!(
        negotiator.receive_sections().len(),
        1,
        "the client's own video"
    );
}

#[test]
fn a_track_waits_for_an_offer_and_takes_a_free_section() {
    let mut negotiator = negotiator(PeerRole::Single);
    round(&mut negotiator, CHROMIUM_SINGLE);
    assert_eq!(
        negotiator.add_sender(sender(1, &[Codec::Opus])),
        Placement::Ready
    );
    assert_eq!(
        negotiator.sections_required(),
        Some(SectionsRequired {
            audios: 0,
            videos: 0
        }),
        "only an offer is needed"
    );
    assert_eq!(negotiator.send_section(DownTrackKey(1)), None);
    let answer = round(&mut negotiator, CHROMIUM_SINGLE);
    assert_eq!(answer.senders.len(), 1);
    let (mid, id) = &answer.senders[0];
    assert_eq!(*id, DownTrackKey(1));
    let section = negotiator.send_section(DownTrackKey(1)).unwrap();
    assert_eq!(section.mid, *mid);
    assert_eq!(section.payload_types[0].pt, 111);
    let parts = split(&answer.sdp);
    let carrying = parts
        .iter()
        .find(|p| contains(p, &format!("a=mid:{mid}")))
        .unwrap();
    assert!(contains(carrying, "a=msid:PA_x|TR_1 TR_1") && contains(carrying, "a=sendonly"));
    assert_eq!(
        payload_list(carrying)[..2],
        [111, 63],
        "the numbers and order of the offer"
    );
    assert_eq!(negotiator.sections_required(), None);
    assert_eq!(negotiator.free_sections(MediaKind::Audio), 2);
}

#[test]
fn missing_sections_are_counted() {
    let mut negotiator = negotiator(PeerRole::Single);
    round(&mut negotiator, CHROMIUM_SINGLE);
    for id in 1..=5 {
        let placement = negotiator.add_sender(sender(id, &[Codec::Vp8]));
        let expected = if id <= 3 {
            Placement::Ready
        } else {
            Placement::NeedsSection
        };
        assert_eq!(placement, expected);
    }
    negotiator.add_sender(sender(6, &[Codec::Opus]));
    let required = SectionsRequired {
        audios: 0,
        videos: 2,
    };
    assert_eq!(negotiator.sections_required(), Some(required));
    let answer = round(&mut negotiator, CHROMIUM_SINGLE);
    assert_eq!(answer.senders.len(), 4);
    let ids: Vec<u64> = answer.senders.iter().map(|(_, id)| id.0).collect();
    assert_eq!(ids, [6, 1, 2, 3], "first come, first served");
    assert_eq!(negotiator.sections_required(), Some(required));
    negotiator.remove_sender(DownTrackKey(5));
    let required = SectionsRequired {
        audios: 0,
        videos: 1,
    };
    assert_eq!(negotiator.sections_required(), Some(required));
}

#[test]
fn a_section_is_free_again_after_the_client_saw_its_track_go() {
    let mut negotiator = negotiator(PeerRole::Single);
    negotiator.add_sender(sender(1, &[Codec::Opus]));
    round(&mut negotiator, CHROMIUM_SINGLE);
    let mid = negotiator.send_section(DownTrackKey(1)).unwrap().mid;
    negotiator.remove_sender(DownTrackKey(1));
    assert_eq!(negotiator.free_sections(MediaKind::Audio), 2);
    assert!(negotiator.sections_required().is_some());
    negotiator.add_sender(sender(2, &[Codec::Opus]));
    let answer = round(&mut negotiator, CHROMIUM_SINGLE);
    assert!(!answer.sdp.contains("TR_1"));
    assert_ne!(negotiator.send_section(DownTrackKey(2)).unwrap().mid, mid);
    assert_eq!(negotiator.free_sections(MediaKind::Audio), 2);
    negotiator.add_sender(sender(3, &[Codec::Opus]));
    round(&mut negotiator, CHROMIUM_SINGLE);
    assert_eq!(negotiator.send_section(DownTrackKey(3)).unwrap().mid, mid);
}

#[test]
fn a_publishing_section_open_for_receiving_carries_a_track() {
    let mut negotiator = negotiator(PeerRole::Single);
    let offer = AIORTC
        .replacen("a=sendonly", "a=sendrecv", 1)
        .replace("a=recvonly", "a=inactive");
    negotiator.add_sender(sender(1, &[Codec::Opus]));
    negotiator.accept_offer(&offer).unwrap();
    negotiator
        .bind_receive("0", TrackKey(9), PublishPreferences::default())
        .unwrap();
    let answer = negotiator.create_answer().unwrap();
    let parts = split(&answer.sdp);
    assert!(contains(&parts[1], "a=sendrecv") && contains(&parts[1], "a=msid:PA_x|TR_1 TR_1"));
    assert_eq!(
        negotiator
            .send_section(DownTrackKey(1))
            .unwrap()
            .payload_types[0]
            .pt,
        96
    );
    assert_eq!(negotiator.receive_sections()[0].track, Some(TrackKey(9)));
}

#[test]
fn a_section_the_client_takes_back_returns_its_track_to_the_queue() {
    let mut negotiator = negotiator(PeerRole::Single);
    negotiator.add_sender(sender(1, &[Codec::Opus]));
    let offer = AIORTC.to_owned();
    round(&mut negotiator, &offer);
    assert!(negotiator.send_section(DownTrackKey(1)).is_some());
    round(&mut negotiator, &offer.replace("a=recvonly", "a=inactive"));
    assert_eq!(negotiator.send_section(DownTrackKey(1)), None);
    let required = SectionsRequired {
        audios: 1,
        videos: 0,
    };
    assert_eq!(negotiator.sections_required(), Some(required));
}

#[test]
fn every_section_keeps_all_extensions_but_ours_carry_only_what_we_send() {
    let mut negotiator = negotiator(PeerRole::Single);
    negotiator.add_sender(sender(1, &[Codec::Vp8]));
    let answer = round(&mut negotiator, CHROMIUM_SINGLE);
    for part in split(&answer.sdp)
        .iter()
        .filter(|p| p[0].starts_with("m=video"))
    {
        let rid = "a=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";
        assert!(
            contains(part, rid),
            "Chromium takes an absent one from later sections too"
        );
    }
    let sent = negotiator.send_section(DownTrackKey(1)).unwrap().extensions;
    assert_eq!((sent.abs_send_time, sent.mid), (Some(2), Some(4)));
    assert_eq!((sent.transport_cc, sent.rid), (None, None));
    assert_eq!(
        negotiator.receive_sections()[0].extensions.transport_cc,
        Some(3)
    );
}

#[test]
fn subscribed_and_published_codecs_differ_per_section() {
    let mut config = config(PeerRole::Single);
    config.quirks.disabled_publish = vec![Codec::H264];
    config.quirks.disabled_subscribe = vec![Codec::Av1];
    let mut negotiator = Negotiator::new(config);
    negotiator.add_sender(sender(1, &[Codec::Vp8]));
    let answer = round(&mut negotiator, CHROMIUM_SINGLE);
    for part in split(&answer.sdp)
        .iter()
        .filter(|p| p[0].starts_with("m=video"))
    {
        let has = |name: &str| part.iter().any(|l| l.contains(name));
        if contains(part, "a=recvonly") {
            assert!(!has("H264/90000") && has("AV1/90000"));
            assert!(has("abs-send-time"), "for REMB");
        } else {
            assert!(has("H264/90000") && !has("AV1/90000"));
            assert!(!has("a=rtcp-fb:96 transport-cc"));
        }
    }
}
