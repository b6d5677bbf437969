//! The Prometheus endpoint. Names are LiveKit's where LiveKit has one, so existing dashboards work;
//! ours begin with `skein_`.

use std::io;
use std::net::TcpListener;
use std::time::Duration;

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
/// Sessions last from seconds to a day, in milliseconds.
const SESSION_MILLISECONDS: [f64; 9] = [1e3, 1e4, 6e4, 3e5, 6e5, 1.8e6, 3.6e6, 7.2e6, 8.64e7];
/// Boundaries of upstream's `packets.go`.
const JITTER_MICROSECONDS: [f64; 9] = [1e3, 5e3, 1e4, 3e4, 5e4, 7e4, 1e5, 3e5, 6e5];
const LOSS_PERCENT: [f64; 10] = [0.0, 0.1, 0.3, 0.5, 0.7, 1.0, 5.0, 10.0, 40.0, 100.0];
const RTT_MILLISECONDS: [f64; 10] = [
    50.0, 100.0, 150.0, 200.0, 250.0, 500.0, 750.0, 1e3, 5e3, 1e4,
];
/// Boundaries of upstream's `quality.go`.
const RATING: [f64; 3] = [0.0, 1.0, 2.0];
const MEAN_OPINION: [f64; 10] = [1.0, 2.0, 2.5, 3.0, 3.25, 3.5, 3.75, 4.0, 4.25, 4.5];
/// For durations of rooms, seconds.
const SECONDS: [f64; 10] = [
    5.0, 10.0, 60.0, 300.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 21_600.0, 86_400.0,
];

/// Installs the process's registry. `None` when there is one already (tests).
pub fn install(node_id: &str) -> Option<PrometheusHandle> {
    let builder = PrometheusBuilder::new()
        .add_global_label("node_id", node_id)
        .add_global_label("node_type", "SERVER");
    let suffix = |suffix: &str| Matcher::Suffix(suffix.to_owned());
    let named = |name: &str| Matcher::Full(name.to_owned());
    let buckets: [(Matcher, &[f64]); 8] = [
        (suffix("_ms"), &MILLISECONDS),
        (suffix("_seconds"), &SECONDS),
        (named("livekit_session_duration_ms"), &SESSION_MILLISECONDS),
        (named("livekit_rtt_ms"), &RTT_MILLISECONDS),
        (named("livekit_jitter_us"), &JITTER_MICROSECONDS),
        (named("livekit_packet_loss_percent"), &LOSS_PERCENT),
        (named("livekit_quality_rating"), &RATING),
        (named("livekit_quality_score"), &MEAN_OPINION),
    ];
    let builder = buckets
        .into_iter()
        .try_fold(builder, |builder, (matcher, values)| {
            builder.set_buckets_for_metric(matcher, values)
        });
    builder.and_then(PrometheusBuilder::install_recorder).ok()
}

/// Samples of histograms are folded into their buckets this often; until then each costs memory.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Folds what was recorded, for ever: nobody may be scraping.
pub async fn keep_small(handle: PrometheusHandle) {
    let mut ticks = tokio::time::interval(UPKEEP_INTERVAL);
    loop {
        ticks.tick().await;
        handle.run_upkeep();
    }
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
