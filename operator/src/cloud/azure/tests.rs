//! What Azure's API and its metadata service are asked, word for word, against a test peer.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::cloud::test_peer::{Answer, TestPeer};
use crate::cloud::{client, metadata_client};

const SET: &str = "/subscriptions/s-1/resourceGroups/video/providers/Microsoft.Compute\
/virtualMachineScaleSets/media";
const TOKEN: &str = r#"{"access_token":"very-secret","expires_in":"3599","token_type":"Bearer"}"#;

fn metadata(peer: &TestPeer) -> Metadata {
    Metadata::new(metadata_client().unwrap(), peer.url("/"))
}

fn set(peer: &TestPeer, imds: &TestPeer) -> ScaleSet {
    let endpoint = Some(peer.url("/"));
    ScaleSet::new(client().unwrap(), endpoint, SET, &metadata(imds)).unwrap()
}

#[tokio::test]
async fn a_scale_set_grows_and_gives_one_instance_back() {
    let imds = TestPeer::start(vec![Answer::ok(TOKEN)]).await;
    let known =
        r#"{"name":"media","sku":{"name":"Standard_F8s_v2","tier":"Standard","capacity":2}}"#;
    let answers = vec![Answer::ok(known), Answer::ok("{}"), Answer::status(202, "")];
    let peer = TestPeer::start(answers).await;
    let set = set(&peer, &imds);
    let growth = Growth {
        by: 3,
        to: 5,
        zone: None,
        reason: String::new(),
    };
    set.grow(&growth).await.unwrap();
    set.terminate("7").await.unwrap();
    let asked = peer.requests().await;
    let lines: Vec<&str> = asked.iter().map(|a| a.line.as_str()).collect();
    let path = |verb| format!("{SET}{verb}?api-version=2024-07-01 HTTP/1.1");
    assert_eq!(lines[0], format!("GET {}", path("")));
    assert_eq!(lines[1], format!("PATCH {}", path("")));
    assert_eq!(lines[2], format!("POST {}", path("/delete")));
    let said: Value = serde_json::from_str(&asked[1].body).unwrap();
    let expected = json!({"sku": {"name": "Standard_F8s_v2", "tier": "Standard", "capacity": 5}});
    assert_eq!(said, expected, "the size of the machines stays");
    assert_eq!(asked[2].body, r#"{"instanceIds":["7"]}"#);
    for request in &asked {
        assert_eq!(request.header("authorization"), Some("Bearer very-secret"));
    }
    let identity = imds.requests().await;
    assert_eq!(identity.len(), 1, "the token is kept");
    assert_eq!(
        identity[0].line,
        "GET /metadata/identity/oauth2/token?api-version=2018-02-01\
         &resource=https://management.azure.com/ HTTP/1.1"
    );
    assert_eq!(identity[0].header("metadata"), Some("true"));
    assert!(!format!("{set:?}").contains("very-secret"));
}

fn event(id: &str, kind: &str, machine: &str, not_before: &str) -> Value {
    json!({
        "EventId": id, "EventStatus": "Scheduled", "EventType": kind,
        "ResourceType": "VirtualMachine", "Resources": [machine], "NotBefore": not_before,
        "Description": "", "EventSource": "Platform", "DurationInSeconds": -1
    })
}

fn document(events: &[Value]) -> Answer {
    Answer::ok(&json!({ "DocumentIncarnation": 2, "Events": events }).to_string())
}

#[tokio::test]
async fn an_event_of_several_machines_is_left_to_its_time() {
    let soon = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(600));
    let mut both = event("c", "Redeploy", "media_3", &soon);
    both["Resources"] = json!(["media_3", "media_4"]);
    let answers = vec![
        Answer::ok("media_3"),
        document(std::slice::from_ref(&both)),
        document(&[both]),
    ];
    let imds = TestPeer::start(answers).await;
    let notices = metadata(&imds);
    let notice = notices.poll().await.unwrap().unwrap();
    notices.release(&notice).await.unwrap();
    let asked = imds.requests().await;
    assert!(asked.iter().all(|asked| asked.line.starts_with("GET ")));
}

#[tokio::test]
async fn a_machine_hears_of_its_own_end_and_lets_it_come() {
    let soon = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(600));
    let imds = TestPeer::start(vec![
        Answer::ok("media_3"),
        document(&[]),
        document(&[
            event("a", "Terminate", "media_4", &soon),
            event("b", "Freeze", "media_3", &soon),
        ]),
        document(&[
            event("c", "Terminate", "Media_3", &soon),
            event("d", "Preempt", "media_3", ""),
        ]),
        document(&[event("c", "Terminate", "media_3", &soon)]),
        document(&[event("c", "Terminate", "media_3", &soon)]),
        Answer::ok(""),
    ])
    .await;
    let notices = metadata(&imds);
    assert_eq!(notices.poll().await.unwrap(), None);
    assert_eq!(notices.poll().await.unwrap(), None, "others, and a blink");
    let first = notices.poll().await.unwrap().unwrap();
    assert_eq!(
        (first.id.as_str(), first.within),
        ("d", Some(Duration::ZERO))
    );
    let notice = notices.poll().await.unwrap().unwrap();
    let left = notice.within.unwrap();
    assert!((590..=600).contains(&left.as_secs()), "{left:?}");
    notices.hold(&notice).await.unwrap();
    notices.release(&notice).await.unwrap();
    let asked = imds.requests().await;
    assert_eq!(
        asked[0].line,
        "GET /metadata/instance/compute/name?api-version=2021-02-01&format=text HTTP/1.1"
    );
    let events = "/metadata/scheduledevents?api-version=2020-07-01 HTTP/1.1";
    assert_eq!(asked[1].line, format!("GET {events}"));
    let last = asked.last().unwrap();
    assert_eq!(last.line, format!("POST {events}"));
    assert_eq!(last.body, r#"{"StartRequests":[{"EventId":"c"}]}"#);
    assert!(asked.iter().all(|a| a.header("metadata") == Some("true")));
}
