//! A long run of people coming and going: joins, leaves, kills, mutes, changes of layers and
//! subscriptions at random from a seed, media flowing all the while. At the end everybody goes, and
//! the server must be as it was: memory flat, nobody and nothing left behind.

use std::io;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;
use tokio::sync::mpsc as tokio_mpsc;
use tokio::task::JoinHandle;

use crate::media_loop::{self, LoopHandle, Order};
use crate::peer::Manners;
use crate::run::{Setup, Signalling};
use crate::scenario;
use crate::server::Server;
use crate::signal::{Fact, ParticipantPlan, Shared, Wish, participate};

mod verdict;

pub(crate) use verdict::{Sample, Verdict};

const ROOMS: usize = 6;
const POPULATION: usize = 40;
/// How many things happen in a second.
const EVENTS_PER_SECOND: f64 = 8.0;
const SAMPLE_INTERVAL: Duration = Duration::from_secs(5);
/// Killed clients stay until ICE and the session time out, empty rooms for their own time.
const SETTLING: Duration = Duration::from_secs(2);
const GONE_PATIENCE: Duration = Duration::from_secs(120);

struct Guest {
    wishes: tokio_mpsc::UnboundedSender<Wish>,
    task: JoinHandle<()>,
    publishes: bool,
    muted: bool,
    subscribed: bool,
}

/// How often what happened.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Deeds {
    pub(crate) joins: usize,
    pub(crate) leaves: usize,
    pub(crate) kills: usize,
    pub(crate) mutes: usize,
    pub(crate) layers: usize,
    pub(crate) subscriptions: usize,
}

struct Soak<'a> {
    setup: &'a Setup,
    server: Server,
    media: LoopHandle,
    signalling: Signalling,
    shared: Shared,
    facts: mpsc::Receiver<Fact>,
    rng: ChaCha12Rng,
    guests: Vec<Guest>,
    deeds: Deeds,
    joined: usize,
    forwarded: u64,
    wrong: u64,
    failures: Vec<String>,
    samples: Vec<Sample>,
}

/// Runs for `length`; everything that happens follows from `seed` and the time.
pub(crate) fn run(setup: &Setup, length: Duration, seed: u64) -> io::Result<Verdict> {
    let server = Server::start(&setup.source, "")?;
    let manners = Manners {
        check_every: 16,
        loss: 0.0,
        nack: true,
        remb_bps: 50_000_000,
    };
    let (media, thread) = media_loop::start(manners)?;
    let (told, facts) = mpsc::channel();
    let shared = Shared {
        media: media.clone(),
        facts: told,
        peers: Arc::new(AtomicU32::new(0)),
    };
    let mut soak = Soak {
        setup,
        server,
        media: media.clone(),
        signalling: Signalling::start()?,
        shared,
        facts,
        rng: ChaCha12Rng::seed_from_u64(seed),
        guests: Vec::new(),
        deeds: Deeds::default(),
        joined: 0,
        forwarded: 0,
        wrong: 0,
        failures: Vec::new(),
        samples: Vec::new(),
    };
    let verdict = soak.play(length);
    media.order(Order::Stop);
    if let Ok(Err(error)) = thread.join() {
        return Err(error);
    }
    Ok(verdict)
}

