//! The payloads of a section as agreed, kept once for all sections that agreed on the same: a large
//! room's subscriber has hundreds of them. Held by sections; decides nothing.

use std::ops::Deref;
use std::sync::Arc;

use crate::limits::SDP_PAYLOAD_LISTS_COMPARED;
use crate::types::PayloadType;

use super::codecs::Payload;

/// See the file header.
#[derive(Clone, Debug, Default)]
pub(super) struct Payloads(Option<Arc<Kept>>);

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
        let others = others.into_iter().filter(|other| !other.is_empty());
        let mut compared = others.take(SDP_PAYLOAD_LISTS_COMPARED);
        match compared.find(|other| other[..] == list[..]) {
            Some(same) => same.clone(),
            None => Payloads::of(list),
        }
    }

    pub(super) fn of(mut list: Vec<Payload>) -> Payloads {
        if list.is_empty() {
            return Payloads::default();
        }
        list.shrink_to_fit();
        let types = list.iter().map(Payload::payload_type).collect();
        Payloads(Some(Arc::new(Kept { list, types })))
    }

    pub(super) fn types(&self) -> Arc<[PayloadType]> {
        match &self.0 {
            Some(kept) => Arc::clone(&kept.types),
            None => Arc::default(),
        }
    }
}

impl Deref for Payloads {
    type Target = [Payload];

    fn deref(&self) -> &[Payload] {
        self.0.as_ref().map_or(&[], |kept| &kept.list)
    }
}
