//! The simulator: rings of Skein's voters, or of whole nodes, in one thread and in virtual time,
//! with every trouble from one seed, and checkers that watch all the time. `README.md` says how it
//! is made to repeat.

mod air;
mod client;
mod cuts;
mod entropy;
mod faults;
mod host;
mod limits;
mod machine;
mod nodes;
mod oracle;
mod panics;
mod ring;
mod scenario;
mod steward;
mod sweep;
mod trace;
mod troubles;
mod world;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use consensus::testing::{Mutation, mutate};
use tracing_subscriber::fmt::format::Writer;

use faults::Fault;

/// What a seed is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Which {
    Voters,
    Nodes,
}

impl Which {
    /// As it is called on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Voters => "voters",
            Self::Nodes => "nodes",
        }
    }

    fn seed_of(self) -> &'static str {
        match self {
            Self::Voters => "seed",
            Self::Nodes => "nodes",
        }
    }
}

/// The time of what nodes log: that of the trace.
struct Virtual;

impl tracing_subscriber::fmt::time::FormatTime for Virtual {
    fn format_time(&self, out: &mut Writer<'_>) -> std::fmt::Result {
        let now = turmoil::sim_elapsed().unwrap_or_default();
        write!(out, "{:10.6}", now.as_secs_f64())
    }
}

/// Simulates a cluster from a seed, again and again the same.
#[derive(Parser, Debug)]
#[command(name = "skein-sim")]
struct Arguments {
    /// Runs this seed and prints what happens, a line per event.
    #[arg(long)]
    seed: Option<u64>,
    /// What is simulated: the log alone, or whole nodes with people.
    #[arg(long, value_enum, default_value_t = Which::Voters)]
    ring: Which,
    /// Prints the verdict only (and, where something is wrong, what came before it).
    #[arg(long)]
    quiet: bool,
    /// Switches a deliberate mistake on; --list names them.
    #[arg(long, value_name = "NAME")]
    mutation: Option<String>,
    /// Runs so many seeds, one process each, and prints those that fail.
    #[arg(long, value_name = "COUNT", conflicts_with = "seed")]
    sweep: Option<u64>,
    /// The first seed of a sweep.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Runs the seeds of this file twice and compares.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seed", "sweep"])]
    check: Option<PathBuf>,
    /// What nodes log, on standard error, as in RUST_LOG (skein_node=debug); the trace is the same.
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// Lists the faults and the mistakes.
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "skein-sim: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything was right.
fn run(arguments: &Arguments) -> io::Result<bool> {
    if arguments.list {
        return list();
    }
    if let Some(file) = &arguments.check {
        return Ok(sweep::check(file)? == 0);
    }
    if let Some(count) = arguments.sweep {
        let mutation = arguments.mutation.as_deref();
        return Ok(sweep::sweep(arguments.ring, arguments.from, count, mutation)? == 0);
    }
    let wanted = arguments.mutation.as_deref();
    let mut mistakes = nodes::Mistake::ALL.into_iter();
    let mistake = mistakes.find(|mistake| Some(mistake.name()) == wanted);
    if let Some(name) = wanted.filter(|_| mistake.is_none()) {
        let named = Mutation::ALL
            .iter()
            .find(|mutation| mutation.name() == name);
        let named = named.ok_or_else(|| io::Error::other(format!("no mistake {name}")))?;
        mutate(*named);
    }
    let seed = arguments.seed.unwrap_or(arguments.from);
    if let Some(filter) = &arguments.log {
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(io::stderr)
            .with_timer(Virtual)
            .with_ansi(false)
            .init();
    }
    panics::collect();
    let verdict = apart(|| match arguments.ring {
        Which::Voters => world::run(seed, !arguments.quiet),
        Which::Nodes => nodes::run(seed, !arguments.quiet, mistake),
    })?;
    let mut out = io::stdout().lock();
    if arguments.quiet && !verdict.wrong.is_empty() {
        for line in &verdict.tail {
            writeln!(out, "{line}")?;
        }
    }
    let found = match verdict.wrong.first() {
        None => "nothing wrong".to_string(),
        Some(what) => format!("WRONG: {what}"),
    };
    writeln!(
        out,
        "{} {seed}: {found}; {}, {} lines; trace {:016x}",
        arguments.ring.seed_of(),
        verdict.figures,
        verdict.lines,
        verdict.hash
    )?;
    Ok(verdict.wrong.is_empty())
}

/// In a thread of its own: the order in hash maps follows from how many a thread made before, and
/// a log makes some.
fn apart<R: Send>(run: impl FnOnce() -> R + Send) -> io::Result<R> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, run)?;
        let ended = thread.join();
        ended.map_err(|_| io::Error::other("the simulation panicked"))
    })
}

fn list() -> io::Result<bool> {
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "faults (a seed chooses which of them its run may have):"
    )?;
    for fault in Fault::ALL {
        writeln!(out, "  {:<20} {}", fault.name(), fault.tells())?;
    }
    writeln!(out, "faults of the node ring (--ring nodes):")?;
    for fault in nodes::Fault::ALL {
        writeln!(out, "  {:<20} {}", fault.name(), fault.tells())?;
    }
    writeln!(out, "mistakes (--mutation):")?;
    for mutation in Mutation::ALL {
        writeln!(out, "  {}", mutation.name())?;
    }
    for mistake in nodes::Mistake::ALL {
        writeln!(out, "  {} (node ring)", mistake.name())?;
    }
    Ok(true)
}
