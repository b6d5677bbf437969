//! Links between nodes of one process, for tests of everything above the fabric. A node can be
//! taken away, and any direction between two of them cut.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use consensus::ids::NodeId;
use futures_util::future::BoxFuture;
use tokio::task::AbortHandle;

use super::{Duplex, LinkError, Links, Serve, Service, Services, pipe};

#[derive(Default)]
struct Inner {
    nodes: BTreeMap<NodeId, Services>,
    /// From, to.
    cut: BTreeSet<(NodeId, NodeId)>,
    streams: Vec<(NodeId, NodeId, AbortHandle)>,
}

/// Connects the nodes that were put into it.
#[derive(Clone, Default)]
pub struct Hub {
    inner: Arc<Mutex<Inner>>,
}

impl Hub {
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on others reach `node`; what it reaches them with.
    pub fn join(&self, node: NodeId, services: Services) -> Arc<dyn Links> {
        self.lock().nodes.insert(node, services);
        Arc::new(HubLinks {
            hub: self.clone(),
            node,
        })
    }

    /// What others reach at `node` changes.
    pub fn replace(&self, node: NodeId, change: impl FnOnce(Services) -> Services) {
        let mut inner = self.lock();
        if let Some(services) = inner.nodes.get_mut(&node) {
            *services = change(Arc::clone(services));
        }
    }

    /// The process died: calls to it fail at once, the streams it had break.
    pub fn take(&self, node: NodeId) {
        let mut inner = self.lock();
        inner.nodes.remove(&node);
        inner.streams.retain(|(from, to, task)| {
            let touched = *from == node || *to == node;
            if touched {
                task.abort();
            }
            !touched && !task.is_finished()
        });
    }

    /// Calls in this direction are lost until `heal`; streams that are open go on.
    pub fn cut(&self, from: NodeId, to: NodeId) {
        self.lock().cut.insert((from, to));
    }

    /// The connection between both broke, and is there again at once.
    pub fn break_streams(&self, one: NodeId, other: NodeId) {
        self.lock().streams.retain(|(from, to, task)| {
            let between = [(one, other), (other, one)].contains(&(*from, *to));
            if between {
                task.abort();
            }
            !between
        });
    }

    pub fn heal(&self) {
        self.lock().cut.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct HubLinks {
    hub: Hub,
    node: NodeId,
}

impl HubLinks {
    fn service(&self, to: NodeId, service: Service) -> Result<Arc<dyn Serve>, LinkError> {
        let inner = self.hub.lock();
        let unreachable = || LinkError::Unreachable {
            node: to,
            reason: "nobody listens".into(),
        };
        let services = inner.nodes.get(&to).ok_or_else(unreachable)?;
        services(service).ok_or_else(|| LinkError::Refused {
            node: to,
            reason: format!("{service:?} is not offered"),
        })
    }

    fn is_cut(&self, to: NodeId) -> bool {
        let inner = self.hub.lock();
        inner.cut.contains(&(self.node, to)) || inner.cut.contains(&(to, self.node))
    }
}

impl Links for HubLinks {
    fn call(
        &self,
        to: NodeId,
        service: Service,
        request: Bytes,
        within: Duration,
    ) -> BoxFuture<'_, Result<Bytes, LinkError>> {
        Box::pin(async move {
            let lost = |reason: &str| LinkError::Lost {
                node: to,
                reason: reason.into(),
            };
            if self.is_cut(to) {
                tokio::time::sleep(within).await;
                return Err(lost("no answer in time"));
            }
            let serve = self.service(to, service)?;
            match tokio::time::timeout(within, serve.call(self.node, request)).await {
                Ok(_) if !self.hub.lock().nodes.contains_key(&to) => Err(lost("it died")),
                Ok(answer) => answer.map_err(|reason| LinkError::Refused { node: to, reason }),
                Err(_) => Err(lost("no answer in time")),
            }
        })
    }

    fn open(&self, to: NodeId, service: Service) -> BoxFuture<'_, Result<Duplex, LinkError>> {
        Box::pin(async move {
            if self.is_cut(to) {
                return Err(LinkError::Unreachable {
                    node: to,
                    reason: "cut".into(),
                });
            }
            let serve = self.service(to, service)?;
            let (here, there) = pipe::pair();
            let from = self.node;
            let task = tokio::spawn(async move { serve.stream(from, there).await });
            let mut inner = self.hub.lock();
            inner.streams.push((from, to, task.abort_handle()));
            Ok(here)
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    struct Echo;

    impl Serve for Echo {
        fn call(&self, from: NodeId, request: Bytes) -> BoxFuture<'_, Result<Bytes, String>> {
            Box::pin(async move {
                match request.is_empty() {
                    true => Err(format!("{from} said nothing")),
                    false => Ok(request),
                }
            })
        }

        fn stream(&self, _: NodeId, mut stream: Duplex) -> BoxFuture<'_, ()> {
            Box::pin(async move {
                let _ = tokio::io::copy(&mut stream.recv, &mut stream.send).await;
                let _ = stream.send.shutdown().await;
            })
        }
    }

    fn echo() -> Services {
        Arc::new(|service| (service == Service::Api).then(|| Arc::new(Echo) as Arc<dyn Serve>))
    }

    #[tokio::test(start_paused = true)]
    async fn the_hub_answers_as_a_network_would() {
        let hub = Hub::new();
        let (one, two) = (NodeId(1), NodeId(2));
        let links = hub.join(one, echo());
        hub.join(two, echo());
        let second = Duration::from_secs(1);
        let ask = |to, service, text: &'static str| links.call(to, service, text.into(), second);
        assert_eq!(ask(two, Service::Api, "hi").await.unwrap(), "hi");
        assert_eq!(ask(one, Service::Api, "me").await.unwrap(), "me");
        let refused = |e| matches!(e, LinkError::Refused { .. });
        assert!(refused(ask(two, Service::Api, "").await.unwrap_err()));
        assert!(refused(ask(two, Service::Agent, "hi").await.unwrap_err()));
        hub.cut(one, two);
        let lost = ask(two, Service::Api, "hi").await.unwrap_err();
        assert!(matches!(lost, LinkError::Lost { .. }));
        hub.heal();

        let mut stream = links.open(two, Service::Api).await.unwrap();
        stream.send.write_all(b"abc").await.unwrap();
        let mut back = [0; 3];
        stream.recv.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"abc");
        hub.take(two);
        assert!(stream.recv.read_u8().await.is_err());
        let gone = ask(two, Service::Api, "hi").await.unwrap_err();
        assert!(matches!(gone, LinkError::Unreachable { .. }));
    }
}
