//! Data blobs: small values a participant stores under a key for others to read. They live as long
//! as their owner's session.

use protocol::proto;
use protocol::proto::data_blob_key::Key;
use protocol::proto::request_response::Reason;
use protocol::proto::signal_response::Message;

use crate::room::Room;

type Refusal = (Reason, &'static str);

impl Room {
    pub(in crate::room) fn store_blob(
        &mut self,
        number: u16,
        request: proto::StoreDataBlobRequest,
    ) {
        let id = request.request_id;
        match self.try_store_blob(number, request) {
            Ok(key) => {
                let response = proto::StoreDataBlobResponse {
                    request_id: id,
                    key: Some(key),
                };
                self.tell(number, Message::StoreDataBlobResponse(response));
            }
            Err((reason, message)) => self.respond(number, id, reason, message, None),
        }
    }

    fn try_store_blob(
        &mut self,
        number: u16,
        request: proto::StoreDataBlobRequest,
    ) -> Result<proto::DataBlobKey, Refusal> {
        let config = &self.services.config;
        let blob = request
            .blob
            .ok_or((Reason::InvalidRequest, "data blob is required"))?;
        let key = key_of(blob.key.as_ref())?;
        if !config.data_blobs {
            return Err((Reason::NotAllowed, "data blobs are not enabled"));
        }
        if blob.contents.is_empty() {
            return Err((Reason::InvalidRequest, "data blob contents are required"));
        }
        let max = config.max_data_blob_key_chars;
        if max > 0 && key_chars(&key) > max {
            return Err((Reason::LimitExceeded, "data blob key exceeds the limit"));
        }
        let max = config.max_data_blobs_bytes;
        let member = self
            .roster
            .get_mut(number)
            .ok_or((Reason::NotFound, "participant not found"))?;
        if !member.permission().can_publish_data {
            return Err((
                Reason::NotAllowed,
                "does not have permission to publish data",
            ));
        }
        let blobs = &mut member.data.blobs;
        let others: usize = blobs
            .iter()
            .filter(|(known, _)| **known != key)
            .map(|(_, value)| value.len())
            .sum();
        if max > 0 && others + blob.contents.len() > max {
            return Err((Reason::LimitExceeded, "data blobs exceed the limit"));
        }
        blobs.insert(key.clone(), blob.contents);
        Ok(proto::DataBlobKey { key: Some(key) })
    }

    pub(in crate::room) fn read_blob(&mut self, number: u16, request: proto::GetDataBlobRequest) {
        let id = request.request_id;
        match self.find_blob(&request) {
            Ok(blob) => {
                let response = proto::GetDataBlobResponse {
                    request_id: id,
                    blob: Some(blob),
                };
                self.tell(number, Message::GetDataBlobResponse(response));
            }
            Err((reason, message)) => self.respond(number, id, reason, message, None),
        }
    }

    fn find_blob(&self, request: &proto::GetDataBlobRequest) -> Result<proto::DataBlob, Refusal> {
        let key = key_of(request.key.as_ref())?;
        let owner = self
            .roster
            .of_identity(&request.participant_identity)
            .and_then(|number| self.roster.get(number))
            .ok_or((Reason::NotFound, "participant not found"))?;
        let contents = owner
            .data
            .blobs
            .get(&key)
            .ok_or((Reason::NotFound, "data blob not found"))?
            .clone();
        Ok(proto::DataBlob {
            key: Some(proto::DataBlobKey { key: Some(key) }),
            contents,
        })
    }
}

fn key_of(key: Option<&proto::DataBlobKey>) -> Result<Key, Refusal> {
    key.and_then(|key| key.key.clone())
        .ok_or((Reason::InvalidRequest, "data blob key is required"))
}

fn key_chars(key: &Key) -> usize {
    match key {
        Key::Generic(key) => key.chars().count(),
        Key::SchemaId(schema) => schema.name.chars().count(),
    }
}
