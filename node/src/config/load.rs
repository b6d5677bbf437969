//! From file, body, flags and environment to a checked `Config`. Flags win over environment, which
//! wins over the file; the built-in defaults come last.

use std::collections::BTreeMap;
use std::path::Path;

use serde_yaml_ng::{Mapping, Value, to_value};

use super::room::CodecSpec;
use super::rtc::TurnServer;
use super::schema::{self, ScalarKey};
use super::server::Region;
use super::{Config, ConfigError, Keys, PortRange, Secret, inert};

/// What the command line says about the configuration. `environment` is handed in so that tests
/// need no process-wide state.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    pub config_file: Option<String>,
    pub config_body: Option<String>,
    pub dev: bool,
    pub disable_strict: bool,
    /// `key: secret` lines.
    pub keys: Option<String>,
    pub key_file: Option<String>,
    pub bind: Vec<String>,
    /// Dotted path → text of a flag.
    pub scalars: BTreeMap<String, String>,
    pub environment: BTreeMap<String, String>,
}

/// Key and secret of development mode, as upstream prints them.
pub const DEV_KEY: &str = "devkey";
pub const DEV_SECRET: &str = "secret";

/// Names of environment variables and flags that are not derived from a key's path.
const SHORT_NAMES: [(&str, &str); 6] = [
    ("NODE_IP", "rtc.node_ip"),
    ("UDP_PORT", "rtc.udp_port"),
    ("REDIS_HOST", "redis.address"),
    ("REDIS_PASSWORD", "redis.password"),
    ("LIVEKIT_TURN_CERT", "turn.cert_file"),
    ("LIVEKIT_TURN_KEY", "turn.key_file"),
];

/// Every scalar key of the configuration.
pub(crate) fn known_scalars() -> Vec<ScalarKey> {
    schema::scalar_keys(&defaults())
}

/// The configuration of a server: it has keys and every secret it needs.
pub fn load(overrides: &Overrides) -> Result<Config, ConfigError> {
    let mut config = read(overrides)?;
    if config.keys.is_empty() {
        return Err(ConfigError::NoKeys);
    }
    check_secrets(&config)?;
    config.cluster.check()?;
    read_turn_secrets(&mut config)?;
    Ok(config)
}

/// The configuration as a command reads it that does not serve: keys may be missing.
pub fn read(overrides: &Overrides) -> Result<Config, ConfigError> {
    let mut tree = read_tree(overrides)?;
    let schema = defaults();
    if overrides.disable_strict {
        drop_unknown_in_lists(&mut tree);
    } else {
        schema::check(&schema, &tree)?;
    }
    for key in schema::scalar_keys(&schema) {
        let short = SHORT_NAMES.iter().filter(|(_, path)| *path == key.path);
        let variable = short
            .filter_map(|(name, _)| overrides.environment.get(*name))
            .next_back()
            .or_else(|| overrides.environment.get(&key.environment_name()));
        let given = overrides.scalars.get(&key.path).or(variable);
        if let Some(text) = given {
            schema::set(&mut tree, &key.path, key.value_of(text));
        }
    }
    if let Some(text) = &overrides.keys {
        schema::set(&mut tree, "keys", parse_keys(text)?);
    }
    let inert = inert::find(&tree, &schema);
    let mut config = typed(tree)?;
    config.inert = inert;
    if !overrides.bind.is_empty() {
        config.bind_addresses.clone_from(&overrides.bind);
    }
    if let Some(path) = &overrides.key_file {
        config.key_file.clone_from(path);
    }
    config.development |= overrides.dev || nothing_given(overrides);
    finish(&mut config)?;
    Ok(config)
}

