//! Sealing that takes long: apart from all tasks, so that nobody waits for it but
//! whoever sends the message.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use netaio_proto::{
    EndpointConfig, Instant, Layers, Message, MessageType, OuterUse, PluginError,
    Request, RequestError, Sealing, SendError,
};

use crate::runtime::{Runtime, until};

/// Whether sealing a message takes so long that it is to be done apart.
#[inline]
pub(crate) fn is_costly(
    config: &EndpointConfig,
    kind: MessageType,
    inner: &Layers,
    outer: OuterUse,
) -> bool {
    inner.is_costly(kind) || outer.auth && config.layers.is_costly(kind)
}

/// Whether a request has to be sealed before it can be sent.
#[inline]
pub(crate) fn must_seal(config: &EndpointConfig, request: &Request) -> bool {
    let kind = request.message().message_type();
    let (inner, outer) = (request.inner(), request.outer_use());
    !request.is_sealed() && is_costly(config, kind, inner, outer)
}

/// Puts its layers on a request, by `deadline`. Dropping the future ends the work.
pub(crate) async fn sealed_request<R: Runtime>(
    runtime: &R,
    sealing: Sealing,
    request: Request,
    deadline: Instant,
) -> Result<Request, RequestError> {
    let work = apart(runtime, move |cancelled| {
        sealing.request(cancelled, request)
    });
    match until(runtime, deadline, work).await {
        Some(sealed) => Ok(sealed?),
        None => Err(SendError::Plugin(PluginError::Cancelled).into()),
    }
}

/// Puts its layers on a message. Dropping the future ends the work.
pub(crate) async fn sealed_message<R: Runtime>(
    runtime: &R,
    sealing: Sealing,
    message: Message,
    inner: &Layers,
    outer: OuterUse,
) -> Result<Message, SendError> {
    let inner = inner.clone();
    apart(runtime, move |cancelled| {
        sealing.message(cancelled, message, &inner, outer)
    })
    .await
}

async fn apart<R: Runtime, T: Send + 'static>(
    runtime: &R,
    work: impl FnOnce(&AtomicBool) -> Result<T, SendError> + Send + 'static,
) -> Result<T, SendError> {
    let (sender, receiver) = async_channel::bounded(1);
    let cancel = CancelOnDrop::default();
    let cancelled = Arc::clone(&cancel.0);
    runtime.spawn_blocking(move || {
        // Nobody need wait for it any more.
        let _ = sender.try_send(work(&cancelled));
    });
    // Nothing comes if there is no thread to be had, or the plugin panicked.
    let given_up = |_| Err(PluginError::Cancelled.into());
    receiver.recv().await.unwrap_or_else(given_up)
}

/// Ends the work when nobody waits for it any more.
#[derive(Default)]
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
