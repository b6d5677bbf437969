//! The HTTP server: one listener for WebSockets, the server API, WHIP and the embedded page. Owns
//! what is common to every path: health, CORS, doubled slashes, limits. Routes come from outside.

use std::any::Any;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Instant;

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{Extensions, Server, ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode, Uri};
use actix_web::middleware::{Next, from_fn};
use actix_web::rt::net::TcpStream;
use actix_web::{App, Error, HttpResponse, HttpServer, web};
use metrics::counter;
use protocol::token::Keys;

use super::gate::{Gate, Refused};
use crate::auth::refusal;
use crate::limits::{
    HTTP_CONNECTIONS_MAX, HTTP_HEAD_TIMEOUT, HTTP_KEEP_ALIVE, TCP_KEEP_ALIVE, TCP_USER_TIMEOUT,
};

/// Methods granted to browsers of any origin.
const METHODS: [Method; 6] = [
    Method::OPTIONS,
    Method::HEAD,
    Method::GET,
    Method::POST,
    Method::PATCH,
    Method::DELETE,
];
/// Browsers may remember a preflight for a day.
const PREFLIGHT_SECONDS: HeaderValue = HeaderValue::from_static("86400");
const ANY: HeaderValue = HeaderValue::from_static("*");

/// Registers the paths of one part of the program; runs once in every HTTP worker thread.
pub type Routes = Arc<dyn Fn(&mut web::ServiceConfig) + Send + Sync>;

/// What the server needs besides its routes.
#[derive(Clone)]
pub struct HttpSettings {
    /// Threads that serve HTTP; participants' sessions live on them too.
    pub workers: usize,
    /// How often strangers may connect.
    pub gate: Gate,
    /// Given to `auth::Caller` in every handler.
    pub keys: Keys,
    /// Largest request body.
    pub body_bytes_max: usize,
    /// `GET /` answers 406 while this says no.
    pub healthy: Arc<dyn Fn() -> bool + Send + Sync>,
}

/// Starts serving on `listeners`. The caller awaits the server or stops it through its handle;
/// signals are the caller's business.
pub fn serve(
    listeners: Vec<TcpListener>,
    settings: HttpSettings,
    routes: Vec<Routes>,
) -> io::Result<Server> {
    let workers = settings.workers.max(1);
    let gate = settings.gate.clone();
    let factory = move || {
        let mut app = App::new()
            .app_data(web::Data::new(settings.keys.clone()))
            .app_data(web::PayloadConfig::new(settings.body_bytes_max));
        for part in &routes {
            app = app.configure(|config| part(config));
        }
        let healthy = settings.healthy.clone();
        app.route("/", web::route().to(move || health(healthy.clone())))
            .default_service(web::route().to(not_found))
            .wrap(from_fn(share_with_any_origin))
            .wrap(from_fn(collapse_leading_slashes))
    };
    let mut server = HttpServer::new(factory)
        .workers(workers)
        .max_connections(HTTP_CONNECTIONS_MAX / workers)
        .keep_alive(HTTP_KEEP_ALIVE)
        .client_request_timeout(HTTP_HEAD_TIMEOUT)
        .tcp_nodelay(true)
        // A client that hangs up while a room is asked takes its question back.
        .h1_allow_half_closed(false)
        .on_connect(move |connection, data| welcome(connection, data, &gate))
        .disable_signals();
    for listener in listeners {
        server = server.listen(listener)?;
    }
    Ok(server.run())
}

async fn health(healthy: Arc<dyn Fn() -> bool + Send + Sync>) -> HttpResponse {
    if healthy() {
        HttpResponse::Ok()
            .content_type("text/plain; charset=utf-8")
            .body("OK")
    } else {
        refusal(StatusCode::NOT_ACCEPTABLE, "Not Ready")
    }
}

async fn not_found() -> HttpResponse {
    refusal(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// Shuts a stranger out, or bounds what its connection may hold.
fn welcome(connection: &dyn Any, data: &mut Extensions, gate: &Gate) {
    let Some(stream) = connection.downcast_ref::<TcpStream>() else {
        return;
    };
    let socket = socket2::SockRef::from(stream);
    if let Ok(peer) = stream.peer_addr() {
        match gate.admit(Instant::now(), peer.ip()) {
            Ok(Some(visitor)) => drop(data.insert(visitor)),
            Ok(None) => {}
            Err(Refused) => {
                counter!("skein_connections_refused_total").increment(1);
                // It may have gone by itself.
                let _ = socket.shutdown(std::net::Shutdown::Both);
                return;
            }
        }
    }
    bound_dead_peers(&socket);
}

/// A peer that vanished or stopped reading holds buffers: the kernel ends it after a while.
fn bound_dead_peers(socket: &socket2::SockRef<'_>) {
    let keep_alive = socket2::TcpKeepalive::new().with_time(TCP_KEEP_ALIVE);
    // Both are refinements: a kernel that refuses them still serves.
    let _ = socket.set_tcp_keepalive(&keep_alive);
    let _ = socket.set_tcp_user_timeout(Some(TCP_USER_TIMEOUT));
}

/// Clients given a URL that ends in `/` ask for `//rtc`.
async fn collapse_leading_slashes<B: MessageBody>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    if request.path().starts_with("//")
        && let Some(uri) = without_doubled_slash(request.uri())
    {
        request.head_mut().uri = uri.clone();
        request.match_info_mut().get_mut().update(&uri);
    }
    next.call(request).await
}

fn without_doubled_slash(uri: &Uri) -> Option<Uri> {
    let path = uri.path().trim_start_matches('/');
    let target = match uri.query() {
        Some(query) => format!("/{path}?{query}"),
        None => format!("/{path}"),
    };
    target.parse().ok()
}

/// CORS as LiveKit grants it: any origin, reflected. `/rtc/validate` puts its own `*` before.
async fn share_with_any_origin<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let wanted = request.headers().get(header::ACCESS_CONTROL_REQUEST_METHOD);
    if request.method() == Method::OPTIONS && wanted.is_some_and(|method| !method.is_empty()) {
        let mut response = HttpResponse::NoContent().finish();
        grant_preflight(request.headers(), response.headers_mut());
        return Ok(request.into_response(response).map_into_right_body());
    }
    let origin = request.headers().get(header::ORIGIN).cloned();
    let known = METHODS.contains(request.method());
    let mut response = next.call(request).await?.map_into_left_body();
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = origin.filter(|_| known) {
        if !headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        }
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, ANY);
    }
    Ok(response)
}

/// A preflight for a foreign method is answered without any grant.
fn grant_preflight(request: &HeaderMap, response: &mut HeaderMap) {
    let vary = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";
    response.insert(header::VARY, HeaderValue::from_static(vary));
    let wanted = request.get(header::ACCESS_CONTROL_REQUEST_METHOD);
    let (Some(origin), Some(method)) = (request.get(header::ORIGIN), wanted) else {
        return;
    };
    if !METHODS
        .iter()
        .any(|known| known.as_str().as_bytes() == method.as_bytes())
    {
        return;
    }
    let mut grant = |name: HeaderName, value: HeaderValue| {
        response.insert(name, value);
    };
    grant(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    grant(header::ACCESS_CONTROL_ALLOW_METHODS, method.clone());
    if let Some(names) = request.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        grant(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    grant(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS);
}
