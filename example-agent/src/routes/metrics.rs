//! `GET /metrics`, in the format the scraper likes best.
use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse as _, Response},
};

use crate::{
    App,
    error::{ApiError, ErrorType},
    telemetry::exposition::Format,
};

/// Renders the metrics away from the threads that serve requests.
pub(super) async fn metrics(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let accepted: Vec<_> =
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let format = negotiate(&accepted.join(","));
    match tokio::task::spawn_blocking(move || {
        app.pipeline.show_spending(&app.tenants);
        app.metrics.render(format)
    })
    .await
    {
        Ok(text) => {
            let headers = [(header::CONTENT_TYPE, format.content_type()), (header::VARY, "accept")];
            (headers, text).into_response()
        }
        Err(error) => {
            let message = "The metrics could not be rendered: see the agent's log.";
            tracing::error!(error = %error, "metrics could not be rendered");
            ApiError::new(ErrorType::Internal, message).into_response()
        }
    }
}

/// OpenMetrics for who names it and likes it no less than text; text for everybody else, even for who accepts
/// neither: it can be read by eye.
fn negotiate(accept: &str) -> Format {
    let (mut open_metrics, mut text) = (0.0_f64, 0.0_f64);
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
        let (mut quality, mut version) = (1.0, None);
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            match name.trim().to_ascii_lowercase().as_str() {
                // What is no number is no wish.
                "q" => quality = value.trim().parse().unwrap_or(0.0),
                "version" => version = Some(value.trim().trim_matches('"')),
                _ => {}
            }
        }
        match media_type.as_str() {
            "application/openmetrics-text" if version.is_none_or(|v| v == "1.0.0") => {
                open_metrics = open_metrics.max(quality);
            }
            "text/plain" if version.is_none_or(|v| v == "0.0.4") => text = text.max(quality),
            _ => {}
        }
    }
    if open_metrics > 0.0 && open_metrics >= text { Format::OpenMetrics } else { Format::Text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_names_open_metrics_and_likes_it_best_has_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
            application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
            text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        for accept in [
            prometheus,
            "application/openmetrics-text",
            "Application/OpenMetrics-Text; Version=\"1.0.0\"; Q=0.9 , text/plain; q=0.8",
            "text/plain, application/openmetrics-text",
            "application/openmetrics-text;q=0.1, */*",
        ] {
            assert_eq!(negotiate(accept), Format::OpenMetrics, "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "text/*, application/*",
            "text/plain;version=0.0.4",
            "application/openmetrics-text;q=0.4, text/plain;q=0.5",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=much",
            "application/openmetrics-text;version=2.0.0",
            "application/openmetrics-text;version=0.0.1",
            "application/json",
            ";;=,,;q",
        ] {
            assert_eq!(negotiate(accept), Format::Text, "{accept}");
        }
    }
}
