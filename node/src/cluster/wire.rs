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
    /// Who asks cannot reach the leader: whoever is asked hands it on, once.
    #[prost(bool, tag = "4")]
    pub hand_on: bool,
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
        #[prost(message, tag = "5")]
        Explanation(super::Reasons),
    }
}

/// Of one placement.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Reasons {
    #[prost(uint64, tag = "1")]
    pub epoch: u64,
    #[prost(string, tag = "2")]
    pub why: String,
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

/// About agents' jobs (`Service::Agent`).
#[derive(Clone, PartialEq, prost::Message)]
pub struct AgentRequest {
    #[prost(oneof = "agent_request::Ask", tags = "1, 2, 3, 4")]
    pub ask: Option<agent_request::Ask>,
}

pub mod agent_request {
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Ask {
        /// Have you a worker for this, and how loaded is it?
        #[prost(message, tag = "1")]
        Load(super::AgentJob),
        #[prost(message, tag = "2")]
        Launch(super::AgentJob),
        /// By its id.
        #[prost(string, tag = "3")]
        Terminate(String),
        /// To the home of the job's room.
        #[prost(message, tag = "4")]
        Update(super::AgentUpdate),
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct AgentJob {
    #[prost(message, optional, tag = "1")]
    pub job: Option<protocol::proto::Job>,
    #[prost(string, tag = "2")]
    pub deployment: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct AgentUpdate {
    #[prost(string, tag = "1")]
    pub room: String,
    #[prost(string, tag = "2")]
    pub job_id: String,
    #[prost(string, tag = "3")]
    pub dispatch_id: String,
    #[prost(message, optional, tag = "4")]
    pub state: Option<protocol::proto::JobState>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct AgentReply {
    /// Of the least loaded worker that would take it; absent: there is none.
    #[prost(float, optional, tag = "1")]
    pub load: Option<f32>,
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    /// What a message is on the wire, so that a renumbered field is noticed.
    fn hex(message: &impl Message) -> String {
        let bytes = message.encode_to_vec();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_bytes_nodes_exchange_do_not_change() {
        let asked = PlaceRequest {
            room: "r".into(),
            region: "e".into(),
            explain: true,
            hand_on: true,
        };
        assert_eq!(hex(&asked), "0a017212016518012001");
        let placed = Placed {
            home: 1,
            epoch: 2,
            sid: "s".into(),
        };
        let answer = Some(place_reply::Answer::Placed(placed));
        assert_eq!(hex(&PlaceReply { answer }), "0a07080110021a0173");
        let call = ApiRequest {
            claims_json: Some(b"{}".to_vec()),
            service: "S".into(),
            method: "M".into(),
            body: vec![9],
            room: "r".into(),
            epoch: 7,
        };
        assert_eq!(hex(&call), "0a027b7d1201531a014d2201092a01723007");
        let failure = ApiFailure {
            code: "c".into(),
            message: "m".into(),
            ..ApiFailure::default()
        };
        let answer = Some(api_reply::Answer::Failed(failure));
        assert_eq!(hex(&ApiReply { answer }), "12060a016312016d");
        let ask = Some(agent_request::Ask::Terminate("j".into()));
        assert_eq!(hex(&AgentRequest { ask }), "1a016a");
        assert_eq!(hex(&AgentReply { load: Some(0.5) }), "0d0000003f");
    }
}
