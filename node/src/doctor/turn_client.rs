//! A TURN client for the connection test: allocates with the credentials of the join and exchanges
//! data with one peer.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use aws_lc_rs::hmac;
use bytes::BytesMut;
use media::transport::stun::{Class, TransactionId};
use media::turn::credentials::long_term_key;
use media::turn::message::{Message, Method, Writer, attribute};
use tokio::time::timeout;

use super::ANSWER_WAIT;
use super::link::Link;

/// Between repetitions of a request that may be lost.
const REPEAT: Duration = Duration::from_millis(500);
/// Protocol number of UDP in REQUESTED-TRANSPORT.
const UDP: [u8; 4] = [17, 0, 0, 0];

/// Why no allocation came about.
#[derive(Debug, thiserror::Error)]
pub(super) enum TurnClientError {
    #[error("no answer")]
    Silent,
    #[error("the answer is not TURN's")]
    Foreign,
    #[error("{what} refused: error {code}")]
    Refused { what: &'static str, code: u16 },
    #[error(transparent)]
    Io(#[from] io::Error),
}

pub(super) struct TurnClient {
    link: Link,
    username: String,
    password: String,
    realm: String,
    nonce: Vec<u8>,
    peer: SocketAddr,
    transactions: u32,
}

impl TurnClient {
    /// Allocates and opens the way to `peer`.
    pub(super) async fn connect(
        link: Link,
        (username, password): (&str, &str),
        peer: SocketAddr,
    ) -> Result<TurnClient, TurnClientError> {
        let mut client = TurnClient {
            link,
            username: username.to_owned(),
            password: password.to_owned(),
            realm: String::new(),
            nonce: Vec::new(),
            peer,
            transactions: 0,
        };
        let transport = |writer: Writer<'_>| {
            writer.attribute(attribute::REQUESTED_TRANSPORT, &UDP);
        };
        client
            .request("the allocation", Method::Allocate, transport)
            .await?;
        let with_peer = |writer: Writer<'_>| {
            writer.address(attribute::XOR_PEER_ADDRESS, peer);
        };
        let what = "the way to the media port";
        client
            .request(what, Method::CreatePermission, with_peer)
            .await?;
        Ok(client)
    }

    /// Gives the allocation back, so that a second test finds the quota as it was.
    pub(super) async fn close(mut self) {
        let now = |writer: Writer<'_>| {
            writer.u32(attribute::LIFETIME, 0);
        };
        // The server forgets it by itself a little later.
        let _ = self.request("the end", Method::Refresh, now).await;
    }

    pub(super) async fn send_to_peer(&mut self, payload: &[u8]) -> io::Result<()> {
        let mut raw = Vec::new();
        Writer::new(&mut raw, Class::Indication, Method::Send, [0; 12])
            .address(attribute::XOR_PEER_ADDRESS, self.peer)
            .attribute(attribute::DATA, payload);
        self.link.send(&raw).await
    }

    /// The next data of the peer. Safe to give up and call again.
    pub(super) async fn receive_from_peer(&mut self) -> io::Result<BytesMut> {
        loop {
            let raw = self.link.receive().await?;
            let data = Message::parse(&raw)
                .filter(|message| message.method() == Method::Data)
                .and_then(|message| message.find(attribute::DATA));
            if let Some(data) = data {
                return Ok(BytesMut::from(data));
            }
        }
    }

    /// Asks, with credentials as soon as the server has said for which realm.
    async fn request(
        &mut self,
        what: &'static str,
        method: Method,
        write: impl Fn(Writer<'_>),
    ) -> Result<(), TurnClientError> {
        for _ in 0..3 {
            let key = long_term_key(&self.username, &self.realm, &self.password);
            let raw = self.build(method, &write, &key);
            let answer = self.exchange(&raw).await?;
            let message = Message::parse(&answer).ok_or(TurnClientError::Foreign)?;
            let code = match message.class() {
                Class::Success => return Ok(()),
                _ => message.error_code().unwrap_or(0),
            };
            let realm = message.find_text(attribute::REALM);
            let nonce = message.find(attribute::NONCE);
            let first = self.nonce.is_empty();
            match (code, realm, nonce) {
                // The first request is refused to tell realm and nonce; a stale nonce is replaced.
                (401 | 438, Some(realm), Some(nonce)) if first || code == 438 => {
                    (self.realm, self.nonce) = (realm.to_owned(), nonce.to_vec());
                }
                _ => return Err(TurnClientError::Refused { what, code }),
            }
        }
        Err(TurnClientError::Foreign)
    }

    fn build(&mut self, method: Method, write: &impl Fn(Writer<'_>), key: &hmac::Key) -> Vec<u8> {
        self.transactions += 1;
        let mut transaction = TransactionId::from(*b"skein-turn..");
        transaction[8..].copy_from_slice(&self.transactions.to_be_bytes());
        let mut raw = Vec::new();
        write(Writer::new(&mut raw, Class::Request, method, transaction));
        if self.nonce.is_empty() {
            return raw;
        }
        Writer::resume(&mut raw)
            .attribute(attribute::USERNAME, self.username.as_bytes())
            .attribute(attribute::REALM, self.realm.as_bytes())
            .attribute(attribute::NONCE, &self.nonce)
            .sign(key);
        raw
    }

    /// Sends a request, repeated where it may be lost, and waits for its answer.
    async fn exchange(&mut self, raw: &[u8]) -> Result<BytesMut, TurnClientError> {
        let tries = if self.link.is_lossy() {
            ANSWER_WAIT.as_millis() / REPEAT.as_millis()
        } else {
            1
        };
        let patience = if self.link.is_lossy() {
            REPEAT
        } else {
            ANSWER_WAIT
        };
        for _ in 0..tries {
            self.link.send(raw).await?;
            if let Ok(answer) = timeout(patience, self.answer_to(raw)).await {
                return Ok(answer?);
            }
        }
        Err(TurnClientError::Silent)
    }

    async fn answer_to(&mut self, raw: &[u8]) -> io::Result<BytesMut> {
        loop {
            let answer = self.link.receive().await?;
            if answer.get(4..20) == raw.get(4..20) {
                return Ok(answer);
            }
        }
    }
}
