//! Where nodes are, by node id: filled from the state of the cluster and from what answered at an
//! address of `cluster.join`. Addresses are text, as names may change their numbers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use consensus::ids::NodeId;

/// A handle; clones are equal.
#[derive(Clone, Debug, Default)]
pub struct AddressBook {
    inner: Arc<Mutex<BTreeMap<NodeId, String>>>,
}

impl AddressBook {
    pub fn set(&self, node: NodeId, address: &str) {
        self.lock().insert(node, address.to_owned());
    }

    /// Unless something is known already.
    pub fn suggest(&self, node: NodeId, address: &str) {
        let mut addresses = self.lock();
        addresses.entry(node).or_insert_with(|| address.to_owned());
    }

    pub fn remove(&self, node: NodeId) {
        self.lock().remove(&node);
    }

    /// Who was ever known to be at an address: a node that lost its disk has another id.
    pub fn at(&self, address: &str) -> Vec<NodeId> {
        let addresses = self.lock();
        let found = addresses.iter().filter(|(_, known)| *known == address);
        found.map(|(node, _)| *node).collect()
    }

    pub fn address(&self, node: NodeId) -> Option<String> {
        self.lock().get(&node).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, String>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