impl Soak<'_> {
    fn play(&mut self, length: Duration) -> Verdict {
        let empty = self.server.sample(Duration::ZERO);
        self.media.order(Order::Flow(true));
        let start = Instant::now();
        let mut next_sample = start;
        while start.elapsed() < length {
            self.something();
            self.listen(Duration::from_secs_f64(1.0 / EVENTS_PER_SECOND));
            if Instant::now() >= next_sample {
                next_sample += SAMPLE_INTERVAL;
                self.sample(start.elapsed());
            }
        }
        self.sample(start.elapsed());
        while let Some(guest) = self.guests.pop() {
            self.leave(&guest);
        }
        let left = self.await_nobody(start);
        Verdict {
            deeds: self.deeds,
            joined: self.joined,
            forwarded: self.forwarded,
            wrong: self.wrong,
            failures: std::mem::take(&mut self.failures),
            empty,
            samples: std::mem::take(&mut self.samples),
            left,
        }
    }

    /// One thing that people do.
    fn something(&mut self) {
        let missing = 1.0 - self.guests.len() as f64 / POPULATION as f64;
        let dice: f64 = self.rng.random();
        if self.guests.len() < 2 || dice < 0.15 + 0.5 * missing {
            return self.join();
        }
        let at = self.rng.random_range(0..self.guests.len());
        match self.rng.random_range(0..100) {
            0..20 => {
                let guest = self.guests.swap_remove(at);
                self.leave(&guest);
            }
            20..35 => self.kill(at),
            35..60 => {
                let guest = &mut self.guests[at];
                guest.muted = !guest.muted;
                self.deeds.mutes += usize::from(guest.publishes);
                let _ = guest.wishes.send(Wish::Mute(guest.muted));
            }
            60..85 => {
                let quality = self.rng.random_range(0..3);
                self.deeds.layers += 1;
                let _ = self.guests[at].wishes.send(Wish::Quality(quality));
            }
            _ => {
                let guest = &mut self.guests[at];
                guest.subscribed = !guest.subscribed;
                self.deeds.subscriptions += 1;
                let _ = guest.wishes.send(Wish::Subscribe(guest.subscribed));
            }
        }
    }

    fn join(&mut self) {
        let number = self.deeds.joins as u32;
        self.deeds.joins += 1;
        let room = self.rng.random_range(0..ROOMS);
        let publishes = self.rng.random_range(0..3) == 0;
        let room = format!("soak-{}-{room}", std::process::id());
        let plan = ParticipantPlan {
            number,
            url: self.server.join_url(&room, number, publishes, true),
            bind: self.setup.bind,
            tracks: if publishes {
                scenario::camera_and_microphone()
            } else {
                Vec::new()
            },
            flows_expected: 0,
            forget: true,
        };
        let (wishes, receiver) = tokio_mpsc::unbounded_channel();
        if publishes {
            let _ = wishes.send(Wish::Publish);
        }
        let task = participate(plan, self.shared.clone(), receiver);
        self.guests.push(Guest {
            wishes,
            task: self.signalling.spawn(task),
            publishes,
            muted: false,
            subscribed: true,
        });
    }

    fn leave(&mut self, guest: &Guest) {
        self.deeds.leaves += 1;
        let _ = guest.wishes.send(Wish::Leave);
    }

    /// As a machine that loses its power, but for the TCP connection's end.
    fn kill(&mut self, at: usize) {
        let guest = self.guests.swap_remove(at);
        self.deeds.kills += 1;
        guest.task.abort();
    }

    fn listen(&mut self, wait: Duration) {
        let until = Instant::now() + wait;
        while let Ok(fact) = self
            .facts
            .recv_timeout(until.saturating_duration_since(Instant::now()))
        {
            match fact {
                Fact::Joined { .. } => self.joined += 1,
                Fact::Published | Fact::Told(_) => {}
                Fact::Failed(why) => self.failures.push(why),
            }
        }
        self.guests.retain(|guest| !guest.task.is_finished());
    }

    fn sample(&mut self, at: Duration) {
        let tally = self.media.mark();
        self.forwarded = tally.forwarded;
        self.wrong = tally.wrong;
        self.samples.push(self.server.sample(at));
    }

    /// Waits until the server says that nobody is there any more; what it says at last.
    fn await_nobody(&mut self, start: Instant) -> Sample {
        let until = Instant::now() + GONE_PATIENCE;
        loop {
            self.listen(Duration::from_millis(500));
            let sample = self.server.sample(start.elapsed());
            if sample.is_empty() || Instant::now() > until {
                // What is closing takes a moment more to be closed.
                self.listen(SETTLING);
                return self.server.sample(start.elapsed());
            }
        }
    }
}
