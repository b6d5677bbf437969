//! Runs one scenario against a fresh server: everybody joins, idles, publishes, warms up, is
//! measured. The result holds figures only; `report` makes them readable.

mod during;

use std::io;
use std::net::IpAddr;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::mpsc as tokio_mpsc;

use crate::media_loop::{self, LoopHandle, Order};
use crate::peer::Manners;
use crate::scenario::{Scenario, Special, steady_video};
use crate::server::{Server, Source, process_cpu};
use crate::signal::{Fact, ParticipantPlan, Shared, Wish, participate};
use crate::statistics::{percentile, spread_ms};
use crate::tally::{Arrival, Tally};

pub(crate) use during::during;

/// Everybody joined, or every stream flows, or it never will.
const PATIENCE: Duration = Duration::from_secs(30);
const SWITCH_INTERVAL: Duration = Duration::from_secs(2);
/// Thousands of packets per second offered to the subscribers, step by step.
const RAMP_KPPS: [usize; 16] = [
    40, 60, 80, 100, 125, 150, 200, 250, 300, 350, 400, 450, 550, 650, 750, 850,
];
/// At a few hundred kpps the one thread of all clients is what queues: congestion control would
/// find that queue and spare it, and this is to find the server's end.
const RAMP_RTC: &str = "  congestion_control: {enabled: false}\n";
/// The ramp ends when so many steps in a row lost more than this share.
const RAMP_LOSS: f64 = 0.01;
const RAMP_BAD_STEPS: usize = 2;
/// Or when so much less arrived than was offered; a window may cut a frame off at either end.
const RAMP_SHORT: f64 = 0.05;

#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) source: Source,
    pub(crate) bind: IpAddr,
    pub(crate) window: Duration,
    pub(crate) warm_up: Duration,
    pub(crate) idle: Duration,
}

/// One step of the ramp.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) offered_pps: f64,
    pub(crate) arrived_pps: f64,
    pub(crate) loss: f64,
    pub(crate) server_share: f64,
    pub(crate) client_share: f64,
    pub(crate) us_per_packet: f64,
    pub(crate) p50_ms: f64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) participants: usize,
    pub(crate) version: String,
    pub(crate) pps: f64,
    pub(crate) idle_share: Option<f64>,
    pub(crate) server_share: f64,
    pub(crate) client_share: f64,
    /// Without and with what the same participants cost when nobody sends.
    pub(crate) us_per_packet: Option<f64>,
    pub(crate) us_per_packet_total: Option<f64>,
    pub(crate) video_ms: Option<[f64; 3]>,
    pub(crate) audio_ms: Option<[f64; 3]>,
    pub(crate) answered_ms: Option<[f64; 2]>,
    pub(crate) join_ms: Option<[f64; 2]>,
    pub(crate) first_packet_ms: Option<[f64; 2]>,
    pub(crate) flowing_ms: Option<[f64; 2]>,
    pub(crate) switch_ms: Option<[f64; 3]>,
    pub(crate) rss_empty_kib: u64,
    pub(crate) idle_kib: f64,
    pub(crate) subscriber_kib: f64,
    pub(crate) counts: Tally,
    pub(crate) steps: Vec<Step>,
    pub(crate) failures: Vec<String>,
    pub(crate) missing_flows: usize,
}

struct Crowd {
    wishes: Vec<tokio_mpsc::UnboundedSender<Wish>>,
    facts: mpsc::Receiver<Fact>,
    answered_ms: Vec<f64>,
    joined: usize,
    published: usize,
    failures: Vec<String>,
    /// What participants were told that an app would see.
    told: Vec<String>,
    version: String,
}

impl Crowd {
    fn listen(&mut self, wait: Duration) {
        let mut next = self.facts.recv_timeout(wait).ok();
        while let Some(fact) = next {
            match fact {
                Fact::Joined {
                    answered_after,
                    version,
                } => {
                    self.joined += 1;
                    self.answered_ms.push(answered_after.as_secs_f64() * 1e3);
                    self.version = version;
                }
                Fact::Published => self.published += 1,
                Fact::Told(what) => self.told.push(what),
                Fact::Failed(why) => self.failures.push(why),
            }
            next = self.facts.try_recv().ok();
        }
    }

