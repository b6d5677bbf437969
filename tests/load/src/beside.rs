//! Figures of another server that stand beside those measured: LiveKit's as they were recorded, or
//! those of a file that this program wrote (`--json`), best of the same machine and hour.

use std::error::Error;
use std::path::Path;

use serde_json::Value;

use crate::scenario::Scenario;

/// What LiveKit's recorded figures were measured on.
const RECORDED: &str = "LiveKit 1.13.5 on AMD EPYC family 25 model 1, 2 cores, 2026-11-21, same \
                        loads and rules; --beside FILE takes those of this machine";

/// Of one scenario.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Figures {
    /// 0 where nothing is forwarded.
    pub(crate) us_per_packet: f64,
    /// p50, p99.
    pub(crate) video_ms: Option<(f64, f64)>,
    pub(crate) audio_ms: Option<(f64, f64)>,
    pub(crate) participant_kib: f64,
}

/// Puts the figures beside the scenarios; what they are, in words.
pub(crate) fn place(
    scenarios: &mut [Scenario],
    file: Option<&Path>,
) -> Result<String, Box<dyn Error>> {
    let Some(path) = file else {
        return Ok(RECORDED.into());
    };
    let written = read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    for scenario in scenarios {
        scenario.beside = written["scenarios"].get(scenario.id).map(figures);
    }
    let said = |key: &str| written[key].as_str().unwrap_or("unknown").to_owned();
    Ok(format!(
        "a server that calls itself {} on {}, {}, of {}",
        said("server_version"),
        said("machine"),
        said("date"),
        path.display()
    ))
}

fn read(path: &Path) -> Result<Value, Box<dyn Error>> {
    let written: Value = serde_json::from_str(&std::fs::read_to_string(path)?)?;
    match written["scenarios"].is_object() {
        true => Ok(written),
        false => Err("not written with --json".into()),
    }
}

fn figures(scenario: &Value) -> Figures {
    let pair = |of: &Value| Some((of["p50"].as_f64()?, of["p99"].as_f64()?));
    Figures {
        us_per_packet: scenario["cpu_us_per_packet"].as_f64().unwrap_or_default(),
        video_ms: pair(&scenario["latency_video_ms"]),
        audio_ms: pair(&scenario["latency_audio_ms"]),
        participant_kib: scenario["subscriber_kib"].as_f64().unwrap_or_default(),
    }
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;
    use crate::scenario;

    fn placed(text: &str) -> (Vec<Scenario>, Result<String, String>) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("other.json");
        std::fs::write(&path, text).expect("written");
        let mut scenarios = scenario::all(false);
        let told = place(&mut scenarios, Some(&path)).map_err(|e| e.to_string());
        (scenarios, told)
    }

    #[test]
    fn figures_of_a_file_take_the_place_of_the_recorded_ones() {
        let text = r#"{"machine": "here", "date": "today", "server_version": "1.13.5", "scenarios":
            {"a": {"cpu_us_per_packet": 23.8, "latency_video_ms": {"p50": 0.2, "p99": 0.47, "p999": 1},
                   "latency_audio_ms": null, "subscriber_kib": 3050}}}"#;
        let (scenarios, told) = placed(text);
        let told = told.expect("readable");
        assert!(told.starts_with("a server that calls itself 1.13.5 on here, today, of "));
        let of = |id| scenarios.iter().find(|s| s.id == id).and_then(|s| s.beside);
        let expected = Figures {
            us_per_packet: 23.8,
            video_ms: Some((0.2, 0.47)),
            audio_ms: None,
            participant_kib: 3050.0,
        };
        assert_eq!(of("a"), Some(expected));
        assert_eq!(of("b"), None, "not measured there");
    }

    #[test]
    fn a_file_of_something_else_is_refused_by_name() {
        for text in ["", "[]", r#"{"scenarios": 1}"#] {
            let (_, told) = placed(text);
            assert!(told.expect_err("refused").contains("other.json"), "{text}");
        }
    }
}
