//! What the query API and the metadata service are asked, word for word, against a test peer.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::cloud::test_peer::{Answer, TestPeer};
use crate::cloud::{Secret, client, metadata_client};

const ROLE: &str = r#"{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":"ASIAROLE",
"SecretAccessKey":"role-secret","Token":"role-token","Expiration":"2030-01-01T00:00:00Z"}"#;

fn fixed() -> Source {
    Source::Fixed(Credentials {
        access_key: "AKIDEXAMPLE".into(),
        secret_key: Secret::new("very-secret"),
        session_token: None,
    })
}

fn scaling(peer: &TestPeer, source: Source) -> AutoScaling {
    AutoScaling {
        client: client().unwrap(),
        endpoint: peer.url("/"),
        region: "eu-west-1".into(),
        group: "media nodes".into(),
        hook: Some("drain".into()),
        source,
    }
}

#[tokio::test]
async fn the_group_is_asked_in_the_words_of_its_api() {
    let answers = (0..4).map(|_| Answer::ok("<x/>")).collect();
    let peer = TestPeer::start(answers).await;
    let scaling = scaling(&peer, fixed());
    let growth = Growth {
        by: 1,
        to: 3,
        zone: None,
        reason: String::new(),
    };
    scaling.grow(&growth).await.unwrap();
    scaling.terminate("i-1").await.unwrap();
    scaling.record_heartbeat("i-1").await.unwrap();
    scaling.complete_lifecycle("i-1").await.unwrap();
    let asked = peer.requests().await;
    let bodies: Vec<&str> = asked.iter().map(|a| a.body.as_str()).collect();
    assert_eq!(
        bodies,
        [
            "Action=SetDesiredCapacity&Version=2011-01-01&AutoScalingGroupName=media%20nodes\
             &DesiredCapacity=3&HonorCooldown=false",
            "Action=TerminateInstanceInAutoScalingGroup&Version=2011-01-01&InstanceId=i-1\
             &ShouldDecrementDesiredCapacity=true",
            "Action=RecordLifecycleActionHeartbeat&Version=2011-01-01\
             &AutoScalingGroupName=media%20nodes&LifecycleHookName=drain&InstanceId=i-1",
            "Action=CompleteLifecycleAction&Version=2011-01-01\
             &AutoScalingGroupName=media%20nodes&LifecycleHookName=drain&InstanceId=i-1\
             &LifecycleActionResult=CONTINUE",
        ]
    );
    for request in asked {
        assert_eq!(request.line, "POST / HTTP/1.1");
        let signed = request.header("authorization").unwrap();
        let day = &request.header("x-amz-date").unwrap()[..8];
        let scope = format!("Credential=AKIDEXAMPLE/{day}/eu-west-1/autoscaling/aws4_request");
        assert!(signed.contains(&scope), "{signed}");
        assert!(signed.contains("SignedHeaders=content-type;host;x-amz-date, "));
        // The host that was signed is the host that was sent.
        let sent = request.header("host").unwrap();
        assert_eq!(sent, authority(&peer.url("/")));
    }
}

#[tokio::test]
async fn the_role_of_the_instance_signs_and_is_asked_for_once() {
    let imds = TestPeer::start(vec![
        Answer::ok("token-1"),
        Answer::ok("media-role"),
        Answer::ok("token-2"),
        Answer::ok(ROLE),
    ])
    .await;
    let peer = TestPeer::start(vec![Answer::ok(""), Answer::ok("")]).await;
    let metadata = Metadata::new(metadata_client().unwrap(), imds.url("/"));
    let scaling = scaling(&peer, Source::Instance(metadata));
    scaling.terminate("i-1").await.unwrap();
    scaling.terminate("i-2").await.unwrap();
    let asked = peer.requests().await;
    for request in &asked {
        assert_eq!(request.header("x-amz-security-token"), Some("role-token"));
        let signed = request.header("authorization").unwrap();
        assert!(signed.contains("host;x-amz-date;x-amz-security-token"));
    }
    let lines: Vec<String> = imds.requests().await.into_iter().map(|a| a.line).collect();
    assert_eq!(
        lines,
        [
            "PUT /latest/api/token HTTP/1.1",
            "GET /latest/meta-data/iam/security-credentials/ HTTP/1.1",
            "PUT /latest/api/token HTTP/1.1",
            "GET /latest/meta-data/iam/security-credentials/media-role HTTP/1.1",
        ]
    );
    assert!(!format!("{scaling:?}").contains("role-"));
}

#[tokio::test]
async fn an_instance_hears_of_its_end() {
    let imds = TestPeer::start(vec![
        // Nothing happens.
        Answer::ok("t"),
        Answer::status(404, ""),
        Answer::ok("t"),
        Answer::ok("InService"),
        // It goes.
        Answer::ok("t"),
        Answer::status(404, ""),
        Answer::ok("t"),
        Answer::ok("Terminated"),
        Answer::ok("t"),
        Answer::ok("i-0abc"),
        // A spot instance.
        Answer::ok("t"),
        Answer::ok(r#"{"action":"terminate","time":"2026-01-01T00:00:00Z"}"#),
    ])
    .await;
    let peer = TestPeer::start(vec![Answer::ok(""), Answer::ok("")]).await;
    let notices = InstanceNotices {
        metadata: Metadata::new(metadata_client().unwrap(), imds.url("/")),
        scaling: scaling(&peer, fixed()),
    };
    assert_eq!(notices.poll().await.unwrap(), None);
    let notice = notices.poll().await.unwrap().unwrap();
    assert_eq!((notice.id.as_str(), notice.within), ("i-0abc", None));
    notices.hold(&notice).await.unwrap();
    notices.release(&notice).await.unwrap();
    let spot = notices.poll().await.unwrap().unwrap();
    assert_eq!(spot.within, Some(SPOT_NOTICE));
    notices.release(&spot).await.unwrap();
    assert_eq!(
        peer.requests().await.len(),
        2,
        "a spot instance has no hook"
    );
}

#[tokio::test]
async fn an_error_of_the_api_tells_what_it_said() {
    let body =
        "<ErrorResponse><Error><Code>ScalingActivityInProgress</Code></Error></ErrorResponse>";
    let peer = TestPeer::start(vec![Answer::status(400, body)]).await;
    let error = scaling(&peer, fixed()).terminate("i-1").await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("ScalingActivityInProgress"), "{text}");
    assert!(!text.contains("very-secret"));
}
