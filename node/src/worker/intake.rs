//! What a worker takes in: its own datagrams, those that others hand it, ICE-TCP. Waits for more of
//! them where `gather` says that it pays. Who owns a datagram is `steering`'s.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use media::Input;
use media::transport::stun;
use media::types::{Path, Protocol};
use quinn_udp::BATCH_SIZE;

use crate::limits::{ARRIVAL_AGE_MAX, HANDED_BATCHES_PER_TURN, RECEIVE_CALLS_PER_TURN};
use crate::net::tcp::Incoming;
use crate::net::udp::UdpPort;
use crate::worker::lanes::{Handed, Order};
use crate::worker::steering::Owner;
use crate::worker::{Port, Worker};

impl Worker {
    /// Takes what the sockets hold. Returns when the first datagram of it arrived.
    pub(super) fn receive(&mut self, now: Instant) -> Option<Instant> {
        let Self {
            udp,
            slots,
            steering,
            shard,
            handed,
            counters,
            ..
        } = self;
        let clock = Clock::new(now);
        let mut first = None;
        for Port { port, unread } in udp.iter_mut().filter(|port| port.unread) {
            let local = port.local();
            for _ in 0..RECEIVE_CALLS_PER_TURN {
                let Ok(filled) = port.receive(slots) else {
                    // It concerns one earlier datagram (ICMP): the next call goes on. A socket
                    // that only errs waits for the next poll.
                    counters.receive_errors += 1;
                    *unread = false;
                    continue;
                };
                // Fewer than asked for: that was all.
                *unread = filled == BATCH_SIZE;
                for datagram in slots.arrivals(filled) {
                    let arrival = clock.arrival(datagram.stamp);
                    let (remote, payload) = (datagram.remote, datagram.payload);
                    first = Some(first.map_or(arrival, |first: Instant| first.min(arrival)));
                    let path = Path {
                        protocol: Protocol::Udp,
                        local,
                        remote,
                    };
                    match steering.owner(now, remote, payload, || shard.knows(&path)) {
                        Owner::Here => {
                            let proves = steering.is_shared() && is_check(payload);
                            shard.handle(arrival, Input::Datagram { path, payload });
                            if proves && shard.knows(&path) {
                                steering.proved_here(remote);
                            }
                        }
                        Owner::Shard(other) => {
                            if let Some(batch) = handed.get_mut(other) {
                                batch.push(local, remote, payload);
                            }
                        }
                        Owner::Reflect(transaction) => reflect(port, remote, transaction),
                    }
                }
                if !*unread {
                    break;
                }
            }
            counters.receive_budget_hit += u64::from(*unread);
        }
        first
    }

    /// Waits for more packets where that is worth it; returns the time. `first`: when the first
    /// datagram of this turn arrived.
    pub(super) fn gather_more(&mut self, now: Instant, first: Option<Instant>) -> Instant {
        let behind = self.more_output || self.more_relayed || self.inbox.has_orders();
        let (Some(first), false) = (first, behind || self.shard.waiting() == 0) else {
            return now;
        };
        let Some(until) = self.gather.until(first) else {
            return now;
        };
        let paced = self.shard.pace_deadline();
        let wait = paced.map_or(until, |paced| paced.min(until));
        let wait = wait.saturating_duration_since(now);
        if wait.is_zero() {
            return now;
        }
        // What belongs to another worker does not wait for ours.
        self.hand_over();
        std::thread::sleep(wait);
        let now = Instant::now();
        self.udp.iter_mut().for_each(|port| port.unread = true);
        let more = self.receive(now).is_some();
        self.gather.waited(more);
        self.counters.gathers += 1;
        now
    }

    pub(super) fn take_handed(&mut self, now: Instant) {
        for _ in 0..HANDED_BATCHES_PER_TURN {
            let Some(batch) = self.inbox.next_handed() else {
                return;
            };
            let from = batch.from();
            for remote in batch.proved() {
                self.steering.proved(now, *remote, from);
            }
            let (shard, back) = (&mut self.shard, self.handed.get_mut(from));
            let mut proved = Vec::new();
            batch.each(|path, payload| {
                let proves = is_check(payload);
                shard.handle(now, Input::Datagram { path, payload });
                if proves && shard.knows(&path) {
                    proved.push(path.remote);
                }
            });
            if let Some(back) = back {
                proved.into_iter().for_each(|remote| back.prove(remote));
            }
        }
        self.counters.handed_budget_hit += 1;
    }

    pub(super) fn receive_tcp(&mut self, now: Instant) {
        if !self.tcp.has_work() {
            return;
        }
        let Self {
            tcp, shard, peers, ..
        } = self;
        tcp.turn(now, &mut |incoming| match incoming {
            Incoming::Frame { path, payload } => {
                shard.handle(now, Input::Datagram { path, payload });
                shard.knows(&path)
            }
            Incoming::Foreign { shard, connection } => {
                if let Some(peer) = peers.get(shard) {
                    peer.order(Order::Adopt(Box::new(connection)));
                }
                false
            }
        });
    }

    pub(super) fn hand_over(&mut self) {
        for (batch, peer) in self.handed.iter_mut().zip(&self.peers) {
            if batch.is_empty() {
                continue;
            }
            let batch = std::mem::replace(batch, Handed::new(self.index));
            if !peer.hand(batch) {
                self.counters.handed_dropped += 1;
            }
        }
    }
}

/// Translates the kernel's stamps, which count from the Unix epoch: a packet that waited in the
/// socket must not look late to its publisher's congestion control.
struct Clock {
    now: Instant,
    wall: Duration,
}

impl Clock {
    fn new(now: Instant) -> Clock {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH);
        Clock {
            now,
            wall: wall.unwrap_or_default(),
        }
    }

    /// A stamp that makes no sense (the wall clock was set) counts as now.
    fn arrival(&self, stamp: Option<Duration>) -> Instant {
        let age = stamp.and_then(|stamp| self.wall.checked_sub(stamp));
        let age = age.filter(|age| *age <= ARRIVAL_AGE_MAX);
        let arrival = age.and_then(|age| self.now.checked_sub(age));
        arrival.unwrap_or(self.now)
    }
}

/// Whether this may be a connectivity check, which proves an address if the shard takes it.
fn is_check(datagram: &[u8]) -> bool {
    datagram.first() == Some(&0)
}

/// Tells a client that asked without credentials which address we see.
fn reflect(port: &mut UdpPort, remote: SocketAddr, transaction: stun::TransactionId) {
    let answer = stun::Builder::new(stun::Class::Success, transaction);
    let answer = answer.xor_mapped_address(remote).finish_plain();
    port.send(remote, &answer, answer.len());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_of_a_clock_that_was_set_counts_as_now() {
        let now = Instant::now() + Duration::from_secs(60);
        let clock = Clock {
            now,
            wall: Duration::from_secs(1_000_000),
        };
        let ms = Duration::from_millis;
        assert_eq!(clock.arrival(Some(clock.wall - ms(3))), now - ms(3));
        assert_eq!(clock.arrival(Some(clock.wall + ms(3))), now);
        assert_eq!(clock.arrival(Some(clock.wall - ms(90_000))), now);
        assert_eq!(clock.arrival(None), now);
    }
}
