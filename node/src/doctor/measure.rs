//! Round trip and loss of a way: a second of small STUN requests to a media port, as ICE sends
//! them.

use std::io;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use media::transport::stun::{Class, TransactionId};
use media::turn::message::{Message, Method, Writer};
use tokio::time::{sleep_until, timeout_at};

use super::link::Link;
use super::turn_client::TurnClient;

/// Requests of one measurement and the time between two: as many as an audio stream has packets.
const PROBES: u8 = 40;
const PROBE_INTERVAL: Duration = Duration::from_millis(20);
/// Later answers count as lost; media that late is useless.
const PROBE_WAIT: Duration = Duration::from_millis(1_500);

#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    /// Median.
    pub(super) round_trip: Duration,
    sent: u32,
    answered: u32,
}

impl Measured {
    pub(super) fn loss_percent(&self) -> f64 {
        f64::from(self.sent - self.answered) * 100.0 / f64::from(self.sent.max(1))
    }
}

/// Where requests go and answers come from.
pub(super) enum Way<'a> {
    Direct(&'a mut Link),
    Relayed(&'a mut TurnClient),
}

impl Way<'_> {
    async fn send(&mut self, message: &[u8]) -> io::Result<()> {
        match self {
            Way::Direct(link) => link.send(message).await,
            Way::Relayed(client) => client.send_to_peer(message).await,
        }
    }

    async fn receive(&mut self) -> io::Result<BytesMut> {
        match self {
            Way::Direct(link) => link.receive().await,
            Way::Relayed(client) => client.receive_from_peer().await,
        }
    }
}

/// `None`: not one request was answered.
pub(super) async fn measure(mut way: Way<'_>) -> Option<Measured> {
    let start = Instant::now();
    let end = start + PROBE_INTERVAL * u32::from(PROBES) + PROBE_WAIT;
    let due = |number: u8| start + PROBE_INTERVAL * u32::from(number);
    let mut round_trips: Vec<Duration> = Vec::new();
    let mut waiting: [Option<Instant>; PROBES as usize] = [None; PROBES as usize];
    let mut next = 0;
    while round_trips.len() < usize::from(PROBES) && Instant::now() < end {
        if next < PROBES && Instant::now() >= due(next) {
            if let Some(sent) = waiting.get_mut(usize::from(next)) {
                *sent = Some(Instant::now());
            }
            // What cannot be sent counts as lost.
            let _ = way.send(&request(next)).await;
            next += 1;
            continue;
        }
        let until = if next < PROBES { due(next) } else { end };
        let Ok(received) = timeout_at(until.into(), way.receive()).await else {
            continue;
        };
        let Ok(raw) = received else {
            // A refusal of an earlier packet; without a pause a dead stream would spin here.
            sleep_until((Instant::now() + PROBE_INTERVAL).into()).await;
            continue;
        };
        let Some(number) = answered(&raw) else {
            continue;
        };
        let sent = waiting.get_mut(usize::from(number)).and_then(Option::take);
        round_trips.extend(sent.map(|sent| sent.elapsed()));
    }
    round_trips.sort();
    let round_trip = *round_trips.get(round_trips.len() / 2)?;
    Some(Measured {
        round_trip,
        sent: u32::from(PROBES),
        answered: round_trips.len() as u32,
    })
}

fn request(number: u8) -> Vec<u8> {
    let mut transaction = TransactionId::from(*b"skein-doctor");
    transaction[11] = number;
    let mut raw = Vec::new();
    Writer::new(&mut raw, Class::Request, Method::Binding, transaction).fingerprint();
    raw
}

/// Which of our requests a message answers.
fn answered(raw: &[u8]) -> Option<u8> {
    let message = Message::parse(raw)?;
    let [name @ .., number] = message.transaction();
    (name == *b"skein-docto" && message.class() == Class::Success).then_some(number)
}
