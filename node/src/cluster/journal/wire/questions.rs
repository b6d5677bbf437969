//! The two questions nodes ask about journals, and the answer.

use prost::Message;

/// A call of `Service::Journal`.
#[derive(Clone, PartialEq, Message)]
pub(in super::super) struct Question {
    #[prost(oneof = "question::Of", tags = "1, 2")]
    pub of: Option<question::Of>,
}

pub(in super::super) mod question {
    /// What is asked.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(in super::super::super) enum Of {
        /// Would a session of this room go on there?
        #[prost(message, tag = "1")]
        Holds(super::Holds),
        /// To the home: tell when the standby knows everything.
        #[prost(message, tag = "2")]
        Flush(super::Flush),
    }
}

#[derive(Clone, PartialEq, Message)]
pub(in super::super) struct Holds {
    #[prost(string, tag = "1")]
    pub room: String,
    #[prost(string, tag = "2")]
    pub participant_sid: String,
    /// Under which the session was in the room; 0 where nobody said.
    #[prost(uint64, tag = "3")]
    pub epoch: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(in super::super) struct Flush {
    #[prost(string, tag = "1")]
    pub room: String,
    #[prost(uint64, tag = "2")]
    pub epoch: u64,
    #[prost(uint64, tag = "3")]
    pub standby: u64,
    /// The entry that appointed it; 0 where nobody said.
    #[prost(uint64, tag = "4")]
    pub since: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(in super::super) struct Reply {
    /// `Holds`: 0 no, 1 the room is known, 2 the participant's media is kept warm, too.
    #[prost(uint32, tag = "1")]
    pub holds: u32,
    /// `Flush`: the standby has acknowledged everything.
    #[prost(bool, tag = "2")]
    pub flushed: bool,
    /// `Flush`: some people would notice a move now, and a little later perhaps not.
    #[prost(bool, tag = "3")]
    pub unready: bool,
}
