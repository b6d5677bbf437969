//! `candidate:` lines (RFC 8839 §5.1, RFC 6544): ours written, the client's read. Called by the
//! descriptions here and by the trickling of the participant's media core.

use std::net::{IpAddr, SocketAddr};

use crate::types::{LocalCandidate, Protocol, RemoteCandidate, standby_priority};

/// A candidate line of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParsedCandidate {
    Usable {
        candidate: RemoteCandidate,
        /// Extension `ufrag`: the ICE generation it belongs to.
        ufrag: Option<String>,
    },
    /// Well-formed, but nothing we could send to: an mDNS name, another component, a TCP address
    /// without a listener, an empty end-of-candidates line.
    Ignored,
}

/// The line is no candidate at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an ICE candidate")]
pub struct CandidateError;

/// `candidate:<foundation> 1 udp <priority> <address> <port> typ host ufrag <ufrag>`.
pub fn format_candidate(candidate: &LocalCandidate, ufrag: &str) -> String {
    let (transport, tcp_type) = match candidate.protocol {
        Protocol::Udp => ("udp", ""),
        Protocol::Tcp => ("tcp", " tcptype passive"),
    };
    format!(
        "candidate:{} 1 {transport} {} {} {} typ host{tcp_type} ufrag {ufrag}",
        candidate.foundation,
        candidate.priority,
        candidate.address.ip(),
        candidate.address.port(),
    )
}

/// A standby's candidates as its client is told them (by trickling, once it is connected): reached
/// over UDP only, and above every candidate of the `primary`, or the client takes the pair for a
/// worse one of the same network and gives it up; and above all earlier standbys, one of which may
/// be the primary of now (`takeovers` of them were).
pub fn standby_candidates(
    primary: &[LocalCandidate],
    standby: &[LocalCandidate],
    takeovers: u32,
) -> Vec<LocalCandidate> {
    let highest = primary.iter().map(|candidate| candidate.priority).max();
    let above = standby_priority(highest.unwrap_or(0), takeovers);
    let udp = standby.iter().filter(|one| one.protocol == Protocol::Udp);
    let told = |(at, candidate): (u32, &LocalCandidate)| LocalCandidate {
        priority: above.saturating_sub(at),
        foundation: format!("s{}", candidate.foundation),
        ..candidate.clone()
    };
    (0..).zip(udp).map(told).collect()
}

/// A node's own candidates for clients it came to by takeovers: above what they were told of it as
/// a standby, and below the next one. Where an ICE restart finds this node under less, libwebrtc
/// takes the new pair for a worse one of the same network and drops it before it is nominated.
pub fn candidates_after(takeovers: u32, own: &[LocalCandidate]) -> Vec<LocalCandidate> {
    let Some(earlier) = takeovers.checked_sub(1) else {
        return own.to_vec();
    };
    let highest = own.iter().map(|candidate| candidate.priority).max();
    let mut next = standby_priority(highest.unwrap_or(0), earlier);
    let mut raised = own.to_vec();
    let udp = raised
        .iter_mut()
        .filter(|one| one.protocol == Protocol::Udp);
    for candidate in udp.rev() {
        candidate.priority = next;
        next = next.saturating_add(1);
    }
    raised
}

