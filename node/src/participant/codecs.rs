//! The room's enabled codecs as negotiation and AddTrack need them. Pure functions.

use media::negotiate::{EnabledCodec, NegotiatorConfig, PeerRole};
use media::types::Codec;
use protocol::proto;

use super::contract::{Environment, ParticipantSettings};
use super::quirks;

const RETRANSMISSION: &str = "video/rtx";

/// Configuration of one of the participant's connections.
pub(crate) fn negotiator_config(
    role: PeerRole,
    settings: &ParticipantSettings,
    environment: &Environment,
) -> NegotiatorConfig {
    let codecs = enabled(&settings.enabled_codecs);
    let retransmission = settings
        .enabled_codecs
        .iter()
        .any(|c| c.mime.eq_ignore_ascii_case(RETRANSMISSION));
    // Two connections of one participant must not share credentials or SSRCs.
    let mut seed = settings.seed;
    seed[0] ^= match role {
        PeerRole::Publisher | PeerRole::Single => 1,
        PeerRole::Subscriber => 2,
    };
    NegotiatorConfig {
        role,
        publish_codecs: codecs.clone(),
        subscribe_codecs: codecs,
        retransmission,
        send_side_bandwidth: settings.congestion_control,
        playout_delay: settings.playout_delay.is_some(),
        fingerprint: environment.fingerprint.clone(),
        candidates: environment.candidates.to_vec(),
        quirks: quirks::of_descriptions(&settings.client),
        ufrag_prefix: Some(environment.ufrag_prefix),
        seed,
    }
}

/// Codecs this client may publish here, most preferred first.
pub(crate) fn publishable(settings: &ParticipantSettings) -> Vec<Codec> {
    let disabled = quirks::of_descriptions(&settings.client).disabled_publish;
    let codecs = enabled(&settings.enabled_codecs)
        .into_iter()
        .map(|enabled| enabled.codec);
    codecs.filter(|codec| !disabled.contains(codec)).collect()
}

fn enabled(codecs: &[proto::Codec]) -> Vec<EnabledCodec> {
    let codec = |codec: &proto::Codec| {
        Some(EnabledCodec {
            codec: Codec::from_mime(&codec.mime)?,
            fmtp: codec.fmtp_line.clone(),
        })
    };
    codecs.iter().filter_map(codec).collect()
}
