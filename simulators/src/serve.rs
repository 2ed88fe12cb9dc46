//! Listening, and ending well.
use std::{net::SocketAddr, time::Duration};

use axum::Router;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
    time,
};

/// How long open requests get at the end. A request that hangs on purpose must not hold up the end for longer.
const DRAIN: Duration = Duration::from_secs(2);

/// Listens on `address`. The error is one line.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|e| format!("cannot listen on {address}: {e}"))
}

/// Serves until SIGTERM or SIGINT, then lets open requests end for a bounded time.
pub async fn until_signal(listener: TcpListener, router: Router) -> Result<(), String> {
    let on = |kind| signal(kind).map_err(|e| format!("cannot listen for signals: {e}"));
    let (mut terminate, mut interrupt) = (on(SignalKind::terminate())?, on(SignalKind::interrupt())?);
    let (stop, stopped) = watch::channel(());
    let address = listener.local_addr().map_err(|e| format!("no listening address: {e}"))?;
    tracing::info!(%address, "listening");
    let server = tokio::spawn(async move {
        // The address of the peer is not asked for: behind Docker's proxy it says nothing.
        axum::serve(listener, router)
            .with_graceful_shutdown(async move {
                let mut stopped = stopped;
                // An error means that the sender is gone, which is the end as well.
                let _ = stopped.changed().await;
            })
            .await
    });
    let name = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    tracing::info!(signal = name, "ending");
    stop.send_replace(());
    match time::timeout(DRAIN, server).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => return Err(format!("serving on {address} ended: {error}")),
        Ok(Err(error)) => return Err(format!("serving on {address} ended: {error}")),
        Err(_) => tracing::warn!(waited = ?DRAIN, "requests still open are cut off"),
    }
    tracing::info!("ended");
    Ok(())
}
