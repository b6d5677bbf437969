//! What the control plane tells a shard. Commands are never lost and never block; a command for a
//! key that is gone is ignored and counted, because removal races with everything.

use bytes::Bytes;

use crate::ids::{DownTrackKey, LinkKey, RoomKey, TrackKey, TransportKey};
use crate::relay::frame::RelayId;
use crate::types::{
    BandwidthPolicy, IceCredentials, LayerLimit, PayloadType, PlayoutDelay, ReceiveSection,
    Reliability, RemoteCandidate, RemoteTransport, SendSection, TrackConfig,
};

#[derive(Debug)]
pub enum Command {
    /// Creates a transport that answers checks for `local.ufrag`.
    AddTransport {
        transport: TransportKey,
        room: RoomKey,
        local: IceCredentials,
        /// With the spare certificate: the client knows the first one from a connection that is
        /// gone, and would not shake hands anew.
        spare: bool,
    },
    /// Applies a remote description. Credentials that differ from the last ones are an ICE restart
    /// of the client's side.
    SetRemote {
        transport: TransportKey,
        remote: RemoteTransport,
    },
    AddRemoteCandidate {
        transport: TransportKey,
        candidate: RemoteCandidate,
    },
    /// Our side of an ICE restart: from now on answer for these credentials too.
    RestartIce {
        transport: TransportKey,
        local: IceCredentials,
    },
    CloseTransport {
        transport: TransportKey,
    },
    /// Opens a channel of ours (the subscriber connection's `_reliable`, `_lossy`, `_data_track`).
    OpenChannel {
        transport: TransportKey,
        label: String,
        reliability: Reliability,
    },
    /// Uses a channel that the client has from before, without opening it: its transport died with
    /// another node, its channels live on, and the client's SCTP begins anew under them.
    AdoptChannel {
        transport: TransportKey,
        stream: u16,
        label: String,
        reliability: Reliability,
    },
    /// Sends one message on the open channel with this label; dropped and counted without one.
    SendData {
        transport: TransportKey,
        label: String,
        payload: Bytes,
        binary: bool,
    },
    /// Replaces the whole set of sections a transport receives media on.
    SetReceive {
        transport: TransportKey,
        sections: Vec<ReceiveSection>,
    },
    AddTrack {
        track: TrackKey,
        room: RoomKey,
        transport: TransportKey,
        config: TrackConfig,
    },
    /// The publisher (or an admin) muted the track: nothing of it is forwarded.
    SetTrackMuted {
        track: TrackKey,
        muted: bool,
    },
    RemoveTrack {
        track: TrackKey,
    },
    /// Starts forwarding `track` on `section` of the subscriber's transport.
    AddDownTrack {
        down_track: DownTrackKey,
        track: TrackKey,
        transport: TransportKey,
        section: SendSection,
        limit: LayerLimit,
        /// The subscriber paused it (track settings `disabled`).
        paused: bool,
    },
    /// New bounds; un-pausing asks for a key frame at once.
    UpdateDownTrack {
        down_track: DownTrackKey,
        limit: LayerLimit,
        paused: bool,
    },
    /// The same subscription goes on from another source (codec regression, republish): sequence
    /// numbers and timestamps stay continuous.
    SwitchDownTrack {
        down_track: DownTrackKey,
        track: TrackKey,
    },
    /// Larger is served first when bandwidth is short; 0 = the default of its kind.
    SetPriority {
        down_track: DownTrackKey,
        priority: u8,
    },
    SetBandwidthPolicy {
        transport: TransportKey,
        policy: BandwidthPolicy,
    },
    /// Bounds of the subscriber's playout delay, where its sections have the extension.
    SetPlayoutDelay {
        transport: TransportKey,
        bounds: PlayoutDelay,
    },
    RemoveDownTrack {
        down_track: DownTrackKey,
    },
    RequestKeyFrame {
        track: TrackKey,
    },
    /// Sends a track over `link` as far as it is wanted there; `relay` names it on that link.
    RelayTrack {
        track: TrackKey,
        link: LinkKey,
        relay: RelayId,
    },
    StopRelay {
        track: TrackKey,
        link: LinkKey,
    },
    /// A track that arrives over `link` instead of a transport. Ends with `RemoveTrack`; its
    /// muting, layers and clocks come over the link.
    AddRelayedTrack {
        track: TrackKey,
        room: RoomKey,
        link: LinkKey,
        relay: RelayId,
        config: TrackConfig,
        /// Of the section the publisher sends it on.
        payload_types: Vec<PayloadType>,
    },
    /// That section changed.
    SetRelayedPayloadTypes {
        track: TrackKey,
        payload_types: Vec<PayloadType>,
    },
    /// Answers with `Event::Frozen`; the transport is silent from then on. One that a standby
    /// follows says a last image before, with exact numbers: given to the standby, `TakeOver` there
    /// goes on without a gap (planned migration).
    Freeze {
        transport: TransportKey,
    },
    /// Continues a frozen transport under `transport`, in `room`.
    Thaw {
        transport: TransportKey,
        room: RoomKey,
        snapshot: Bytes,
    },
    /// A standby on another node follows the transport from now on: an `Event::TransportImage` that
    /// asks whether it can, once it has answered one that counts, then `Event::TransportDelta`s.
    /// Again while on: a new image, for a standby that missed something.
    /// Off: there is no standby (any more); only then may another one get an image.
    Replicate {
        transport: TransportKey,
        on: bool,
        /// Its client takes no candidates any more: the standby looks for it by itself. Elsewhere
        /// that would keep pairs of an earlier home alive, and with them their low priority.
        sought: bool,
    },
    /// The standby said `Event::StandbyHas` with this version.
    Replicated {
        transport: TransportKey,
        version: u32,
    },
    /// Stands by for a transport of another node, dormant; again for each new image of it.
    AddStandby {
        transport: TransportKey,
        room: RoomKey,
        /// As in `Event::TransportImage`.
        probe: bool,
        image: Bytes,
    },
    /// In the order of their versions; one that is missing is answered by `Event::StandbyStale`.
    UpdateStandby {
        transport: TransportKey,
        delta: Bytes,
    },
    /// The primary is gone and fenced: its transport goes on here under the same key, and takes
    /// sections, tracks and down tracks as any other. Answered by `Event::TakenOver`.
    TakeOver {
        transport: TransportKey,
    },
    DropStandby {
        transport: TransportKey,
    },
    /// All that are dormant in this room.
    DropStandbys {
        room: RoomKey,
    },
    /// Checks and nominates the pair to the client's address `remote` from `local` (takeover).
    Nominate {
        transport: TransportKey,
        path: crate::types::Path,
    },
}
