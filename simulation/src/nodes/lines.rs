//! TCP between the hosts: lifelines, and the lines of people to the doors of nodes. The simulated
//! network takes a lost SYN for a refusal, which is evidence of a death: what a connection meets is
//! decided by `wires` instead.

use std::future::pending;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use node::cluster::lifeline::{Dial, Line, Listen};
use turmoil::net::{TcpListener, TcpStream};

use super::grid::{Grid, PORT};
use super::wires::Kernel;
use crate::scenario::Host;

/// How long a refusal takes to come back.
const REFUSAL: Duration = Duration::from_millis(1);

/// Returns never where nothing answers: whoever calls has a patience.
pub(crate) async fn connect(grid: &Grid, from: Host, to: Host, port: u16) -> io::Result<TcpStream> {
    let meets = grid.wires().kernel(from, to);
    match meets {
        Kernel::Silent => pending().await,
        Kernel::Refuses => {
            tokio::time::sleep(REFUSAL).await;
            Err(ErrorKind::ConnectionRefused.into())
        }
        Kernel::Listens => match TcpStream::connect((to.name().as_str(), port)).await {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => pending().await,
            connected => connected,
        },
    }
}

/// Opens lifelines.
pub(crate) struct Dialler {
    pub(crate) grid: Arc<Grid>,
    pub(crate) host: Host,
}

impl Dial for Dialler {
    fn dial(&self, address: String) -> BoxFuture<'static, io::Result<Box<dyn Line>>> {
        let (grid, from) = (Arc::clone(&self.grid), self.host);
        Box::pin(async move {
            let name = address.split(':').next().unwrap_or_default();
            let to = Host::parse(name).ok_or(ErrorKind::AddrNotAvailable)?;
            let line = connect(&grid, from, to, PORT).await?;
            Ok(Box::new(line) as Box<dyn Line>)
        })
    }
}

/// Takes lifelines.
pub(crate) struct Lifelines(TcpListener);

impl Lifelines {
    pub(crate) async fn bind() -> io::Result<Self> {
        TcpListener::bind(("0.0.0.0", PORT)).await.map(Self)
    }
}

impl Listen for Lifelines {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn Line>, Option<IpAddr>)>> {
        Box::pin(async {
            let (line, from) = self.0.accept().await?;
            Ok((Box::new(line) as Box<dyn Line>, Some(from.ip())))
        })
    }
}
