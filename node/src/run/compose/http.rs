//! Settings of the HTTP server: who may knock, how much it reads, when it calls itself healthy.

use std::sync::Arc;

use media::turn::peers::Network;

use super::keys;
use crate::api::limits::BODY_BYTES_DEFAULT;
use crate::config::Config;
use crate::net::gate::{Gate, Terms};
use crate::net::http::HttpSettings;
use crate::run::RunError;
use crate::status::Status;
use crate::telemetry::node_stats::NodeStats;

fn gate(config: &Config) -> Result<Gate, RunError> {
    let limit = &config.limit;
    let parse =
        |text: &String| Network::parse(text).ok_or_else(|| RunError::TrustedNetwork(text.clone()));
    Ok(Gate::new(Terms {
        connects_per_second: limit.stranger_connects_per_second,
        burst: limit.stranger_connects_burst,
        trusted: limit
            .trusted_networks
            .iter()
            .map(parse)
            .collect::<Result<_, _>>()?,
    }))
}

pub fn http_settings(
    config: &Config,
    stats: NodeStats,
    status: &Status,
) -> Result<HttpSettings, RunError> {
    let status = status.clone();
    Ok(HttpSettings {
        gate: gate(config)?,
        workers: std::thread::available_parallelism().map_or(1, usize::from),
        keys: keys(config),
        body_bytes_max: match config.limit.max_api_request_body_size {
            0 => BODY_BYTES_DEFAULT,
            bytes => bytes,
        },
        healthy: Arc::new(move || stats.healthy() && !status.is_leaving()),
    })
}
