//! The checker of leases: every number used under a secret, cluster-wide. None is used twice,
//! whoever was paused, cut off or taken over. Owned by `judge`, told by `carrier`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use crate::limits::SILENT_AFTER_MS;
use crate::scenario::Host;

/// What one process used of a secret, without a gap.
#[derive(Debug)]
struct Run {
    host: Host,
    life: u64,
    used: Range<u64>,
    last: Duration,
}

#[derive(Debug, Default)]
pub(crate) struct Numbers {
    minted: u64,
    secrets: BTreeMap<u64, Vec<Run>>,
    /// How often a transport went on elsewhere.
    pub(crate) taken_over: u64,
}

impl Numbers {
    /// The secret of a new transport.
    pub(crate) fn mint(&mut self) -> u64 {
        self.minted += 1;
        self.minted
    }

    /// `Some`: what is wrong with it.
    pub(crate) fn used(
        &mut self,
        (host, life): (Host, u64),
        secret: u64,
        numbers: Range<u64>,
        now: Duration,
    ) -> Option<String> {
        let runs = self.secrets.entry(secret).or_default();
        let meets = |run: &&Run| numbers.start < run.used.end && run.used.start < numbers.end;
        let wrong = runs.iter().find(meets).map(|other| {
            let (who, other, used) = (host.name(), other.host.name(), &other.used);
            format!("{who} uses {numbers:?} of secret {secret}, and {other} used {used:?}")
        });
        let goes_on =
            |run: &&mut Run| (run.host, run.life) == (host, life) && run.used.end == numbers.start;
        match runs.iter_mut().find(goes_on) {
            Some(run) => (run.used.end, run.last) = (numbers.end, now),
            None => {
                self.taken_over += u64::from(!runs.is_empty());
                runs.push(Run {
                    host,
                    life,
                    used: numbers,
                    last: now,
                });
            }
        }
        wrong
    }

    /// Whether this process went on with the secret last.
    pub(crate) fn is_newest(&self, (host, life): (Host, u64), secret: u64) -> bool {
        let runs = self.secrets.get(&secret);
        let newest = runs.and_then(|runs| runs.last());
        newest.is_some_and(|run| (run.host, run.life) == (host, life))
    }

    /// A secret that two nodes use at the end.
    pub(crate) fn doubled(&self, now: Duration) -> Option<String> {
        let lately = Duration::from_millis(SILENT_AFTER_MS);
        for (secret, runs) in &self.secrets {
            let live: Vec<&Run> = runs.iter().filter(|run| run.last + lately > now).collect();
            if let [one, other, ..] = live[..] {
                let (one, other) = (one.host.name(), other.host.name());
                return Some(format!("{one} and {other} both use secret {secret}"));
            }
        }
        None
    }
}
