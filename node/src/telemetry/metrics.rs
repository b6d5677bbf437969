//! The Prometheus endpoint. Names are LiveKit's where LiveKit has one, so existing dashboards work;
//! ours begin with `skein_`.

use std::io;
use std::net::TcpListener;

use actix_web::dev::Server;
use actix_web::http::header;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use aws_lc_rs::constant_time;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::config::server::Prometheus;

/// Milliseconds, for `*_ms` histograms.
const MILLISECONDS: [f64; 12] = [
    1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0, 10_000.0,
];
/// For durations of rooms, seconds.
const SECONDS: [f64; 10] = [
    5.0, 10.0, 60.0, 300.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 21_600.0, 86_400.0,
];

/// Installs the process's registry. `None` when there is one already (tests).
pub fn install(node_id: &str) -> Option<PrometheusHandle> {
    let builder = PrometheusBuilder::new()
        .add_global_label("node_id", node_id)
        .add_global_label("node_type", "SERVER");
    let builder = builder
        .set_buckets_for_metric(Matcher::Suffix("_ms".into()), &MILLISECONDS)
        .and_then(|builder| {
            builder.set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)
        });
    builder.and_then(PrometheusBuilder::install_recorder).ok()
}

/// Serves `/metrics` on `listener`, behind basic authentication if a user is configured.
pub fn serve(
    listener: TcpListener,
    handle: PrometheusHandle,
    config: &Prometheus,
) -> io::Result<Server> {
    let expected = (!config.username.is_empty()).then(|| {
        let pair = format!("{}:{}", config.username, config.password.expose());
        format!("Basic {}", STANDARD.encode(pair))
    });
    let factory = move || {
        let (handle, expected) = (handle.clone(), expected.clone());
        App::new().route(
            "/metrics",
            web::get().to(move |request: HttpRequest| {
                let answer = answer(&request, expected.as_deref(), &handle);
                async move { answer }
            }),
        )
    };
    let server = HttpServer::new(factory)
        .workers(1)
        .disable_signals()
        .listen(listener)?;
    Ok(server.run())
}

fn answer(
    request: &HttpRequest,
    expected: Option<&str>,
    handle: &PrometheusHandle,
) -> HttpResponse {
    if let Some(expected) = expected {
        let given = request.headers().get(header::AUTHORIZATION);
        let given = given.map_or(&[][..], |value| value.as_bytes());
        if constant_time::verify_slices_are_equal(given, expected.as_bytes()).is_err() {
            return HttpResponse::Unauthorized()
                .insert_header((header::WWW_AUTHENTICATE, "Basic realm=\"metrics\""))
                .finish();
        }
    }
    handle.run_upkeep();
    HttpResponse::Ok()
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .body(handle.render())
}
