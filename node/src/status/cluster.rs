//! What an operator asks and tells a cluster over HTTP, at any of its nodes: its state, and that a
//! node be drained, get work again, or be taken out. Seeing needs a token with `roomList`, changing
//! one of an operator.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{self, Data, Path};
use consensus::cluster::ProposeError;
use consensus::command::Action;
use consensus::ids::NodeId;
use serde_json::json;

use super::operators::Operators;
use super::{operator, refused};
use crate::auth::{Caller, refusal};
use crate::cluster::drain::{Drainage, Terms};
use crate::cluster::node::ClusterNode;

/// Mounts the paths.
pub fn configure(
    config: &mut web::ServiceConfig,
    cluster: Option<&ClusterNode>,
    operators: &Operators,
) {
    let Some(cluster) = cluster else {
        config.service(web::scope("/skein/cluster").default_service(web::to(alone)));
        return;
    };
    config
        .app_data(Data::new(cluster.clone()))
        .app_data(Data::new(operators.clone()))
        .route("/skein/cluster", web::get().to(report))
        .route("/skein/cluster/nodes/{node}/{verb}", web::post().to(change));
}

async fn alone() -> HttpResponse {
    let text = "this server is one node: its configuration has no cluster.token";
    refusal(StatusCode::NOT_FOUND, text)
}

async fn report(caller: Caller, cluster: Data<ClusterNode>) -> HttpResponse {
    if let Err(denied) = caller.may_list_rooms() {
        return refused(&denied);
    }
    HttpResponse::Ok().json(cluster.report().await)
}

async fn change(
    caller: Caller,
    cluster: Data<ClusterNode>,
    operators: Data<Operators>,
    drainage: Option<Data<Drainage>>,
    path: Path<(String, String)>,
) -> HttpResponse {
    if let Err(denied) = operators.admit(&caller) {
        return refusal(StatusCode::UNAUTHORIZED, denied);
    }
    let (name, verb) = path.into_inner();
    let node = match find(&cluster, &name) {
        Ok(node) => node,
        Err(text) => return refusal(StatusCode::NOT_FOUND, text),
    };
    match (verb.as_str(), &drainage) {
        ("drain", Some(drainage)) => {
            let begun = drainage.drain(node, &Terms::default()).await;
            return operator::answer(node, &verb, begun);
        }
        ("undrain", Some(drainage)) => {
            return operator::answer(node, &verb, drainage.undrain(node).await);
        }
        _ => {}
    }
    let action = match verb.as_str() {
        "drain" => Action::DrainNode { node },
        "undrain" => Action::EndDrain { node },
        "remove" => match cluster.may_be_removed(node) {
            Ok(()) => Action::RemoveNode { node },
            Err(text) => return refusal(StatusCode::CONFLICT, text),
        },
        _ => return refusal(StatusCode::NOT_FOUND, "drain, undrain or remove"),
    };
    match cluster.cluster().propose(action).await {
        Ok(_) => HttpResponse::Ok().json(json!({ "node": node.0, "done": verb })),
        Err(ProposeError::Refused(reason)) => refusal(StatusCode::CONFLICT, reason.to_string()),
        Err(error) => refusal(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    }
}

/// By id (`n17` or `17`), address, or host if only one node is on it.
pub(super) fn find(cluster: &ClusterNode, name: &str) -> Result<NodeId, String> {
    let id: Option<u64> = name.strip_prefix('n').unwrap_or(name).parse().ok();
    cluster.cluster().read(|state| {
        let mut found = state.nodes().filter(|(node, known)| {
            Some(node.0) == id || known.info.address == name || known.info.host == name
        });
        match (found.next(), found.next()) {
            (Some((node, _)), None) => Ok(node),
            (None, _) => Err(format!("no node is called {name}")),
            _ => Err(format!("several nodes are called {name}; use the id")),
        }
    })
}
