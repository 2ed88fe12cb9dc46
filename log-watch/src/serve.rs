//! Asks round after round, and shows the latest.
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use axum::{Router, http::StatusCode, routing::get};
use futures_util::future::{join_all, try_join_all};
use reqwest::Client;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    time::{MissedTickBehavior, interval},
};

use crate::{
    agent,
    elasticsearch::{Elasticsearch, Indexed},
    http,
    ledger::{Ledger, STREAMS, Written},
    logstash,
    report::Report,
    settings::{Serve, Switch},
};

/// A source that has never answered may be starting: it does not count as down for so long.
const STARTING: Duration = Duration::from_mins(3);

/// Serves `/metrics` and `/healthz` until SIGTERM or SIGINT. The error is one line.
pub async fn run(settings: &Serve) -> Result<(), String> {
    tracing_subscriber::fmt().with_ansi(false).with_target(false).init();
    let listener = TcpListener::bind(settings.listen)
        .await
        .map_err(|e| format!("cannot listen on {}: {e}", settings.listen))?;
    let on = |kind| signal(kind).map_err(|e| format!("cannot listen for signals: {e}"));
    let (mut terminate, mut interrupt) = (on(SignalKind::terminate())?, on(SignalKind::interrupt())?);
    tracing::info!(address = %settings.listen, "listening");
    let stopped = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    tokio::select! {
        outcome = serve(listener, settings) => outcome,
        () = stopped => Ok(()),
    }
}

/// Serves on a listener, for as long as it is polled.
pub async fn serve(listener: TcpListener, settings: &Serve) -> Result<(), String> {
    let mut watch = Watch::new(settings)?;
    let (handle, asked) = (watch.report.handle(), Arc::new(AtomicBool::new(false)));
    let done = Arc::clone(&asked);
    // Healthy once there is something to show. That a source is down is what the metrics are for.
    let health = move || async move {
        if done.load(Ordering::Relaxed) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
    };
    let router = Router::new()
        .route("/metrics", get(move || async move { handle.render() }))
        .route("/healthz", get(health));
    let rounds = async {
        let mut tick = interval(settings.every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            watch.round().await;
            asked.store(true, Ordering::Relaxed);
        }
    };
    tokio::select! {
        outcome = axum::serve(listener, router).into_future() => outcome.map_err(|e| format!("serving ended: {e}")),
        () = rounds => Ok(()),
    }
}

struct Watch<'a> {
    settings: &'a Serve,
    client: Client,
    elasticsearch: Elasticsearch,
    ledger: Ledger,
    report: Report,
    began: Instant,
    /// The sources that have answered once.
    met: HashSet<&'static str>,
    /// What each source said last, if it failed: a change is worth a line, a repetition is not. Empty where it answered.
    said: HashMap<&'static str, String>,
}

impl<'a> Watch<'a> {
    fn new(settings: &'a Serve) -> Result<Self, String> {
        let client = http::client(
            settings.agent_urls.iter().chain(&settings.logstash_url).chain([&settings.elasticsearch.url]),
        )?;
        let report = Report::new();
        report.shipping(settings.shipping == Switch::On);
        Ok(Self {
            settings,
            elasticsearch: Elasticsearch::new(client.clone(), settings.elasticsearch.clone()),
            client,
            ledger: Ledger::new(settings.window, settings.patience),
            report,
            began: Instant::now(),
            met: HashSet::new(),
            said: HashMap::new(),
        })
    }

    async fn round(&mut self) {
        if self.settings.shipping == Switch::On {
            self.ask_agents().await;
            self.ask_logstash().await;
        }
        self.ask_elasticsearch().await;
    }

    /// One agent that does not answer leaves a gap for all: the instant would not be one.
    async fn ask_agents(&mut self) {
        let asked = SystemTime::now();
        let answers = join_all(self.settings.agent_urls.iter().map(|url| agent::written(&self.client, url)));
        let answers: Result<Vec<Written>, String> = answers.await.into_iter().collect();
        let answered = SystemTime::now();
        if let Some(written) = self.noted("agent", answers) {
            let addresses = self.settings.agent_urls.iter().map(ToString::to_string);
            self.ledger.record(asked, answered, addresses.zip(written));
        }
    }

    async fn ask_logstash(&mut self) {
        let Some(url) = &self.settings.logstash_url else { return };
        let pipelines = logstash::pipelines(&self.client, url).await;
        for pipeline in self.noted("logstash", pipelines).iter().flatten() {
            self.report.pipeline(pipeline);
        }
    }

    async fn ask_elasticsearch(&mut self) {
        let now = SystemTime::now();
        let due = self.ledger.due(now);
        let span = due.map(|due| (due.after, due.until));
        let streams = (0..STREAMS.len()).map(|stream| self.elasticsearch.indexed(stream, now, span));
        // Events of which a later one may overtake an earlier one are left alone.
        let until = now - self.settings.patience;
        let gaps = self.elasticsearch.audit_gaps(until - self.settings.window, until);
        let answers = async { Ok((try_join_all(streams).await?, gaps.await?)) }.await;
        let (indexed, gaps): (Option<Vec<Indexed>>, _) = self.noted("elasticsearch", answers).unzip();
        self.report.audit_gaps(gaps);
        for stream in 0..STREAMS.len() {
            let indexed = indexed.as_ref().map(|streams| &streams[stream]);
            self.report.indexed(stream, indexed);
            if self.settings.shipping == Switch::On {
                self.report.compared(stream, due.as_ref(), indexed);
            }
        }
    }

    /// Shows whether a source answered, and says what has changed about it.
    fn noted<T>(&mut self, source: &'static str, answer: Result<T, String>) -> Option<T> {
        let (answer, error) = match answer {
            Ok(answer) => (Some(answer), String::new()),
            Err(error) => (None, error),
        };
        if self.said.get(source).is_none_or(|before| *before != error) {
            if error.is_empty() {
                tracing::info!(source, "answers");
            } else {
                tracing::warn!(source, error, "does not answer");
            }
            self.said.insert(source, error);
            self.met.extend(answer.is_some().then_some(source));
        }
        if self.met.contains(source) || self.began.elapsed() >= STARTING {
            self.report.source(source, answer.is_some());
        }
        answer
    }
}
