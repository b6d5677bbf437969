//! `application/trickle-ice-sdpfrag` (RFC 8840): candidates of a client, and the credentials of an
//! ICE restart, both ways. Pure text; `media::negotiate` understands the descriptions.

use super::limits::FRAGMENT_CANDIDATES_MAX;

/// What a PATCH carries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fragment {
    pub(super) ufrag: Option<String>,
    pub(super) pwd: Option<String>,
    /// Mid of the section and the line without `a=`.
    pub(super) candidates: Vec<(String, String)>,
}

/// The text is no fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FragmentError;

impl Fragment {
    pub(super) fn parse(text: &str) -> Result<Self, FragmentError> {
        let mut fragment = Self::default();
        let mut mid = String::new();
        for line in text.split(['\r', '\n']).filter(|line| !line.is_empty()) {
            let (kind, value) = line.split_once('=').ok_or(FragmentError)?;
            if kind == "m" {
                mid.clear();
                continue;
            }
            if kind != "a" {
                return Err(FragmentError);
            }
            match value.split_once(':') {
                Some(("ice-ufrag", ufrag)) => fragment.ufrag = Some(ufrag.to_owned()),
                Some(("ice-pwd", pwd)) => fragment.pwd = Some(pwd.to_owned()),
                Some(("mid", name)) => name.clone_into(&mut mid),
                Some(("candidate", _)) => {
                    if fragment.candidates.len() == FRAGMENT_CANDIDATES_MAX {
                        return Err(FragmentError);
                    }
                    fragment.candidates.push((mid.clone(), value.to_owned()));
                }
                _ => {}
            }
        }
        Ok(fragment)
    }

    /// `RTCIceCandidateInit` of every candidate.
    pub(super) fn candidate_inits(&self) -> impl Iterator<Item = String> {
        self.candidates.iter().map(|(mid, candidate)| {
            serde_json::json!({
                "candidate": candidate,
                "sdpMid": mid,
                "sdpMLineIndex": 0,
                "usernameFragment": self.ufrag,
            })
            .to_string()
        })
    }
}

/// The session's offer with the credentials and candidates of a restart.
pub(super) fn restarted_offer(offer: &str, ufrag: &str, pwd: &str, fragment: &Fragment) -> String {
    let mut text = String::with_capacity(offer.len());
    let mut candidates_written = false;
    let mut push = |line: &str| {
        text.push_str(line);
        text.push_str("\r\n");
    };
    for line in offer.split(['\r', '\n']).filter(|line| !line.is_empty()) {
        if line.starts_with("a=candidate:") || line == "a=end-of-candidates" {
            continue;
        }
        if line.starts_with("a=ice-ufrag:") {
            push(&format!("a=ice-ufrag:{ufrag}"));
        } else if line.starts_with("a=ice-pwd:") {
            push(&format!("a=ice-pwd:{pwd}"));
        } else {
            push(line);
        }
        if line.starts_with("m=") && !candidates_written {
            candidates_written = true;
            for (_, candidate) in &fragment.candidates {
                push(&format!("a={candidate}"));
            }
        }
    }
    text
}

/// The transport of an answer as a fragment, for the client of a restart.
pub(super) fn of_answer(answer: &str) -> String {
    let wanted = ["m=", "a=mid:", "a=ice-ufrag:", "a=ice-pwd:", "a=candidate:"];
    let mut lines = answer.lines().skip_while(|line| !line.starts_with("m="));
    let head = lines.next().unwrap_or("");
    let section = lines.take_while(|line| !line.starts_with("m="));
    let mut text = String::new();
    for line in std::iter::once(head).chain(section) {
        if wanted.iter().any(|start| line.starts_with(start)) || line == "a=end-of-candidates" {
            text.push_str(line);
            text.push_str("\r\n");
        }
    }
    text
}

/// The ufrag of a description's transport.
pub(super) fn ufrag_of(description: &str) -> Option<&str> {
    let mut lines = description.lines();
    lines.find_map(|line| line.strip_prefix("a=ice-ufrag:"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const FRAGMENT: &str = "a=ice-ufrag:abcd\r\na=ice-pwd:secret\r\nm=audio 9 X 0\r\na=mid:0\r\n\
        a=candidate:1 1 udp 1 192.0.2.1 5 typ host\r\na=end-of-candidates\r\n";

    #[test]
    fn a_fragment_has_credentials_and_candidates() {
        let fragment = Fragment::parse(FRAGMENT).unwrap();
        assert_eq!(fragment.ufrag.as_deref(), Some("abcd"));
        assert_eq!(fragment.candidates[0].0, "0");
        let init = fragment.candidate_inits().next().unwrap();
        let init: serde_json::Value = serde_json::from_str(&init).unwrap();
        assert_eq!(
            init["candidate"],
            "candidate:1 1 udp 1 192.0.2.1 5 typ host"
        );
        assert_eq!(init["usernameFragment"], "abcd");
        assert_eq!(
            Fragment::parse("a=end-of-candidates\r\n"),
            Ok(Fragment::default())
        );
    }

    #[test]
    fn what_is_no_fragment_is_refused() {
        let many = "a=candidate:1 1 udp 1 192.0.2.1 5 typ host\n".repeat(65);
        for text in ["nonsense", "v=0\r\n", &many] {
            assert_eq!(Fragment::parse(text), Err(FragmentError));
        }
    }

    #[test]
    fn a_restart_replaces_credentials_and_candidates() {
        let offer = "v=0\na=ice-ufrag:x\nm=audio 9 X 0\na=ice-ufrag:x\na=ice-pwd:y\n\
                     a=candidate:old\na=mid:0\n";
        let fragment = Fragment::parse(FRAGMENT).unwrap();
        let text = restarted_offer(offer, "abcd", "secret", &fragment);
        assert!(!text.contains("old") && !text.contains("ufrag:x"));
        assert_eq!(text.matches("a=ice-ufrag:abcd").count(), 2);
        assert_eq!(text.matches("a=candidate:1 1 udp").count(), 1);
    }

    #[test]
    fn an_answer_becomes_a_fragment() {
        let answer = "v=0\r\na=group:BUNDLE 0 1\r\nm=audio 9 X 0\r\nc=IN\r\na=mid:0\r\n\
                      a=ice-ufrag:u\r\na=ice-pwd:p\r\na=candidate:1\r\na=end-of-candidates\r\n\
                      m=video 9 X 0\r\na=mid:1\r\n";
        assert_eq!(
            of_answer(answer),
            "m=audio 9 X 0\r\na=mid:0\r\na=ice-ufrag:u\r\na=ice-pwd:p\r\na=candidate:1\r\n\
             a=end-of-candidates\r\n"
        );
        assert_eq!(ufrag_of(answer), Some("u"));
    }
}
