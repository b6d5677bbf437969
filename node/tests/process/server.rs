//! Starts `skein` on free ports and reads what it says. A server ends with its value.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub(crate) const KEY: &str = "testkey";
pub(crate) const SECRET: &str = "a-secret-of-more-than-thirty-two-characters";
/// Generous: the machine may be building something else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Somebody else may take a port between our choice and the server's start.
const ATTEMPTS: usize = 5;

/// Runs `skein` to its end, with no variable of the environment that it reads.
pub(crate) fn skein(arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
    Ran(bare()
        .args(arguments)
        .envs(variables.iter().copied())
        .output()
        .unwrap())
}

fn bare() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skein"));
    let read = |name: &str| {
        name.starts_with("LIVEKIT_") || ["NODE_IP", "UDP_PORT", "REDIS_HOST"].contains(&name)
    };
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(read) {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// What a finished command said.
pub(crate) struct Ran(Output);

impl Ran {
    pub(crate) fn code(&self) -> i32 {
        self.0.status.code().unwrap_or(-1)
    }

    pub(crate) fn out(&self) -> String {
        String::from_utf8_lossy(&self.0.stdout).into_owned()
    }

    pub(crate) fn err(&self) -> String {
        String::from_utf8_lossy(&self.0.stderr).into_owned()
    }

    /// Standard output of a command that must have succeeded.
    pub(crate) fn ok(&self) -> String {
        assert_eq!(self.code(), 0, "{}{}", self.out(), self.err());
        self.out()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.ok()).unwrap()
    }

    /// Standard error of a command that must have failed with `code`.
    pub(crate) fn failed(&self, code: i32) -> String {
        assert_eq!(self.code(), code, "{}{}", self.out(), self.err());
        assert_eq!(
            self.out(),
            "",
            "a failure prints nothing for a program to read"
        );
        self.err()
    }
}

type Said = Arc<(Mutex<Vec<String>>, Condvar)>;

/// A server that serves.
pub(crate) struct Server {
    child: Child,
    said: Said,
    pub(crate) folder: TempDir,
    pub(crate) config: String,
    pub(crate) http: u16,
    pub(crate) metrics: u16,
}

impl Server {
    /// `more` is YAML that goes below a minimal configuration; it may extend `rtc:` by lines that
    /// are indented by two.
    pub(crate) fn start(more: &str) -> Server {
        for _ in 0..ATTEMPTS {
            if let Some(server) = Server::attempt(more) {
                return server;
            }
        }
        panic!("no free ports in {ATTEMPTS} attempts");
    }

    fn attempt(more: &str) -> Option<Server> {
        let (held, [http, tcp, metrics]) = tcp_ports();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let media = udp.local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().display();
        let text = format!(
            "port: {http}\nbind_addresses: [127.0.0.1]\nprometheus: {{port: {metrics}}}\n\
             keys: {{{KEY}: {SECRET}}}\nlogging: {{level: info}}\nstorage: {{directory: {state}}}\n\
             rtc:\n  udp_port: {media}\n  tcp_port: {tcp}\n  node_ip: 127.0.0.1\n  \
             enable_loopback_candidate: true\n  interfaces: {{includes: [lo]}}\n{more}\n"
        );
        let config = folder.path().join("skein.yaml");
        std::fs::write(&config, text).unwrap();
        drop((held, udp));
        let (child, said) = spawn(&config);
        let server = Server {
            child,
            said,
            config: config.display().to_string(),
            folder,
            http,
            metrics,
        };
        match server.wait_for(&["serving", "skein: "]) {
            line if line.contains("serving") => Some(server),
            line if line.contains("in use") => None,
            line => panic!("the server did not start: {line}"),
        }
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it anew where it was, and waits until it serves.
    pub(crate) fn start_again(&mut self) {
        (self.child, self.said) = spawn(Path::new(&self.config));
        let line = self.wait_for(&["serving", "skein: "]);
        assert!(line.contains("serving"), "{line}");
    }

    /// The first line of its log that contains one of `texts`; fails when none comes.
    pub(crate) fn wait_for(&self, texts: &[&str]) -> String {
        let until = Instant::now() + PATIENCE;
        let (lines, more) = &*self.said;
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let wanted = |line: &&String| texts.iter().any(|text| line.contains(text));
            if let Some(line) = lines.iter().find(wanted) {
                return line.clone();
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "never said {texts:?}: {lines:#?}");
            lines = more.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// Everything it has said so far.
    pub(crate) fn log(&self) -> Vec<String> {
        let lines = self.said.0.lock();
        lines.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.http)
    }

    /// Runs a command against this server, configured as it is.
    pub(crate) fn ask(&self, arguments: &[&str]) -> Ran {
        let mut all = vec!["--config", &self.config];
        all.extend(arguments);
        skein(&all, &[])
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let lines = self.log();
            let tail = &lines[lines.len().saturating_sub(30)..];
            eprintln!("the server said last:\n{}", tail.join("\n"));
        }
    }
}

fn spawn(config: &Path) -> (Child, Said) {
    let mut child = bare()
        .arg("--config")
        .arg(config)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let said = listen_to(&mut child);
    (child, said)
}

fn tcp_ports<const N: usize>() -> (Vec<TcpListener>, [u16; N]) {
    let held: Vec<_> = (0..N)
        .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    let ports = std::array::from_fn(|at| held[at].local_addr().unwrap().port());
    (held, ports)
}

fn listen_to(child: &mut Child) -> Said {
    let said = Said::default();
    let (reader, heard) = (child.stderr.take().unwrap(), Arc::clone(&said));
    std::thread::spawn(move || {
        for line in BufReader::new(reader).lines().map_while(Result::ok) {
            let mut lines = heard.0.lock().unwrap_or_else(PoisonError::into_inner);
            lines.push(line);
            heard.1.notify_all();
        }
    });
    said
}
