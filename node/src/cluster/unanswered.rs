//! What a client asked of its room's home and has not been answered, and what it said shortly
//! before. A home that dies takes both with it: the next one is told them again. Part of `words`;
//! the room drops what it knows already, and repeating what it does know changes nothing.

use std::collections::VecDeque;

use protocol::proto;
use protocol::proto::request_response::Request as About;
use protocol::proto::signal_request::Message as Request;
use protocol::proto::signal_response::Message as Response;
use tokio::time::Instant;

use super::limits::{
    REPEATED_BYTES_MAX, REPEATED_MESSAGES_MAX, REPEATED_WITHIN, UNANSWERED_OFFER_BYTES_MAX,
    UNANSWERED_TRACK_BYTES_MAX, UNANSWERED_TRACKS_MAX,
};
use crate::room::contract::Attach;

#[derive(Debug, Default)]
pub(super) struct Unanswered {
    /// The newest: a client has one under way.
    offer: Option<proto::SessionDescription>,
    tracks: Vec<proto::AddTrackRequest>,
    /// Oldest first, with what each weighs.
    lately: VecDeque<(Instant, usize, Request)>,
}

impl Unanswered {
    /// What a client asks for with its join.
    pub(super) fn joins(&mut self, attach: &Attach) {
        for request in &attach.add_tracks {
            self.add_track(request);
        }
        if let Some(offer) = &attach.publisher_offer {
            self.offer(offer);
        }
    }

    /// Is about to be said to the room's home.
    pub(super) fn asked(&mut self, now: Instant, message: &Request) {
        match message {
            Request::Offer(offer) => self.offer(offer),
            Request::AddTrack(request) => self.add_track(request),
            message if is_repeatable(message) => self.say(now, message),
            _ => {}
        }
    }

    /// What is too large is not repeated: its client runs into its own timeout, as without this.
    fn offer(&mut self, offer: &proto::SessionDescription) {
        let fits = offer.sdp.len() <= UNANSWERED_OFFER_BYTES_MAX;
        self.offer = fits.then(|| offer.clone());
    }

    fn add_track(&mut self, request: &proto::AddTrackRequest) {
        let fits = prost::Message::encoded_len(request) <= UNANSWERED_TRACK_BYTES_MAX;
        if fits && self.tracks.len() < UNANSWERED_TRACKS_MAX {
            self.tracks.push(request.clone());
        }
    }

    fn say(&mut self, now: Instant, message: &Request) {
        let bytes = message.encoded_len();
        let old = |at: Instant| now.saturating_duration_since(at) > REPEATED_WITHIN;
        let mut kept: usize = self.lately.iter().map(|(_, bytes, _)| bytes).sum();
        while let Some((at, oldest, _)) = self.lately.front()
            && (old(*at)
                || self.lately.len() >= REPEATED_MESSAGES_MAX
                || kept + bytes > REPEATED_BYTES_MAX)
        {
            kept -= oldest;
            self.lately.pop_front();
        }
        if bytes <= REPEATED_BYTES_MAX {
            self.lately.push_back((now, bytes, message.clone()));
        }
    }

    /// The home said this.
    pub(super) fn answered(&mut self, response: &proto::SignalResponse) {
        match &response.message {
            Some(Response::Answer(answer)) => {
                self.offer.take_if(|offer| offer.id == answer.id);
            }
            Some(Response::TrackPublished(published)) => self.settle_track(&published.cid),
            Some(Response::RequestResponse(told)) => {
                if let Some(About::AddTrack(request)) = &told.request {
                    self.settle_track(&request.cid);
                }
                let id = Some(told.request_id).filter(|id| *id != 0);
                self.lately
                    .retain(|(_, _, message)| id.is_none() || id != request_id(message));
            }
            // Others decided otherwise since.
            Some(Response::Mute(muted)) => self.lately.retain(
                |(_, _, message)| !matches!(message, Request::Mute(mute) if mute.sid == muted.sid),
            ),
            _ => {}
        }
    }

    fn settle_track(&mut self, cid: &str) {
        let asked = self.tracks.iter().position(|request| request.cid == cid);
        if let Some(index) = asked {
            self.tracks.remove(index);
        }
    }

    /// The session is bound to another home, which answers these.
    pub(super) fn repeat(&self, attach: &mut Attach) {
        attach.publisher_offer.clone_from(&self.offer);
        attach.add_tracks.clone_from(&self.tracks);
    }

    /// In the order in which it was said.
    pub(super) fn lately(&self, now: Instant) -> impl Iterator<Item = &Request> {
        let fresh = move |at: Instant| now.saturating_duration_since(at) <= REPEATED_WITHIN;
        let said = self.lately.iter();
        said.filter(move |(at, _, _)| fresh(*at))
            .map(|(_, _, message)| message)
    }
}

