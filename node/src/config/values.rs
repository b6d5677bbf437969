//! Value types of the configuration that YAML has no word for: Go durations, secrets, port ranges,
//! node addresses. Each parses at the edge and prints back what it would parse.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A string that never reaches a log.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl Secret {
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "\"\"" } else { "***" })
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Secret(text.to_owned())
    }
}

/// API key → secret.
pub type Keys = BTreeMap<String, Secret>;

/// One port, or `first-last`, inclusive. 0 = unset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortRange {
    pub start: u16,
    pub end: u16,
}

impl PortRange {
    pub const fn single(port: u16) -> Self {
        PortRange {
            start: port,
            end: port,
        }
    }

    pub fn is_unset(self) -> bool {
        self.start == 0
    }

    pub fn is_single(self) -> bool {
        self.end <= self.start
    }

    pub fn iter(self) -> impl Iterator<Item = u16> {
        self.start..=self.end.max(self.start)
    }

    pub fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let range = PortRange {
            start: first.trim().parse().ok()?,
            end: last.trim().parse().ok()?,
        };
        (range.start <= range.end).then_some(range)
    }
}

impl Serialize for PortRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.is_single() {
            return serializer.serialize_u16(self.start);
        }
        serializer.collect_str(&format_args!("{}-{}", self.start, self.end))
    }
}

impl<'de> Deserialize<'de> for PortRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(u16),
            Text(String),
        }
        match Form::deserialize(deserializer)? {
            Form::Number(port) => Ok(PortRange::single(port)),
            Form::Text(text) => PortRange::parse(&text).ok_or_else(|| {
                serde::de::Error::custom(format!("`{text}` is neither a port nor a range of ports"))
            }),
        }
    }
}

/// The addresses clients reach this node at; unset = found out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeIp {
    pub ipv4: Option<Ipv4Addr>,
    pub ipv6: Option<Ipv6Addr>,
}

impl NodeIp {
    pub fn is_unset(self) -> bool {
        self.ipv4.is_none() && self.ipv6.is_none()
    }

    pub fn iter(self) -> impl Iterator<Item = IpAddr> {
        let v4 = self.ipv4.map(IpAddr::V4);
        v4.into_iter().chain(self.ipv6.map(IpAddr::V6))
    }
}

impl From<IpAddr> for NodeIp {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => NodeIp {
                ipv4: Some(v4),
                ipv6: None,
            },
            IpAddr::V6(v6) => NodeIp {
                ipv4: None,
                ipv6: Some(v6),
            },
        }
    }
}

impl Serialize for NodeIp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.iter().next() {
            Some(address) => serializer.collect_str(&address),
            None => serializer.serialize_str(""),
        }
    }
}

impl<'de> Deserialize<'de> for NodeIp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Text(String),
            Both(BTreeMap<String, Option<String>>),
        }
        match Form::deserialize(deserializer)? {
            Form::Text(text) if text.is_empty() => Ok(NodeIp::default()),
            Form::Text(text) => match text.parse::<IpAddr>() {
                Ok(address) => Ok(address.into()),
                Err(_) => Err(serde::de::Error::custom(format!(
                    "`{text}` is not an IP address"
                ))),
            },
            Form::Both(addresses) => {
                let mut node_ip = NodeIp::default();
                for (name, text) in addresses {
                    let text = text.unwrap_or_default();
                    match (name.as_str(), text.parse()) {
                        ("ipv4" | "ipv6", _) if text.is_empty() => {}
                        ("ipv4", Ok(IpAddr::V4(v4))) => node_ip.ipv4 = Some(v4),
                        ("ipv6", Ok(IpAddr::V6(v6))) => node_ip.ipv6 = Some(v6),
                        _ => {
                            let problem = format!("`{name}: {text}` is no ipv4 or ipv6 address");
                            return Err(serde::de::Error::custom(problem));
                        }
                    }
                }
                Ok(node_ip)
            }
        }
    }
}

/// Go's duration texts (`1m30s`, `500ms`), or a number of nanoseconds, as a serde `with` module.
pub(crate) mod go_duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        let nanos = value.as_nanos();
        if nanos.is_multiple_of(1_000_000_000) {
            return to.collect_str(&format_args!("{}s", value.as_secs()));
        }
        if nanos.is_multiple_of(1_000_000) {
            return to.collect_str(&format_args!("{}ms", value.as_millis()));
        }
        to.collect_str(&format_args!("{nanos}ns"))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Nanos(u64),
            Text(String),
        }
        match Form::deserialize(from)? {
            Form::Nanos(nanos) => Ok(Duration::from_nanos(nanos)),
            Form::Text(text) => parse(&text).ok_or_else(|| {
                serde::de::Error::custom(format!("`{text}` is not a duration such as 500ms or 5s"))
            }),
        }
    }

    /// Parses Go's `time.ParseDuration` syntax without a sign.
    pub(crate) fn parse(text: &str) -> Option<Duration> {
        if text == "0" {
            return Some(Duration::ZERO);
        }
        let mut rest = text.trim();
        let mut seconds = 0.0_f64;
        if rest.is_empty() {
            return None;
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
            let (number, tail) = rest.split_at(digits);
            let letters = tail.find(|c: char| c.is_ascii_digit() || c == '.');
            let (unit, tail) = tail.split_at(letters.unwrap_or(tail.len()));
            let unit_seconds = match unit {
                "ns" => 1e-9,
                "us" | "µs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return None,
            };
            seconds += number.parse::<f64>().ok()? * unit_seconds;
            rest = tail;
        }
        Duration::try_from_secs_f64(seconds).ok()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;

    #[test]
    fn durations_read_as_go_reads_them() {
        assert_eq!(
            go_duration::parse("500ms"),
            Some(Duration::from_millis(500))
        );
        assert_eq!(go_duration::parse("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(go_duration::parse("1.5h"), Some(Duration::from_secs(5400)));
        for wrong in ["", "5", "5 s", "s", "-1s", "5d"] {
            assert_eq!(go_duration::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_port_range_is_a_number_or_a_text() {
        let parse = |text| serde_yaml_ng::from_str::<PortRange>(text);
        assert_eq!(parse("7882").unwrap(), PortRange::single(7882));
        assert_eq!(parse("\"50000-50010\"").unwrap().iter().count(), 11);
        assert!(parse("\"50010-50000\"").is_err());
    }

    #[test]
    fn a_node_has_one_address_of_each_family_and_a_wrong_name_is_said() {
        let parse = |text| serde_yaml_ng::from_str::<NodeIp>(text);
        let both = parse("{ipv4: 10.0.0.1, ipv6: 'fd00::1'}").unwrap();
        assert_eq!(both.iter().count(), 2);
        assert_eq!(parse("{ipv4: 10.0.0.1, ipv6: }").unwrap().iter().count(), 1);
        assert!(parse("''").unwrap().is_unset());
        for wrong in ["{ip4: 10.0.0.1}", "{ipv4: 'fd00::1'}", "{ipv4: x}", "here"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", Secret::from("hunter2")), "***");
    }
}
