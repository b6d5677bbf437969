//! What a soak found: the server's figures over time, and whether it came back to where it was.

use std::fmt;
use std::time::Duration;

use super::Deeds;

/// Growth of memory from the first half of a run to its end that is no leak: allocators keep some.
const GROWTH_MAX: f64 = 1.15;
const GROWTH_KIB: f64 = 4_096.0;
/// The first share of a run fills caches and is not compared.
const QUARTERS: usize = 4;
/// Descriptors that may come and go while we look: connections being closed, the webhook's, ours.
const DESCRIPTORS_SPARE: usize = 4;

/// The server at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) at: Duration,
    pub(crate) rss_kib: u64,
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
    /// By its metrics; `None` where it exports none.
    pub(crate) rooms: Option<f64>,
    pub(crate) participants: Option<f64>,
    pub(crate) published: Option<f64>,
    pub(crate) subscribed: Option<f64>,
}

impl Sample {
    /// Nobody is there. A server without metrics never says so.
    pub(crate) fn is_empty(&self) -> bool {
        self.counts().iter().all(|(_, count)| *count == Some(0.0))
    }

    fn counts(&self) -> [(&'static str, Option<f64>); 4] {
        [
            ("rooms", self.rooms),
            ("participants", self.participants),
            ("published tracks", self.published),
            ("subscribed tracks", self.subscribed),
        ]
    }
}

pub(crate) struct Verdict {
    pub(crate) deeds: Deeds,
    pub(crate) joined: usize,
    pub(crate) forwarded: u64,
    pub(crate) wrong: u64,
    pub(crate) failures: Vec<String>,
    pub(crate) empty: Sample,
    pub(crate) samples: Vec<Sample>,
    pub(crate) left: Sample,
}

impl Verdict {
    /// Everything that is not as it should be.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let mut complaints: Vec<String> = self.failures.iter().take(10).cloned().collect();
        if self.failures.len() > 10 {
            complaints.push(format!("{} failures in all", self.failures.len()));
        }
        for (what, count) in self.left.counts() {
            if count != Some(0.0) {
                complaints.push(format!("{what} at the end: {count:?}"));
            }
        }
        if self.left.descriptors > self.empty.descriptors + DESCRIPTORS_SPARE {
            complaints.push(format!(
                "descriptors: {} at the start, {} at the end",
                self.empty.descriptors, self.left.descriptors
            ));
        }
        // Some threads are made when they are first needed.
        let early = self.samples.get(self.samples.len() / QUARTERS);
        let threads = early.map_or(self.empty.threads, |early| early.threads);
        if self.left.threads > threads {
            complaints.push(format!(
                "threads: {threads} early on, {} at the end",
                self.left.threads
            ));
        }
        if self.joined + self.deeds.kills < self.deeds.joins {
            complaints.push(format!(
                "{} joins, {} answered, {} killed",
                self.deeds.joins, self.joined, self.deeds.kills
            ));
        }
        for (at, (what, _)) in self.left.counts().iter().enumerate() {
            let ever = self.samples.iter().any(|s| s.counts()[at].1 > Some(0.0));
            if !ever {
                complaints.push(format!("its metrics never counted any {what}"));
            }
        }
        if let Some((early, late)) = self.memory_kib()
            && late > early * GROWTH_MAX + GROWTH_KIB
        {
            complaints.push(format!("memory grows: {early:.0} KiB, then {late:.0} KiB"));
        }
        if self.wrong > 0 {
            complaints.push(format!(
                "{} packets had other contents than sent",
                self.wrong
            ));
        }
        if self.forwarded == 0 {
            complaints.push("no media flowed".into());
        }
        complaints
    }

