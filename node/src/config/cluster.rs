//! The `cluster:` section, ours: how nodes find each other and what this one is among them. Without
//! a token there is no cluster: one node, nothing on disk.

use super::ConfigError;
use super::section::section;
use super::values::Secret;

/// Of `cluster.listen` and of addresses that name no port.
pub const CLUSTER_PORT: u16 = 7890;

section! {
    Cluster {
        /// The secret all nodes share; `skein cluster token` makes one.
        token: Secret = Secret::default(),
        /// Secrets of nodes that are let in as well, while `token` is exchanged for another: first
        /// the next one on every node, then `token` itself with the old one here, then none.
        accepted_tokens: Vec<Secret> = Vec::new(),
        /// Address of the cluster endpoint, UDP and TCP.
        listen: String = "0.0.0.0:7890".into(),
        /// `host:port` others reach it at; empty = found out from `listen` and this machine.
        advertise: String = String::new(),
        /// Addresses of the masters, the same list in the same order on every node. The first
        /// founds the cluster.
        join: Vec<String> = Vec::new(),
        /// master, media.
        roles: Vec<String> = vec!["master".into(), "media".into()],
        /// The machine, as nodes of one machine die together; empty = its host name.
        host: String = String::new(),
        /// What fails together beyond a machine.
        zone: String = String::new(),
        /// Where the log is kept; empty = `cluster` below `storage.directory`.
        directory: String = String::new(),
        /// Whether a media node may vote where masters are few: auto, never.
        witness: String = "auto".into(),
        /// A media node that stays, not one an autoscaler takes away.
        long_lived: bool = false,
        /// The newest version of the cluster's log this node takes part in; 0 = the newest it
        /// knows. That of the old program while an upgrade may have to be taken back.
        log_version_max: u16 = 0,
        /// API keys whose tokens may drain nodes and take them out; empty = the only key there is,
        /// and nobody's where there are several.
        operators: Vec<String> = Vec::new(),
        /// Participants of one room a media node carries before further ones go to other nodes;
        /// 0 = rooms stay on one node.
        room_node_participants: u32 = 0,
        /// On masters.
        autoscale: Autoscale = Autoscale::default(),
    }
}

section! {
    /// How many media nodes there are, and where they come from.
    Autoscale {
        /// webhook, aws, azure, gcp; empty = nobody is told.
        provider: String = String::new(),
        nodes_min: u32 = 1,
        nodes_max: u32 = 5,
        /// Percent of all CPUs, averaged over a minute.
        target_cpu: u32 = 50,
        warm_up_seconds: u64 = 120,
        cool_down_out_seconds: u64 = 60,
        cool_down_in_seconds: u64 = 300,
        /// Of the webhook; of a cloud only where it is not the usual one.
        url: String = String::new(),
        /// The webhook is signed with it.
        secret: Secret = Secret::default(),
        region: String = String::new(),
        /// Name of the Auto Scaling group; of Azure the scale set's resource id; of Google
        /// `projects/P/zones/Z/instanceGroupManagers/G`. Nodes have the instance's id (Google: its
        /// name) as `cluster.host`.
        group: String = String::new(),
        /// Asks the cloud's metadata service whether it takes this machine, and drains the node
        /// then. On every node of the group; aws, azure, gcp.
        notices: bool = false,
        /// Of AWS: the group's lifecycle hook that holds a terminating instance back.
        hook: String = String::new(),
        /// Of AWS; empty = the role of the instance.
        access_key: String = String::new(),
        secret_key: Secret = Secret::default(),
    }
}

impl Autoscale {
    fn check(&self) -> Result<(), ConfigError> {
        let wrong = |key, problem: &str| {
            let problem = problem.to_owned();
            Err(ConfigError::Invalid { key, problem })
        };
        match self.provider.as_str() {
            "" | "webhook" if self.notices => {
                return wrong(
                    "cluster.autoscale.notices",
                    "needs `provider` aws, azure or gcp",
                );
            }
            "" => return Ok(()),
            "webhook" if self.url.is_empty() || self.secret.is_empty() => {
                return wrong("cluster.autoscale.url", "is missing, or its `secret`");
            }
            "aws" if self.region.is_empty() || self.group.is_empty() => {
                return wrong("cluster.autoscale.group", "is missing, or its `region`");
            }
            "azure" | "gcp" if self.group.is_empty() => {
                return wrong("cluster.autoscale.group", "is missing");
            }
            "webhook" | "aws" | "azure" | "gcp" => {}
            _ => {
                let known = "is `webhook`, `aws`, `azure` or `gcp`";
                return wrong("cluster.autoscale.provider", known);
            }
        }
        if self.nodes_min == 0 || self.nodes_max < self.nodes_min {
            return wrong(
                "cluster.autoscale.nodes_min",
                "is 1 or more, and at most nodes_max",
            );
        }
        if !(5..=95).contains(&self.target_cpu) {
            return wrong(
                "cluster.autoscale.target_cpu",
                "is a percentage from 5 to 95",
            );
        }
        Ok(())
    }
}

