//! R26: a server is shut down with a great many requests in flight, some of which
//! are never answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use netaio_driver::{Incoming, MessageType, RequestError};
use netaio_tokio::Tokio;
use tokio::sync::Semaphore;

use crate::ends::{self, connected, listen};
use crate::process::allow_files;
use crate::runtimes::{Flavour, TestRuntime};
use crate::waiting::{Count, eventually, soon, spawn};

#[test]
fn r26_a_shutdown_answers_what_it_accepted_and_ends_by_its_deadline() {
    for round in 0..3 {
        shut_down(Duration::from_millis(400 * round), Duration::from_secs(2));
    }
}

#[test]
#[ignore = "it measures time, which needs an idle machine"]
fn r26_a_shutdown_always_ends_within_100_ms_of_its_deadline() {
    for round in 0..30 {
        shut_down(
            Duration::from_millis(50 * round),
            Duration::from_millis(100),
        );
    }
}

/// 1,000 requests are in flight, and 100 more that hang. What is accepted when a
/// shutdown begins is answered before the `deadline`, if that leaves any time.
fn shut_down(deadline: Duration, slack: Duration) {
    const CLIENTS: usize = 10;
    const SLOW: usize = 100;
    const HANGING: usize = 10;
    allow_files(20_000);
    Tokio::block_on(Flavour::Threads, async move {
        let runtime = Tokio::default();
        let server = ends::server(&runtime);
        let gate = Arc::new(Semaphore::new(0));
        let waiting = Arc::clone(&gate);
        let key = (MessageType::REQUEST_URI, "slow");
        server.on(key, move |m: Incoming<Tokio>| {
            let gate = Arc::clone(&waiting);
            async move {
                gate.acquire().await.expect("is open").forget();
                m.respond([7; 1_000])
            }
        });
        let dropped = Count::default();
        let count = dropped.clone();
        server.on((MessageType::REQUEST_URI, "hang"), move |_| {
            let alive = Alive(count.clone());
            async move {
                std::future::pending::<()>().await;
                drop(alive);
            }
        });
        let address = listen(&server).await;
        let (mut slow, mut hanging, mut clients) = (vec![], vec![], vec![]);
        for _ in 0..CLIENTS {
            let (client, _) = connected(&runtime, address).await;
            let ask = |uri: &'static str| {
                let client = client.clone();
                let timeout = Duration::from_secs(30);
                spawn(&runtime, async move {
                    client.request(uri).timeout(timeout).await
                })
            };
            slow.extend((0..SLOW).map(|_| ask("slow")));
            hanging.extend((0..HANGING).map(|_| ask("hang")));
            clients.push(client);
        }
        let in_flight = || server.links().iter().map(|link| link.in_flight()).sum();
        let all = CLIENTS * (SLOW + HANGING);
        eventually(&runtime, "all are accepted", || {
            let in_flight: usize = in_flight();
            in_flight == all
        })
        .await;
        let begun = Instant::now();
        let stopping = server.clone();
        let shutdown =
            spawn(&runtime, async move { stopping.shutdown(deadline).await });
        let answers = deadline >= Duration::from_millis(400);
        if answers {
            // Some are done before it has begun, others while it goes on.
            for _ in 0..10 {
                gate.add_permits(CLIENTS * SLOW / 10);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        soon(&runtime, shutdown.join()).await;
        let took = begun.elapsed();
        assert!(took >= deadline, "{took:?}");
        assert!(took <= deadline + slack, "{took:?} of {deadline:?}");
        for slow in slow {
            match soon(&runtime, slow.join()).await {
                Ok(reply) => assert_eq!(reply.content(), [7; 1_000]),
                Err(RequestError::Disconnected { sent, .. }) => {
                    assert!(sent && !answers);
                }
                Err(error) => panic!("{error:?}"),
            }
        }
        for hanging in hanging {
            match soon(&runtime, hanging.join()).await.unwrap_err() {
                RequestError::Disconnected { sent, .. } => assert!(sent),
                error => panic!("{error:?}"),
            }
        }
        assert!(server.links().is_empty());
        eventually(&runtime, "their handlers are dropped", || {
            dropped.get() == CLIENTS * HANGING
        })
        .await;
        drop(clients);
    });
}

/// Counts when it is dropped.
struct Alive(Count);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.add();
    }
}
