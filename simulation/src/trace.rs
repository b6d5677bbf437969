//! What happened, a line each, and a hash over all lines: two runs of a seed are equal if their
//! hashes are. Printing is optional, hashing is not.

use std::collections::VecDeque;
use std::fmt::{self, Display};
use std::io::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::limits::TRACE_TAIL_LINES;

pub(crate) const LEGEND: &str = "\
# time in virtual seconds, then who, then what
#   sim       the simulator: faults, phases, what it found
#   n2        a node (n102: the same machine after its disk was found corrupt)
#   raft      what its raft became (role, term, leader); boot: what it found on its disks
#   #57 t3    an entry applied for the first time anywhere: index, term, command -> answer
#   ack       a client was told; a read names what it saw";

/// FNV-1a.
#[derive(Clone, Copy)]
pub(crate) struct Digest(pub(crate) u64);

impl Digest {
    pub(crate) fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
        self
    }

    pub(crate) fn number(self, number: u64) -> Self {
        self.bytes(&number.to_le_bytes())
    }

    pub(crate) fn debug(mut self, value: &impl fmt::Debug) -> Self {
        // Writing to a digest never fails.
        let _ = fmt::Write::write_fmt(&mut self, format_args!("{value:?}"));
        self
    }
}

impl fmt::Write for Digest {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        *self = self.bytes(text.as_bytes());
        Ok(())
    }
}

struct Inner {
    digest: Digest,
    lines: u64,
    tail: VecDeque<String>,
    printing: bool,
    now: Duration,
}

pub(crate) struct Trace {
    inner: Mutex<Inner>,
}

impl Trace {
    pub(crate) fn new(printing: bool) -> Self {
        Self {
            inner: Mutex::new(Inner {
                digest: Digest::new(),
                lines: 0,
                tail: VecDeque::new(),
                printing,
                now: Duration::ZERO,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Between two steps of the simulation, where no host runs.
    pub(crate) fn set_now(&self, now: Duration) {
        self.lock().now = now;
    }

    /// Virtual time since the beginning.
    pub(crate) fn now(&self) -> Duration {
        turmoil::sim_elapsed().unwrap_or_else(|| self.lock().now)
    }

    pub(crate) fn line(&self, who: impl Display, what: impl Display) {
        let now = self.now().as_secs_f64();
        let line = format!("{now:>10.6} {who:<5} {what}");
        let mut inner = self.lock();
        inner.digest = inner.digest.bytes(line.as_bytes()).bytes(b"\n");
        inner.lines += 1;
        if inner.printing {
            // A closed pipe ends nothing: the hash is still wanted.
            let _ = writeln!(std::io::stdout().lock(), "{line}");
        }
        if inner.tail.len() >= TRACE_TAIL_LINES {
            inner.tail.pop_front();
        }
        inner.tail.push_back(line);
    }

    /// Hash, lines.
    pub(crate) fn finish(&self) -> (u64, u64) {
        let inner = self.lock();
        (inner.digest.0, inner.lines)
    }

    pub(crate) fn tail(&self) -> Vec<String> {
        self.lock().tail.iter().cloned().collect()
    }
}
