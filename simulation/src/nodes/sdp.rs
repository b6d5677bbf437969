//! Session descriptions of the people: an offer of one microphone and data channels, and answers
//! that take whatever is offered. Nothing listens at what they name.

use std::fmt::Write as _;

use protocol::proto;

/// Our end of a connection; another `ufrag` is an ICE restart.
fn transport_lines(setup: &str, ufrag: &str) -> String {
    let digest = ["5A"; 32].join(":");
    format!(
        "a=ice-ufrag:{ufrag}\r\na=ice-pwd:a-password-of-enough-length{ufrag}\r\n\
         a=fingerprint:sha-256 {digest}\r\na=setup:{setup}\r\n"
    )
}

/// Of a publisher: the track `cid`.
pub(crate) fn offer(cid: &str, ufrag: &str) -> String {
    let transport = transport_lines("actpass", ufrag);
    let mut sdp = String::from(
        "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n\
         a=group:BUNDLE 0 1\r\na=msid-semantic: WMS\r\n",
    );
    let _ = write!(
        sdp,
        "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\n\
         {transport}a=mid:0\r\na=sendonly\r\na=msid:- {cid}\r\na=rtcp-mux\r\n\
         a=rtpmap:111 opus/48000/2\r\na=ssrc:7 cname:people\r\na=ssrc:7 msid:- {cid}\r\n"
    );
    let _ = write!(
        sdp,
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\n\
         {transport}a=mid:1\r\na=sctp-port:5000\r\na=max-message-size:262144\r\n"
    );
    sdp
}

/// Takes everything that is offered.
pub(crate) fn answer(offer: &str, ufrag: &str) -> String {
    let ours = ["a=ice-", "a=fingerprint", "a=setup:"];
    let theirs = ["a=ssrc", "a=msid:", "a=candidate", "a=end-of-candidates"];
    let mut sdp = String::with_capacity(offer.len());
    for line in offer.lines().map(str::trim_end) {
        let mut dropped = ours.iter().chain(&theirs);
        if line.is_empty() || dropped.any(|start| line.starts_with(start)) {
            continue;
        }
        sdp.push_str(match line {
            "a=sendonly" => "a=recvonly",
            line => line,
        });
        sdp.push_str("\r\n");
        if line.starts_with("a=mid:") {
            sdp.push_str(&transport_lines("active", ufrag));
        }
    }
    sdp
}

/// As it is said.
pub(crate) fn described(kind: &str, sdp: String, id: u64) -> proto::SessionDescription {
    proto::SessionDescription {
        r#type: kind.into(),
        sdp,
        id: u32::try_from(id).unwrap_or_default(),
        ..proto::SessionDescription::default()
    }
}
