//! The payloads of a section as agreed, kept once for all sections that agreed on the same: a large
//! room's subscriber has hundreds of them. Held by sections; decides nothing.

use std::ops::Deref;
use std::sync::Arc;

use crate::types::PayloadType;

use super::codecs::Payload;

/// See the file header.
#[derive(Clone, Debug)]
pub(super) struct Payloads(Arc<Kept>);

#[derive(Debug)]
struct Kept {
    list: Vec<Payload>,
    /// What the packet plane is told of them.
    types: Arc<[PayloadType]>,
}

impl Payloads {
    /// `list`, or what one of `others` has already if it is the same.
    pub(super) fn new<'a>(
        list: Vec<Payload>,
        others: impl IntoIterator<Item = &'a Payloads>,
    ) -> Payloads {
        let mut others = others.into_iter();
        match others.find(|other| other.0.list == list) {
            Some(same) => same.clone(),
            None => list.into_iter().collect(),
        }
    }

    pub(super) fn types(&self) -> Arc<[PayloadType]> {
        Arc::clone(&self.0.types)
    }
}

impl Default for Payloads {
    fn default() -> Payloads {
        Payloads::from_iter([])
    }
}

impl FromIterator<Payload> for Payloads {
    fn from_iter<I: IntoIterator<Item = Payload>>(payloads: I) -> Payloads {
        let mut list: Vec<Payload> = payloads.into_iter().collect();
        list.shrink_to_fit();
        let types = list.iter().map(Payload::payload_type).collect();
        Payloads(Arc::new(Kept { list, types }))
    }
}

impl Deref for Payloads {
    type Target = [Payload];

    fn deref(&self) -> &[Payload] {
        &self.0.list
    }
}
