//! R30: every future that the driver gives to its users is dropped at each of its
//! awaits. Whatever it had begun, its endpoint goes on: nothing stalls, is lost,
//! or keeps its place.
//!
//! [`dropped_futures`](crate::dropped_futures) has what happens where there is no
//! room, or no connection.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use netaio_driver::{
    AutoReconnectTimeoutHandler, IncomingDatagram, Layers, MessageType, OuterUse,
    Peer, PeerManagement, ServerOptions, TcpServer, UdpNode,
};

use crate::dropped_futures::poll_times;
use crate::ends::{self, client_builder, listen, message, only_link};
use crate::runtimes::TestRuntime;
use crate::waiting::{Count, LONG, eventually, soon, spawn};

on_every_runtime![
    r30_connecting,
    r30_closing,
    r30_requests,
    r30_sending,
    r30_receiving,
    r30_events,
    r30_subscribing,
    r30_publishing,
    r30_listening,
    r30_shutting_down,
    r30_waiting_for_the_stop,
    r30_leaving_peers,
    r30_cancelling_timeout_handlers,
    r30_reconnecting,
    r30_starting_nodes,
    r30_stopping_nodes,
    r30_requests_of_nodes,
    r30_sending_of_nodes,
    r30_leaving_peers_of_nodes,
    r30_cancelling_timeout_handlers_of_nodes,
];

/// What has not ended when it was polled so often never does.
const MOST: usize = 2_000;

/// Drops a future after it was polled not at all, once, twice .. until it is done
/// by then. Says each time whether it was, and checks what must hold then. The
/// name is that of the function, behind its file.
macro_rules! dropped_at_every_await {
    (
        $name:literal, $runtime:ident;
        { $($setup:tt)* } => $future:expr, $done:ident => $check:block
    ) => {
        for times in 0.. {
            assert!(times < MOST, "{} never ends", $name);
            $($setup)*
            let $done = poll_times(&$runtime, times, $future).await.is_some();
            $check
            if $done {
                break;
            }
        }
    };
}

#[test]
fn r30_every_future_of_the_driver_is_dropped_here() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../netaio-driver/src");
    let mut found = BTreeSet::new();
    let mut folders = vec![source.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("the driver") {
            let path = entry.expect("a file").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let code = fs::read_to_string(&path).expect("a text");
            let file = path.strip_prefix(&source).expect("it is in there");
            let file = file.display();
            for line in code.lines().map(str::trim) {
                if let Some((_, rest)) = line.split_once("pub async fn ") {
                    let end = rest.find(['(', '<']).expect("arguments");
                    found.insert(format!("{file}: {}", &rest[..end]));
                }
                let Some((_, of)) = line.split_once("Future for ") else {
                    continue;
                };
                let end = of.find(['<', ' ']).expect("a block");
                let name = &of[..end];
                if code.contains(&format!("pub struct {name}")) {
                    found.insert(format!("{file}: {name}"));
                }
            }
        }
    }
    assert!(found.len() > 30, "{found:?}");
    let here = include_str!("every_await.rs");
    found.retain(|name| !here.contains(&format!("\"{name}\"")));
    assert!(found.is_empty(), "these are not dropped: {found:?}");
}

async fn r30_connecting<R: TestRuntime>(runtime: R) {
    let server = ends::server(&runtime);
    let address = listen(&server).await;
    dropped_at_every_await!("client/mod.rs: connect", runtime; {
        let client = ends::client(&runtime, address);
    } => client.connect(), _done => {
        soon(&runtime, client.connect()).await.unwrap();
        assert!(client.request("echo").await.is_ok());
    });
    dropped_at_every_await!("client/mod.rs: connect_to", runtime; {
        let client = ends::client(&runtime, address);
    } => client.connect_to(address), _done => {
        soon(&runtime, client.connect()).await.unwrap();
        assert!(client.request("echo").await.is_ok());
    });
    dropped_at_every_await!("client/mod.rs: connect_with", runtime; {
        let client = ends::client(&runtime, address);
    } => client.connect_with(address, ServerOptions::default()), _done => {
        soon(&runtime, client.connect()).await.unwrap();
        assert!(client.request("echo").await.is_ok());
    });
    eventually(&runtime, "all are closed", || server.links().is_empty()).await;
}