    fn wait(&mut self, mut done: impl FnMut(&Crowd) -> bool) -> bool {
        let until = Instant::now() + PATIENCE;
        while !done(self) {
            if Instant::now() > until {
                return false;
            }
            self.listen(Duration::from_millis(20));
        }
        true
    }
}

/// The signalling thread's runtime, driven by a thread that only waits.
pub(crate) struct Signalling {
    runtime: Arc<Runtime>,
    stop: Arc<tokio::sync::Notify>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Signalling {
    pub(crate) fn start() -> io::Result<Signalling> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let runtime = Arc::new(runtime);
        let stop = Arc::new(tokio::sync::Notify::new());
        let (driven, stopped) = (Arc::clone(&runtime), Arc::clone(&stop));
        let thread = std::thread::Builder::new()
            .name("signalling".into())
            .spawn(move || driven.block_on(stopped.notified()))?;
        Ok(Signalling {
            runtime,
            stop,
            thread: Some(thread),
        })
    }
}

impl Signalling {
    pub(crate) fn spawn(
        &self,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> tokio::task::JoinHandle<()> {
        self.runtime.spawn(task)
    }
}

impl Drop for Signalling {
    fn drop(&mut self) {
        self.stop.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Stage<'a> {
    scenario: &'a Scenario,
    setup: &'a Setup,
    server: Server,
    media: LoopHandle,
    signalling: Signalling,
    shared: Shared,
    crowd: Crowd,
}

/// Runs `scenario`; an error means the server or this machine did not play along.
pub(crate) fn run(scenario: &Scenario, setup: &Setup) -> io::Result<Outcome> {
    let manners = Manners {
        check_every: if scenario.special == Special::Switching {
            1
        } else {
            16
        },
        loss: 0.0,
        nack: scenario.nack,
        remb_bps: match scenario.special {
            Special::Ramp => 500_000_000,
            _ => 50_000_000,
        },
    };
    on_stage(scenario, setup, manners, |stage| stage.play(manners))
}

/// With a server and the threads of the clients, which end afterwards.
fn on_stage<T>(
    scenario: &Scenario,
    setup: &Setup,
    manners: Manners,
    act: impl FnOnce(&mut Stage<'_>) -> T,
) -> io::Result<T> {
    let server = Server::start(
        &setup.source,
        match scenario.special {
            Special::Ramp => RAMP_RTC,
            _ => "",
        },
    )?;
    let (media, thread) = media_loop::start(manners)?;
    let (told, facts) = mpsc::channel();
    let mut stage = Stage {
        scenario,
        setup,
        server,
        media: media.clone(),
        signalling: Signalling::start()?,
        shared: Shared {
            media: media.clone(),
            facts: told,
            peers: Arc::new(AtomicU32::new(0)),
        },
        crowd: Crowd {
            wishes: Vec::new(),
            facts,
            answered_ms: Vec::new(),
            joined: 0,
            published: 0,
            failures: Vec::new(),
            told: Vec::new(),
            version: String::new(),
        },
    };
    let result = act(&mut stage);
    media.order(Order::Stop);
    if let Ok(Err(error)) = thread.join() {
        return Err(error);
    }
    Ok(result)
}

impl Stage<'_> {
    fn play(&mut self, manners: Manners) -> Outcome {
        let scenario = self.scenario;
        let mut outcome = Outcome {
            id: scenario.id.into(),
            title: scenario.title.into(),
            participants: scenario.participants(),
            rss_empty_kib: self.server.rss_kib(),
            ..Outcome::default()
        };
        let storm = scenario.special == Special::Storm;
        self.join(true);
        if !storm {
            self.join(false);
            std::thread::sleep(Duration::from_millis(500));
            outcome.idle_share = Some(self.idle_share());
        }
        outcome.idle_kib = self.kib_per_participant(&outcome);
        self.publish();
        if storm {
            self.crowd.listen(Duration::from_secs(1));
            self.join(false);
        }
        outcome.missing_flows = self.await_flows();
        self.media.order(Order::Manners(Manners {
            loss: scenario.loss,
            ..manners
        }));
        self.crowd.listen(self.setup.warm_up);
        std::thread::sleep(self.setup.warm_up);
        match scenario.special {
            Special::Ramp => outcome.steps = self.ramp(),
            _ => self.measure(&mut outcome, self.setup.window),
        }
        outcome.subscriber_kib = self.kib_per_participant(&outcome);
        self.describe_joins(&mut outcome);
        self.crowd.listen(Duration::ZERO);
        outcome.version.clone_from(&self.crowd.version);
        outcome.failures = std::mem::take(&mut self.crowd.failures);
        outcome
    }

    fn kib_per_participant(&self, outcome: &Outcome) -> f64 {
        let grown = self.server.rss_kib().saturating_sub(outcome.rss_empty_kib);
        grown as f64 / outcome.participants as f64
    }

    /// Publishers or viewers of all rooms join at the scenario's rate.
    fn join(&mut self, publishers: bool) {
        let scenario = self.scenario;
        let gap = Duration::from_secs_f64(1.0 / scenario.joins_per_second);
        let each = if publishers {
            scenario.publishers
        } else {
            scenario.viewers
        };
        let mut next = Instant::now();
        for room in 0..scenario.rooms {
            for _ in 0..each {
                let plan = self.plan(room, publishers);
                let (wishes, receiver) = tokio_mpsc::unbounded_channel();
                self.crowd.wishes.push(wishes);
                let task = participate(plan, self.shared.clone(), receiver);
                self.signalling.spawn(task);
                next += gap;
                self.crowd
                    .listen(next.saturating_duration_since(Instant::now()));
                let early = next.saturating_duration_since(Instant::now());
                std::thread::sleep(early);
            }
        }
        let everybody = self.crowd.wishes.len();
        self.crowd
            .wait(|crowd| crowd.joined + crowd.failures.len() >= everybody);
    }

    fn plan(&self, room: usize, publishes: bool) -> ParticipantPlan {
        let number = self.crowd.wishes.len() as u32;
        let subscribes = !publishes || self.scenario.publishers_subscribe;
        let room = format!("load-{}-{}-{room}", self.scenario.id, std::process::id());
        ParticipantPlan {
            number,
            url: self.server.join_url(&room, number, publishes, subscribes),
            bind: self.setup.bind,
            tracks: if publishes {
                self.scenario.tracks.clone()
            } else {
                Vec::new()
            },
            flows_expected: self.scenario.flows(publishes),
            forget: false,
        }
    }

    fn idle_share(&mut self) -> f64 {
        let (start, cpu) = (Instant::now(), self.server.cpu());
        std::thread::sleep(self.setup.idle);
        (self.server.cpu() - cpu).as_secs_f64() / start.elapsed().as_secs_f64()
    }

    fn publish(&mut self) {
        let publishers = self.scenario.rooms * self.scenario.publishers;
        for wishes in &self.crowd.wishes[..publishers] {
            let _ = wishes.send(Wish::Publish);
        }
        self.crowd
            .wait(|crowd| crowd.published + crowd.failures.len() >= publishers);
        self.media.order(Order::Flow(true));
    }

    /// Waits until every subscriber has all its streams; returns how many have not.
    fn await_flows(&mut self) -> usize {
        let until = Instant::now() + PATIENCE;
        loop {
            let missing = self.media.arrivals();
            let missing = missing.iter().filter(|a| a.flowing.is_none()).count();
            if missing == 0 || Instant::now() > until {
                return missing;
            }
            self.crowd.listen(Duration::from_millis(100));
        }
    }

    fn measure(&mut self, outcome: &mut Outcome, window: Duration) {
        let before = self.media.mark();
        let (start, cpu) = (Instant::now(), self.server.cpu());
        let own = process_cpu("self");
        if self.scenario.special == Special::Switching {
            self.switch_layers(start);
        } else {
            std::thread::sleep(window);
        }
        let spent = self.server.cpu() - cpu;
        let own = process_cpu("self") - own;
        let seconds = start.elapsed().as_secs_f64();
        let tally = self.media.mark().since(&before);
        let forwarded = tally.forwarded as f64;
        outcome.pps = forwarded / seconds;
        outcome.server_share = spent.as_secs_f64() / seconds;
        outcome.client_share = own.as_secs_f64() / seconds;
        if forwarded > 0.0 {
            let micros = spent.as_secs_f64() * 1e6;
            outcome.us_per_packet_total = Some(micros / forwarded);
            outcome.us_per_packet = outcome
                .idle_share
                .map(|idle| (micros - idle * seconds * 1e6) / forwarded);
        }
        outcome.video_ms = spread_ms(&tally.video_us);
        outcome.audio_ms = spread_ms(&tally.audio_us);
        outcome.switch_ms = spread_ms(&tally.switches_us);
        outcome.counts = Tally {
            video_us: Vec::new(),
            audio_us: Vec::new(),
            ..tally
        };
    }

    /// Every viewer wishes for another layer each time, not all for the same.
    fn switch_layers(&mut self, start: Instant) {
        let mut round = 0_usize;
        while start.elapsed() + SWITCH_INTERVAL <= self.setup.window + Duration::from_millis(50) {
            for (number, wishes) in self.crowd.wishes.iter().enumerate().skip(1) {
                let quality = ((number + round) % 3) as u8;
                let _ = wishes.send(Wish::Quality(quality));
            }
            round += 1;
            std::thread::sleep(SWITCH_INTERVAL);
        }
    }

    fn ramp(&mut self) -> Vec<Step> {
        let viewers = self.scenario.viewers;
        let mut steps: Vec<Step> = Vec::new();
        for kpps in RAMP_KPPS {
            let per_frame = (kpps * 1_000).div_ceil(viewers * 25);
            self.media.order(Order::SetRate(steady_video(per_frame)));
            std::thread::sleep(Duration::from_secs(2));
            let mut figures = Outcome::default();
            self.measure(&mut figures, self.setup.window / 2);
            let counts = &figures.counts;
            let offered = (per_frame * 25 * viewers) as f64;
            steps.push(Step {
                offered_pps: offered,
                arrived_pps: figures.pps,
                loss: counts.loss(),
                server_share: figures.server_share,
                client_share: figures.client_share,
                us_per_packet: figures.us_per_packet_total.unwrap_or_default(),
                p50_ms: figures.video_ms.map_or(0.0, |ms| ms[0]),
            });
            let bad = steps.iter().rev().take(RAMP_BAD_STEPS);
            // A publisher that is held back loses nothing, but does not get through either.
            let failed = |step: &&Step| {
                step.loss > RAMP_LOSS || step.arrived_pps < step.offered_pps * (1.0 - RAMP_SHORT)
            };
            if bad.filter(failed).count() == RAMP_BAD_STEPS {
                break;
            }
        }
        steps
    }

    fn describe_joins(&mut self, outcome: &mut Outcome) {
        let arrivals = self.media.arrivals();
        let since = |of: fn(&Arrival) -> Option<Instant>| {
            let mut all: Vec<f64> = arrivals
                .iter()
                .filter_map(|a| Some(of(a)?.duration_since(a.began).as_secs_f64() * 1e3))
                .collect();
            two(&mut all)
        };
        outcome.join_ms = since(|a| a.connected);
        if self.scenario.special == Special::Storm {
            outcome.first_packet_ms = since(|a| a.first_packet);
            outcome.flowing_ms = since(|a| a.flowing);
        }
        outcome.answered_ms = two(&mut self.crowd.answered_ms);
    }
}

fn two(samples: &mut [f64]) -> Option<[f64; 2]> {
    Some([percentile(samples, 0.5)?, percentile(samples, 0.99)?])
}
