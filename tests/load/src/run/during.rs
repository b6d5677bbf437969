//! People in many rooms talk while somebody does something to the servers (a command: a drain, a
//! kill): what they noticed of it. A part of `run`, which fills the rooms.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::process::Command;
use std::time::{Duration, Instant};

use media::types::MediaKind;
use serde_json::{Value, json};

use super::{Setup, Stage, on_stage};
use crate::media_loop::Order;
use crate::peer::Manners;
use crate::scenario;
use crate::statistics::percentile;

/// What comes after the command belongs to it, too.
const AFTERMATH: Duration = Duration::from_secs(3);

/// What people noticed while a command ran.
#[derive(Debug, Default)]
pub(crate) struct Noticed {
    rooms: usize,
    participants: usize,
    command_seconds: f64,
    command_failed: bool,
    /// Of every stream somebody receives its longest silence, ms.
    audio_gaps_ms: Vec<f64>,
    video_gaps_ms: Vec<f64>,
    /// Streams that never came.
    missing: usize,
    /// Packets that could not be read, or were other ones than sent.
    wrong: u64,
    /// Who was told what that an app sees, how often.
    told: BTreeMap<String, usize>,
    failures: Vec<String>,
}

/// Fills `rooms` rooms of eight, of whom one talks into a camera, and runs `command`.
pub(crate) fn during(setup: &Setup, rooms: usize, command: &str) -> io::Result<Noticed> {
    let scenario = scenario::meetings(rooms);
    let manners = Manners {
        check_every: 1,
        loss: 0.0,
        nack: true,
        remb_bps: 50_000_000,
    };
    on_stage(&scenario, setup, manners, |stage| stage.during(command))
}

impl Stage<'_> {
    fn during(&mut self, command: &str) -> Noticed {
        self.join(true);
        self.join(false);
        self.publish();
        let missing = self.await_flows();
        self.crowd.listen(self.setup.warm_up);
        let told_before = self.crowd.told.len();
        let before = self.media.mark();
        self.media.order(Order::Watch);
        let start = Instant::now();
        let status = Command::new("sh").args(["-c", command]).status();
        let took = start.elapsed();
        std::thread::sleep(AFTERMATH);
        self.crowd.listen(Duration::ZERO);
        let mut noticed = Noticed {
            rooms: self.scenario.rooms,
            participants: self.scenario.participants(),
            command_seconds: took.as_secs_f64(),
            command_failed: !status.is_ok_and(|status| status.success()),
            missing,
            wrong: self.media.mark().since(&before).wrong,
            failures: std::mem::take(&mut self.crowd.failures),
            ..Noticed::default()
        };
        for (kind, gap) in self.media.gaps() {
            let gaps = match kind {
                MediaKind::Audio => &mut noticed.audio_gaps_ms,
                MediaKind::Video => &mut noticed.video_gaps_ms,
            };
            gaps.push(gap.as_secs_f64() * 1e3);
        }
        for told in self.crowd.told.drain(..).skip(told_before) {
            *noticed.told.entry(told).or_default() += 1;
        }
        noticed
    }
}

fn spread(gaps: &[f64]) -> Option<[f64; 3]> {
    let mut gaps = gaps.to_vec();
    Some([
        percentile(&mut gaps, 0.5)?,
        percentile(&mut gaps, 0.99)?,
        percentile(&mut gaps, 1.0)?,
    ])
}

impl Noticed {
    /// Everything that somebody noticed but for gaps.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let mut complaints: Vec<String> = self.failures.iter().take(5).cloned().collect();
        if self.failures.len() > 5 {
            complaints.push(format!("{} participants failed", self.failures.len()));
        }
        let told = self.told.iter();
        complaints.extend(told.map(|(what, count)| format!("told {count} times: {what}")));
        if self.missing > 0 {
            complaints.push(format!("{} did not get all streams", self.missing));
        }
        if self.wrong > 0 {
            complaints.push(format!("{} packets were not what was sent", self.wrong));
        }
        if self.command_failed {
            complaints.push("the command failed".into());
        }
        complaints
    }

    pub(crate) fn json(&self) -> Value {
        let gap = |gaps: &[f64]| {
            spread(gaps).map(|[p50, p99, worst]| {
                json!({"p50": p50.round(), "p99": p99.round(), "worst": worst.round()})
            })
        };
        json!({
            "rooms": self.rooms,
            "participants": self.participants,
            "command_seconds": self.command_seconds,
            "audio_gap_ms": gap(&self.audio_gaps_ms),
            "video_gap_ms": gap(&self.video_gaps_ms),
            "streams": self.audio_gaps_ms.len() + self.video_gaps_ms.len(),
            "wrong_packets": self.wrong,
            "told": self.told,
            "failures": self.failures,
        })
    }
}

impl fmt::Display for Noticed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} rooms, {} people, {:.1} s",
            self.rooms, self.participants, self.command_seconds
        )?;
        for (kind, gaps) in [
            ("audio", &self.audio_gaps_ms),
            ("video", &self.video_gaps_ms),
        ] {
            if let Some([p50, p99, worst]) = spread(gaps) {
                let streams = gaps.len();
                writeln!(
                    f,
                    "longest gap of {streams} {kind} streams: \
                     {p50:.0} / {p99:.0} / {worst:.0} ms (p50 / p99 / worst)"
                )?;
            }
        }
        Ok(())
    }
}
