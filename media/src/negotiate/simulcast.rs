//! Layers of a section: RIDs (RFC 8853) and, for older clients, SSRC groups (RFC 5576).

use crate::limits::{SDP_MAX_RIDS, SDP_MAX_SSRCS};
use crate::types::SsrcInfo;

use super::sdp::Section;

/// RIDs the client sends, in the order of `a=simulcast`, pause marks (`~`) stripped.
pub(super) fn rids(section: &Section<'_>) -> Vec<String> {
    let listed: Vec<&str> = section
        .values("rid")
        .filter_map(|value| {
            let mut words = value.split_ascii_whitespace();
            let rid = words.next()?;
            (words.next() == Some("send")).then_some(rid)
        })
        .collect();
    let ordered = section.value("simulcast").and_then(send_list);
    let mut rids: Vec<String> = Vec::new();
    for rid in ordered.unwrap_or(listed) {
        if is_rid(rid) && !rids.iter().any(|known| known == rid) && rids.len() < SDP_MAX_RIDS {
            rids.push(rid.to_owned());
        }
    }
    rids
}

/// `send q;~h;f recv x` → q, h, f; of alternatives (`q,p`) the first.
fn send_list(value: &str) -> Option<Vec<&str>> {
    let mut words = value.split_ascii_whitespace();
    words.find(|word| *word == "send")?;
    let list = words.next()?;
    // Firefox before 63: `send rid=q;h`.
    let list = list.strip_prefix("rid=").unwrap_or(list);
    Some(
        list.split(';')
            .filter_map(|layer| layer.split(',').next())
            .map(|rid| rid.trim_start_matches('~'))
            .collect(),
    )
}

/// RFC 8851: letters and digits; `-` and `_` are used in practice.
fn is_rid(rid: &str) -> bool {
    (1..=16).contains(&rid.len())
        && rid
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// SSRCs the section announces, with what repairs what and the order of layers.
pub(super) fn ssrcs(section: &Section<'_>) -> Vec<SsrcInfo> {
    let mut list: Vec<SsrcInfo> = Vec::new();
    for value in section.values("ssrc") {
        let ssrc = value.split(' ').next().and_then(|word| word.parse().ok());
        let Some(ssrc) = ssrc else { continue };
        if list.len() < SDP_MAX_SSRCS && !list.iter().any(|known| known.ssrc == ssrc) {
            list.push(SsrcInfo {
                ssrc,
                repairs: None,
                layer: None,
            });
        }
    }
    for value in section.values("ssrc-group") {
        let mut words = value.split_ascii_whitespace();
        let semantics = words.next().unwrap_or("");
        let members: Vec<u32> = words.filter_map(|word| word.parse().ok()).collect();
        match (semantics, members.as_slice()) {
            ("FID", &[media, repair]) => {
                if let Some(info) = list.iter_mut().find(|info| info.ssrc == repair) {
                    info.repairs = Some(media);
                }
            }
            // We never accept forward error correction: its SSRC carries nothing for us.
            ("FEC-FR", &[_, repair]) => list.retain(|info| info.ssrc != repair),
            ("SIM", layers) => {
                for (layer, ssrc) in layers.iter().take(SDP_MAX_RIDS).enumerate() {
                    if let Some(info) = list.iter_mut().find(|info| info.ssrc == *ssrc) {
                        info.layer = u8::try_from(layer).ok();
                    }
                }
            }
            _ => {}
        }
    }
    list
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::sdp::Description;
    use super::*;

    fn with<T>(lines: &str, f: impl Fn(&Section<'_>) -> T) -> T {
        let text = format!("v=0\nm=video 9 UDP/TLS/RTP/SAVPF 96\n{lines}");
        f(&Description::parse(&text).unwrap().sections[0])
    }

    #[test]
    fn rids_keep_the_order_of_the_simulcast_line_without_pause_marks() {
        let lines = "a=rid:f send\na=rid:h send\na=rid:q send\na=simulcast:send q;~h;f\n";
        assert_eq!(with(lines, rids), ["q", "h", "f"]);
        assert_eq!(with("a=rid:q send\na=rid:h send\n", rids), ["q", "h"]);
        assert_eq!(with("a=rid:q recv\na=simulcast:recv q;h\n", rids), [""; 0]);
        assert_eq!(with("a=simulcast: send rid=q;h\n", rids), ["q", "h"]);
        assert_eq!(with("a=simulcast:send q,x;h\n", rids), ["q", "h"]);
    }

    #[test]
    fn rids_are_bounded_and_checked() {
        let many: Vec<String> = (0..100).map(|i| format!("r{i}")).collect();
        let lines = format!("a=simulcast:send {}\n", many.join(";"));
        assert_eq!(with(&lines, rids).len(), SDP_MAX_RIDS);
        assert_eq!(with("a=simulcast:send q;q;\"<>;h\n", rids), ["q", "h"]);
    }

    #[test]
    fn ssrc_groups_tell_repairs_and_layers() {
        let lines = "a=ssrc-group:SIM 1 2\na=ssrc-group:FID 1 11\na=ssrc-group:FID 2 12\n\
                     a=ssrc:1 cname:x\na=ssrc:1 msid:a b\na=ssrc:11 cname:x\na=ssrc:2 cname:x\n\
                     a=ssrc:12 cname:x\na=ssrc:nonsense\n";
        let found = with(lines, ssrcs);
        let summary: Vec<_> = found.iter().map(|i| (i.ssrc, i.repairs, i.layer)).collect();
        assert_eq!(
            summary,
            [
                (1, None, Some(0)),
                (11, Some(1), None),
                (2, None, Some(1)),
                (12, Some(2), None)
            ]
        );
    }
}
