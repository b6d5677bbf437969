//! Turns what rooms say into LiveKit's counters of sessions, tracks and negotiations. Fed by the
//! room's shell with everything the core says; sees no packet.

use std::time::Duration;

use metrics::{counter, histogram};
use protocol::proto;
use protocol::proto::signal_response::Message;

use crate::room::contract::{RoomOutput, SessionMessage};

/// Milliseconds since the epoch.
pub(crate) fn observe(output: &RoomOutput, now_ms: i64) {
    match output {
        RoomOutput::Webhook(event) => webhook(event, now_ms),
        RoomOutput::Session {
            message: SessionMessage::Signal(signal),
            ..
        } => told(signal.message.as_ref()),
        RoomOutput::Shard { command, .. } => match command {
            media::Command::AddDownTrack { .. } => subscribed("success", ""),
            media::Command::AddTransport { .. } => {
                counter!("livekit_peer_connection_state", "state" => "started").increment(1);
            }
            _ => {}
        },
        RoomOutput::Refused { .. } => operation("participant_join", "error", "refused"),
        _ => {}
    }
}

/// The life of rooms, participants and tracks is what webhooks tell.
fn webhook(event: &proto::WebhookEvent, now_ms: i64) {
    let participant = event.participant.as_ref();
    let since_joined = || participant.map(|who| since(who.joined_at_ms, now_ms));
    match event.event.as_str() {
        "room_finished" => {
            let created_ms = event.room.as_ref().map(|room| room.creation_time_ms);
            let lived = since(created_ms.unwrap_or(now_ms), now_ms);
            histogram!("livekit_room_duration_seconds").record(lived.as_secs_f64());
        }
        "participant_joined" => {
            counter!("livekit_participant_join_total", "state" => "rtc_active").increment(1);
            // Dashboards subtract these from `signal_ws`: the rest got no media through.
            operation("ice_connection", "success", "");
            milliseconds("livekit_session_start_time_ms", since_joined());
        }
        "participant_left" => milliseconds("livekit_session_duration_ms", since_joined()),
        "participant_connection_aborted" => {
            counter!("livekit_participant_join_total", "state" => "rtc_failure").increment(1);
        }
        "track_published" => {
            let kind = event.track.as_ref().map(|track| track.r#type());
            published(kind.unwrap_or_default(), "success");
        }
        _ => {}
    }
}

fn told(message: Option<&Message>) {
    match message {
        Some(Message::Join(_)) => {
            operation("participant_join", "success", "");
            operation("signal_ws", "success", "");
        }
        Some(Message::Reconnect(_)) => operation("participant_resume", "success", ""),
        Some(Message::Offer(_)) => operation("offer", "success", ""),
        Some(Message::Answer(_)) => operation("answer", "success", ""),
        Some(Message::TrackPublished(answer)) => {
            let kind = answer.track.as_ref().map(|track| track.r#type());
            published(kind.unwrap_or_default(), "attempt");
        }
        Some(Message::SubscriptionResponse(failed)) => {
            subscribed("failure", failed.err().as_str_name());
        }
        _ => {}
    }
}

fn since(then_ms: i64, now_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(now_ms.saturating_sub(then_ms)).unwrap_or(0))
}

fn milliseconds(name: &'static str, time: Option<Duration>) {
    if let Some(time) = time {
        histogram!(name).record(time.as_secs_f64() * 1_000.0);
    }
}

fn operation(kind: &'static str, status: &'static str, error: &'static str) {
    let labels = [("type", kind), ("status", status), ("error_type", error)];
    counter!("livekit_node_service_operation", &labels).increment(1);
}

fn published(kind: proto::TrackType, state: &'static str) {
    let labels = [("kind", kind.as_str_name()), ("state", state)];
    counter!("livekit_track_publish_counter", &labels).increment(1);
}

fn subscribed(state: &'static str, error: &'static str) {
    let labels = [("state", state), ("error", error)];
    counter!("livekit_track_subscribe_counter", &labels).increment(1);
}