/// Items of lists refuse unknown keys by themselves.
fn drop_unknown_in_lists(tree: &mut Value) {
    let lists = [
        ("rtc.turn_servers", to_value(TurnServer::default())),
        ("room.enabled_codecs", to_value(CodecSpec::default())),
        ("node_selector.regions", to_value(Region::default())),
    ];
    for (path, item) in lists {
        let list = path
            .split('.')
            .try_fold(&mut *tree, |here, part| here.get_mut(part));
        let (Some(Value::Sequence(given)), Ok(Value::Mapping(known))) = (list, item) else {
            continue;
        };
        for item in given.iter_mut().filter_map(Value::as_mapping_mut) {
            item.retain(|key, _| known.contains_key(key));
        }
    }
}

/// The tree as a `Config`. YAML's own error does not name the key: it is looked for.
fn typed(tree: Value) -> Result<Config, ConfigError> {
    let error = match serde_yaml_ng::from_value(tree.clone()) {
        Ok(config) => return Ok(config),
        Err(error) => error,
    };
    for (key, value) in schema::leaves(&tree) {
        let mut alone = Value::Mapping(Mapping::new());
        schema::set(&mut alone, &key, value);
        if let Err(source) = serde_yaml_ng::from_value::<Config>(alone) {
            return Err(ConfigError::Value { key, source });
        }
    }
    Err(error.into())
}

/// The program was started bare: development mode on loopback.
fn nothing_given(overrides: &Overrides) -> bool {
    overrides.config_file.is_none()
        && overrides.config_body.is_none()
        && overrides.keys.is_none()
        && overrides.key_file.is_none()
        && !overrides.scalars.contains_key("key_file")
        && !overrides.environment.contains_key("LIVEKIT_KEY_FILE")
}

fn defaults() -> Value {
    // Serializing plain structs cannot fail; an empty schema would only mean no flags.
    to_value(Config::default()).unwrap_or(Value::Null)
}

fn read_tree(overrides: &Overrides) -> Result<Value, ConfigError> {
    let text = match (&overrides.config_body, &overrides.config_file) {
        (Some(body), _) if !body.trim().is_empty() => body.clone(),
        (_, Some(path)) => read_file(path)?,
        _ => return Ok(Value::Mapping(Mapping::new())),
    };
    let tree: Value = serde_yaml_ng::from_str(&text)?;
    match tree {
        Value::Null => Ok(Value::Mapping(Mapping::new())),
        mut tree => {
            tree.apply_merge()?;
            drop_empty_sections(&mut tree);
            Ok(tree)
        }
    }
}

/// `rtc:` with everything below commented out is null in YAML; it means the defaults.
fn drop_empty_sections(tree: &mut Value) {
    if let Value::Mapping(mapping) = tree {
        mapping.retain(|_, value| !value.is_null());
        for (_, value) in mapping.iter_mut() {
            drop_empty_sections(value);
        }
    }
}

fn read_file(path: &str) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })
}

fn parse_keys(text: &str) -> Result<Value, ConfigError> {
    match serde_yaml_ng::from_str::<Value>(text.trim()) {
        Ok(keys @ Value::Mapping(_)) => Ok(keys),
        _ => Err(ConfigError::KeysFormat("--keys".into())),
    }
}

fn finish(config: &mut Config) -> Result<(), ConfigError> {
    take_old_names(config);
    if !config.key_file.is_empty() {
        check_key_file_mode(Path::new(&config.key_file))?;
        let keys = parse_keys(&read_file(&config.key_file)?)?;
        config.keys = serde_yaml_ng::from_value::<Keys>(keys)?;
    }
    if config.development {
        finish_development(config);
    }
    check_ports(config)
}

/// Deprecated keys speak for the ones that replaced them.
fn take_old_names(config: &mut Config) {
    if config.prometheus.port == 0 {
        config.prometheus.port = config.prometheus_port;
    }
    if config.logging.level.is_empty() {
        config.logging.level = std::mem::take(&mut config.log_level);
    }
    let size = config.rtc.packet_buffer_size;
    if size != 0 {
        config.rtc.packet_buffer_size_video = size;
        config.rtc.packet_buffer_size_audio = size;
    }
    let (room, limit) = (&config.room, &mut config.limit);
    for (old, new) in [
        (room.max_metadata_size, &mut limit.max_metadata_size),
        (room.max_room_name_length, &mut limit.max_room_name_length),
        (
            room.max_participant_identity_length,
            &mut limit.max_participant_identity_length,
        ),
    ] {
        if old != 0 {
            *new = old as usize;
        }
    }
}