async fn r30_closing<R: TestRuntime>(runtime: R) {
    const SENT: usize = 20;
    let (server, count) = (ends::server(&runtime), Count::default());
    let counted = count.clone();
    server.on(MessageType::PUBLISH_URI, move |_| counted.add());
    let address = listen(&server).await;
    let mut expected = 0;
    // What was sent before arrives, and the client can begin anew.
    macro_rules! closing {
        ($name:literal, $client:ident, $link:ident, $future:expr) => {
            dropped_at_every_await!($name, runtime; {
                let ($client, $link) = ends::connected(&runtime, address).await;
                for _ in 0..SENT {
                    let large = message(MessageType::PUBLISH_URI, "a", [7; 20_000]);
                    $link.send(large).await.unwrap();
                };
            } => $future, done => {
                if done {
                    assert!($link.is_closed());
                }
                soon(&runtime, $client.close()).await;
                soon(&runtime, $link.close_within(LONG)).await;
                expected += SENT;
                eventually(&runtime, "all has come", || {
                    count.get() == expected
                })
                .await;
                soon(&runtime, $client.connect()).await.unwrap();
                assert!($client.request("echo").await.is_ok());
            });
        };
    }
    closing!("client/mod.rs: close", client, link, client.close());
    closing!(
        "client/mod.rs: close_server",
        client,
        link,
        client.close_server(address)
    );
    closing!(
        "client/mod.rs: forget_server",
        client,
        link,
        client.forget_server(address)
    );
    closing!("client/mod.rs: close_all", client, link, client.close_all());
    closing!(
        "link.rs: close_within",
        client,
        link,
        link.close_within(LONG)
    );
    closing!("link.rs: closed", client, link, {
        let closing = client.clone();
        runtime.spawn(async move { closing.close().await });
        link.closed()
    });
    eventually(&runtime, "all are closed", || server.links().is_empty()).await;
}

async fn r30_requests<R: TestRuntime>(runtime: R) {
    let (_server, client, link) = ends::pair(&runtime).await;
    dropped_at_every_await!("request.rs: RequestBuilder", runtime; {}
        => client.request("echo").into_future(), _done => {
        assert_eq!(link.pending(), 0);
        assert!(client.request("echo").await.is_ok());
    });
    dropped_at_every_await!("request.rs: RequestFuture", runtime; {}
        => link.request("echo").into_future(), _done => {
        assert_eq!(link.pending(), 0);
        assert!(link.request("echo").await.is_ok());
    });
    dropped_at_every_await!("request.rs: PendingReply", runtime; {}
        => link.request("echo").start(), _done => {
        assert_eq!(link.pending(), 0);
        assert!(link.request("echo").await.is_ok());
    });
}

async fn r30_sending<R: TestRuntime>(runtime: R) {
    let (server, client, link) = ends::pair(&runtime).await;
    let (count, mut sent) = (Count::default(), 0);
    let counted = count.clone();
    server.on(MessageType::PUBLISH_URI, move |_| counted.add());
    let news = || message(MessageType::PUBLISH_URI, "news", "");
    dropped_at_every_await!("client/mod.rs: send", runtime; {}
        => client.send(news()), done => { sent += usize::from(done); }
    );
    dropped_at_every_await!("link.rs: send", runtime; {}
        => link.send(news()), done => { sent += usize::from(done); }
    );
    let layers = Layers::new();
    dropped_at_every_await!("link.rs: send_with", runtime; {}
        => link.send_with(news(), &layers, OuterUse::default()),
        done => { sent += usize::from(done); }
    );
    assert_eq!(sent, 3);
    // Messages arrive in order: nothing else is under way.
    assert!(client.request("echo").await.is_ok());
    assert_eq!(count.get(), sent);
}

async fn r30_receiving<R: TestRuntime>(runtime: R) {
    let (server, client, link) = ends::pair(&runtime).await;
    let accepted = only_link(&runtime, &server).await;
    let news = || message(MessageType::NOTIFY_URI, "news", "");
    // A message comes for each wait, and is had by that or the next one.
    macro_rules! receiving {
        ($name:literal, $end:ident) => {
            dropped_at_every_await!($name, runtime; {
                let sender = accepted.clone();
                let sent = spawn(&runtime, async move { sender.send(news()).await });
            } => $end.receive_once(), done => {
                soon(&runtime, sent.join()).await.unwrap();
                if !done {
                    assert!(soon(&runtime, $end.receive_once()).await.is_ok());
                }
            });
        };
    }
    receiving!("client/mod.rs: receive_once", client);
    receiving!("link.rs: receive_once", link);
    assert_eq!(link.dropped(), 0);
    let none = client.receive_once();
    assert!(poll_times(&runtime, 1, none).await.is_none());
}

