//! The server API on a room, and agents.

use super::*;

fn participant(reply: Result<RoomReply, RoomError>) -> proto::ParticipantInfo {
    match reply {
        Ok(RoomReply::Participant(info)) => info,
        other => panic!("{other:?}"),
    }
}

#[test]
fn unknown_participants_are_not_found() {
    let mut house = House::new();
    let identity = || "nobody".to_owned();
    for request in [
        RoomCall::GetParticipant {
            identity: identity(),
        },
        RoomCall::RemoveParticipant {
            identity: identity(),
        },
        RoomCall::UpdateParticipant(proto::UpdateParticipantRequest {
            identity: identity(),
            ..Default::default()
        }),
        RoomCall::UpdateSubscriptions(proto::UpdateSubscriptionsRequest {
            identity: identity(),
            ..Default::default()
        }),
    ] {
        let expected = RoomError::NotFound("participant does not exist".into());
        assert_eq!(house.call(request).unwrap_err(), expected);
    }
}

#[test]
fn a_removed_participant_is_told_and_so_are_the_others() {
    let mut house = House::new();
    let alice = house.join("alice");
    let bob = house.join("bob");
    house.wait(4 * S);
    house.heard(bob);
    house
        .call(RoomCall::RemoveParticipant {
            identity: "alice".into(),
        })
        .unwrap();
    assert!(house.is_closed(alice));
    let leave = leave_of(&house.heard(alice));
    assert_eq!(leave.reason(), DisconnectReason::ParticipantRemoved);
    house.wait(4 * S);
    let gone = house.infos(bob, "alice").pop().unwrap();
    assert_eq!(gone.state(), State::Disconnected);
    assert_eq!(
        gone.disconnect_reason(),
        DisconnectReason::ParticipantRemoved
    );
}

#[test]
fn a_permission_is_replaced_as_a_whole_and_goes_into_the_next_token() {
    let mut house = House::new();
    let alice = house.enter("alice");
    house.heard(alice);
    let permission = Some(proto::ParticipantPermission {
        can_subscribe: true,
        ..Default::default()
    });
    let request = proto::UpdateParticipantRequest {
        identity: "alice".into(),
        permission,
        ..Default::default()
    };
    let info = participant(house.call(RoomCall::UpdateParticipant(request)));
    assert!(!info.permission.as_ref().unwrap().can_publish);
    let script = house.script("alice");
    assert!(matches!(script.lock().unwrap().heard.last(),
        Some(MediaInput::Permission(permission)) if !permission.can_publish));
    assert_eq!(kinds(&house.heard(alice)), ["update", "refresh_token"]);
    let video = house.member("alice").claims.video.clone().unwrap();
    assert_eq!(
        (video.can_publish, video.can_subscribe),
        (Some(false), Some(true))
    );
    assert!(video.room_join && video.room == "house");
}

#[test]
fn an_update_keeps_what_is_not_given_and_sends_no_response() {
    let mut house = House::new();
    let alice = house.attach("alice", |a| a.claims.name = "Ann".into());
    let request = proto::UpdateParticipantRequest {
        identity: "alice".into(),
        metadata: "m".into(),
        ..Default::default()
    };
    let info = participant(house.call(RoomCall::UpdateParticipant(request)));
    assert_eq!((info.name.as_str(), info.metadata.as_str()), ("Ann", "m"));
    assert!(!kinds(&house.heard(alice)).contains(&"request_response"));
}

#[test]
fn muting_needs_a_track_and_unmuting_needs_the_setting() {
    let mut house = House::new();
    house.enter("alice");
    house.publish("alice", "TR_1");
    let mute = |track_sid: &str, muted| {
        RoomCall::MutePublishedTrack(proto::MuteRoomTrackRequest {
            identity: "alice".into(),
            track_sid: track_sid.into(),
            muted,
            ..Default::default()
        })
    };
    assert!(matches!(
        house.call(mute("TR_1", true)),
        Ok(RoomReply::Track(Some(_)))
    ));
    assert!(matches!(
        house.script("alice").lock().unwrap().heard.last(),
        Some(MediaInput::Mute {
            muted: true,
            from_admin: true,
            ..
        })
    ));
    assert!(matches!(
        house.call(mute("TR_none", true)),
        Ok(RoomReply::Track(None))
    ));
    let expected = RoomError::FailedPrecondition("remote unmute not enabled".into());
    assert_eq!(house.call(mute("TR_1", false)).unwrap_err(), expected);
}

