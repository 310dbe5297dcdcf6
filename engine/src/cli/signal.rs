//! SIGINT and SIGTERM: the first asks for an orderly stop, the second does not ask.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::exit::{Exit, Report};

/// Becomes true when everything should finish what is in flight and return.
pub type Shutdown = watch::Receiver<bool>;

/// What a verb keeps to ask its pipes to stop, and what it hands to each.
///
/// # Errors
///
/// The system has no room for a signal handler.
pub fn shutdown() -> Result<(watch::Sender<bool>, Shutdown), Report> {
    let (sender, receiver) = watch::channel(false);
    let refused = |error| {
        Report::new(Exit::Internal, "cannot start").because("no signal can be waited for", error)
    };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(refused)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(refused)?;
    let asked = sender.clone();
    tokio::spawn(async move {
        let name = either(&mut interrupt, &mut terminate).await;
        tracing::info!("{name}: stopping; what is in flight is finished first");
        asked.send_replace(true);
        let name = either(&mut interrupt, &mut terminate).await;
        tracing::warn!(
            "{name} again: stopping at once; the next start resumes at the last stored position"
        );
        std::process::exit(128 + if name == "SIGINT" { 2 } else { 15 });
    });
    Ok((sender, receiver))
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) -> &'static str {
    tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    }
}