async fn r30_events<R: TestRuntime>(runtime: R) {
    let server = ends::server(&runtime);
    let address = listen(&server).await;
    let mut events = server.events();
    dropped_at_every_await!("events.rs: next", runtime; {
        let client = ends::client(&runtime, address);
        let connecting = client.clone();
        let connected = spawn(&runtime, async move {
            connecting.connect().await.map(drop)
        });
    } => events.next(), done => {
        soon(&runtime, connected.join()).await.unwrap();
        if !done {
            assert!(soon(&runtime, events.next()).await.is_some());
        }
        let closed = client.close();
        soon(&runtime, closed).await;
        // The end.
        assert!(soon(&runtime, events.next()).await.is_some());
    });
    assert_eq!(events.try_next(), None);
}

async fn r30_subscribing<R: TestRuntime>(runtime: R) {
    let server = TcpServer::builder_on(runtime.clone()).build();
    server.pubsub();
    let (client, _) = ends::connected(&runtime, listen(&server).await).await;
    let subscribers = || server.subscribers("news").len();
    let news = || message(MessageType::NOTIFY_URI, "news", "");
    dropped_at_every_await!("subscription.rs: SubscribeBuilder", runtime; {}
        => client.subscribe("news").into_future(), _done => {
        let again = client.subscribe("news").into_future();
        let mut again = soon(&runtime, again).await.unwrap();
        assert_eq!(server.notify("news", news()).await, Ok(1));
        assert!(soon(&runtime, again.next()).await.is_some());
        assert_eq!(again.try_next(), None);
        drop(again);
        eventually(&runtime, "it has ended", || subscribers() == 0).await;
    });
    dropped_at_every_await!("subscription.rs: unsubscribe", runtime; {
        let mut subscription = client.subscribe("news").await.unwrap();
    } => subscription.unsubscribe(), _done => {
        drop(subscription);
        eventually(&runtime, "it has ended", || subscribers() == 0).await;
    });
    let mut subscription = client.subscribe("news").await.unwrap();
    dropped_at_every_await!("subscription.rs: next", runtime; {
        let publishing = server.clone();
        let published = spawn(&runtime, async move {
            publishing.notify("news", news()).await
        });
    } => subscription.next(), done => {
        assert_eq!(soon(&runtime, published.join()).await, Ok(1));
        if !done {
            assert!(soon(&runtime, subscription.next()).await.is_some());
        }
    });
    assert_eq!((subscription.try_next(), subscription.lost()), (None, 0));
}

async fn r30_publishing<R: TestRuntime>(runtime: R) {
    let (server, client, link) = ends::pair(&runtime).await;
    let count = Count::default();
    let counted = count.clone();
    client.on(MessageType::NOTIFY_URI, move |_| counted.add());
    let accepted = only_link(&runtime, &server).await;
    server.subscribe("news", &accepted).unwrap();
    let news = || message(MessageType::NOTIFY_URI, "news", "");
    let (none, outer) = (Layers::new(), OuterUse::default());
    let mut polls = 0;
    // It is queued when it is polled first, and not again.
    macro_rules! publishing {
        ($name:literal, $future:expr) => {
            let mut rounds = 0;
            dropped_at_every_await!($name, runtime; {} => $future, _done => {
                rounds += 1;
            });
            polls += rounds - 1;
        };
    }
    publishing!("server.rs: notify", server.notify("news", news()));
    publishing!(
        "server.rs: notify_with",
        server.notify_with("news", news(), &none, outer)
    );
    publishing!("server.rs: broadcast", server.broadcast(news()));
    publishing!(
        "server.rs: broadcast_with",
        server.broadcast_with(news(), &none, outer)
    );
    eventually(&runtime, "all has come", || count.get() == polls).await;
    assert!(link.request("echo").await.is_ok());
    assert_eq!(count.get(), polls);
}

async fn r30_listening<R: TestRuntime>(runtime: R) {
    let server = ends::server(&runtime);
    dropped_at_every_await!("server.rs: listen", runtime; {}
        => server.listen(ends::ANYWHERE), _done => {
        let address = listen(&server).await;
        let (client, _) = ends::connected(&runtime, address).await;
        assert!(client.request("echo").await.is_ok());
    });
    soon(&runtime, server.shutdown(LONG)).await;
}

