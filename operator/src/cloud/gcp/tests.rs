//! What Google's API and its metadata server are asked, word for word, against a test peer.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::cloud::test_peer::{Answer, TestPeer};
use crate::cloud::{client, metadata_client};

const TOKEN: &str = r#"{"access_token":"very-secret","expires_in":3599,"token_type":"Bearer"}"#;
const ZONAL: &str = "projects/p/zones/europe-west1-b/instanceGroupManagers/media";
const REGIONAL: &str = "projects/p/regions/europe-west1/instanceGroupManagers/media";

fn metadata(peer: &TestPeer) -> Metadata {
    let endpoint = peer.url("/computeMetadata/v1/");
    Metadata::new(metadata_client().unwrap(), endpoint)
}

fn group(peer: &TestPeer, imds: &TestPeer, path: &str) -> InstanceGroup {
    let endpoint = Some(peer.url("/compute/v1/"));
    InstanceGroup::new(client().unwrap(), endpoint, path, &metadata(imds)).unwrap()
}

#[tokio::test]
async fn a_group_is_resized_and_gives_one_instance_back() {
    let imds = TestPeer::start(vec![Answer::ok(TOKEN)]).await;
    let answers = (0..2).map(|_| Answer::ok("{}")).collect();
    let peer = TestPeer::start(answers).await;
    let group = group(&peer, &imds, ZONAL);
    let growth = Growth {
        by: 1,
        to: 4,
        zone: None,
        reason: String::new(),
    };
    group.grow(&growth).await.unwrap();
    group.terminate("media-x1z9").await.unwrap();
    let asked = peer.requests().await;
    let path = format!("POST /compute/v1/{ZONAL}");
    assert_eq!(asked[0].line, format!("{path}/resize?size=4 HTTP/1.1"));
    assert_eq!(asked[0].header("content-length"), Some("0"));
    assert_eq!(asked[1].line, format!("{path}/deleteInstances HTTP/1.1"));
    assert_eq!(
        asked[1].body,
        r#"{"instances":["zones/europe-west1-b/instances/media-x1z9"]}"#
    );
    for request in &asked {
        assert_eq!(request.header("authorization"), Some("Bearer very-secret"));
    }
    let identity = imds.requests().await;
    assert_eq!(
        identity[0].line,
        "GET /computeMetadata/v1/instance/service-accounts/default/token HTTP/1.1"
    );
    assert_eq!(identity[0].header("metadata-flavor"), Some("Google"));
    assert!(!format!("{group:?}").contains("very-secret"));
}

#[tokio::test]
async fn an_instance_of_a_regional_group_says_its_zone() {
    let imds = TestPeer::start(vec![Answer::ok(TOKEN)]).await;
    let peer = TestPeer::start(vec![Answer::ok("{}")]).await;
    let group = group(&peer, &imds, REGIONAL);
    let error = group.terminate("media-x1z9").await.unwrap_err();
    assert!(error.to_string().contains("zones/ZONE"), "{error}");
    let host = "zones/europe-west1-c/instances/media-x1z9";
    group.terminate(host).await.unwrap();
    let asked = peer.requests().await;
    assert_eq!(asked[0].body, format!(r#"{{"instances":["{host}"]}}"#));
}

#[tokio::test]
async fn an_instance_hears_of_its_own_end() {
    let said = ["FALSE", "NONE", "FALSE", MAINTENANCE_ENDS, "TRUE"];
    let imds = TestPeer::start(said.map(Answer::ok).into()).await;
    let notices = metadata(&imds);
    assert_eq!(notices.poll().await.unwrap(), None);
    let maintenance = notices.poll().await.unwrap().unwrap();
    assert_eq!(maintenance.within, Some(MAINTENANCE_NOTICE));
    let preempted = notices.poll().await.unwrap().unwrap();
    assert_eq!(preempted.within, Some(PREEMPTION_NOTICE));
    notices.hold(&preempted).await.unwrap();
    notices.release(&preempted).await.unwrap();
    let asked = imds.requests().await;
    assert_eq!(
        asked[0].line,
        "GET /computeMetadata/v1/instance/preempted HTTP/1.1"
    );
    assert_eq!(
        asked[1].line,
        "GET /computeMetadata/v1/instance/maintenance-event HTTP/1.1"
    );
    let flavour =
        |a: &crate::cloud::test_peer::Asked| a.header("metadata-flavor") == Some("Google");
    assert!(asked.iter().all(flavour));
}