/// Says how something is to be, not what is to happen.
fn is_repeatable(message: &Request) -> bool {
    matches!(
        message,
        Request::Trickle(_)
            | Request::Mute(_)
            | Request::Subscription(_)
            | Request::TrackSetting(_)
            | Request::SubscriptionPermission(_)
            | Request::UpdateMetadata(_)
            | Request::UpdateAudioTrack(_)
            | Request::UpdateVideoTrack(_)
            | Request::UpdateDataSubscription(_)
    )
}

fn request_id(message: &Request) -> Option<u32> {
    match message {
        Request::UpdateMetadata(update) => Some(update.request_id),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn add(cid: &str) -> Request {
        Request::AddTrack(proto::AddTrackRequest {
            cid: cid.into(),
            ..Default::default()
        })
    }

    fn offer(id: u32, bytes: usize) -> Request {
        Request::Offer(proto::SessionDescription {
            id,
            sdp: "o".repeat(bytes),
            ..Default::default()
        })
    }

    fn mute(sid: &str, muted: bool) -> Request {
        let sid = sid.into();
        Request::Mute(proto::MuteTrackRequest { sid, muted })
    }

    fn metadata(request_id: u32, bytes: usize) -> Request {
        Request::UpdateMetadata(proto::UpdateParticipantMetadata {
            request_id,
            metadata: "m".repeat(bytes),
            ..Default::default()
        })
    }

    fn said(message: Response) -> proto::SignalResponse {
        let message = Some(message);
        proto::SignalResponse { message }
    }

    fn answer(id: u32) -> proto::SignalResponse {
        said(Response::Answer(proto::SessionDescription {
            id,
            ..Default::default()
        }))
    }

    #[test]
    fn what_was_answered_is_not_asked_again() {
        let now = Instant::now();
        let mut asked = Unanswered::default();
        for message in [add("a"), add("b"), add("b"), offer(1, 9), offer(2, 9)] {
            asked.asked(now, &message);
        }
        let published = |cid: &str| {
            said(Response::TrackPublished(proto::TrackPublishedResponse {
                cid: cid.into(),
                track: None,
            }))
        };
        asked.answered(&published("b"));
        asked.answered(&answer(1));
        let cids = |asked: &Unanswered| {
            let cids = asked.tracks.iter().map(|request| request.cid.clone());
            cids.collect::<Vec<_>>()
        };
        assert_eq!(cids(&asked), ["a", "b"]);
        assert_eq!(asked.offer.as_ref().map(|offer| offer.id), Some(2));
        let Request::AddTrack(request) = add("a") else {
            return;
        };
        asked.answered(&said(Response::RequestResponse(proto::RequestResponse {
            request: Some(About::AddTrack(request)),
            ..Default::default()
        })));
        asked.answered(&answer(2));
        assert_eq!((cids(&asked), asked.offer), (vec!["b".to_owned()], None));
    }

    #[test]
    fn what_was_said_lately_is_repeated_in_order_unless_it_was_settled_since() {
        let start = Instant::now();
        let later = |ms| start + Duration::from_millis(ms);
        let mut asked = Unanswered::default();
        asked.asked(start, &mute("TR_old", true));
        asked.asked(later(2_500), &mute("TR_a", false));
        asked.asked(later(2_500), &mute("TR_b", false));
        asked.asked(later(2_600), &metadata(5, 1));
        asked.asked(later(2_600), &metadata(6, 1));
        asked.asked(later(2_600), &Request::Leave(Default::default()));
        let muted = proto::MuteTrackRequest {
            sid: "TR_b".into(),
            muted: true,
        };
        asked.answered(&said(Response::Mute(muted)));
        asked.answered(&said(Response::RequestResponse(proto::RequestResponse {
            request_id: 5,
            ..Default::default()
        })));
        let lately = |asked: &Unanswered, ms| asked.lately(later(ms)).cloned().collect::<Vec<_>>();
        let expected = [mute("TR_a", false), metadata(6, 1)];
        assert_eq!(lately(&asked, 2_700), expected);
        assert_eq!(lately(&asked, 4_550), expected[1..]);
    }

    #[test]
    fn a_client_cannot_make_its_gateway_keep_much() {
        let now = Instant::now();
        let mut asked = Unanswered::default();
        for number in 0..10 * REPEATED_MESSAGES_MAX {
            asked.asked(now, &add(&"c".repeat(1_000)));
            asked.asked(now, &metadata(1, REPEATED_BYTES_MAX / 4));
            asked.asked(now, &mute(&number.to_string(), true));
        }
        asked.asked(now, &metadata(2, 2 * REPEATED_BYTES_MAX));
        asked.asked(now, &add(&"c".repeat(2 * UNANSWERED_TRACK_BYTES_MAX)));
        asked.asked(now, &offer(1, 2 * UNANSWERED_OFFER_BYTES_MAX));
        assert_eq!(asked.tracks.len(), UNANSWERED_TRACKS_MAX);
        assert_eq!(asked.offer, None);
        assert!(asked.lately.len() <= REPEATED_MESSAGES_MAX);
        let bytes: usize = asked.lately.iter().map(|(_, bytes, _)| bytes).sum();
        assert!(bytes <= REPEATED_BYTES_MAX);
    }
}
