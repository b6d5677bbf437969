//! Trickled candidates as JSON (`RTCIceCandidateInit`), ours and the client's. Pure functions; the
//! candidate lines themselves belong to `media::negotiate`.

use media::negotiate::{ParsedCandidate, parse_candidate};
use protocol::proto;
use serde::{Deserialize, Serialize};

use super::limits::CANDIDATE_INIT_BYTES_MAX;

/// Field order is LiveKit's: some clients compare the text.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OurCandidate<'a> {
    candidate: &'a str,
    sdp_mid: &'a str,
    #[serde(rename = "sdpMLineIndex")]
    sdp_m_line_index: u16,
    username_fragment: Option<&'a str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TheirCandidate {
    #[serde(default)]
    candidate: String,
    #[serde(default)]
    username_fragment: Option<String>,
}

/// Why a candidate of the client cannot be used; told to it as `UNCLASSIFIED_ERROR`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CandidateInitError {
    #[error("candidate of more than {CANDIDATE_INIT_BYTES_MAX} bytes")]
    TooLong,
    #[error("{0}")]
    Json(#[from] serde_json::Error),
}

/// One `trickle` for each candidate; the last one says so.
pub(crate) fn trickles(
    candidates: &[String],
    mid: &str,
    target: proto::SignalTarget,
) -> Vec<proto::TrickleRequest> {
    let last = candidates.len().saturating_sub(1);
    let trickle = |(index, line): (usize, &String)| proto::TrickleRequest {
        candidate_init: candidate_init(line, mid),
        target: target as i32,
        r#final: index == last,
    };
    candidates.iter().enumerate().map(trickle).collect()
}

/// Reads a `candidateInit`. Candidates nothing can be sent to are `Ignored`: the client is not at
/// fault. The ufrag of the JSON counts where the line has none.
pub(crate) fn parse(candidate_init: &str) -> Result<ParsedCandidate, CandidateInitError> {
    if candidate_init.len() > CANDIDATE_INIT_BYTES_MAX {
        return Err(CandidateInitError::TooLong);
    }
    let init: TheirCandidate = serde_json::from_str(candidate_init)?;
    let parsed = parse_candidate(&init.candidate).unwrap_or(ParsedCandidate::Ignored);
    Ok(match parsed {
        ParsedCandidate::Usable { candidate, ufrag } => ParsedCandidate::Usable {
            candidate,
            ufrag: ufrag.or_else(|| init.username_fragment.filter(|ufrag| !ufrag.is_empty())),
        },
        ParsedCandidate::Ignored => ParsedCandidate::Ignored,
    })
}

fn candidate_init(line: &str, mid: &str) -> String {
    let init = OurCandidate {
        candidate: line,
        sdp_mid: mid,
        sdp_m_line_index: 0,
        username_fragment: None,
    };
    serde_json::to_string(&init).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn our_candidates_look_like_livekits_and_the_last_is_final() {
        let lines = [
            "candidate:1 1 udp 1 127.0.0.1 7882 typ host ufrag u",
            "candidate:2",
        ];
        let lines = lines.map(str::to_owned);
        let told = trickles(&lines, "0", proto::SignalTarget::Subscriber);
        assert_eq!(
            told[0].candidate_init,
            "{\"candidate\":\"candidate:1 1 udp 1 127.0.0.1 7882 typ host ufrag u\",\
             \"sdpMid\":\"0\",\"sdpMLineIndex\":0,\"usernameFragment\":null}"
        );
        assert!(!told[0].r#final && told[1].r#final);
        assert_eq!(told[1].target, proto::SignalTarget::Subscriber as i32);
    }

    #[test]
    fn what_is_no_json_is_an_error_and_what_cannot_be_used_is_not() {
        assert!(parse("{not json").is_err());
        assert!(parse(&"x".repeat(CANDIDATE_INIT_BYTES_MAX + 1)).is_err());
        for init in [
            "{}",
            "{\"candidate\":\"\"}",
            "{\"candidate\":\"gibberish\"}",
        ] {
            assert_eq!(parse(init).unwrap(), ParsedCandidate::Ignored);
        }
    }

    #[test]
    fn the_ufrag_of_the_json_names_the_generation() {
        let init = "{\"candidate\":\"candidate:1 1 udp 1 192.0.2.1 5 typ host\",\
                    \"sdpMid\":\"0\",\"usernameFragment\":\"abcd\"}";
        let ParsedCandidate::Usable { ufrag, .. } = parse(init).unwrap() else {
            unreachable!("usable")
        };
        assert_eq!(ufrag.as_deref(), Some("abcd"));
    }
}
