//! Datagrams between nodes, for relayed media: a connection of its own in each direction, so that a
//! burst of pictures waits for nothing and delays nothing. Whoever sends dials; what arrives is
//! handed over in batches.

use std::sync::Arc;

use bytes::Bytes;
use consensus::ids::NodeId;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use quinn::Connection;

use super::{Fabric, Plane};
use crate::cluster::limits::{RELAY_BATCH_DATAGRAMS, RELAY_LARGE_BYTES_MAX};
use crate::cluster::links::{Broken, DatagramLinks, Datagrams, LinkError, TakeDatagrams};

impl Fabric {
    /// Who takes what other nodes send. Once; before, it is lost.
    pub fn take_datagrams(&self, taker: Arc<dyn TakeDatagrams>) {
        // A second one would be a mistake of the composition, and changes nothing.
        let _ = self.inner.taker.set(taker);
    }

    /// Reads for as long as the connection lives, where the network's own tasks run.
    pub(super) fn read_datagrams(self, from: NodeId, connection: Connection) {
        let runtime = Arc::clone(&self.inner.runtime);
        let large = self.clone().read_large(from, connection.clone());
        runtime.spawn(Box::pin(large));
        runtime.spawn(Box::pin(async move {
            let mut batch = Vec::with_capacity(RELAY_BATCH_DATAGRAMS);
            while let Ok(first) = connection.read_datagram().await {
                batch.push(first);
                while batch.len() < RELAY_BATCH_DATAGRAMS
                    && let Some(Ok(next)) = connection.read_datagram().now_or_never()
                {
                    batch.push(next);
                }
                if let Some(taker) = self.inner.taker.get() {
                    taker.take(from, &batch);
                }
                batch.clear();
            }
            self.forget(from, Plane::Relay, &connection);
        }));
    }
}

impl Fabric {
    /// What was too large for a datagram comes as a stream of its own.
    async fn read_large(self, from: NodeId, connection: Connection) {
        while let Ok(mut stream) = connection.accept_uni().await {
            let read = stream.read_to_end(RELAY_LARGE_BYTES_MAX).await;
            if let (Ok(bytes), Some(taker)) = (read, self.inner.taker.get()) {
                taker.take(from, &[bytes.into()]);
            }
        }
    }
}

impl DatagramLinks for Fabric {
    fn datagrams(&self, to: NodeId) -> BoxFuture<'_, Result<Arc<dyn Datagrams>, LinkError>> {
        Box::pin(async move {
            let connection = self.connection(to, Plane::Relay).await?;
            Ok(Arc::new(connection) as Arc<dyn Datagrams>)
        })
    }
}

impl Datagrams for Connection {
    fn bytes_max(&self) -> usize {
        self.max_datagram_size().unwrap_or(0)
    }

    fn room(&self) -> usize {
        self.datagram_send_buffer_space()
    }

    fn send(&self, datagram: Bytes) -> Result<(), Broken> {
        self.send_datagram(datagram).map_err(|_| Broken)
    }

    fn send_when_possible(&self, datagram: Bytes) -> BoxFuture<'_, Result<(), Broken>> {
        Box::pin(async move {
            let sent = self.send_datagram_wait(datagram).await;
            sent.map_err(|_| Broken)
        })
    }

    fn send_large(&self, datagram: Bytes) -> BoxFuture<'_, Result<(), Broken>> {
        Box::pin(async move {
            let mut stream = self.open_uni().await.map_err(|_| Broken)?;
            stream.write_chunk(datagram).await.map_err(|_| Broken)?;
            stream.finish().map_err(|_| Broken)
        })
    }

    fn broken(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.closed().await;
        })
    }
}
