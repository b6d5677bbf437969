//! `PerformRpc`: the server calls a method of a participant over its reliable channel and waits.
//! Codes are those of LiveKit's RPC; messages those of its API.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use prost::Message as _;
use protocol::ids;
use protocol::proto;
use protocol::proto::data_packet::Value;
use protocol::proto::rpc_response::Value as Answer;
use rand::Rng;

use super::Room;
use super::contract::{CallId, RoomError, RoomReply};
use super::limits::{
    RPC_ACK_TIMEOUT, RPC_PAYLOAD_BYTES_MAX, RPC_RESPONSE_TIMEOUT, RPC_RESPONSE_TIMEOUT_MAX,
    RPCS_MAX,
};

/// RPC over data packets, the version every SDK understands.
const RPC_VERSION: u32 = 1;
const ID_PREFIX: &str = "RPC_";

pub(super) struct Rpcs {
    /// Who the server is as a caller; answers are addressed to it.
    identity: String,
    pending: BTreeMap<String, Pending>,
}

struct Pending {
    call: CallId,
    identity: String,
    /// `None` = acknowledged.
    ack_by: Option<Instant>,
    answer_by: Instant,
}

impl Pending {
    fn deadline(&self) -> Instant {
        self.ack_by
            .map_or(self.answer_by, |ack_by| ack_by.min(self.answer_by))
    }
}

impl Rpcs {
    pub(super) fn new(rng: &mut impl Rng) -> Self {
        Self {
            identity: ids::random(rng, ID_PREFIX),
            pending: BTreeMap::new(),
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.pending.values().map(Pending::deadline).min()
    }

    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }
}

impl Room {
    pub(super) fn perform_rpc(&mut self, call: CallId, request: proto::PerformRpcRequest) {
        if let Err(error) = self.start_rpc(call, request) {
            self.reply(call, Err(error));
        }
    }

    fn start_rpc(
        &mut self,
        call: CallId,
        request: proto::PerformRpcRequest,
    ) -> Result<(), RoomError> {
        if request.destination_identity.is_empty() {
            return Err(RoomError::InvalidArgument(
                "destination identity is required".into(),
            ));
        }
        let number = self.find(&request.destination_identity)?;
        if request.payload.len() > RPC_PAYLOAD_BYTES_MAX {
            return Err(error(1402, "Request payload too large", ""));
        }
        if !self
            .roster
            .get(number)
            .is_some_and(|member| member.data.ready)
        {
            return Err(RoomError::Internal("data channel is not available".into()));
        }
        if self.rpcs.pending.len() >= RPCS_MAX {
            return Err(RoomError::Unavailable("too many calls are waiting".into()));
        }
        let timeout = match request.response_timeout_ms {
            0 => RPC_RESPONSE_TIMEOUT,
            ms => Duration::from_millis(u64::from(ms)).min(RPC_RESPONSE_TIMEOUT_MAX),
        };
        let id = ids::random(&mut self.rng, "");
        let packet = proto::DataPacket {
            participant_identity: self.rpcs.identity.clone(),
            value: Some(Value::RpcRequest(proto::RpcRequest {
                id: id.clone(),
                method: request.method,
                payload: request.payload,
                response_timeout_ms: u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX),
                version: RPC_VERSION,
                ..Default::default()
            })),
            ..Default::default()
        };
        self.send_reliable(number, Bytes::from(packet.encode_to_vec()));
        let pending = Pending {
            call,
            identity: request.destination_identity,
            ack_by: Some(self.now + RPC_ACK_TIMEOUT),
            answer_by: self.now + timeout,
        };
        self.rpcs.pending.insert(id, pending);
        Ok(())
    }

    /// Whether an acknowledgement or answer was for the server: then nobody else gets it.
    pub(super) fn rpc_answered(&mut self, from: &str, value: &Value) -> bool {
        let id = match value {
            Value::RpcAck(ack) => &ack.request_id,
            Value::RpcResponse(response) => &response.request_id,
            _ => return false,
        };
        let Some(pending) = self.rpcs.pending.get_mut(id) else {
            return false;
        };
        if pending.identity != from {
            return false;
        }
        let Value::RpcResponse(response) = value else {
            pending.ack_by = None;
            return true;
        };
        let call = pending.call;
        let result = match &response.value {
            Some(Answer::Payload(payload)) => Ok(payload.clone()),
            Some(Answer::Error(failure)) => {
                Err(error(failure.code, &failure.message, &failure.data))
            }
            // Asked with a version that has no compression.
            Some(Answer::CompressedPayload(_)) => {
                Err(error(1500, "Compressed responses are not supported", ""))
            }
            None => Ok(String::new()),
        };
        let id = id.clone();
        self.rpcs.pending.remove(&id);
        let reply = result.map(|payload| RoomReply::Rpc(proto::PerformRpcResponse { payload }));
        self.reply(call, reply);
        true
    }

    pub(super) fn rpc_timers(&mut self) {
        let now = self.now;
        self.fail_rpcs(|pending| {
            if pending.ack_by.is_some_and(|at| at <= now) {
                Some(error(1501, "Connection timeout", ""))
            } else if pending.answer_by <= now {
                Some(error(1502, "Response timeout", ""))
            } else {
                None
            }
        });
    }

    /// A participant left: its callers need not wait.
    pub(super) fn rpcs_lose(&mut self, identity: &str) {
        self.fail_rpcs(|pending| {
            (pending.identity == identity).then(|| error(1503, "Recipient disconnected", ""))
        });
    }

    fn fail_rpcs(&mut self, why: impl Fn(&Pending) -> Option<RoomError>) {
        let failed: Vec<(String, CallId, RoomError)> = self
            .rpcs
            .pending
            .iter()
            .filter_map(|(id, pending)| Some((id.clone(), pending.call, why(pending)?)))
            .collect();
        for (id, call, error) in failed {
            self.rpcs.pending.remove(&id);
            self.reply(call, Err(error));
        }
    }
}

/// An RPC error as the API tells it.
fn error(code: u32, message: &str, data: &str) -> RoomError {
    let mut text = format!("RpcError {code}: {message}");
    if !data.is_empty() {
        text.push_str(": ");
        text.push_str(data);
    }
    match code {
        1400 | 1402 | 1403 | 1404 => RoomError::InvalidArgument(text),
        1401 => RoomError::NotFound(text),
        1501 => RoomError::Canceled(text),
        1502 => RoomError::DeadlineExceeded(text),
        1503 => RoomError::Unavailable(text),
        _ => RoomError::Internal(text),
    }
}
