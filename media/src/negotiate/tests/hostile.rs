//! Descriptions nobody honest sends: an error, never a panic, and nothing changes.

use super::*;

fn roles() -> [Negotiator; 2] {
    [PeerRole::Publisher, PeerRole::Single].map(negotiator)
}

#[test]
fn truncated_at_any_byte_it_never_panics() {
    for text in [CHROMIUM_DUAL, AIORTC] {
        for end in 0..text.len() {
            let mut negotiator = negotiator(PeerRole::Single);
            if negotiator.accept_offer(&text[..end]).is_ok() {
                negotiator.create_answer().unwrap();
            }
        }
    }
}

#[test]
fn with_any_line_missing_or_doubled_it_never_panics() {
    let lines: Vec<&str> = CHROMIUM_DUAL.lines().collect();
    for skip in 0..lines.len() {
        for copies in [0, 2, 40] {
            let text: String = lines
                .iter()
                .enumerate()
                .flat_map(|(i, l)| std::iter::repeat_n(*l, if i == skip { copies } else { 1 }))
                .map(|l| l.to_owned() + "\r\n")
                .collect();
            let mut negotiator = negotiator(PeerRole::Publisher);
            if negotiator.accept_offer(&text).is_ok() {
                negotiator.create_answer().unwrap();
            }
        }
    }
}

#[test]
fn random_bytes_and_flipped_characters_never_panic() {
    let mut rng = ChaCha12Rng::seed_from_u64(3);
    for _ in 0..2_000 {
        let mut bytes = CHROMIUM_DUAL.as_bytes().to_vec();
        for _ in 0..(rng.next_u32() % 12 + 1) {
            let at = rng.next_u32() as usize % bytes.len();
            bytes[at] = (rng.next_u32() % 128) as u8;
        }
        let text = String::from_utf8_lossy(&bytes);
        let mut negotiator = negotiator(PeerRole::Single);
        if negotiator.accept_offer(&text).is_ok() {
            negotiator.create_answer().unwrap();
        }
    }
}

#[test]
fn what_cannot_be_a_connection_is_refused() {
    let no_ice = CHROMIUM_DUAL.replace("a=ice-pwd", "a=x-pwd");
    let no_fingerprint = CHROMIUM_DUAL.replace("a=fingerprint:sha-256", "a=fingerprint:md5");
    let short_fingerprint = CHROMIUM_DUAL.replace(":5F:08", "");
    let unbundled = CHROMIUM_DUAL.replace("a=group:BUNDLE 0 1 2", "a=group:LS 0 1 2");
    let two_transports = CHROMIUM_DUAL.replacen("a=ice-ufrag:j9vk", "a=ice-ufrag:zzzz", 1);
    let no_setup = CHROMIUM_DUAL.replace("a=setup:actpass", "a=setup:holdconn");
    let twice = CHROMIUM_DUAL.replace("a=mid:1", "a=mid:0");
    let bad_mid = CHROMIUM_DUAL.replace("a=mid:1", "a=mid:a b");
    let no_section = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n".to_owned();
    for (text, error) in [
        (&no_ice, NegotiateError::NoIce(0)),
        (&no_fingerprint, NegotiateError::NoFingerprint),
        (&short_fingerprint, NegotiateError::NoFingerprint),
        (&unbundled, NegotiateError::NotBundled),
        (&two_transports, NegotiateError::NotBundled),
        (&no_setup, NegotiateError::Malformed("a=setup")),
        (
            &twice,
            NegotiateError::Malformed("two sections with one mid"),
        ),
        (&bad_mid, NegotiateError::Malformed("a mid is no token")),
        (&no_section, NegotiateError::Malformed("no section in use")),
    ] {
        for mut negotiator in roles() {
            assert_eq!(negotiator.accept_offer(text), Err(error.clone()));
            assert!(negotiator.remote().is_none());
            assert!(negotiator.create_answer().is_err());
        }
    }
}

#[test]
fn a_refused_offer_leaves_the_connection_as_it_was() {
    let mut negotiator = negotiator(PeerRole::Publisher);
    negotiator.accept_offer(CHROMIUM_DUAL).unwrap();
    negotiator
        .bind_receive("0", TrackKey(1), PublishPreferences::default())
        .unwrap();
    negotiator.create_answer().unwrap();
    let before = (
        negotiator.receive_sections(),
        negotiator.local_ice().clone(),
    );
    let swapped = CHROMIUM_DUAL
        .replace("m=audio", "m=x")
        .replace("m=video", "m=audio");
    assert_eq!(
        negotiator.accept_offer(&swapped),
        Err(NegotiateError::SectionsChanged)
    );
    assert!(negotiator.accept_offer("nonsense").is_err());
    let after = (
        negotiator.receive_sections(),
        negotiator.local_ice().clone(),
    );
    assert_eq!(after, before);
}

#[test]
fn calls_in_the_wrong_order_are_refused() {
    let mut publisher = negotiator(PeerRole::Publisher);
    assert!(publisher.create_answer().is_err());
    assert!(publisher.create_offer(false).is_err());
    assert!(publisher.accept_answer(CHROMIUM_DUAL).is_err());
    assert_eq!(
        publisher.add_sender(sender(1, &[Codec::Vp8])),
        Placement::Unavailable
    );
    let mut subscriber = negotiator(PeerRole::Subscriber);
    assert!(subscriber.accept_offer(CHROMIUM_DUAL).is_err());
    let bound = subscriber.bind_receive("7", TrackKey(1), PublishPreferences::default());
    assert_eq!(bound, Err(NegotiateError::UnknownMid));
}

#[test]
fn sections_and_waiting_senders_are_bounded() {
    let mut subscriber = negotiator(PeerRole::Subscriber);
    let mut single = negotiator(PeerRole::Single);
    for id in 0..3_000 {
        subscriber.add_sender(sender(id, &[Codec::Opus]));
        single.add_sender(sender(id, &[Codec::Opus]));
    }
    let last = sender(9_999, &[Codec::Opus]);
    assert_eq!(subscriber.add_sender(last.clone()), Placement::Unavailable);
    assert_eq!(single.add_sender(last), Placement::Unavailable);
}

#[test]
fn what_a_client_wrote_cannot_add_lines_to_our_answer() {
    let mut negotiator = negotiator(PeerRole::Publisher);
    let offer = CHROMIUM_DUAL.replace(
        "a=fmtp:111 minptime=10",
        "a=fmtp:111 x=1\ra=mid:evil;minptime=10",
    );
    if negotiator.accept_offer(&offer).is_ok() {
        let sdp = negotiator.create_answer().unwrap().sdp;
        assert!(!sdp.contains("evil"));
    }
}