    /// Median memory of the second and of the last quarter.
    fn memory_kib(&self) -> Option<(f64, f64)> {
        let quarter = self.samples.len() / QUARTERS;
        let median = |samples: &[Sample]| {
            let mut sizes: Vec<u64> = samples.iter().map(|sample| sample.rss_kib).collect();
            sizes.sort_unstable();
            sizes.get(sizes.len() / 2).map(|size| *size as f64)
        };
        let early = median(self.samples.get(quarter..2 * quarter)?)?;
        let late = median(self.samples.get(self.samples.len() - quarter..)?)?;
        Some((early, late))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let deeds = &self.deeds;
        writeln!(
            f,
            "{} joins ({} answered), {} leaves, {} kills, {} mutes, {} layers, {} subscriptions",
            deeds.joins,
            self.joined,
            deeds.leaves,
            deeds.kills,
            deeds.mutes,
            deeds.layers,
            deeds.subscriptions
        )?;
        writeln!(f, "{} packets forwarded", self.forwarded)?;
        writeln!(
            f,
            "  min     RSS MiB  descriptors  threads  rooms  people  published  subscribed"
        )?;
        let step = self.samples.len().div_ceil(12).max(1);
        let rows = self.samples.iter().step_by(step);
        for sample in [&self.empty].into_iter().chain(rows).chain([&self.left]) {
            let count =
                |count: Option<f64>| count.map_or_else(|| "-".into(), |c| format!("{c:.0}"));
            writeln!(
                f,
                "{:>5.1}  {:>10.1}  {:>11}  {:>7}  {:>5}  {:>6}  {:>9}  {:>10}",
                sample.at.as_secs_f64() / 60.0,
                sample.rss_kib as f64 / 1_024.0,
                sample.descriptors,
                sample.threads,
                count(sample.rooms),
                count(sample.participants),
                count(sample.published),
                count(sample.subscribed),
            )?;
        }
        if let Some((early, late)) = self.memory_kib() {
            writeln!(
                f,
                "memory, second quarter {early:.0} KiB, last quarter {late:.0} KiB"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(rss_kib: u64) -> Sample {
        Sample {
            rss_kib,
            descriptors: 20,
            threads: 8,
            rooms: Some(0.0),
            participants: Some(0.0),
            published: Some(0.0),
            subscribed: Some(0.0),
            ..Sample::default()
        }
    }

    fn busy(rss_kib: u64) -> Sample {
        Sample {
            rooms: Some(1.0),
            participants: Some(9.0),
            published: Some(3.0),
            subscribed: Some(9.0),
            ..sample(rss_kib)
        }
    }

    fn verdict(sizes: impl Iterator<Item = u64>) -> Verdict {
        Verdict {
            deeds: Deeds::default(),
            joined: 1,
            forwarded: 1,
            wrong: 0,
            failures: Vec::new(),
            empty: sample(40_000),
            samples: sizes.map(busy).collect(),
            left: sample(50_000),
        }
    }

    #[test]
    fn flat_memory_and_nobody_left_is_well() {
        let complaints = verdict((0..100).map(|_| 60_000)).complaints();
        assert!(complaints.is_empty(), "{complaints:?}");
    }

    #[test]
    fn memory_that_grows_is_told() {
        let complaints = verdict((0..100).map(|n| 60_000 + n * 1_000)).complaints();
        assert_eq!(complaints.len(), 1, "{complaints:?}");
    }

    #[test]
    fn a_server_that_counts_nobody_and_answers_nobody_is_told() {
        let mut verdict = verdict((0..100).map(|_| 60_000));
        verdict.samples = vec![sample(60_000); 100];
        verdict.deeds.joins = 9;
        assert_eq!(verdict.complaints().len(), 5);
    }

    #[test]
    fn who_stays_is_told() {
        let mut verdict = verdict((0..100).map(|_| 60_000));
        verdict.left.participants = Some(1.0);
        verdict.left.descriptors = 40;
        verdict.left.threads = 9;
        assert_eq!(verdict.complaints().len(), 3);
        assert!(!verdict.left.is_empty());
    }
}
