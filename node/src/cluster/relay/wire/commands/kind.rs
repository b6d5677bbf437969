//! Kinds of commands between nodes. A number is never given to another kind: older and newer nodes
//! know it, too.

pub(super) const ADD_TRANSPORT: u32 = 1;
pub(super) const SET_REMOTE: u32 = 2;
pub(super) const ADD_REMOTE_CANDIDATE: u32 = 3;
pub(super) const RESTART_ICE: u32 = 4;
pub(super) const CLOSE_TRANSPORT: u32 = 5;
pub(super) const OPEN_CHANNEL: u32 = 6;
pub(super) const SEND_DATA: u32 = 7;
pub(super) const SET_RECEIVE: u32 = 8;
pub(super) const ADD_TRACK: u32 = 9;
pub(super) const SET_TRACK_MUTED: u32 = 10;
pub(super) const REMOVE_TRACK: u32 = 11;
pub(super) const ADD_DOWN_TRACK: u32 = 12;
pub(super) const UPDATE_DOWN_TRACK: u32 = 13;
pub(super) const SWITCH_DOWN_TRACK: u32 = 14;
pub(super) const SET_PRIORITY: u32 = 15;
pub(super) const SET_BANDWIDTH_POLICY: u32 = 16;
pub(super) const SET_PLAYOUT_DELAY: u32 = 17;
pub(super) const REMOVE_DOWN_TRACK: u32 = 18;
pub(super) const REQUEST_KEY_FRAME: u32 = 19;
pub(super) const RELAY_TRACK: u32 = 20;
pub(super) const STOP_RELAY: u32 = 21;
pub(super) const ADD_RELAYED_TRACK: u32 = 22;
pub(super) const SET_RELAYED_PAYLOAD_TYPES: u32 = 23;
pub(super) const ADOPT_CHANNEL: u32 = 24;