/// Reads the value of `candidate` in an RTCIceCandidateInit, or of an `a=candidate` line, with or
/// without the `a=` and `candidate:` in front.
pub fn parse_candidate(line: &str) -> Result<ParsedCandidate, CandidateError> {
    let line = line.trim();
    let line = line.strip_prefix("a=").unwrap_or(line);
    if line.is_empty() || line == "end-of-candidates" {
        return Ok(ParsedCandidate::Ignored);
    }
    let line = line.strip_prefix("candidate:").unwrap_or(line);
    let mut words = line.split_ascii_whitespace();
    let mut word = || words.next().ok_or(CandidateError);
    let _foundation = word()?;
    let component: u16 = word()?.parse().map_err(|_| CandidateError)?;
    let transport = word()?;
    let priority: u32 = word()?.parse().map_err(|_| CandidateError)?;
    let address = word()?;
    let port: u16 = word()?.parse().map_err(|_| CandidateError)?;
    if word()? != "typ" {
        return Err(CandidateError);
    }
    let _kind = word()?;
    let mut tcp_type = None;
    let mut ufrag = None;
    while let (Some(name), Some(value)) = (words.next(), words.next()) {
        match name {
            "tcptype" => tcp_type = Some(value),
            "ufrag" => ufrag = Some(value.to_owned()),
            _ => {}
        }
    }
    let protocol = match (transport.to_ascii_lowercase().as_str(), tcp_type) {
        ("udp", _) => Protocol::Udp,
        ("tcp", Some("passive" | "so")) => Protocol::Tcp,
        _ => return Ok(ParsedCandidate::Ignored),
    };
    // A zone (`fe80::1%eth0`) has no meaning here, a name (`x.local`) nobody to resolve it.
    let (Ok(ip), 1, 1..) = (address.parse::<IpAddr>(), component, port) else {
        return Ok(ParsedCandidate::Ignored);
    };
    Ok(ParsedCandidate::Usable {
        candidate: RemoteCandidate {
            protocol,
            address: SocketAddr::new(ip, port),
            priority,
        },
        ufrag,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn usable(line: &str) -> RemoteCandidate {
        match parse_candidate(line).unwrap() {
            ParsedCandidate::Usable { candidate, .. } => candidate,
            ParsedCandidate::Ignored => unreachable!("ignored: {line}"),
        }
    }

    fn of(protocol: Protocol, port: u16, priority: u32) -> LocalCandidate {
        LocalCandidate {
            protocol,
            address: ([127, 0, 0, 1], port).into(),
            priority,
            foundation: "1".into(),
        }
    }

    /// libwebrtc drops the pairs of an ICE restart where they are below the one it has.
    #[test]
    fn a_home_is_worth_no_less_than_it_was_as_a_standby() {
        let own = [
            of(Protocol::Udp, 1, 2_130_706_431),
            of(Protocol::Udp, 2, 2_130_706_175),
            of(Protocol::Tcp, 3, 1_000),
        ];
        assert_eq!(candidates_after(0, &own), own);
        for takeovers in 1..4 {
            let told = standby_candidates(&own, &own, takeovers - 1);
            let next = standby_candidates(&own, &own, takeovers);
            let shown = candidates_after(takeovers, &own);
            let least = next.iter().map(|one| one.priority).min();
            for (shown, told) in shown.iter().zip(&told) {
                assert!(shown.priority >= told.priority, "{shown:?} {told:?}");
                assert!(Some(shown.priority) < least, "{shown:?} {next:?}");
            }
            assert!(shown[0].priority > shown[1].priority);
            assert_eq!(shown[2], own[2]);
        }
    }

    #[test]
    fn a_standby_is_above_its_primary_and_reached_over_udp() {
        let primary = [of(Protocol::Udp, 1, 2_130_706_431)];
        let standby = [
            of(Protocol::Tcp, 2, 1_671_430_143),
            of(Protocol::Udp, 3, 2_130_706_431),
            of(Protocol::Udp, 4, 2_130_706_175),
        ];
        let told = standby_candidates(&primary, &standby, 0);
        let told: Vec<_> = told
            .iter()
            .map(|one| (one.address.port(), one.priority))
            .collect();
        assert_eq!(told, [(3, 2_130_706_495), (4, 2_130_706_494)]);
        let line = format_candidate(&standby_candidates(&primary, &standby, 1)[0], "abc");
        assert_eq!(
            line,
            "candidate:s1 1 udp 2130706559 127.0.0.1 3 typ host ufrag abc"
        );
    }

    #[test]
    fn our_candidates_read_as_livekit_writes_them() {
        let udp = LocalCandidate {
            protocol: Protocol::Udp,
            address: "127.0.0.1:7882".parse().unwrap(),
            priority: 2_130_706_431,
            foundation: "1".into(),
        };
        let tcp = LocalCandidate {
            protocol: Protocol::Tcp,
            address: "[::1]:7881".parse().unwrap(),
            priority: 1_671_430_143,
            foundation: "2".into(),
        };
        assert_eq!(
            format_candidate(&udp, "abc"),
            "candidate:1 1 udp 2130706431 127.0.0.1 7882 typ host ufrag abc"
        );
        assert_eq!(
            format_candidate(&tcp, "abc"),
            "candidate:2 1 tcp 1671430143 ::1 7881 typ host tcptype passive ufrag abc"
        );
    }

    #[test]
    fn candidates_of_browsers_are_read() {
        let chromium = "candidate:842163049 1 udp 1677729535 203.0.113.7 46154 typ srflx raddr \
                        10.0.0.2 rport 46154 generation 0 ufrag Wq3k network-cost 999";
        assert_eq!(usable(chromium).address.to_string(), "203.0.113.7:46154");
        let parsed = parse_candidate(chromium).unwrap();
        assert!(matches!(parsed, ParsedCandidate::Usable { ufrag: Some(u), .. } if u == "Wq3k"));
        let firefox = "a=candidate:0 1 UDP 2122252543 2001:db8::1 51000 typ host";
        assert_eq!(usable(firefox).address.to_string(), "[2001:db8::1]:51000");
        assert_eq!(usable(firefox).protocol, Protocol::Udp);
        assert_eq!(usable("1 1 udp 5 192.0.2.1 5 typ host").priority, 5);
    }

    #[test]
    fn what_we_cannot_send_to_is_ignored() {
        for line in [
            "",
            "a=end-of-candidates",
            "candidate:1 1 udp 1 6f2c9b1e.local 50000 typ host",
            "candidate:1 1 tcp 1 192.0.2.1 9 typ host tcptype active generation 0",
            "candidate:1 2 udp 1 192.0.2.1 50000 typ host",
            "candidate:1 1 udp 1 192.0.2.1 0 typ host",
        ] {
            assert_eq!(
                parse_candidate(line),
                Ok(ParsedCandidate::Ignored),
                "{line}"
            );
        }
    }

    #[test]
    fn nonsense_is_an_error() {
        for line in [
            "candidate:",
            "candidate:1 1 udp",
            "hello world",
            "candidate:1 x udp 1 192.0.2.1 5 typ host",
            "candidate:1 1 udp 99999999999 192.0.2.1 5 typ host",
            "candidate:1 1 udp 1 192.0.2.1 66000 typ host",
            "candidate:1 1 udp 1 192.0.2.1 5 kind host",
        ] {
            assert_eq!(parse_candidate(line), Err(CandidateError), "{line}");
        }
    }
}
