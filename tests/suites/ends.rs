//! A server and its clients.

use std::net::SocketAddr;

use netaio_driver::{
    ClientBuilder, CloseReason, ConnectionEvent, ConnectionEvents, Incoming, Limits,
    Link, Message, MessageType, Runtime, TcpClient, TcpServer, TooLong,
};

use crate::waiting::soon;

pub(crate) const ANYWHERE: &str = "127.0.0.1:0";

/// A server without plugins that echoes at `echo`, and leaves requests for
/// `silence` unanswered.
pub(crate) fn server<R: Runtime>(runtime: &R) -> TcpServer<R> {
    with_echo(TcpServer::builder_on(runtime.clone()).build())
}

/// The same server, which echoes at `echo` and is silent at `silence`.
pub(crate) fn with_echo<R: Runtime>(server: TcpServer<R>) -> TcpServer<R> {
    server.on((MessageType::REQUEST_URI, "echo"), echo);
    server.on((MessageType::REQUEST_URI, "silence"), |_| ());
    server
}

pub(crate) fn echo<R: Runtime>(incoming: Incoming<R>) -> Result<Message, TooLong> {
    incoming.respond(incoming.content())
}

/// Listens on a port that is free.
pub(crate) async fn listen<R: Runtime>(server: &TcpServer<R>) -> SocketAddr {
    server.listen(ANYWHERE).await.expect("a free port")
}

/// A client without plugins.
pub(crate) fn client<R: Runtime>(runtime: &R, server: SocketAddr) -> TcpClient<R> {
    client_builder(runtime, server).build()
}

pub(crate) fn client_builder<R: Runtime>(
    runtime: &R,
    server: SocketAddr,
) -> ClientBuilder<R> {
    TcpClient::builder_on(runtime.clone()).server(server)
}

/// A client of `server` that is connected, and its connection.
pub(crate) async fn connected<R: Runtime>(
    runtime: &R,
    server: SocketAddr,
) -> (TcpClient<R>, Link<R>) {
    let client = client(runtime, server);
    let link = client.connect().await.expect("a connection");
    (client, link)
}

/// A server that listens, and a connected client of it.
pub(crate) async fn pair<R: Runtime>(
    runtime: &R,
) -> (TcpServer<R>, TcpClient<R>, Link<R>) {
    let server = server(runtime);
    let address = listen(&server).await;
    let (client, link) = connected(runtime, address).await;
    (server, client, link)
}

/// The server's end of its only connection.
pub(crate) async fn only_link<R: Runtime>(
    runtime: &R,
    server: &TcpServer<R>,
) -> Link<R> {
    crate::waiting::eventually(runtime, "a connection is accepted", || {
        server.links().len() == 1
    })
    .await;
    server.links().remove(0)
}

/// The default limits, with changes.
pub(crate) fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    change(&mut limits);
    limits
}

/// The first event that `wanted` makes something of.
pub(crate) async fn event<R: Runtime, T>(
    runtime: &R,
    events: &mut ConnectionEvents,
    mut wanted: impl FnMut(&ConnectionEvent) -> Option<T>,
) -> T {
    let first = async {
        loop {
            let event = events.next().await.expect("an event");
            if let Some(found) = wanted(&event) {
                return found;
            }
        }
    };
    soon(runtime, first).await
}

/// The number of a `Reconnecting` event.
pub(crate) fn attempt(event: &ConnectionEvent) -> Option<u32> {
    match event {
        ConnectionEvent::Reconnecting { attempt, .. } => Some(*attempt),
        _ => None,
    }
}

pub(crate) fn message(
    message_type: MessageType,
    uri: &str,
    content: impl AsRef<[u8]>,
) -> Message {
    Message::new(message_type, uri, content).expect("a message that fits")
}

/// The reason of a `Disconnected` event.
pub(crate) fn reason(event: &ConnectionEvent) -> Option<CloseReason> {
    match event {
        ConnectionEvent::Disconnected { reason, .. } => Some(reason.clone()),
        _ => None,
    }
}
