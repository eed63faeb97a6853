//! R29: handlers that panic, never return, or return nothing, among others, on
//! many connections at once.

use std::time::Duration;

use netaio_driver::{Incoming, MessageType};
use netaio_tokio::Tokio;

use crate::ends::{self, connected, listen};
use crate::runtimes::{Flavour, run};
use crate::waiting::{fail, soon, spawn};

#[test]
fn r29_handlers_that_fail_in_any_way_leave_the_others_alone() {
    run::<Tokio, _>(Flavour::Threads, failing);
}

const REQUEST: MessageType = MessageType::REQUEST_URI;

async fn failing(runtime: Tokio) {
    const CONNECTIONS: usize = 20;
    const ROUNDS: usize = 25;
    let server = ends::server(&runtime);
    server.on((REQUEST, "panic"), |_| fail());
    server.on((REQUEST, "panic later"), async |_| {
        tokio::task::yield_now().await;
        fail();
    });
    server.on((REQUEST, "hang"), |_| std::future::pending::<()>());
    server.on((REQUEST, "nothing later"), async |_| {
        tokio::task::yield_now().await;
    });
    server.on((REQUEST, "slow"), async |m: Incoming<Tokio>| {
        tokio::time::sleep(Duration::from_millis(20)).await;
        m.respond(m.content())
    });
    let address = listen(&server).await;
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        let (client, link) = connected(&runtime, address).await;
        let mut asked = Vec::new();
        for round in 0..ROUNDS {
            for uri in ["panic", "panic later", "hang", "silence", "nothing later"] {
                let client = client.clone();
                asked.push((
                    uri,
                    spawn(&runtime, async move {
                        let timeout = Duration::from_millis(1_500);
                        client.request(uri).timeout(timeout).await
                    }),
                ));
            }
            for uri in ["echo", "slow"] {
                let client = client.clone();
                asked.push((
                    uri,
                    spawn(&runtime, async move {
                        client.request(uri).content(round.to_string()).await
                    }),
                ));
            }
        }
        clients.push((client, link, asked));
    }
    for (client, link, asked) in clients {
        let mut rounds = 0;
        for (uri, asked) in asked {
            let outcome = soon(&runtime, asked.join()).await;
            match uri {
                "panic" | "panic later" => {
                    let reply = outcome.unwrap();
                    assert_eq!(reply.message_type(), MessageType::ERROR);
                    assert_eq!(reply.uri_text(), uri);
                }
                "echo" | "slow" => {
                    let reply = outcome.unwrap();
                    assert_eq!(reply.message_type(), MessageType::RESPOND_URI);
                    assert_eq!(reply.text(), (rounds / 2).to_string());
                    rounds += 1;
                }
                _ => assert!(outcome.unwrap_err().is_timeout(), "{uri}"),
            }
        }
        assert!(!link.is_closed());
        assert_eq!(link.pending(), 0);
        assert!(client.request("echo").await.is_ok());
    }
    // Those that hang hold their places, and nobody else does.
    let links = server.links();
    assert_eq!(links.len(), CONNECTIONS);
    for link in links {
        assert_eq!(link.in_flight(), ROUNDS);
    }
}