#[test]
fn room_metadata_reaches_everyone_at_once() {
    let mut house = House::new();
    let alice = house.join("alice");
    house.heard(alice);
    let reply = house.call(RoomCall::UpdateRoomMetadata {
        metadata: "topic".into(),
    });
    assert!(matches!(reply, Ok(RoomReply::Room(room)) if room.metadata == "topic"));
    assert_eq!(kinds(&house.heard(alice)), ["room_update"]);
}

#[test]
fn deleting_the_room_disconnects_everybody() {
    let mut house = House::new();
    let alice = house.enter("alice");
    assert!(matches!(house.call(RoomCall::Delete), Ok(RoomReply::Done)));
    let leave = leave_of(&house.heard(alice));
    assert_eq!(leave.reason(), DisconnectReason::RoomDeleted);
    assert!(house.ended);
    let expected = [
        "room_started",
        "participant_joined",
        "participant_left",
        "room_finished",
    ];
    assert_eq!(house.events(), expected);
    assert_eq!(house.room.deadline(), None);
}

fn dispatches(reply: Result<RoomReply, RoomError>) -> Vec<proto::AgentDispatch> {
    match reply {
        Ok(RoomReply::Dispatches(list)) => list,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_room_without_agents_has_one_implicit_dispatch() {
    let mut house = House::new();
    let list = dispatches(house.call(RoomCall::ListDispatch(Default::default())));
    assert_eq!(list.len(), 1);
    assert!(list[0].agent_name.is_empty() && list[0].id.starts_with("AD_"));
    assert_eq!(house.launched.len(), 1);
    assert_eq!(house.launched[0].r#type(), proto::JobType::JtRoom);
}

#[test]
fn a_dispatch_becomes_jobs_that_end_with_it() {
    let mut house = House::new();
    house.launched.clear();
    let request = proto::CreateAgentDispatchRequest {
        agent_name: "helper".into(),
        ..Default::default()
    };
    let Ok(RoomReply::Dispatch(made)) = house.call(RoomCall::CreateDispatch(request)) else {
        panic!("no dispatch")
    };
    let job = house.launched[0].clone();
    assert_eq!(
        (job.agent_name.as_str(), job.dispatch_id.as_str()),
        ("helper", made.id.as_str())
    );
    let wanted = proto::ListAgentDispatchRequest {
        dispatch_id: made.id.clone(),
        ..Default::default()
    };
    let listed = dispatches(house.call(RoomCall::ListDispatch(wanted.clone())));
    assert!(
        listed[0].state.as_ref().unwrap().jobs.is_empty(),
        "nobody took it yet"
    );
    house.input(RoomInput::Job(contract::JobUpdate {
        room: "house".into(),
        job_id: job.id.clone(),
        dispatch_id: made.id.clone(),
        state: proto::JobState {
            status: proto::JobStatus::JsRunning.into(),
            worker_id: "AW_1".into(),
            participant_identity: "agent".into(),
            ..Default::default()
        },
    }));
    let listed = dispatches(house.call(RoomCall::ListDispatch(wanted.clone())));
    assert_eq!(listed[0].state.as_ref().unwrap().jobs[0].id, job.id);
    let request = proto::DeleteAgentDispatchRequest {
        dispatch_id: made.id,
        ..Default::default()
    };
    house
        .call(RoomCall::DeleteDispatch(request.clone()))
        .unwrap();
    assert_eq!(house.terminated, [job.id]);
    let expected = RoomError::NotFound("dispatch ID not found".into());
    assert_eq!(
        house.call(RoomCall::DeleteDispatch(request)).unwrap_err(),
        expected
    );
    assert!(dispatches(house.call(RoomCall::ListDispatch(wanted))).is_empty());
}

#[test]
fn participants_and_publishers_get_jobs_of_their_own() {
    let mut house = House::new();
    house.launched.clear();
    house.enter("alice");
    house.publish("alice", "TR_1");
    house.publish("alice", "TR_2");
    let types: Vec<_> = house.launched.iter().map(|job| job.r#type()).collect();
    assert_eq!(
        types,
        [proto::JobType::JtParticipant, proto::JobType::JtPublisher]
    );
    house
        .call(RoomCall::RemoveParticipant {
            identity: "alice".into(),
        })
        .unwrap();
    assert_eq!(house.terminated.len(), 2);
}

/// A room with a running job whose agent is in the room; gives the ids of dispatch and job.
fn with_agent(house: &mut House) -> (String, String) {
    let job = house.launched[0].clone();
    house.attach("agent", |attach| attach.claims.kind = "agent".into());
    house.input(RoomInput::Job(contract::JobUpdate {
        room: "house".into(),
        job_id: job.id.clone(),
        dispatch_id: job.dispatch_id.clone(),
        state: proto::JobState {
            status: proto::JobStatus::JsRunning.into(),
            worker_id: "AW_1".into(),
            participant_identity: "agent".into(),
            ..Default::default()
        },
    }));
    (job.dispatch_id, job.id)
}

#[test]
fn an_agent_goes_with_its_dispatch() {
    let mut house = House::new();
    let (dispatch_id, job) = with_agent(&mut house);
    let request = proto::DeleteAgentDispatchRequest {
        dispatch_id,
        ..Default::default()
    };
    house.call(RoomCall::DeleteDispatch(request)).unwrap();
    assert_eq!(house.terminated, [job]);
    let identity = "agent".to_owned();
    assert!(house.call(RoomCall::GetParticipant { identity }).is_err());
}

#[test]
fn a_job_ends_with_the_agent_it_sent_and_is_listed_as_its_worker_ends_it() {
    let mut house = House::new();
    let (dispatch_id, job_id) = with_agent(&mut house);
    let identity = "agent".to_owned();
    house
        .call(RoomCall::RemoveParticipant { identity })
        .unwrap();
    assert_eq!(house.terminated, std::slice::from_ref(&job_id));
    let status = proto::JobStatus::JsSuccess.into();
    house.input(RoomInput::Job(contract::JobUpdate {
        room: "house".into(),
        job_id,
        dispatch_id,
        state: proto::JobState {
            status,
            worker_id: "AW_1".into(),
            ..Default::default()
        },
    }));
    let listed = dispatches(house.call(RoomCall::ListDispatch(Default::default())));
    assert_eq!(
        listed[0].state.as_ref().unwrap().jobs[0]
            .state
            .as_ref()
            .unwrap()
            .status,
        status
    );
}

#[test]
fn a_job_no_worker_took_never_was() {
    let mut house = House::new();
    let job = house.launched[0].clone();
    house.input(RoomInput::Job(contract::JobUpdate {
        room: "house".into(),
        job_id: job.id,
        dispatch_id: job.dispatch_id,
        state: proto::JobState {
            status: proto::JobStatus::JsFailed.into(),
            ..Default::default()
        },
    }));
    let listed = dispatches(house.call(RoomCall::ListDispatch(Default::default())));
    assert!(listed[0].state.as_ref().unwrap().jobs.is_empty());
}

#[test]
fn the_agent_of_a_deleted_dispatch_leaves_and_a_leaving_agent_ends_its_job() {
    let mut house = House::new();
    let implicit = dispatches(house.call(RoomCall::ListDispatch(Default::default())))[0].clone();
    let job = house.launched[0].clone();
    let running = |identity: &str| contract::JobUpdate {
        room: "house".into(),
        job_id: job.id.clone(),
        dispatch_id: implicit.id.clone(),
        state: proto::JobState {
            status: proto::JobStatus::JsRunning.into(),
            participant_identity: identity.into(),
            ..Default::default()
        },
    };
    let agent = house.attach("agent", |a| a.claims.kind = "agent".into());
    house.input(RoomInput::Job(running("agent")));
    let request = proto::DeleteAgentDispatchRequest {
        dispatch_id: implicit.id.clone(),
        ..Default::default()
    };
    house.call(RoomCall::DeleteDispatch(request)).unwrap();
    assert_eq!(house.terminated, std::slice::from_ref(&job.id));
    assert_eq!(
        leave_of(&house.heard(agent)).reason(),
        DisconnectReason::ParticipantRemoved
    );

    let mut house = House::new();
    let job = house.launched[0].clone();
    let agent = house.attach("agent", |a| a.claims.kind = "agent".into());
    house.input(RoomInput::Job(contract::JobUpdate {
        job_id: job.id.clone(),
        ..running("agent")
    }));
    house.signal(agent, SignalRequest::Leave(Default::default()));
    assert_eq!(house.terminated, [job.id]);
}
