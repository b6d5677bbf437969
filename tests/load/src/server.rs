//! The server under load: started here on free loopback ports and a core of its own, or somebody
//! else's by URL and process id. Reads what it costs from /proc; knows nothing of its insides.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use protocol::grants::{Claims, VideoGrant};
use protocol::token::{Keys, sign};
use tempfile::TempDir;

use crate::soak::Sample;

pub(crate) const KEY: &str = "load";
pub(crate) const SECRET: &str = "a-secret-of-more-than-thirty-two-characters";
const START_PATIENCE: Duration = Duration::from_secs(20);

/// How to get a server.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// A program that takes `--config FILE`, on this core, at real-time priority if asked.
    Program {
        path: PathBuf,
        core: usize,
        realtime: bool,
    },
    Running {
        url: String,
        pid: u32,
        key: String,
        secret: String,
    },
}

pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) pid: u32,
    pub(crate) key: String,
    pub(crate) secret: String,
    /// Port of its metrics; only of a server started here.
    metrics_port: Option<u16>,
    child: Option<Child>,
    _folder: Option<TempDir>,
}

impl Server {
    pub(crate) fn start(source: &Source, rtc: &str) -> io::Result<Server> {
        match source {
            Source::Running {
                url,
                pid,
                key,
                secret,
            } => Ok(Server {
                url: url.replacen("http", "ws", 1),
                pid: *pid,
                key: key.clone(),
                secret: secret.clone(),
                metrics_port: None,
                child: None,
                _folder: None,
            }),
            Source::Program {
                path,
                core,
                realtime,
            } => spawn(path, *core, *realtime, rtc),
        }
    }

    /// CPU time of all its threads so far (their schedstat, nanoseconds: not tick-accounted).
    pub(crate) fn cpu(&self) -> Duration {
        process_cpu(&self.pid.to_string())
    }

    pub(crate) fn rss_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        number.and_then(|n| n.parse().ok()).unwrap_or_default()
    }
}

impl Server {
    /// Where a participant of `room` joins, with its token.
    pub(crate) fn join_url(
        &self,
        room: &str,
        number: u32,
        publishes: bool,
        subscribes: bool,
    ) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_secs().cast_signed();
        let claims = Claims {
            issuer: self.key.clone(),
            identity: format!("load-{number}"),
            nbf: now - 10,
            exp: now + 3_600,
            video: Some(VideoGrant {
                room_join: true,
                room: room.to_owned(),
                can_publish: Some(publishes),
                can_subscribe: Some(true),
                ..VideoGrant::default()
            }),
            ..Claims::default()
        };
        let keys = Keys::new([(self.key.clone(), self.secret.clone())]);
        // Keys contain the issuer, so signing cannot fail; an empty token fails the join.
        let token = sign(&keys, &claims).unwrap_or_default();
        format!(
            "{}/rtc?access_token={token}&auto_subscribe={}&protocol=16&sdk=rust&version=1.0.0&os=linux",
            self.url.trim_end_matches('/'),
            u8::from(subscribes)
        )
    }

    /// What it holds at this moment.
    pub(crate) fn sample(&self, at: Duration) -> Sample {
        let count = |folder: &str| {
            fs::read_dir(format!("/proc/{}/{folder}", self.pid)).map_or(0, Iterator::count)
        };
        let metrics = self.metrics().unwrap_or_default();
        let sum = |name: &str| {
            let values = metrics.lines().filter_map(|line| {
                let rest = line.strip_prefix(name)?;
                rest.starts_with(['{', ' ']).then_some(())?;
                rest.rsplit(' ').next()?.parse::<f64>().ok()
            });
            values.reduce(|sum, value| sum + value)
        };
        Sample {
            at,
            rss_kib: self.rss_kib(),
            descriptors: count("fd"),
            threads: count("task"),
            rooms: sum("livekit_room_total"),
            participants: sum("livekit_participant_total"),
            published: sum("livekit_track_published_total"),
            subscribed: sum("livekit_track_subscribed_total"),
        }
    }

    fn metrics(&self) -> io::Result<String> {
        let port = self.metrics_port.ok_or(io::ErrorKind::Unsupported)?;
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(child) = &mut self.child else {
            return;
        };
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// `rtc` ends the configuration: more keys of that section.
fn spawn(path: &Path, core: usize, realtime: bool, rtc: &str) -> io::Result<Server> {
    let folder = tempfile::tempdir()?;
    let held = [(); 3].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
    let [http, tcp, metrics] = held;
    let (http, tcp, metrics) = (http?, tcp?, metrics?);
    let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = http.local_addr()?.port();
    let metrics_port = metrics.local_addr()?.port();
    let config = format!(
        "port: {port}\nprometheus_port: {metrics_port}\nbind_addresses: [127.0.0.1]\nkeys: {{{KEY}: {SECRET}}}\n\
         logging: {{level: warn}}\nrtc:\n  udp_port: {}\n  tcp_port: {}\n  \
         node_ip: 127.0.0.1\n  use_external_ip: false\n  enable_loopback_candidate: true\n  \
         interfaces: {{includes: [lo]}}\n{rtc}",
        udp.local_addr()?.port(),
        tcp.local_addr()?.port(),
    );
    let file = folder.path().join("server.yaml");
    fs::write(&file, config)?;
    drop((http, tcp, metrics, udp));
    let mut words: Vec<String> = vec!["taskset".into(), "-c".into(), core.to_string()];
    if realtime {
        words.extend(["chrt", "-r", "1"].map(String::from));
    }
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).arg(path);
    command.arg("--config").arg(&file);
    command.current_dir(folder.path()).env("GOMAXPROCS", "1");
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let child = command.spawn()?;
    // taskset and chrt replace themselves, so the child is the server.
    let server = Server {
        url: format!("ws://127.0.0.1:{port}"),
        pid: child.id(),
        key: KEY.into(),
        secret: SECRET.into(),
        metrics_port: Some(metrics_port),
        child: Some(child),
        _folder: Some(folder),
    };
    let until = Instant::now() + START_PATIENCE;
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        if Instant::now() > until {
            return Err(io::Error::other("the server did not begin to listen"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(300));
    Ok(server)
}

/// CPU time of a process's living threads; `self` is ours.
pub(crate) fn process_cpu(pid: &str) -> Duration {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Duration::ZERO;
    };
    let nanos = tasks.flatten().filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

pub(crate) fn load_average() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split_whitespace().next().unwrap_or_default();
    first.parse().unwrap_or_default()
}

pub(crate) fn machine() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let of = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.split_once(": "));
        value.map_or("", |(_, value)| value).to_owned()
    };
    let cores = text.lines().filter(|l| l.starts_with("processor")).count();
    let (model, family, number) = (of("model name"), of("cpu family"), of("model"));
    format!("{model} family {family} model {number}, {cores} cores")
}
