//! What a node answers for, filled while it is put together: services are added as they start.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::{Serve, Service, Services};

/// A handle; clones are equal.
#[derive(Clone, Default)]
pub struct Registry {
    inner: Arc<RwLock<BTreeMap<Service, Arc<dyn Serve>>>>,
}

impl Registry {
    /// From now on `serve` answers; what answered before does not any more.
    pub fn add(&self, service: Service, serve: Arc<dyn Serve>) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        inner.insert(service, serve);
    }

    pub fn get(&self, service: Service) -> Option<Arc<dyn Serve>> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner.get(&service).cloned()
    }

    /// Answers nothing from now on.
    pub fn clear(&self) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        inner.clear();
    }

    /// As the fabric takes it.
    pub fn services(&self) -> Services {
        let registry = self.clone();
        Arc::new(move |service| registry.get(service))
    }
}
