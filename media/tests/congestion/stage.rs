//! Runs a plan: cameras, one viewer behind a link, a minute of virtual time. Collects what a person
//! would notice and what an engineer would plot; `SKEIN_CONGESTION_CSV=DIR` writes the latter.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::rc::Rc;
use std::time::{Duration, Instant};

use skein_media::TransportKey;
use skein_media::command::Command;
use skein_media::event::Event;
use skein_media::ids::TrackKey;
use skein_media::types::{BandwidthPolicy, Extensions, MediaKind, SendSection};

use crate::camera::{Camera, KBPS};
use crate::link::{Carrier, Link, LinkPlan, Passed};
use crate::viewer::Viewer;
use crate::world::{ABS_SEND_TIME, TRANSPORT_CC, World, send_section};

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) name: &'static str,
    pub(crate) seed: u64,
    pub(crate) link: LinkPlan,
    pub(crate) cameras: usize,
    pub(crate) kbps: [u64; 3],
    pub(crate) seconds: u64,
    pub(crate) policy: BandwidthPolicy,
}

impl Default for Plan {
    fn default() -> Self {
        Plan {
            name: "",
            seed: 1,
            link: LinkPlan::default(),
            cameras: 1,
            kbps: KBPS,
            seconds: 60,
            policy: BandwidthPolicy::default(),
        }
    }
}

/// A tenth of a second.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Row {
    pub(crate) link_bps: u64,
    pub(crate) estimate_bps: u64,
    pub(crate) sent_bps: u64,
    pub(crate) queue_ms: f64,
    pub(crate) lost: f64,
}

pub(crate) struct Run {
    pub(crate) plan: Plan,
    pub(crate) rows: Vec<Row>,
    /// Per stream: when frames could be shown, seconds, and their layers.
    pub(crate) shown: Vec<Vec<(f64, u8)>>,
    /// Queueing delay of every packet, with the time it was sent, seconds and milliseconds.
    pub(crate) queued: Vec<(f64, f64)>,
    pub(crate) paused: Vec<(f64, bool)>,
    pub(crate) tcp_bytes: u64,
    pub(crate) padding: usize,
    pub(crate) plis: usize,
}

const STEP: Duration = Duration::from_millis(5);
const FIRST_SSRC: u32 = 7_000;

fn section(index: usize) -> SendSection {
    SendSection {
        extensions: Extensions {
            transport_cc: Some(TRANSPORT_CC),
            abs_send_time: Some(ABS_SEND_TIME),
            ..Extensions::default()
        },
        mid: format!("{index}"),
        ..send_section(MediaKind::Video, FIRST_SSRC + 10 * index as u32)
    }
}

pub(crate) fn run(plan: Plan) -> Run {
    let mut world = World::new(plan.seed);
    let tracks: Vec<TrackKey> = (0..plan.cameras).map(|i| TrackKey(1 + i as u64)).collect();
    let mut cameras: Vec<Camera> = tracks
        .iter()
        .map(|track| Camera::new(&mut world, *track, plan.kbps, plan.seed))
        .collect();
    let client = world.connect();
    let transport = world.clients[client].key;
    let began = world.now;
    let link = Rc::new(RefCell::new(Link::new(began, plan.link.clone(), plan.seed)));
    world.clients[client].wire = Some(Box::new(Carrier(Rc::clone(&link))));
    world.command(Command::SetBandwidthPolicy {
        transport,
        policy: plan.policy,
    });
    let ssrcs: Vec<u32> = (0..plan.cameras)
        .map(|i| FIRST_SSRC + 10 * i as u32)
        .collect();
    let rtt = Duration::from_millis(plan.link.delay_ms + world.delay_ms);
    let mut viewer = Viewer::new(&world, client, &ssrcs, rtt);
    // Cameras run before anybody watches.
    for _ in 0..40 {
        cameras.iter_mut().for_each(|camera| camera.run(&mut world));
        world.run(STEP);
    }
    let began = world.now - began;
    let began = world.now - began; // the link's clock starts a little earlier
    for (index, track) in tracks.iter().enumerate() {
        world.subscribe(client, *track, section(index));
    }
    let steps = plan.seconds * 1_000 / STEP.as_millis() as u64;
    let (mut rows, mut paused, mut logged) = (Vec::new(), Vec::new(), 0);
    for step in 0..steps {
        cameras.iter_mut().for_each(|camera| camera.run(&mut world));
        viewer.run(&mut world);
        world.run(STEP);
        for event in world.events.drain(..) {
            if let Event::StreamPaused { paused: is, .. } = event {
                paused.push(((world.now - began).as_secs_f64(), is));
            }
        }
        if step % 20 == 19 {
            let link = link.borrow();
            let new = &link.log[logged..];
            logged = link.log.len();
            rows.push(row(&world, transport, &link, new));
        }
    }
    finish(plan, rows, paused, &viewer, &link.borrow(), began)
}

