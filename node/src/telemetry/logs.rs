//! Log output as `logging.*` says: text or JSON lines on standard error, levels by component.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::config::Config;

/// Starts logging; later calls (tests) change nothing.
pub fn start(config: &Config) {
    let filter = EnvFilter::new(directives(config));
    let builder = fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // A subscriber that is set already stays.
    let _ = if config.logging.json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.try_init()
    };
}

/// `logging.level` is for our own crates; of libraries only warnings are of interest.
fn directives(config: &Config) -> String {
    let level = match config.logging.level.as_str() {
        "" => "info",
        "warning" => "warn",
        level => level,
    };
    let library = match level {
        "error" => "error",
        "trace" => "info",
        _ => "warn",
    };
    // The WebRTC library's level is upstream's `pion_level`: at `warn` its DTLS part tells every
    // extension of a ClientHello that it does not know.
    let webrtc = match config.logging.pion_level.as_str() {
        "" => "error",
        "warning" => "warn",
        level => level,
    };
    // Openraft warns of every heartbeat to a voter that is away, twenty a second; the quorum keeper
    // and the detector say it once.
    let raft = match level {
        "trace" => "info",
        _ => "error",
    };
    let mut text = format!(
        "{library},rtc_dtls={webrtc},rtc_sctp={webrtc},rtc_stun={webrtc},openraft={raft},\
         skein_node={level},skein_media={level},skein_consensus={level},skein={level}"
    );
    for (component, level) in &config.logging.component_levels {
        // Upstream's names (sfu, transport, pub…) that are modules of ours work; others are inert.
        let name = component.replace('.', "::");
        if name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':'))
        {
            text.push_str(&format!(
                ",skein_node::{name}={level},skein_media::{name}={level}"
            ));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn component_levels_become_modules() {
        let mut config = Config::default();
        config.logging.level = "warn".into();
        config
            .logging
            .component_levels
            .insert("transport".into(), "debug".into());
        let text = directives(&config);
        assert!(text.starts_with("warn,rtc_dtls=error,rtc_sctp=error"));
        assert!(text.contains(",skein_node=warn,"));
        config.logging.pion_level = "debug".into();
        assert!(directives(&config).contains("rtc_dtls=debug"));
        assert!(text.ends_with("skein_media::transport=debug"));
        assert!(text.parse::<EnvFilter>().is_ok());
    }
}
