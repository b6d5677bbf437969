//! What an operator asks and tells a cluster about drains over HTTP, at any of its nodes: begin
//! one, call it off, how far each one is. Seeing needs a token with `roomList`, changing one of an
//! operator.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{self, Bytes, Data, Path};
use consensus::ids::NodeId;
use serde_json::{Value, json};

use super::cluster::find;
use super::operators::Operators;
use super::refused;
use crate::auth::{Caller, refusal};
use crate::cluster::drain::{DrainError, Drainage, Terms};
use crate::cluster::node::ClusterNode;

/// Mounts the paths.
pub fn configure(config: &mut web::ServiceConfig, drainage: Option<&Drainage>) {
    let Some(drainage) = drainage else {
        return;
    };
    config
        .app_data(Data::new(drainage.clone()))
        .route("/operator/drains", web::get().to(all))
        .route("/operator/nodes/{node}/drain", web::get().to(one))
        .route("/operator/nodes/{node}/drain", web::post().to(begin))
        .route("/operator/nodes/{node}/drain", web::delete().to(call_off));
}

async fn all(caller: Caller, drainage: Data<Drainage>) -> HttpResponse {
    if let Err(denied) = caller.may_list_rooms() {
        return refused(&denied);
    }
    match drainage.progress().await {
        Ok(drains) => HttpResponse::Ok().json(json!({ "drains": drains })),
        Err(error) => failed(&error),
    }
}

async fn one(
    caller: Caller,
    cluster: Data<ClusterNode>,
    drainage: Data<Drainage>,
    node: Path<String>,
) -> HttpResponse {
    if let Err(denied) = caller.may_list_rooms() {
        return refused(&denied);
    }
    let node = match find(&cluster, &node) {
        Ok(node) => node,
        Err(text) => return refusal(StatusCode::NOT_FOUND, text),
    };
    match drainage.progress().await {
        Ok(drains) => match progress_of(drains, node) {
            Some(progress) => HttpResponse::Ok().json(progress),
            None => refusal(StatusCode::NOT_FOUND, format!("{node} does not drain")),
        },
        Err(error) => failed(&error),
    }
}

fn progress_of(drains: Vec<Value>, node: NodeId) -> Option<Value> {
    let id = node.0.to_string();
    drains.into_iter().find(|drain| drain["node"] == id)
}

async fn begin(
    caller: Caller,
    cluster: Data<ClusterNode>,
    operators: Data<Operators>,
    drainage: Data<Drainage>,
    node: Path<String>,
    body: Bytes,
) -> HttpResponse {
    let terms = match body.is_empty() {
        true => Ok(Terms::default()),
        false => serde_json::from_slice(&body),
    };
    let terms: Terms = match terms {
        Ok(terms) => terms,
        Err(error) => return refusal(StatusCode::BAD_REQUEST, error.to_string()),
    };
    match told(&caller, &operators, &cluster, &node) {
        Ok(node) => answer(node, "drain", drainage.drain(node, &terms).await),
        Err(refused) => *refused,
    }
}

async fn call_off(
    caller: Caller,
    cluster: Data<ClusterNode>,
    operators: Data<Operators>,
    drainage: Data<Drainage>,
    node: Path<String>,
) -> HttpResponse {
    match told(&caller, &operators, &cluster, &node) {
        Ok(node) => answer(node, "undrain", drainage.undrain(node).await),
        Err(refused) => *refused,
    }
}

/// The node that is meant, if the caller may change it.
fn told(
    caller: &Caller,
    operators: &Operators,
    cluster: &ClusterNode,
    node: &str,
) -> Result<NodeId, Box<HttpResponse>> {
    let denied = |denied| Box::new(refusal(StatusCode::UNAUTHORIZED, denied));
    operators.admit(caller).map_err(denied)?;
    find(cluster, node).map_err(|text| Box::new(refusal(StatusCode::NOT_FOUND, text)))
}

pub(super) fn answer(node: NodeId, verb: &str, done: Result<(), DrainError>) -> HttpResponse {
    match done {
        Ok(()) => HttpResponse::Ok().json(json!({ "node": node.0, "done": verb })),
        Err(error) => failed(&error),
    }
}

fn failed(error: &DrainError) -> HttpResponse {
    let status = match error {
        DrainError::Refused(_) => StatusCode::CONFLICT,
        DrainError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    refusal(status, error.to_string())
}
