//! What Prometheus scrapes: LiveKit's names, so that its dashboards work.

use std::collections::BTreeSet;

use serde_json::json;

use crate::asking::{create_room, get, join, room_service};
use crate::server::Server;

fn exposition(server: &Server) -> String {
    let (status, text) = get(&format!("http://127.0.0.1:{}/metrics", server.metrics));
    assert_eq!(status, 200);
    text
}

/// The value of the one series with that name and those labels.
fn value(text: &str, name: &str, labels: &[&str]) -> f64 {
    let wanted = |line: &&str| {
        let series = line.rsplit_once(' ').map_or("", |(series, _)| series);
        series.split('{').next() == Some(name) && labels.iter().all(|l| series.contains(l))
    };
    let lines: Vec<&str> = text.lines().filter(wanted).collect();
    let [line] = lines[..] else {
        panic!("{name} {labels:?}: {lines:#?} in\n{text}");
    };
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}

#[test]
fn the_exposition_is_well_formed_and_names_the_node() {
    let server = Server::start("");
    create_room(&server, "one");
    let text = exposition(&server);
    let mut typed = BTreeSet::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let name = rest.split(' ').next().unwrap();
            assert!(typed.insert(name.to_owned()), "{name} is declared twice");
            assert!(
                name.starts_with("livekit_") || name.starts_with("skein_"),
                "{name}"
            );
        } else if !line.starts_with('#') {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(series.contains("node_id=\"ND_"), "{line}");
            assert!(series.contains("node_type=\"SERVER\""), "{line}");
        }
    }
}

#[test]
fn calls_joins_and_rooms_are_counted_under_upstreams_names() {
    let server = Server::start("");
    create_room(&server, "counted");
    let _alice = join(&server, "counted", "alice");
    let _bob = join(&server, "counted", "bob");
    room_service(&server, "DeleteRoom", &json!({ "room": "absent" }));
    let text = exposition(&server);
    let created = [
        "service=\"RoomService\"",
        "method=\"CreateRoom\"",
        "status=\"2xx\"",
    ];
    let status = "livekit_node_twirp_request_status";
    assert_eq!(value(&text, status, &created), 1.0);
    let failed = ["method=\"DeleteRoom\"", "code=\"not_found\""];
    assert_eq!(value(&text, status, &failed), 1.0);
    let latency = "livekit_node_twirp_request_latency_ms";
    assert_eq!(value(&text, &format!("{latency}_count"), &created), 1.0);
    let bucket = [&created[..], &["le=\"+Inf\""]].concat();
    assert_eq!(value(&text, &format!("{latency}_bucket"), &bucket), 1.0);

    let joined = ["state=\"signal_connected\""];
    assert_eq!(value(&text, "livekit_participant_join_total", &joined), 2.0);
    let operation = "livekit_node_service_operation";
    let join = ["type=\"participant_join\"", "status=\"success\""];
    assert_eq!(value(&text, operation, &join), 2.0);
    assert!(value(&text, operation, &["type=\"offer\""]) >= 1.0);

    room_service(&server, "DeleteRoom", &json!({ "room": "counted" }));
    let text = exposition(&server);
    assert_eq!(
        value(&text, "livekit_room_duration_seconds_count", &[]),
        1.0
    );
    let aborted = ["state=\"rtc_failure\""];
    assert_eq!(
        value(&text, "livekit_participant_join_total", &aborted),
        2.0
    );
}
