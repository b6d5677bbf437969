//! The queue of what a participant's media core wants done, in order. Shared by its parts; drained
//! by `ParticipantMedia::poll`.

use std::collections::VecDeque;

use media::Command;
use protocol::proto;
use protocol::proto::request_response::{Reason, Request};
use protocol::proto::signal_response::Message;

use super::contract::MediaOutput;

#[derive(Debug)]
pub(crate) struct Outputs {
    queue: VecDeque<MediaOutput>,
    /// The client knows `request_response`; some fail at messages they do not know.
    responses: bool,
}

impl Outputs {
    pub(crate) fn new(responses: bool) -> Self {
        Self {
            queue: VecDeque::new(),
            responses,
        }
    }

    pub(crate) fn push(&mut self, output: MediaOutput) {
        self.queue.push_back(output);
    }

    pub(crate) fn signal(&mut self, message: Message) {
        self.push(MediaOutput::Signal(message));
    }

    pub(crate) fn command(&mut self, command: Command) {
        self.push(MediaOutput::Shard(command));
    }

    /// Tells the client how a request of its went.
    pub(crate) fn respond(&mut self, reason: Reason, message: String, request: Request) {
        if !self.responses {
            return;
        }
        self.signal(Message::RequestResponse(proto::RequestResponse {
            request_id: 0,
            reason: reason as i32,
            message,
            request: Some(request),
        }));
    }

    pub(crate) fn pop(&mut self) -> Option<MediaOutput> {
        let output = self.queue.pop_front();
        if output.is_none() {
            // An output is large and a drained participant says nothing for minutes: the room of a
            // join's dozens would be the greatest part of what it costs.
            self.queue = VecDeque::new();
        }
        output
    }
}
