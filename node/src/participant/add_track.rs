//! The answer to AddTrack: permission, type, queueing, TrackInfo. Called for the client's requests
//! and for queued ones whose turn has come.

use media::types::Codec;
use protocol::ids::TrackSid;
use protocol::proto;
use protocol::proto::request_response::{Reason, Request};
use protocol::proto::signal_response::Message;
use rand::Rng;

use super::outputs::Outputs;
use super::pending_tracks::{Awaited, PendingTrack};
use super::permission;
use super::publications::Publications;
use super::track_info;

/// Takes the request in, queues it, or refuses it; the client is told which.
pub(crate) fn add_track(
    publications: &mut Publications,
    request: proto::AddTrackRequest,
    permission: &proto::ParticipantPermission,
    enabled: &[Codec],
    rng: &mut impl Rng,
    out: &mut Outputs,
) {
    if let Err(reason) = try_add(publications, &request, permission, enabled, rng, out) {
        out.respond(reason, String::new(), Request::AddTrack(request));
    }
}

/// A request that was taken in already is answered as it was then. `false`: it is news.
pub(crate) fn answered_before(
    publications: &Publications,
    request: &proto::AddTrackRequest,
    out: &mut Outputs,
) -> bool {
    if publications
        .pending
        .queued()
        .any(|queued| queued == request)
    {
        let request = Request::AddTrack(request.clone());
        out.respond(Reason::Queued, String::new(), request);
        return true;
    }
    let known = match request.sid.is_empty() {
        true => publications.info_of_cid(&request.cid),
        false => publications.info(&request.sid).filter(|info| {
            info.codecs
                .iter()
                .any(|codec| codec.cid == codec_cid(request))
        }),
    };
    if let Some(info) = known {
        published(request, info, out);
    }
    known.is_some()
}

/// The id of the one more codec that is asked for.
fn codec_cid(request: &proto::AddTrackRequest) -> &str {
    let wanted = request.simulcast_codecs.first().map(|c| c.cid.as_str());
    wanted.filter(|cid| !cid.is_empty()).unwrap_or(&request.cid)
}

fn try_add(
    publications: &mut Publications,
    request: &proto::AddTrackRequest,
    permission: &proto::ParticipantPermission,
    enabled: &[Codec],
    rng: &mut impl Rng,
    out: &mut Outputs,
) -> Result<(), Reason> {
    if !permission::may_publish(permission, request.source) {
        return Err(Reason::NotAllowed);
    }
    let kind = track_info::kind_of(request.r#type).ok_or(Reason::UnsupportedType)?;
    if publications.is_full() || !track_info::texts_fit(request) {
        return Err(Reason::LimitExceeded);
    }
    if !request.sid.is_empty() {
        return add_codec(publications, request, enabled, out);
    }
    if publications.cid_taken(&request.cid) {
        let queued = publications.pending.queue(request.clone());
        return Err(if queued {
            Reason::Queued
        } else {
            Reason::LimitExceeded
        });
    }
    let track_type = proto::TrackType::try_from(request.r#type).unwrap_or(proto::TrackType::Audio);
    let source = proto::TrackSource::try_from(request.source).unwrap_or_default();
    let sid = TrackSid::for_track(rng, track_type, source);
    let info = track_info::from_request(request, &sid, kind, enabled);
    published(request, &info, out);
    let awaited = Awaited::Track(Box::new(info));
    publications.pending.push(PendingTrack {
        cid: request.cid.clone(),
        kind,
        awaited,
    });
    Ok(())
}

/// One more codec for a track that exists (`sid`).
fn add_codec(
    publications: &mut Publications,
    request: &proto::AddTrackRequest,
    enabled: &[Codec],
    out: &mut Outputs,
) -> Result<(), Reason> {
    let info = publications
        .info_mut(&request.sid)
        .ok_or(Reason::NotFound)?;
    let kind = track_info::kind_of(info.r#type).ok_or(Reason::UnsupportedType)?;
    let codec = track_info::add_backup_codec(info, request, enabled);
    let info = info.clone();
    published(request, &info, out);
    if let Some(codec) = codec {
        let cid = codec_cid(request).to_owned();
        let awaited = Awaited::Codec {
            sid: TrackSid(info.sid),
            codec,
        };
        publications
            .pending
            .push(PendingTrack { cid, kind, awaited });
    }
    Ok(())
}

fn published(request: &proto::AddTrackRequest, info: &proto::TrackInfo, out: &mut Outputs) {
    out.signal(Message::TrackPublished(proto::TrackPublishedResponse {
        cid: request.cid.clone(),
        track: Some(info.clone()),
    }));
}
