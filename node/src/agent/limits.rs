//! Bounds of the agent service, each with the reason for its size.

use std::time::Duration;

/// Time a worker has to register (upstream: the same).
pub const REGISTER_TIMEOUT: Duration = Duration::from_secs(10);
/// Time a worker has to say whether it takes a job (upstream: the same).
pub const AVAILABILITY_TIMEOUT: Duration = Duration::from_secs(10);
/// A lost worker that registers again within this time and names its jobs keeps them; agents
/// reconnect within a few seconds.
pub const ADOPTION_TIMEOUT: Duration = Duration::from_secs(60);
/// Lifetime of the token an agent joins with (upstream: one hour).
pub const AGENT_TOKEN_SECONDS: i64 = 3600;

/// Workers of one node: each is a process, thousands are a large fleet.
pub const WORKERS_MAX: usize = 10_000;
/// Jobs offered or running on one node: as many as rooms it could hold, several times over.
pub const JOBS_MAX: usize = 100_000;
/// Jobs a worker may start by simulation, a developer's tool.
pub const SIMULATED_JOBS_MAX: usize = 100;
/// Names a worker gives itself; upstream's limit for identities.
pub const NAME_CHARS_MAX: usize = 256;

/// One message of a worker where the configuration says nothing: an answer with the largest
/// metadata and attributes there are, twice.
pub const MESSAGE_BYTES_DEFAULT: usize = 2 << 20;
/// Messages waiting for one worker; a job is two, so this is a worker that does not read.
pub const MESSAGES_WAITING_MAX: usize = 1024;
/// WebSocket pings to workers (upstream pings clients as often).
pub const PING_INTERVAL: Duration = Duration::from_secs(10);
/// Silence after which a worker is gone: three unanswered pings.
pub const SILENCE_MAX: Duration = Duration::from_secs(35);
