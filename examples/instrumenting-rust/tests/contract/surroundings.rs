//! What a service has around it: a provider of models, a collector of spans, and somebody who waits.
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use axum::{Router, body::Bytes, routing::post};
use clap::Parser as _;
use opentelemetry_proto::tonic::{collector::trace::v1::ExportTraceServiceRequest, trace::v1::Span};
use prost::Message as _;
use reqwest::blocking::Client;
use simulators::{llm::trace::Tracing, settings};
use tokio::{net::TcpListener, runtime::Runtime};

/// How long a condition is given; a busy machine starts Python slowly.
const PATIENCE: Duration = Duration::from_mins(1);

/// Asks again and again until there is something.
pub(crate) fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(started.elapsed() < PATIENCE, "never: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// A client that asks loopback only.
pub(crate) fn client() -> Client {
    Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().unwrap()
}

fn serve(router: Router) -> SocketAddr {
    let runtime = Runtime::new().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || runtime.block_on(async { axum::serve(listener, router).await }));
    address
}

/// The kit's own provider, without its waiting times.
pub(crate) struct Provider(SocketAddr);

impl Provider {
    pub(crate) fn start() -> Self {
        let settings = settings::Cli::parse_from(["simulators", "llm", "--time-scale=0"]);
        let settings::Command::Llm(settings) = settings.command else { unreachable!("it is the one named") };
        Self(serve(simulators::llm::router(&settings, Arc::new(Tracing::new(None, "test").unwrap()))))
    }

    pub(crate) fn base_url(&self) -> String {
        format!("http://{}/v1", self.0)
    }

    /// All calls fail from here on.
    pub(crate) fn fail(&self) {
        let faults = client().put(format!("http://{}/faults", self.0)).body("{\"error_ratio\": 1}");
        assert_eq!(faults.send().unwrap().status(), 200);
    }
}

/// Takes spans over OTLP.
pub(crate) struct Collector {
    pub(crate) endpoint: String,
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Collector {
    /// One that answers, or one that takes requests and never does.
    pub(crate) fn start(hangs: bool) -> Self {
        let spans = Arc::<Mutex<Vec<Span>>>::default();
        let kept = spans.clone();
        let take = async move |body: Bytes| {
            if hangs {
                std::future::pending::<()>().await;
            }
            let batch = ExportTraceServiceRequest::decode(body).unwrap();
            let scopes = batch.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
            kept.lock().unwrap().extend(scopes.flat_map(|scope| scope.spans));
        };
        let address = serve(Router::new().route("/v1/traces", post(take)));
        Self { endpoint: format!("http://{address}"), spans }
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap().clone()
    }
}