async fn r30_shutting_down<R: TestRuntime>(runtime: R) {
    dropped_at_every_await!("server.rs: shutdown", runtime; {
        let (server, client, link) = ends::pair(&runtime).await;
        let clock = runtime.clone();
        server.on((MessageType::REQUEST_URI, "slow"), move |_| {
            let clock = clock.clone();
            async move {
                for _ in 0..3 {
                    spawn(&clock, async {}).join().await;
                }
                Err::<(), _>("at last")
            }
        });
        let asking = client.clone();
        let asked = spawn(&runtime, async move {
            asking.request("slow").await
        });
        eventually(&runtime, "it has come", || server.counters().dispatched > 0)
            .await;
    } => server.shutdown(LONG), done => {
        // What was accepted is answered, whoever waits for the shutdown.
        assert!(soon(&runtime, asked.join()).await.is_ok());
        if done {
            assert!(server.links().is_empty());
        }
        soon(&runtime, server.shutdown(LONG)).await;
        assert!(server.links().is_empty());
        soon(&runtime, server.stopped()).await;
        soon(&runtime, link.closed()).await;
    });
}

async fn r30_waiting_for_the_stop<R: TestRuntime>(runtime: R) {
    dropped_at_every_await!("server.rs: stopped", runtime; {
        let (server, client, _link) = ends::pair(&runtime).await;
        let stopping = server.clone();
        let stopped = spawn(&runtime, async move { stopping.shutdown(LONG).await });
    } => server.stopped(), _done => {
        soon(&runtime, stopped.join()).await;
        soon(&runtime, server.stopped()).await;
        drop(client);
    });
    dropped_at_every_await!("node/mod.rs: stopped", runtime; {
        let (node, _) = node(&runtime).await;
        let stopping = node.clone();
        let stopped = spawn(&runtime, async move { stopping.stop().await });
    } => node.stopped(), _done => {
        soon(&runtime, stopped.join()).await;
        soon(&runtime, node.stopped()).await;
    });
}

async fn r30_leaving_peers<R: TestRuntime>(runtime: R) {
    let server = TcpServer::builder_on(runtime.clone())
        .local_peer(Peer::new("server", ""))
        .build();
    let server = ends::with_echo(server);
    server.manage_peers(PeerManagement::new("app")).unwrap();
    let address = listen(&server).await;
    let client = client_builder(&runtime, address)
        .local_peer(Peer::new("client", ""))
        .build();
    client.connect().await.unwrap();
    dropped_at_every_await!("peers.rs: stop_peer_management", runtime; {
        client.manage_peers(PeerManagement::new("app")).unwrap();
    } => client.stop_peer_management(), _done => {
        soon(&runtime, client.stop_peer_management()).await;
        assert!(client.request("echo").await.is_ok());
    });
    eventually(&runtime, "it has left", || server.peers().is_empty()).await;
}

async fn r30_cancelling_timeout_handlers<R: TestRuntime>(runtime: R) {
    let (_server, client, _) = ends::pair(&runtime).await;
    client.set_timeout_handler(|_| std::future::pending::<()>());
    dropped_at_every_await!("timeout.rs: cancel_timeout_handler_tasks", runtime; {
        let request = client.request("silence").timeout(Duration::from_millis(5));
        assert!(request.await.is_err());
        eventually(&runtime, "it runs", || client.timeout_handler_tasks() > 0).await;
    } => client.cancel_timeout_handler_tasks(), _done => {
        soon(&runtime, client.cancel_timeout_handler_tasks()).await;
        assert_eq!(client.timeout_handler_tasks(), 0);
        assert!(client.request("echo").await.is_ok());
    });
}

async fn r30_reconnecting<R: TestRuntime>(runtime: R) {
    let (server, client, _) = ends::pair(&runtime).await;
    let handler = AutoReconnectTimeoutHandler::new().into_handler();
    let kept = Arc::new(Mutex::new(None));
    dropped_at_every_await!("reconnect.rs: Reconnecting", runtime; {
        let keeping = Arc::clone(&kept);
        client.set_timeout_handler(move |event| {
            *keeping.lock().unwrap() = Some(event);
        });
        let request = client.request("silence").timeout(Duration::from_millis(5));
        assert!(request.await.unwrap_err().is_timeout());
        let event = kept.lock().unwrap().take().expect("an event");
    } => handler(event), _done => {
        soon(&runtime, client.connect()).await.unwrap();
        assert!(client.request("echo").await.is_ok());
    });
    eventually(&runtime, "one is left", || server.links().len() == 1).await;
}

/// A node on a free port, with no group.
fn unstarted<R: TestRuntime>(runtime: &R) -> UdpNode<R> {
    let node = UdpNode::builder_on(runtime.clone())
        .interface([127, 0, 0, 1])
        .port(0)
        .no_multicast()
        .local_peer(Peer::new("node", ""))
        .build();
    let key = (MessageType::REQUEST_URI, "echo");
    node.on(key, |m: IncomingDatagram<R>| m.respond(m.content()));
    node
}