impl Cluster {
    /// This node is part of a cluster.
    pub fn is_configured(&self) -> bool {
        !self.token.is_empty()
    }

    pub fn is_master(&self) -> bool {
        self.roles.iter().any(|role| role == "master")
    }

    pub fn is_media(&self) -> bool {
        self.roles.iter().any(|role| role == "media")
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let wrong = |key, problem: &str| {
            let problem = problem.to_owned();
            Err(ConfigError::Invalid { key, problem })
        };
        if !self.is_configured() {
            if self.join.is_empty() {
                return Ok(());
            }
            return wrong(
                "cluster.token",
                "is missing; `skein cluster token` makes one, all nodes need the same",
            );
        }
        let known = |role: &String| role == "master" || role == "media";
        if self.roles.is_empty() || !self.roles.iter().all(known) {
            return wrong("cluster.roles", "is a list of `master` and `media`");
        }
        if !self.is_master() && self.join.is_empty() {
            return wrong(
                "cluster.join",
                "is missing: a media node needs the addresses of the masters",
            );
        }
        if self.witness != "auto" && self.witness != "never" {
            return wrong("cluster.witness", "is `auto` or `never`");
        }
        if self.log_version_max > consensus::encoding::VERSION {
            return wrong(
                "cluster.log_version_max",
                "is newer than the newest version of the log this program knows",
            );
        }
        self.autoscale.check()
    }
}

/// `host` or `host:port`, with the port.
pub fn with_port(address: &str) -> String {
    let bare_v6 = address.parse::<std::net::Ipv6Addr>().is_ok();
    let host_end = address.rfind(']').unwrap_or(0);
    match address
        .get(host_end..)
        .is_some_and(|rest| rest.contains(':'))
        && !bare_v6
    {
        true => address.to_owned(),
        false if bare_v6 => format!("[{address}]:{CLUSTER_PORT}"),
        false => format!("{address}:{CLUSTER_PORT}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::{Overrides, load};
    use super::*;

    fn cluster(section: &str) -> Result<Cluster, String> {
        let body = format!("keys: {{a: b}}\ncluster: {section}\n");
        let given = Overrides {
            config_body: Some(body),
            ..Overrides::default()
        };
        let loaded = load(&given).map(|config| config.cluster);
        loaded.map_err(|error| error.to_string())
    }

    #[test]
    fn without_a_token_there_is_no_cluster() {
        assert!(!cluster("{zone: a}").unwrap().is_configured());
        let alone = cluster("{token: x}").unwrap();
        assert!(alone.is_configured() && alone.is_master() && alone.is_media());
    }

    #[test]
    fn what_cannot_work_is_said_by_name() {
        for (section, key) in [
            ("{join: [a]}", "cluster.token"),
            ("{token: x, roles: [media]}", "cluster.join"),
            ("{token: x, roles: [boss]}", "cluster.roles"),
            ("{token: x, witness: maybe}", "cluster.witness"),
            ("{token: x, log_version_max: 99}", "cluster.log_version_max"),
            (
                "{token: x, autoscale: {provider: k8s}}",
                "cluster.autoscale.provider",
            ),
            (
                "{token: x, autoscale: {provider: azure}}",
                "cluster.autoscale.group",
            ),
            (
                "{token: x, autoscale: {notices: true}}",
                "cluster.autoscale.notices",
            ),
            (
                "{token: x, autoscale: {provider: webhook}}",
                "cluster.autoscale.url",
            ),
            (
                "{token: x, autoscale: {provider: aws}}",
                "cluster.autoscale.group",
            ),
        ] {
            let message = cluster(section).unwrap_err();
            assert!(message.starts_with(key), "{section}: {message}");
        }
    }

    #[test]
    fn an_address_without_a_port_gets_the_usual_one() {
        for (given, full) in [
            ("m1.example", "m1.example:7890"),
            ("10.0.0.1:99", "10.0.0.1:99"),
            ("fd00::1", "[fd00::1]:7890"),
            ("[fd00::1]", "[fd00::1]:7890"),
            ("[fd00::1]:99", "[fd00::1]:99"),
        ] {
            assert_eq!(with_port(given), full);
        }
    }
}
