//! The connection the client offers: its offers answered, its candidates taken in, its sections
//! given to publications and, on `/rtc/v1`, to subscriptions.

use std::collections::HashMap;
use std::time::Instant;

use media::DownTrackKey;
use media::negotiate::{OfferAccepted, ParsedCandidate, PeerRole};
use protocol::proto;
use protocol::proto::request_response::{Reason, Request};
use protocol::proto::signal_response::Message;

use super::candidates;
use super::codecs;
use super::connection::Connection;
use super::limits::SDP_BYTES_MAX;
use super::media::ParticipantMedia;
use super::publications::Binding;

impl ParticipantMedia {
    /// An offer of the client. One that cannot be read gets no answer and changes nothing.
    pub(super) fn client_offered(&mut self, now: Instant, offer: proto::SessionDescription) {
        if offer.sdp.len() > SDP_BYTES_MAX {
            tracing::debug!(bytes = offer.sdp.len(), "offer too long");
            return;
        }
        let first = self.publisher.is_none();
        self.open_publisher();
        let Some(publisher) = self.publisher.as_mut() else {
            return;
        };
        let accepted = match publisher.negotiator.accept_offer(&offer.sdp) {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "offer refused");
                return;
            }
        };
        if first {
            self.milestones.without_data =
                !accepted.has_data && !self.milestones.subscriber_primary;
        }
        self.answer(now, offer.id, accepted);
    }

    fn answer(&mut self, now: Instant, id: u32, accepted: OfferAccepted) {
        let micros = self.micros(now);
        let Some(publisher) = self.publisher.as_mut() else {
            return;
        };
        let keys = &self.environment.keys;
        let matched =
            self.publications
                .match_offer(&accepted.sections, keys, micros, &mut self.out);
        for mid in &matched.released {
            publisher.negotiator.unbind_receive(mid);
        }
        bind(publisher, matched.bound);
        let answer = match publisher.negotiator.create_answer() {
            Ok(answer) => answer,
            Err(error) => {
                tracing::warn!(%error, "an accepted offer cannot be answered");
                return;
            }
        };
        if accepted.ice_restart {
            publisher.restart_ice(&mut self.out);
        }
        publisher.apply_remote(accepted.remote, &mut self.out);
        self.receive_negotiated(now);
        let mid_to_track_id = self.track_ids(&answer.senders);
        self.out.signal(Message::Answer(proto::SessionDescription {
            r#type: "answer".to_owned(),
            sdp: answer.sdp,
            id,
            mid_to_track_id,
        }));
        if let Some(publisher) = self.publisher.as_mut() {
            publisher.trickle_out(&mut self.out);
        }
        self.forget_publications();
        self.add_queued_tracks(now);
        if self.settings.single_peer_connection {
            self.sections.offer_answered();
            self.senders_negotiated(&[]);
            self.request_sections(now);
        }
    }

    /// A track that was announced after its section: the section is bound now, the next answer
    /// shapes it.
    pub(super) fn claim_sections(&mut self, now: Instant) {
        let Some(publisher) = self.publisher.as_mut() else {
            return;
        };
        let bound = self.publications.claim(&self.environment.keys);
        if bound.is_empty() {
            return;
        }
        bind(publisher, bound);
        self.receive_negotiated(now);
    }

    /// Tells the packet plane what the client sends, and the room once the connection is up.
    fn receive_negotiated(&mut self, now: Instant) {
        let micros = self.micros(now);
        let Some(publisher) = self.publisher.as_mut() else {
            return;
        };
        let sections = publisher.negotiator.receive_sections();
        let room = self.environment.room;
        self.publications
            .negotiated(publisher.key, room, &sections, micros, &mut self.out);
        publisher.apply_receive(&mut self.out);
        if publisher.was_connected() {
            self.publications.show(micros, &mut self.out);
        }
    }

    /// A candidate of the client for either connection.
    pub(super) fn client_trickled(&mut self, trickle: proto::TrickleRequest) {
        let parsed = match candidates::parse(&trickle.candidate_init) {
            Ok(parsed) => parsed,
            Err(error) => {
                let message = error.to_string();
                self.out.respond(
                    Reason::UnclassifiedError,
                    message,
                    Request::Trickle(trickle),
                );
                return;
            }
        };
        let ParsedCandidate::Usable { candidate, ufrag } = parsed else {
            return;
        };
        let for_subscriber = trickle.target == proto::SignalTarget::Subscriber as i32
            && !self.settings.single_peer_connection;
        let connection = if for_subscriber {
            self.subscriber.as_mut()
        } else {
            self.open_publisher();
            self.publisher.as_mut()
        };
        if let Some(connection) = connection {
            connection.trickle_in(candidate, ufrag, &mut self.out);
        }
    }

    /// `mid_to_track_id` of a description.
    pub(super) fn track_ids(&self, senders: &[(String, DownTrackKey)]) -> HashMap<String, String> {
        let entry = |(mid, id): &(String, DownTrackKey)| {
            Some((mid.clone(), self.subscriptions.sid_of(*id)?.0.clone()))
        };
        senders.iter().filter_map(entry).collect()
    }

    fn open_publisher(&mut self) {
        if self.publisher.is_some() {
            return;
        }
        let role = if self.settings.single_peer_connection {
            PeerRole::Single
        } else {
            PeerRole::Publisher
        };
        let config = codecs::negotiator_config(role, &self.settings, &self.environment);
        let target = proto::SignalTarget::Publisher;
        let connection = Connection::open(target, config, &self.environment, &mut self.out);
        self.publisher = Some(connection);
        if self.settings.single_peer_connection {
            self.set_bandwidth_policy();
            self.start_waiting_subscriptions();
        }
    }
}

fn bind(publisher: &mut Connection, bindings: Vec<Binding>) {
    for Binding {
        mid,
        track,
        preferences,
    } in bindings
    {
        if let Err(error) = publisher.negotiator.bind_receive(&mid, track, preferences) {
            tracing::warn!(%error, mid, "a section cannot be bound");
        }
    }
}