async fn node<R: TestRuntime>(runtime: &R) -> (UdpNode<R>, std::net::SocketAddr) {
    let node = unstarted(runtime);
    let address = node.start().await.expect("a free port");
    (node, address)
}

async fn r30_starting_nodes<R: TestRuntime>(runtime: R) {
    let (other, _) = node(&runtime).await;
    dropped_at_every_await!("node/mod.rs: start", runtime; {
        let node = unstarted(&runtime);
    } => node.start(), done => {
        if !done && node.local_addr().is_none() {
            soon(&runtime, node.start()).await.unwrap();
        }
        let address = node.local_addr().expect("it is bound");
        assert!(other.request("echo", address).await.is_ok());
    });
}

async fn r30_stopping_nodes<R: TestRuntime>(runtime: R) {
    dropped_at_every_await!("node/mod.rs: stop", runtime; {
        let (node, _) = node(&runtime).await;
    } => node.stop(), _done => {
        soon(&runtime, node.stop()).await;
        soon(&runtime, node.stopped()).await;
        assert_eq!(node.local_addr(), None);
    });
}

async fn r30_requests_of_nodes<R: TestRuntime>(runtime: R) {
    let (one, _) = node(&runtime).await;
    let (_two, there) = node(&runtime).await;
    dropped_at_every_await!("node/mod.rs: request", runtime; {}
        => one.request("echo", there).into_future(), _done => {
        assert_eq!(one.pending(), 0);
        assert!(one.request("echo", there).await.is_ok());
    });
}

async fn r30_sending_of_nodes<R: TestRuntime>(runtime: R) {
    let (one, _) = node(&runtime).await;
    let (two, there) = node(&runtime).await;
    one.add_peer(Peer::new("two", ""), there).unwrap();
    one.subscribe("news", there).unwrap();
    let (count, mut sent) = (Count::default(), 0);
    let counted = count.clone();
    two.on(MessageType::NOTIFY_URI, move |_| counted.add());
    let news = || message(MessageType::NOTIFY_URI, "news", "");
    let (none, outer) = (Layers::new(), OuterUse::default());
    macro_rules! sending {
        ($name:literal, $future:expr) => {
            dropped_at_every_await!($name, runtime; {} => $future, done => {
                sent += usize::from(done);
            });
        };
    }
    sending!("node/mod.rs: send", one.send(news(), there));
    sending!(
        "node/mod.rs: send_with",
        one.send_with(news(), there, &none, outer)
    );
    sending!("node/mod.rs: broadcast", one.broadcast(news()));
    sending!(
        "node/mod.rs: broadcast_with",
        one.broadcast_with(news(), &none, outer)
    );
    sending!("node/mod.rs: notify", one.notify("news", news()));
    sending!(
        "node/mod.rs: notify_with",
        one.notify_with("news", news(), &none, outer)
    );
    eventually(&runtime, "all has come", || count.get() >= sent).await;
    // It has no group, which it says.
    dropped_at_every_await!("node/mod.rs: multicast", runtime; {}
        => one.multicast(news()), _done => {}
    );
    dropped_at_every_await!("node/mod.rs: multicast_with", runtime; {}
        => one.multicast_with(news(), &none, outer), _done => {}
    );
    assert!(one.request("echo", there).await.is_ok());
}

async fn r30_leaving_peers_of_nodes<R: TestRuntime>(runtime: R) {
    let (one, _) = node(&runtime).await;
    let (_two, there) = node(&runtime).await;
    dropped_at_every_await!("node/mod.rs: stop_peer_management", runtime; {
        one.manage_peers(PeerManagement::new("app")).unwrap();
    } => one.stop_peer_management(), _done => {
        soon(&runtime, one.stop_peer_management()).await;
        assert!(one.request("echo", there).await.is_ok());
    });
}

async fn r30_cancelling_timeout_handlers_of_nodes<R: TestRuntime>(runtime: R) {
    let (one, _) = node(&runtime).await;
    let (two, there) = node(&runtime).await;
    two.on((MessageType::REQUEST_URI, "silence"), |_| ());
    one.set_timeout_handler(|_| std::future::pending::<()>());
    dropped_at_every_await!("timeout.rs: cancel_timeout_handler_tasks", runtime; {
        let request = one.request("silence", there);
        assert!(request.timeout(Duration::from_millis(5)).await.is_err());
        eventually(&runtime, "it runs", || one.timeout_handler_tasks() > 0).await;
    } => one.cancel_timeout_handler_tasks(), _done => {
        soon(&runtime, one.cancel_timeout_handler_tasks()).await;
        assert_eq!(one.timeout_handler_tasks(), 0);
    });
}
