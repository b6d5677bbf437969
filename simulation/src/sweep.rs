//! Many seeds, each in a process of its own: hash maps, tokio and openraft keep state that outlives
//! a simulation within a process.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use crate::Which;

/// A sweep says how far it is after so many seeds.
const PROGRESS_EVERY: usize = 20;

/// One run of this program as another process.
struct Run {
    ring: Which,
    seed: u64,
    mutation: Option<String>,
}

impl Run {
    fn begin(&self) -> io::Result<Child> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--quiet", "--seed", &self.seed.to_string()]);
        command.args(["--ring", self.ring.name()]);
        if let Some(mutation) = &self.mutation {
            command.args(["--mutation", mutation]);
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn()
    }

    fn output(&self) -> io::Result<Output> {
        self.begin()?.wait_with_output()
    }

    /// Both at once: neither sees the other, and there are processors enough for two.
    fn twice(&self) -> io::Result<(Output, Output)> {
        let (first, second) = (self.begin()?, self.begin()?);
        Ok((first.wait_with_output()?, second.wait_with_output()?))
    }

    fn command(&self) -> String {
        let mutation = self.mutation.as_ref();
        let mutation = mutation.map_or_else(String::new, |name| format!(" --mutation {name}"));
        let ring = match self.ring {
            Which::Voters => "",
            Which::Nodes => " --ring nodes",
        };
        format!("skein-sim{ring} --seed {}{mutation}", self.seed)
    }
}

/// The last line of a run is its verdict.
fn verdict(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().last().unwrap_or_default().to_string()
}

/// Runs `count` seeds from `from` on; returns how many failed.
pub(crate) fn sweep(ring: Which, from: u64, count: u64, mutation: Option<&str>) -> io::Result<u64> {
    let mut failed = 0;
    let mut out = io::stdout().lock();
    let begun = Instant::now();
    for (done, seed) in (from..from.saturating_add(count)).enumerate() {
        if done > 0 && done % PROGRESS_EVERY == 0 {
            let so_far = begun.elapsed().as_secs();
            writeln!(
                out,
                "{done} of {count} seeds in {so_far} s, {failed} failed"
            )?;
            out.flush()?;
        }
        let run = Run {
            ring,
            seed,
            mutation: mutation.map(str::to_string),
        };
        let output = run.output()?;
        if !output.status.success() {
            failed += 1;
            writeln!(out, "{}\n  replay: {}", verdict(&output), run.command())?;
            out.flush()?;
        }
    }
    writeln!(out, "{count} seeds from {from}: {failed} failed")?;
    Ok(failed)
}

/// `12` is a seed of the voters, `nodes:12` one of whole nodes.
fn parse(word: &str) -> Option<(Which, u64)> {
    match word.strip_prefix("nodes:") {
        Some(seed) => Some((Which::Nodes, seed.parse().ok()?)),
        None => Some((Which::Voters, word.parse().ok()?)),
    }
}

/// Runs the committed seeds twice each: no finding, and the same trace both times. Returns how many
/// were not so.
pub(crate) fn check(file: &Path) -> io::Result<u64> {
    let text = std::fs::read_to_string(file)?;
    let mut failed = 0;
    let mut out = io::stdout().lock();
    let lines = text
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    for line in lines {
        let mut words = line.split_whitespace();
        let (ring, seed) = parse(words.next().unwrap_or_default())
            .ok_or_else(|| io::Error::other(format!("no seed in: {line}")))?;
        let name = words.next().unwrap_or("unnamed");
        let run = Run {
            ring,
            seed,
            mutation: None,
        };
        let (first, second) = run.twice()?;
        let (told, again) = (verdict(&first), verdict(&second));
        let right = first.status.success() && second.status.success() && told == again;
        failed += u64::from(!right);
        writeln!(out, "{name}: {told}")?;
        if !right {
            writeln!(out, "  again: {again}\n  replay: {}", run.command())?;
        }
        out.flush()?;
    }
    Ok(failed)
}
