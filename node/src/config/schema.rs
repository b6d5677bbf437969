//! What may be written in the configuration, read off the defaults: every scalar as a dotted path
//! (for flags and environment), and the check that names an unknown key and its nearest neighbour.

use serde_yaml_ng::{Mapping, Value};

use super::ConfigError;

/// A key that takes a single value.
#[derive(Clone, Debug)]
pub(crate) struct ScalarKey {
    /// `rtc.tcp_port`
    pub(crate) path: String,
    text: bool,
}

impl ScalarKey {
    /// `LIVEKIT_RTC_TCP_PORT`
    pub(crate) fn environment_name(&self) -> String {
        let upper = self.path.to_ascii_uppercase();
        format!("LIVEKIT_{}", upper.replace('.', "_"))
    }

    /// The value a flag or variable means: text where the key is text, else as YAML reads it.
    pub(crate) fn value_of(&self, text: &str) -> Value {
        if self.text {
            return Value::String(text.to_owned());
        }
        serde_yaml_ng::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
    }
}

/// Every scalar key below `schema`, depth first.
pub(crate) fn scalar_keys(schema: &Value) -> Vec<ScalarKey> {
    let mut keys = Vec::new();
    collect(schema, "", &mut keys);
    keys
}

fn collect(schema: &Value, path: &str, keys: &mut Vec<ScalarKey>) {
    match schema {
        Value::Mapping(mapping) => {
            for (name, below) in mapping {
                if let Some(name) = name.as_str() {
                    collect(below, &join(path, name), keys);
                }
            }
        }
        Value::Sequence(_) | Value::Tagged(_) => {}
        scalar => keys.push(ScalarKey {
            path: path.to_owned(),
            text: scalar.is_string(),
        }),
    }
}

/// Every key of `given` that is not a mapping itself, with its value.
pub(crate) fn leaves(given: &Value) -> Vec<(String, Value)> {
    fn below(value: &Value, path: &str, found: &mut Vec<(String, Value)>) {
        let Value::Mapping(mapping) = value else {
            return found.push((path.to_owned(), value.clone()));
        };
        for (name, inner) in mapping {
            if let Some(name) = name.as_str() {
                below(inner, &join(path, name), found);
            }
        }
    }
    let mut found = Vec::new();
    below(given, "", &mut found);
    found
}

/// Fails on the first key of `given` that `schema` does not have. An empty mapping or null in the
/// schema is free form.
pub(crate) fn check(schema: &Value, given: &Value) -> Result<(), ConfigError> {
    check_below(schema, given, "", schema)
}

fn check_below(schema: &Value, given: &Value, path: &str, root: &Value) -> Result<(), ConfigError> {
    let (Value::Mapping(known), Value::Mapping(given)) = (schema, given) else {
        return Ok(());
    };
    if known.is_empty() {
        return Ok(());
    }
    for (name, value) in given {
        let Some(name) = name.as_str() else {
            return Err(ConfigError::KeyNotText(path.to_owned()));
        };
        match known.get(name) {
            Some(below) => check_below(below, value, &join(path, name), root)?,
            None => {
                return Err(ConfigError::UnknownKey {
                    key: join(path, name),
                    nearest: nearest(known, path, name, root),
                });
            }
        }
    }
    Ok(())
}

/// Best of the siblings, then of all keys whose last part resembles `name`.
fn nearest(siblings: &Mapping, path: &str, name: &str, root: &Value) -> String {
    let here = siblings.keys().filter_map(Value::as_str);
    let here = here.map(|sibling| (join(path, sibling), sibling.to_owned()));
    let anywhere = scalar_keys(root).into_iter().map(|key| {
        let last = key.path.rsplit('.').next().unwrap_or_default().to_owned();
        (key.path, last)
    });
    let mut best = (0.0_f64, String::new());
    for (full, last) in here.chain(anywhere) {
        let likeness = strsim::jaro_winkler(name, &last);
        if likeness > best.0 {
            best = (likeness, full);
        }
    }
    best.1
}

/// The value at a dotted path.
pub(crate) fn get<'a>(tree: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(tree, |here, part| here.get(part))
}

/// Sets the value at a dotted path, making mappings on the way.
pub(crate) fn set(tree: &mut Value, path: &str, value: Value) {
    let mut here = tree;
    for part in path.split('.') {
        if !here.is_mapping() {
            *here = Value::Mapping(Mapping::new());
        }
        let Value::Mapping(mapping) = here else {
            return;
        };
        here = mapping.entry(part.into()).or_insert(Value::Null);
    }
    *here = value;
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        return name.to_owned();
    }
    format!("{path}.{name}")
}
