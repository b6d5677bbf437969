//! The load program: many real clients (signalling, ICE, DTLS, RTP, RTCP) in one process against a
//! LiveKit-compatible server, and what that costs the server. It shares nothing with the server but
//! the network; of `media` it uses the transport as any client would.
#![allow(clippy::print_stdout)]

mod beside;
mod clock;
mod echo;
mod inbound;
mod media_loop;
mod outbound;
mod payload;
mod peer;
mod plot;
mod report;
mod run;
mod scenario;
mod sdp;
mod server;
mod signal;
mod soak;
mod statistics;
mod tally;

use std::error::Error;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use report::Machine;
use run::Setup;
use server::Source;

/// Measures a LiveKit-compatible server with many real clients.
#[derive(Parser, Debug)]
#[command(name = "skein-load")]
struct Arguments {
    /// A server program; started with --config FILE for every scenario, on --server-core.
    #[arg(long, required_unless_present = "url")]
    server: Option<PathBuf>,
    /// A server that runs already (ws://, http://); needs --pid, --key and --secret.
    #[arg(long, requires_all = ["pid", "key", "secret"])]
    url: Option<String>,
    /// Process id of the running server: its CPU time and memory are read from /proc.
    #[arg(long)]
    pid: Option<u32>,
    #[arg(long)]
    key: Option<String>,
    #[arg(long)]
    secret: Option<String>,
    /// Core of the server, and of the echo its latency is compared with.
    #[arg(long, default_value_t = 0)]
    server_core: usize,
    /// Core of all clients.
    #[arg(long, default_value_t = 1)]
    client_core: usize,
    /// Address the clients' sockets are bound to.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    bind: IpAddr,
    /// Start the server at real-time priority, so that other work does not delay it (needs root).
    #[arg(long)]
    realtime: bool,
    /// Scenarios to run, all when none is named: a b c d e f a-burst b-burst rooms livestream
    /// audio300 switch loss1 loss5 idle500 ramp.
    #[arg(value_name = "SCENARIO")]
    scenarios: Vec<String>,
    /// Twice the time and the numbers of participants the references name.
    #[arg(long)]
    full: bool,
    /// Seconds measured of every scenario.
    #[arg(long)]
    seconds: Option<f64>,
    /// Instead of scenarios: so many seconds of people coming and going, which must leave nothing.
    #[arg(long, value_name = "SECONDS", conflicts_with = "scenarios")]
    soak: Option<f64>,
    /// What happens in a soak follows from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Instead of scenarios: rooms of eight talk while this command runs (of a shell); then what
    /// people noticed is printed.
    #[arg(long, value_name = "COMMAND", conflicts_with_all = ["scenarios", "soak"])]
    during: Option<String>,
    /// Rooms of --during.
    #[arg(long, default_value_t = 50)]
    rooms: usize,
    /// The machine's floor in us per packet, to print beside.
    #[arg(long)]
    floor_us: Option<f64>,
    /// Date to print and write; the caller knows it.
    #[arg(long, default_value = "")]
    date: String,
    /// Figures to compare with: what --json wrote of another server, best on this machine in this
    /// hour. Without it, LiveKit's as recorded on another machine.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["soak", "during"])]
    beside: Option<PathBuf>,
    /// Write the figures of every scenario here.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw the figures here.
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

impl Arguments {
    fn source(&self) -> Option<Source> {
        if let Some(path) = &self.server {
            return Some(Source::Program {
                path: path.canonicalize().unwrap_or_else(|_| path.clone()),
                core: self.server_core,
                realtime: self.realtime,
            });
        }
        Some(Source::Running {
            url: self.url.clone()?,
            pid: self.pid?,
            key: self.key.clone()?,
            secret: self.secret.clone()?,
        })
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let source = arguments.source().ok_or("no server named")?;
    let scale = if arguments.full { 2 } else { 1 };
    let default_window = Duration::from_secs(10 * scale);
    let setup = Setup {
        source,
        bind: arguments.bind,
        window: arguments
            .seconds
            .map_or(default_window, Duration::from_secs_f64),
        warm_up: Duration::from_secs(scale),
        idle: Duration::from_secs(3 * scale),
    };
    // Threads started later inherit the core.
    echo::pin(arguments.client_core);
    if let Some(seconds) = arguments.soak {
        return soak(&setup, Duration::from_secs_f64(seconds), arguments.seed);
    }
    if let Some(command) = &arguments.during {
        return during(&arguments, &setup, command);
    }
    let machine = Machine {
        name: server::machine(),
        date: arguments.date.clone(),
        load_average: server::load_average(),
        echo_ms: echo::spread(arguments.server_core)?,
        floor_us: arguments.floor_us,
    };
    let mut scenarios = scenario::all(arguments.full);
    let named = &arguments.scenarios;
    if let Some(unknown) = named.iter().find(|n| scenarios.iter().all(|s| s.id != **n)) {
        return Err(format!("no scenario {unknown}").into());
    }
    let beside = beside::place(&mut scenarios, arguments.beside.as_deref())?;
    println!("{}", report::heading(&machine, &beside));
    scenarios.retain(|s| named.is_empty() || named.iter().any(|n| n == s.id));
    let mut outcomes = Vec::new();
    for scenario in &scenarios {
        let outcome = run::run(scenario, &setup)?;
        println!("{}", report::line(scenario, &outcome, &machine));
        std::io::stdout().flush()?;
        outcomes.push(outcome);
        let figures = report::json(&outcomes, &machine);
        if let Some(path) = &arguments.json {
            std::fs::write(path, serde_json::to_string_pretty(&figures)?)?;
        }
        if let Some(path) = &arguments.plot {
            std::fs::write(path, plot::svg(&scenarios, &outcomes, &machine, &beside))?;
        }
    }
    let failed = outcomes.iter().any(|o| !o.failures.is_empty());
    if failed {
        return Err("participants failed".into());
    }
    Ok(())
}

fn during(arguments: &Arguments, setup: &Setup, command: &str) -> Result<(), Box<dyn Error>> {
    let noticed = run::during(setup, arguments.rooms, command)?;
    print!("{noticed}");
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_string_pretty(&noticed.json())?)?;
    }
    let complaints = noticed.complaints();
    if complaints.is_empty() {
        return Ok(());
    }
    Err(complaints.join("\n").into())
}

fn soak(setup: &Setup, length: Duration, seed: u64) -> Result<(), Box<dyn Error>> {
    println!("soak of {} s, seed {seed}", length.as_secs());
    let verdict = soak::run(setup, length, seed)?;
    println!("{verdict}");
    let complaints = verdict.complaints();
    if complaints.is_empty() {
        return Ok(());
    }
    Err(complaints.join("\n").into())
}
