//! What nodes say to each other about places and calls: protobuf, so that nodes of neighbouring
//! versions understand each other; fields are added, never reused. Golden bytes hold them.

/// To the leader (`Service::Placement`).
#[derive(Clone, PartialEq, prost::Message)]
pub struct PlaceRequest {
    #[prost(string, tag = "1")]
    pub room: String,
    /// Of the node that asks.
    #[prost(string, tag = "2")]
    pub region: String,
    /// Nothing is placed: why is it where it is? Any master may be asked.
    #[prost(bool, tag = "3")]
    pub explain: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct PlaceReply {
    #[prost(oneof = "place_reply::Answer", tags = "1, 2, 3, 4, 5")]
    pub answer: Option<place_reply::Answer>,
}

pub mod place_reply {
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Answer {
        #[prost(message, tag = "1")]
        Placed(super::Placed),
        /// Who does lead, if it is known; 0 = nobody.
        #[prost(uint64, tag = "2")]
        NotLeader(u64),
        /// The reasons.
        #[prost(string, tag = "3")]
        NoMediaNode(String),
        #[prost(string, tag = "4")]
        Refused(String),
        #[prost(string, tag = "5")]
        Explanation(String),
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Placed {
    #[prost(uint64, tag = "1")]
    pub home: u64,
    #[prost(uint64, tag = "2")]
    pub epoch: u64,
    #[prost(string, tag = "3")]
    pub sid: String,
}

/// A call of the server API, or of the operator's, to a room's home (`Service::Api`).
#[derive(Clone, PartialEq, prost::Message)]
pub struct ApiRequest {
    /// As a token would carry them; absent: the caller had no token.
    #[prost(bytes = "vec", optional, tag = "1")]
    pub claims_json: Option<Vec<u8>>,
    /// `RoomService`; `Skein` for what is not LiveKit's.
    #[prost(string, tag = "2")]
    pub service: String,
    #[prost(string, tag = "3")]
    pub method: String,
    #[prost(bytes = "vec", tag = "4")]
    pub body: Vec<u8>,
    /// The room it is about, and since when the caller knows it to be there; empty: all rooms.
    #[prost(string, tag = "5")]
    pub room: String,
    #[prost(uint64, tag = "6")]
    pub epoch: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ApiReply {
    #[prost(oneof = "api_reply::Answer", tags = "1, 2, 3")]
    pub answer: Option<api_reply::Answer>,
}

pub mod api_reply {
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Answer {
        #[prost(bytes, tag = "1")]
        Done(Vec<u8>),
        #[prost(message, tag = "2")]
        Failed(super::ApiFailure),
        /// The room is not here: look again.
        #[prost(bool, tag = "3")]
        NotHere(bool),
    }
}

/// A Twirp error.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ApiFailure {
    #[prost(string, tag = "1")]
    pub code: String,
    #[prost(string, tag = "2")]
    pub message: String,
    #[prost(btree_map = "string, string", tag = "3")]
    pub meta: std::collections::BTreeMap<String, String>,
}
