//! Listeners, connections, and the end of both without losing a request.
use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinHandle,
    time::{sleep, timeout_at},
};
use tokio_io_timeout::TimeoutStream;

use crate::{App, console::Console, lifecycle::Phase, routes, settings::Settings};

/// A caller that has connected has this long to say what it wants.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// What a connection may hold of an answer that its caller is slow to take, beside one piece of it, and of a request's head.
const MAX_BUFFER: usize = 64 << 10;
/// Between the signal and the closing of idle connections: what was sent before the signal is still read. The HTTP
/// library closes a connection it has not read from yet, though the request may wait in the socket.
const IDLE_GRACE: Duration = Duration::from_millis(100);
/// After a failed `accept`, as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("{variable}: cannot listen on {address}: {source}")]
pub struct BindError {
    variable: &'static str,
    address: SocketAddr,
    source: io::Error,
}

/// Both listeners, bound but not yet served.
#[derive(Debug)]
pub struct Server {
    app: Arc<App>,
    api: TcpListener,
    admin: TcpListener,
    max_connections: u32,
    write_timeout: Duration,
    shutdown_timeout: Duration,
}

impl Server {
    /// Binds both addresses; port 0 takes any free one.
    pub async fn bind(settings: &Settings, mut app: App) -> Result<Self, BindError> {
        let bind = async |variable, address| {
            TcpListener::bind(address).await.map_err(|source| BindError { variable, address, source })
        };
        let api = bind("AGENT_API_ADDR", settings.api_addr).await?;
        let admin = bind("AGENT_ADMIN_ADDR", settings.admin_addr).await?;
        // Port 0 has become another.
        if let (Ok(api), Ok(admin)) = (api.local_addr(), admin.local_addr()) {
            app.console = Console::new(&settings.console, api.port(), admin.port());
        }
        Ok(Self {
            app: Arc::new(app),
            api,
            admin,
            max_connections: settings.max_connections,
            write_timeout: settings.write_timeout,
            shutdown_timeout: settings.shutdown_timeout,
        })
    }

    /// Where the API listens.
    pub fn api_addr(&self) -> io::Result<SocketAddr> {
        self.api.local_addr()
    }

    /// Where the admin side listens.
    pub fn admin_addr(&self) -> io::Result<SocketAddr> {
        self.admin.local_addr()
    }

    /// Serves until told to end, then finishes what is open. Returns the time by which the process has to be gone.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Instant {
        let Self { app, api, admin, max_connections, write_timeout, shutdown_timeout } = self;
        let listener = |until, counted, router| Listener {
            app: app.clone(),
            router,
            until,
            counted,
            max_connections,
            write_timeout,
        };
        let mut api = listener(Phase::Draining, true, routes::api(app.clone())).spawn(api);
        // The admin side stays to the end: it tells that the agent is not ready, and the last of the metrics.
        let admin = listener(Phase::Closed, false, routes::admin(app.clone())).spawn(admin);
        let upkeep = tokio::spawn(upkeep(app.clone()));

        shutdown.await;
        let begin = tokio::time::Instant::now();
        tracing::info!(timeout_seconds = shutdown_timeout.as_secs_f64(), "shutting down");
        app.lifecycle.advance(Phase::Draining);
        // Of the time there is, a fifth is for saying no to the rest, and for spans and logs.
        if timeout_at(begin + shutdown_timeout.mul_f64(0.8), &mut api).await.is_err() {
            tracing::warn!("requests are still open: they are answered with 503");
            app.lifecycle.advance(Phase::Cutting);
            if timeout_at(begin + shutdown_timeout.mul_f64(0.9), &mut api).await.is_err() {
                tracing::warn!("connections are still open: they are closed");
            }
        }
        app.lifecycle.advance(Phase::Closed);
        let _ = timeout_at(begin + shutdown_timeout.mul_f64(0.95), admin).await;
        upkeep.abort();
        (begin + shutdown_timeout).into_std()
    }
}

async fn upkeep(app: Arc<App>) {
    let mut tick = tokio::time::interval(UPKEEP_EVERY);
    loop {
        tick.tick().await;
        if app.faults.forget_expired(Instant::now()) {
            tracing::info!("faults expired");
        }
        let metrics = app.metrics.clone();
        let _ = tokio::task::spawn_blocking(move || metrics.upkeep()).await;
    }
}

/// One of the two listeners.
struct Listener {
    app: Arc<App>,
    router: Router,
    /// The phase in which it stops taking connections.
    until: Phase,
    /// Whether its connections are counted.
    counted: bool,
    max_connections: u32,
    write_timeout: Duration,
}

impl Listener {
    /// The task ends when the socket is closed and its last connection too.
    fn spawn(self, socket: TcpListener) -> JoinHandle<()> {
        tokio::spawn(self.serve(socket))
    }

    async fn serve(self, socket: TcpListener) {
        let slots = Arc::new(Semaphore::new(self.max_connections as usize));
        let accepting = async {
            loop {
                // Further callers wait in the kernel's queue, where they take no memory of ours.
                let Ok(slot) = slots.clone().acquire_owned().await else { return };
                match socket.accept().await {
                    Ok((stream, _)) => self.spawn_connection(stream, slot),
                    Err(error) => {
                        tracing::warn!(error = %error, "a connection could not be accepted");
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        };
        tokio::select! {
            () = accepting => {}
            () = self.app.lifecycle.reached(self.until) => {}
        }
        self.accept_the_rest(socket, &slots);
        tokio::select! {
            _ = slots.acquire_many(self.max_connections) => {}
            () = self.app.lifecycle.reached(Phase::Closed) => {}
        }
    }

    /// Callers whom the kernel has let in are served, before the socket is closed.
    fn accept_the_rest(&self, socket: TcpListener, slots: &Arc<Semaphore>) {
        let Ok(socket) = socket.into_std() else { return };
        while let Ok(slot) = slots.clone().try_acquire_owned() {
            let Ok((stream, _)) = socket.accept() else { return };
            if stream.set_nonblocking(true).is_ok()
                && let Ok(stream) = TcpStream::from_std(stream)
            {
                self.spawn_connection(stream, slot);
            }
        }
    }

    fn spawn_connection(&self, stream: TcpStream, slot: OwnedSemaphorePermit) {
        let counted = self.counted.then(|| self.app.metrics.connection());
        let (app, router, until) = (self.app.clone(), self.router.clone(), self.until);
        // Answers are written at once; there is nothing to gather them with.
        let _ = stream.set_nodelay(true);
        let mut stream = TimeoutStream::new(stream);
        // Who takes nothing of an answer holds what is not written of it, and its work: not for ever.
        stream.set_write_timeout(Some(self.write_timeout));
        tokio::spawn(async move {
            let _held = (slot, counted);
            connection(stream, router, &app, until).await;
        });
    }
}

async fn connection(stream: TimeoutStream<TcpStream>, router: Router, app: &App, until: Phase) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(MAX_BUFFER);
    let mut stream = pin!(stream);
    let served = http.serve_connection(TokioIo::new(stream.as_mut()), TowerToHyperService::new(router));
    let mut connection = pin!(served);
    // A connection ends in an error when its caller breaks it: that is not worth a line.
    let result: Result<(), hyper::Error> = tokio::select! {
        biased;
        result = connection.as_mut() => result,
        () = ending(app, until) => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                result = connection => result,
                () = app.lifecycle.reached(Phase::Closed) => Ok(()),
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(error = %error, "connection broken");
    }
}

async fn ending(app: &App, until: Phase) {
    app.lifecycle.reached(until).await;
    sleep(IDLE_GRACE).await;
}