fn row(world: &World, transport: TransportKey, link: &Link, new: &[Passed]) -> Row {
    let bytes: usize = new.iter().map(|p| p.bytes).sum();
    let queue = new
        .iter()
        .map(|p| p.queued.as_secs_f64() * 1_000.0)
        .fold(0.0, f64::max);
    let path = world.shard.path(transport);
    Row {
        link_bps: link.bps(world.now),
        estimate_bps: path.map_or(0, |path| path.estimate_bps),
        sent_bps: bytes as u64 * 80,
        queue_ms: queue,
        lost: new.iter().filter(|p| p.lost).count() as f64 / new.len().max(1) as f64,
    }
}

fn finish(
    plan: Plan,
    rows: Vec<Row>,
    paused: Vec<(f64, bool)>,
    viewer: &Viewer,
    link: &Link,
    began: Instant,
) -> Run {
    let at = |instant: Instant| instant.saturating_duration_since(began).as_secs_f64();
    let streams = viewer.streams.iter();
    let run = Run {
        plan,
        rows,
        shown: streams
            .map(|s| {
                s.shown
                    .iter()
                    .map(|(when, layer)| (at(*when), *layer))
                    .collect()
            })
            .collect(),
        queued: link
            .log
            .iter()
            .filter(|p| !p.lost)
            .map(|p| (at(p.at), p.queued.as_secs_f64() * 1_000.0))
            .collect(),
        paused,
        tcp_bytes: link.tcp_bytes,
        padding: viewer.padding,
        plis: viewer.streams.iter().map(|s| s.plis).sum(),
    };
    run.write_csv();
    println!("{}", run.summary());
    run
}

impl Run {
    pub(crate) fn end(&self) -> f64 {
        self.plan.seconds as f64
    }

    /// Mean over a span of seconds.
    pub(crate) fn mean(&self, from: f64, to: f64, of: impl Fn(&Row) -> f64) -> f64 {
        let rows = &self.rows[(from * 10.0) as usize..((to * 10.0) as usize).min(self.rows.len())];
        rows.iter().map(of).sum::<f64>() / rows.len() as f64
    }

    /// Estimate as a share of the link.
    pub(crate) fn estimated(&self, from: f64, to: f64) -> f64 {
        self.mean(from, to, |row| {
            row.estimate_bps.min(row.link_bps) as f64 / row.link_bps as f64
        })
    }

    /// Sent rate as a share of the link.
    pub(crate) fn used(&self, from: f64, to: f64) -> f64 {
        self.mean(from, to, |row| row.sent_bps as f64 / row.link_bps as f64)
    }

    /// First second from `from` at which the mean over the second after reaches `share` of `what`.
    pub(crate) fn reaches(&self, from: f64, share: f64, what: impl Fn(&Row) -> f64) -> f64 {
        let rows = &self.rows[(from * 10.0) as usize..];
        let found = rows
            .windows(5)
            .position(|rows| rows.iter().map(&what).sum::<f64>() / 5.0 >= share);
        found.map_or(f64::INFINITY, |tenths| tenths as f64 / 10.0)
    }