fn finish_development(config: &mut Config) {
    if config.keys.is_empty() {
        config.keys.insert(DEV_KEY.into(), Secret::from(DEV_SECRET));
    }
    if config.bind_addresses.is_empty() {
        config.bind_addresses = vec!["127.0.0.1".into(), "::1".into()];
        config.rtc.enable_loopback_candidate = true;
    }
    if config.logging.level.is_empty() {
        config.logging.level = "debug".into();
    }
    if config.turn.relay_range_start == 0 {
        (config.turn.relay_range_start, config.turn.relay_range_end) = (30_000, 30_002);
    }
}

fn check_ports(config: &mut Config) -> Result<(), ConfigError> {
    let rtc = &mut config.rtc;
    if rtc.udp_port.is_unset() && rtc.port_range_start == 0 {
        if config.development {
            rtc.udp_port = PortRange::single(7882);
        } else {
            (rtc.port_range_start, rtc.port_range_end) = (50_000, 60_000);
        }
    }
    if rtc.udp_port.is_unset() {
        if rtc.port_range_end < rtc.port_range_start {
            return Err(ConfigError::Invalid {
                key: "rtc.port_range_end",
                problem: "is below rtc.port_range_start".into(),
            });
        }
        rtc.udp_port = PortRange {
            start: rtc.port_range_start,
            end: rtc.port_range_end,
        };
    }
    let turn = &mut config.turn;
    if turn.relay_range_start == 0 {
        turn.relay_range_start = 30_000;
    }
    if turn.relay_range_end == 0 {
        turn.relay_range_end = 40_000;
    }
    Ok(())
}

fn check_secrets(config: &Config) -> Result<(), ConfigError> {
    let webhook = &config.webhook;
    if !webhook.urls.is_empty() && !config.keys.contains_key(&webhook.api_key) {
        return Err(ConfigError::WebhookKey(webhook.api_key.clone()));
    }
    let prometheus = &config.prometheus;
    if prometheus.username.is_empty() != prometheus.password.is_empty() {
        return Err(ConfigError::PrometheusAuth);
    }
    for server in &config.rtc.turn_servers {
        let fixed = !server.username.is_empty() && !server.credential.is_empty();
        if !fixed && server.secret.is_empty() && server.secret_file.is_empty() {
            return Err(ConfigError::TurnCredentials(server.host.clone()));
        }
    }
    Ok(())
}

/// Secrets shared with TURN servers may stand in files of their own.
fn read_turn_secrets(config: &mut Config) -> Result<(), ConfigError> {
    for server in &mut config.rtc.turn_servers {
        if !server.secret.is_empty() || server.secret_file.is_empty() {
            continue;
        }
        check_key_file_mode(Path::new(&server.secret_file))?;
        server.secret = Secret::from(read_file(&server.secret_file)?.trim());
        if server.secret.is_empty() {
            return Err(ConfigError::TurnCredentials(server.host.clone()));
        }
    }
    Ok(())
}

/// Secrets in files that others may read are refused, as upstream does.
fn check_key_file_mode(path: &Path) -> Result<(), ConfigError> {
    use std::os::unix::fs::PermissionsExt;

    let shown = path.display().to_string();
    match std::fs::metadata(path) {
        Ok(meta) if meta.permissions().mode() & 0o007 != 0 => {
            Err(ConfigError::KeyFileMode { path: shown })
        }
        Ok(_) => Ok(()),
        Err(source) => Err(ConfigError::Read {
            path: shown,
            source,
        }),
    }
}
