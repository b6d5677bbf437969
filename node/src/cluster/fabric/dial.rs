//! Connections this node makes: one a peer and plane, when first needed, made anew after it died;
//! whoever needs the same one at the same time waits for the same dial.

use std::net::SocketAddr;

use consensus::ids::NodeId;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use quinn::{Connection, VarInt};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::identity::{any_name, node_name};
use super::incoming::peer_of;
use super::{Fabric, Plane};
use crate::cluster::limits::{DIAL_TIMEOUT, RESOLVE_TIMEOUT};
use crate::cluster::links::LinkError;

/// A dial under way; everybody who waits gets the same answer.
pub(super) type Dial = Shared<BoxFuture<'static, Result<Connection, String>>>;

/// The connection to one peer on one plane.
pub(super) enum Slot {
    Dialling(Dial),
    Up(Connection),
}

/// Why a connection was closed by this side.
const GONE: VarInt = VarInt::from_u32(2);

impl Fabric {
    pub(super) async fn connection(
        &self,
        to: NodeId,
        plane: Plane,
    ) -> Result<Connection, LinkError> {
        let dial = {
            let mut slots = self.slots();
            match slots.by_peer.get(&(to, plane)) {
                Some(Slot::Up(connection)) if connection.close_reason().is_none() => {
                    return Ok(connection.clone());
                }
                Some(Slot::Dialling(dial)) => dial.clone(),
                _ => {
                    let address = self.inner.book.address(to);
                    let address = address.ok_or(LinkError::Unknown(to))?;
                    let dial = self.begin_dial(to, plane, address);
                    let slot = Slot::Dialling(dial.clone());
                    slots.by_peer.insert((to, plane), slot);
                    dial
                }
            }
        };
        dial.await
            .map_err(|reason| LinkError::Unreachable { node: to, reason })
    }

    /// In a task: it goes on when those who wait give up.
    fn begin_dial(&self, to: NodeId, plane: Plane, address: String) -> Dial {
        let fabric = self.clone();
        let (done, answer) = oneshot::channel();
        tokio::spawn(async move {
            let name = node_name(fabric.inner.cluster, to);
            let dialled = fabric.dial(&address, plane, &name).await;
            let dialled = dialled.and_then(|connection| {
                let there = peer_of(&connection, fabric.inner.cluster);
                match there == Some(to) {
                    true => Ok(connection),
                    false => Err(format!("another node answers at {address}")),
                }
            });
            match &dialled {
                Ok(connection) => fabric.adopt(to, plane, connection),
                Err(_) => fabric.give_up_dial(to, plane),
            }
            let _ = done.send(dialled);
        });
        let answer = answer.map(|dialled| match dialled {
            Ok(dialled) => dialled,
            Err(_) => Err("this node is stopping".to_owned()),
        });
        answer.boxed().shared()
    }

    fn give_up_dial(&self, to: NodeId, plane: Plane) {
        let mut slots = self.slots();
        if let Some(Slot::Dialling(_)) = slots.by_peer.get(&(to, plane)) {
            slots.by_peer.remove(&(to, plane));
        }
    }

    /// Who was met there, while the connection lives.
    fn met(&self, address: &str) -> Option<NodeId> {
        let nodes = self.inner.book.at(address);
        let slots = self.slots();
        nodes.into_iter().find(|node| {
            let used = slots.by_peer.get(&(*node, Plane::Rpc));
            matches!(used, Some(Slot::Up(used)) if used.close_reason().is_none())
        })
    }

    /// Who is at an address: dials it, unless there is a connection to whoever was met there.
    pub async fn meet(&self, address: &str) -> Result<NodeId, String> {
        if let Some(node) = self.met(address) {
            return Ok(node);
        }
        let name = any_name(self.inner.cluster);
        let connection = self.dial(address, Plane::Rpc, &name).await?;
        let Some(node) = peer_of(&connection, self.inner.cluster) else {
            connection.close(GONE, b"no certificate of a node");
            return Err("its certificate names no node".to_owned());
        };
        if node == self.inner.node {
            connection.close(GONE, b"myself");
            return Ok(node);
        }
        self.inner.book.set(node, address);
        self.adopt(node, Plane::Rpc, &connection);
        Ok(node)
    }

    pub(super) fn adopt(&self, node: NodeId, plane: Plane, connection: &Connection) {
        self.keep(node, plane, connection);
        let (fabric, connection) = (self.clone(), connection.clone());
        let served = async move { fabric.serve(node, plane, connection).await };
        match plane {
            // However busy the rooms are: a long turn of theirs is no death.
            Plane::Live => self.spawn(served),
            _ => _ = tokio::spawn(served),
        }
    }

    async fn dial(&self, address: &str, plane: Plane, name: &str) -> Result<Connection, String> {
        let addresses = self.resolve(address).await?;
        let mut last = format!("{address} has no address of a family this node uses");
        for remote in addresses {
            let client = self.inner.clients[plane as usize].clone();
            let connecting = self.inner.endpoint.connect_with(client, remote, name);
            let connecting = connecting.map_err(|error| error.to_string())?;
            match timeout(DIAL_TIMEOUT, connecting).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => last = format!("{remote}: {error}"),
                Err(_) => last = format!("{remote}: nobody answered"),
            }
        }
        Err(last)
    }

    async fn resolve(&self, address: &str) -> Result<Vec<SocketAddr>, String> {
        if let Ok(remote) = address.parse() {
            return Ok(vec![remote]);
        }
        let found = (self.inner.resolve)(address.to_owned());
        let found = timeout(RESOLVE_TIMEOUT, found).await;
        let found = found.map_err(|_| format!("looking up {address} took too long"))?;
        let mut found = found.map_err(|error| format!("looking up {address}: {error}"))?;
        let local = self.inner.endpoint.local_addr();
        let only_v4 = local.is_ok_and(|local| local.is_ipv4());
        found.retain(|remote| remote.is_ipv4() || !only_v4);
        Ok(found)
    }

    /// Breaks every connection to a node that is known to be gone, so that nobody waits for it.
    pub fn hang_up(&self, node: NodeId) {
        let mut slots = self.slots();
        slots.by_peer.retain(|(peer, _), _| *peer != node);
        for (_, connection) in slots.all.iter().filter(|(peer, _)| *peer == node) {
            connection.close(GONE, b"found dead");
        }
    }
}