    pub(crate) fn queue_p95_ms(&self, from: f64, to: f64) -> f64 {
        let mut queued: Vec<f64> = self
            .queued
            .iter()
            .filter(|(at, _)| (from..to).contains(at))
            .map(|(_, ms)| *ms)
            .collect();
        queued.sort_by(f64::total_cmp);
        queued.get(queued.len() * 95 / 100).copied().unwrap_or(0.0)
    }

    /// Longest time a stream showed nothing new, seconds, of all streams.
    pub(crate) fn freeze(&self, from: f64, to: f64) -> f64 {
        let longest = |shown: &Vec<(f64, u8)>| {
            let inside = shown
                .iter()
                .map(|(at, _)| *at)
                .filter(|at| (from..to).contains(at));
            let times: Vec<f64> = std::iter::once(from).chain(inside).chain([to]).collect();
            times
                .windows(2)
                .map(|pair| pair[1] - pair[0])
                .fold(0.0, f64::max)
        };
        self.shown.iter().map(longest).fold(0.0, f64::max)
    }

    /// Share of time a stream spent on each layer.
    pub(crate) fn layer_shares(&self, stream: usize, from: f64, to: f64) -> [f64; 3] {
        let mut shares = [0.0; 3];
        for pair in self.shown[stream].windows(2) {
            let ((at, layer), (next, _)) = (pair[0], pair[1]);
            if (from..to).contains(&at) {
                shares[usize::from(layer)] += next.min(to) - at;
            }
        }
        shares.map(|time| time / (to - from))
    }

    /// How often a stream changed its layer.
    pub(crate) fn switches(&self, stream: usize) -> usize {
        let shown = &self.shown[stream];
        shown
            .windows(2)
            .filter(|pair| pair[0].1 != pair[1].1)
            .count()
    }

    fn summary(&self) -> String {
        let settled = (self.end() / 2.0).min(10.0);
        let first = self
            .shown
            .iter()
            .filter_map(|s| s.first())
            .map(|(at, _)| *at);
        format!(
            "{:<16} seed {} est {:.2} used {:.2} q95 {:>4.0} ms freeze {:.2} s first {:.2} s \
             switches {} plis {} padding {} tcp {:.2} Mbit/s",
            self.plan.name,
            self.plan.seed,
            self.estimated(settled, self.end()),
            self.used(settled, self.end()),
            self.queue_p95_ms(0.0, self.end()),
            self.freeze(1.0, self.end()),
            first.fold(0.0, f64::max),
            (0..self.shown.len())
                .map(|s| self.switches(s))
                .sum::<usize>(),
            self.plis,
            self.padding,
            self.tcp_bytes as f64 * 8.0 / 1e6 / self.end(),
        )
    }

    fn write_csv(&self) {
        let Ok(folder) = std::env::var("SKEIN_CONGESTION_CSV") else {
            return;
        };
        let mut text = String::from("second,link,estimate,sent,queue_ms,lost,layers\n");
        for (index, row) in self.rows.iter().enumerate() {
            let second = (index + 1) as f64 / 10.0;
            let layer = |shown: &Vec<(f64, u8)>| {
                let last = shown.iter().rev().find(|(at, _)| *at <= second);
                match last {
                    Some((at, layer)) if second - at < 0.5 => char::from(b'0' + layer),
                    _ => '-',
                }
            };
            let layers: String = self.shown.iter().map(layer).collect();
            let _ = writeln!(
                text,
                "{second:.1},{},{},{},{:.1},{:.3},{layers}",
                row.link_bps, row.estimate_bps, row.sent_bps, row.queue_ms, row.lost
            );
        }
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(format!("{folder}/{}.csv", self.plan.name), text).unwrap();
    }
}
