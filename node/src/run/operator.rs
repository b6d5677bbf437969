//! The operator of a cluster from the configuration: drains on every node, scaling on masters that
//! are told where machines come from.

use std::sync::Arc;
use std::time::Duration;

use operator::autoscale::Settings;
use operator::cloud::aws::{AutoScaling, Metadata, Source};
use operator::cloud::sigv4::Credentials;
use operator::cloud::webhook::Webhook;
use operator::cloud::{CloudError, Group, Secret, client, metadata_client};
use reqwest::Url;

use super::RunError;
use crate::cluster::drain::{self, Drainage};
use crate::cluster::node::ClusterNode;
use crate::cluster::placing::Placing;
use crate::cluster::scaling;
use crate::config::cluster::{Autoscale, Cluster};
use crate::rooms::Rooms;

/// Runs along with the cluster.
pub(super) fn start(
    section: &Cluster,
    cluster: &ClusterNode,
    rooms: Rooms,
    placing: Arc<Placing>,
) -> Result<Drainage, RunError> {
    let group = group(&section.autoscale)?;
    let drainage = drain::attach(cluster, Arc::new(rooms), placing, group.clone());
    if let Some(group) = group.filter(|_| section.is_master()) {
        let settings = settings(&section.autoscale);
        scaling::attach(cluster, drainage.clone(), group, settings);
    }
    Ok(drainage)
}

fn settings(section: &Autoscale) -> Settings {
    Settings {
        nodes_min: section.nodes_min,
        nodes_max: section.nodes_max,
        target_cpu: f64::from(section.target_cpu) / 100.0,
        warm_up: Duration::from_secs(section.warm_up_seconds),
        cool_down_out: Duration::from_secs(section.cool_down_out_seconds),
        cool_down_in: Duration::from_secs(section.cool_down_in_seconds),
    }
}

/// Where machines come from.
fn group(section: &Autoscale) -> Result<Option<Arc<dyn Group>>, RunError> {
    let failed = |error: CloudError| RunError::Autoscale(error.to_string());
    let url = || Url::parse(&section.url).map_err(|error| RunError::Autoscale(error.to_string()));
    let client = || client().map_err(failed);
    let group: Arc<dyn Group> = match section.provider.as_str() {
        "webhook" => Arc::new(Webhook {
            client: client()?,
            url: url()?,
            secret: Secret::new(section.secret.expose()),
        }),
        "aws" => Arc::new(AutoScaling {
            client: client()?,
            endpoint: match section.url.is_empty() {
                true => AutoScaling::endpoint_of(&section.region).map_err(failed)?,
                false => url()?,
            },
            region: section.region.clone(),
            group: section.group.clone(),
            hook: None,
            source: source(section).map_err(failed)?,
        }),
        _ => return Ok(None),
    };
    Ok(Some(group))
}

fn source(section: &Autoscale) -> Result<Source, CloudError> {
    if section.access_key.is_empty() {
        return Ok(Source::Instance(Metadata::here(metadata_client()?)?));
    }
    Ok(Source::Fixed(Credentials {
        access_key: section.access_key.clone(),
        secret_key: Secret::new(section.secret_key.expose()),
        session_token: None,
    }))
}
