//! What clients were told, in a form that can be compared between rooms that draw different sids.

use std::collections::BTreeMap;

use protocol::proto;
use protocol::proto::signal_response::Message;

use super::Hall;

/// What clients were told, in each one's order, without what is drawn at random or told again by
/// itself. What is told of several tracks at once is sorted: its order is that of their sids.
pub(in crate::room::tests) fn transcript(hall: &mut Hall) -> Vec<String> {
    let mut lines = Vec::new();
    for (identity, client) in &mut hall.clients {
        let mut told: Vec<(&str, String)> = Vec::new();
        for message in client.heard.drain(..) {
            told.extend(match message {
                Message::SpeakersChanged(_) | Message::ConnectionQuality(_) => None,
                Message::RefreshToken(_) => Some(("token", String::new())),
                Message::Offer(offer) => Some(("offer", description(&offer, &hall.names))),
                Message::Answer(answer) => Some(("answer", description(&answer, &hall.names))),
                Message::DataTrackSubscriberHandles(told) => {
                    let tracks = told.sub_handles.values();
                    let tracks: Vec<_> = tracks.map(|one| &one.track_sid).collect();
                    Some(("handles", named(&format!("{tracks:?}"), &hall.names)))
                }
                Message::Trickle(_) => Some(("candidate", String::new())),
                other => Some(("", named(&format!("{other:?}"), &hall.names))),
            });
        }
        let told: Vec<String> = told
            .into_iter()
            .map(|(kind, text)| format!("{identity}: {kind} {text}"))
            .collect();
        let start = |line: &String| line.split('(').next().unwrap_or_default().to_owned();
        for run in told.chunk_by(|one, next| start(one) == start(next)) {
            let mut run = run.to_vec();
            run.sort();
            lines.extend(run);
        }
    }
    lines
}

fn description(
    description: &proto::SessionDescription,
    names: &BTreeMap<String, String>,
) -> String {
    let random = [
        "a=ice-",
        "a=candidate",
        "o=",
        "a=ssrc",
        "a=fingerprint",
        "a=mid",
    ];
    let lines = description.sdp.lines();
    let lines = lines.filter(|line| !random.iter().any(|start| line.starts_with(start)));
    let mut lines: Vec<String> = lines.map(|line| named(line, names)).collect();
    let carried = description.mid_to_track_id.values();
    lines.extend(carried.map(|sid| named(sid, names)));
    lines.sort();
    lines.join("\n")
}

/// With the names of those the sids belong to.
fn named(text: &str, names: &BTreeMap<String, String>) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(is_word) {
        out.push_str(&rest[..start]);
        let end = rest[start..].find(|c| !is_word(c));
        let end = end.map_or(rest.len(), |n| start + n);
        let word = &rest[start..end];
        out.push_str(names.get(word).map_or(word, String::as_str));
        rest = &rest[end..];
    }
    out + rest
}
