//! The operator of a cluster from the configuration: drains on every node, scaling on masters that
//! are told where machines come from, and what clouds say to machines that ask them.

use std::sync::Arc;
use std::time::Duration;

use operator::autoscale::Settings;
use operator::cloud::aws::{AutoScaling, InstanceNotices, Metadata, Source};
use operator::cloud::sigv4::Credentials;
use operator::cloud::webhook::Webhook;
use operator::cloud::{CloudError, Group, Notices, Secret, azure, client, gcp, metadata_client};
use reqwest::Url;

use super::RunError;
use crate::cluster::drain::{self, Drainage};
use crate::cluster::node::ClusterNode;
use crate::cluster::notices;
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
    if let Some(notices) = notices_of(&section.autoscale)? {
        notices::attach(cluster, drainage.clone(), notices);
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
    let url = || Url::parse(&section.url).map_err(|error| RunError::Autoscale(error.to_string()));
    let given = || match section.url.is_empty() {
        true => Ok(None),
        false => url().map(Some),
    };
    let (id, client) = (&section.group, || client().map_err(failed));
    let group: Arc<dyn Group> = match section.provider.as_str() {
        "webhook" => Arc::new(Webhook {
            client: client()?,
            url: url()?,
            secret: Secret::new(section.secret.expose()),
        }),
        "aws" => Arc::new(auto_scaling(section)?),
        "azure" => {
            let metadata = azure_metadata()?;
            let set = azure::ScaleSet::new(client()?, given()?, id, &metadata);
            Arc::new(set.map_err(failed)?)
        }
        "gcp" => {
            let metadata = gcp_metadata()?;
            let group = gcp::InstanceGroup::new(client()?, given()?, id, &metadata);
            Arc::new(group.map_err(failed)?)
        }
        _ => return Ok(None),
    };
    Ok(Some(group))
}

/// What becomes of the machine this runs on.
fn notices_of(section: &Autoscale) -> Result<Option<Arc<dyn Notices>>, RunError> {
    let notices: Arc<dyn Notices> = match section.provider.as_str() {
        _ if !section.notices => return Ok(None),
        "aws" => Arc::new(InstanceNotices {
            metadata: Metadata::here(metadata_client().map_err(failed)?).map_err(failed)?,
            scaling: auto_scaling(section)?,
        }),
        "azure" => Arc::new(azure_metadata()?),
        "gcp" => Arc::new(gcp_metadata()?),
        _ => return Ok(None),
    };
    Ok(Some(notices))
}

fn failed(error: CloudError) -> RunError {
    RunError::Autoscale(error.to_string())
}

fn azure_metadata() -> Result<azure::Metadata, RunError> {
    let metadata = metadata_client().and_then(azure::Metadata::here);
    metadata.map_err(failed)
}

fn gcp_metadata() -> Result<gcp::Metadata, RunError> {
    let metadata = metadata_client().and_then(gcp::Metadata::here);
    metadata.map_err(failed)
}

fn auto_scaling(section: &Autoscale) -> Result<AutoScaling, RunError> {
    let endpoint = match section.url.is_empty() {
        true => AutoScaling::endpoint_of(&section.region),
        false => Url::parse(&section.url).map_err(|error| CloudError::Answer {
            what: "cluster.autoscale.url".into(),
            said: error.to_string(),
        }),
    };
    Ok(AutoScaling {
        client: client().map_err(failed)?,
        endpoint: endpoint.map_err(failed)?,
        region: section.region.clone(),
        group: section.group.clone(),
        hook: Some(section.hook.clone()).filter(|hook| !hook.is_empty()),
        source: source(section).map_err(failed)?,
    })
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
