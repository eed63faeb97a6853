//! A server that sends no more, while its client still works for it.

use std::sync::Arc;
use std::time::Duration;

use netaio_driver::{
    AutoReconnectTimeoutHandler, ClientBuilder, CloseReason, ConnectionEvent,
    ConnectionEvents, Incoming, Link, MessageType, RequestError, TcpClient,
};
use tokio::sync::Notify;

use crate::ends::client_builder;
use crate::raw_peer::{RawPeer, listener};
use crate::runtimes::TestRuntime;
use crate::waiting::{Count, eventually, off_thread, soon};

on_every_runtime![
    a_connection_is_made_again_while_the_old_one_is_still_answered,
    a_client_may_connect_while_the_old_connection_is_still_answered,
    closing_gives_connections_whose_server_has_left_no_more_than_its_own_time,
];

/// A client whose server has asked for something, and has left.
struct Left<R: TestRuntime> {
    client: TcpClient<R>,
    events: ConnectionEvents,
    link: Link<R>,
    listener: Arc<std::net::TcpListener>,
    peer: RawPeer,
    /// Lets the client answer.
    gate: Arc<Notify>,
}

impl<R: TestRuntime> Left<R> {
    async fn new(
        runtime: &R,
        build: impl FnOnce(ClientBuilder<R>) -> ClientBuilder<R>,
    ) -> Self {
        let listener = Arc::new(listener());
        let address = listener.local_addr().expect("an address");
        let client = build(client_builder(runtime, address)).build();
        let (gate, begun) = (Arc::new(Notify::new()), Count::default());
        let (waiting, count) = (Arc::clone(&gate), begun.clone());
        client.on(MessageType::REQUEST_URI, move |m: Incoming<R>| {
            let waiting = Arc::clone(&waiting);
            count.add();
            async move {
                waiting.notified().await;
                m.respond("late")
            }
        });
        let link = client.connect().await.expect("a connection");
        let events = client.events();
        let accepting = Arc::clone(&listener);
        let peer = off_thread(move || {
            let mut peer = RawPeer::accept(&accepting);
            peer.request("slow", "");
            peer.end_output();
            peer
        })
        .await;
        eventually(runtime, "the handler runs", || begun.get() == 1).await;
        Self {
            client,
            events,
            link,
            listener,
            peer,
            gate,
        }
    }

    /// Accepts another connection.
    async fn accept(&self) -> RawPeer {
        let listener = Arc::clone(&self.listener);
        off_thread(move || RawPeer::accept(&listener)).await
    }

    /// Lets the client answer over the old connection, which is over then.
    async fn answer(self, runtime: &R) {
        assert!(!self.link.is_closed());
        self.gate.notify_one();
        let mut peer = self.peer;
        let reply = off_thread(move || peer.receive()).await;
        assert_eq!(reply.expect("a reply").text(), "late");
        assert_eq!(soon(runtime, self.link.closed()).await, CloseReason::Eof);
        let mut events = self.events;
        let ends = std::iter::from_fn(|| events.try_next())
            .filter(|event| matches!(event, ConnectionEvent::Disconnected { .. }));
        assert_eq!(ends.count(), 1, "its end is told once");
    }
}

async fn a_connection_is_made_again_while_the_old_one_is_still_answered<
    R: TestRuntime,
>(
    runtime: R,
) {
    let rules = AutoReconnectTimeoutHandler::new().spread(Duration::ZERO);
    let left = Left::new(&runtime, |b| b.reconnect_when_lost(rules)).await;
    let client = left.client.clone();
    let _second = left.accept().await;
    let another = || client.link(None).is_some_and(|l| l.id() != left.link.id());
    eventually(&runtime, "it is connected again", another).await;
    left.answer(&runtime).await;
    assert!(client.link(None).is_some());
}

async fn a_client_may_connect_while_the_old_connection_is_still_answered<
    R: TestRuntime,
>(
    runtime: R,
) {
    let left = Left::new(&runtime, |builder| builder).await;
    let client = left.client.clone();
    let unusable = || client.link(None).is_none();
    eventually(&runtime, "its end is known", unusable).await;
    let _listening = Arc::clone(&left.listener);
    let error = soon(&runtime, client.request("x").into_future()).await;
    assert_eq!(error.unwrap_err(), RequestError::NotConnected);
    let link = soon(&runtime, client.connect()).await.expect("another one");
    assert_ne!(link.id(), left.link.id());
    // Both are counted.
    assert_eq!(client.counters().dispatched, 1);
    left.answer(&runtime).await;
    assert_eq!(client.counters().dispatched, 1);
    assert!(!link.is_closed());
}

async fn closing_gives_connections_whose_server_has_left_no_more_than_its_own_time<
    R: TestRuntime,
>(
    runtime: R,
) {
    let left = Left::new(&runtime, |builder| builder).await;
    let unusable = || left.client.link(None).is_none();
    eventually(&runtime, "its end is known", unusable).await;
    left.client.connect().await.expect("another one");
    // Its handler never ends, and might take 30 s otherwise.
    soon(&runtime, left.client.close()).await;
    assert!(left.link.is_closed());
}
