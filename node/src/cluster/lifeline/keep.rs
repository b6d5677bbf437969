//! The side that watches: keeps one lifeline to one node open and tells what its kernel does with
//! it. Opens it anew whenever it ends, and at once, as a refusal is the proof that is wanted.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time;
use bytes::Bytes;
use consensus::ids::NodeId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{sleep, timeout};

use super::{Dial, Line, SECRET_BYTES, Ticket};
use crate::cluster::detector::wire::Message;
use crate::cluster::limits::{LIFELINE_PATIENCE, LIFELINE_RETRY_MAX, LIFELINE_RETRY_MIN};
use crate::cluster::links::{Links, Service};

/// What a kernel did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    Opened,
    /// The other side closed it, not the path.
    Closed,
    Refused,
}

/// Watches one node.
pub struct Keeper {
    pub me: NodeId,
    pub node: NodeId,
    pub links: Arc<dyn Links>,
    pub dial: Arc<dyn Dial>,
}

/// Why a lifeline could not be opened.
enum Failed {
    Refused,
    Otherwise,
}

impl Keeper {
    /// Runs until it is dropped. `address` is asked at each try: it may change.
    pub async fn run(self, address: impl Fn() -> Option<String>, tell: impl Fn(News)) {
        let mut wait = LIFELINE_RETRY_MIN;
        loop {
            let opened = match address() {
                Some(address) => self.open(address).await,
                None => Err(Failed::Otherwise),
            };
            match opened {
                Ok(line) => {
                    wait = LIFELINE_RETRY_MIN;
                    tell(News::Opened);
                    if until_closed(line).await {
                        tell(News::Closed);
                        continue;
                    }
                }
                Err(Failed::Refused) => tell(News::Refused),
                Err(Failed::Otherwise) => {}
            }
            sleep(wait).await;
            wait = next_wait(wait);
        }
    }

    /// Connects first: a refusal must not wait for a ticket of a process that is gone.
    async fn open(&self, address: String) -> Result<Box<dyn Line>, Failed> {
        let dialled = timeout(LIFELINE_PATIENCE, self.dial.dial(address)).await;
        let mut line = match dialled {
            Ok(Ok(line)) => line,
            Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => {
                return Err(Failed::Refused);
            }
            Ok(Err(_)) | Err(_) => return Err(Failed::Otherwise),
        };
        let shown = timeout(LIFELINE_PATIENCE, self.show_ticket(&mut line)).await;
        match shown {
            Ok(Some(())) => Ok(line),
            Ok(None) | Err(_) => Err(Failed::Otherwise),
        }
    }

    async fn show_ticket(&self, line: &mut Box<dyn Line>) -> Option<()> {
        let request = Bytes::from(Message::Ticket.encode());
        let asked = self
            .links
            .call(self.node, Service::Liveness, request, LIFELINE_PATIENCE);
        let ticket = Ticket::decode(&asked.await.ok()?)?;
        line.write_u64(self.me.0).await.ok()?;
        line.write_all(&ticket.shown).await.ok()?;
        line.flush().await.ok()?;
        let mut answer = [0; SECRET_BYTES];
        line.read_exact(&mut answer).await.ok()?;
        // Somebody else may sit at its address.
        constant_time::verify_slices_are_equal(&answer, &ticket.answer).ok()
    }
}

/// Whether it was its kernel that ended it: an end or a reset, and not a path that broke.
async fn until_closed(mut line: Box<dyn Line>) -> bool {
    match line.read_u8().await {
        // Nothing is ever said on it.
        Ok(_) => false,
        Err(error) => is_kernel(&error),
    }
}

fn is_kernel(error: &io::Error) -> bool {
    let kind = error.kind();
    matches!(kind, ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset)
}

fn next_wait(wait: Duration) -> Duration {
    (wait * 2).min(LIFELINE_RETRY_MAX)
}
