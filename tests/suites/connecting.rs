//! Connecting: what comes of it, and how often it is done.

use std::time::Duration;

use netaio_driver::{ConnectError, TcpClient};

use crate::ends::{self, client, client_builder, listen};
use crate::raw_peer::{BlackHole, refusing};
use crate::runtimes::TestRuntime;
use crate::waiting::{LONG, eventually, off_thread, soon, spawn, within};

on_every_runtime![
    a_connection_may_be_refused,
    a_connection_may_take_too_long,
    a_connection_that_may_take_no_time_at_all_is_a_timeout,
    a_name_may_be_unknown,
    a_name_without_a_port_is_an_error_that_says_so,
    a_client_without_a_server_says_so,
    connecting_twice_gives_the_same_connection,
    connecting_at_once_makes_one_connection,
    connecting_again_after_a_close_makes_a_new_connection,
    a_dropped_attempt_leaves_room_for_another,
    closing_gives_up_an_attempt,
    closing_gives_up_all_who_wait_for_an_attempt,
];

const SHORT: Duration = Duration::from_millis(60);

async fn hole() -> BlackHole {
    off_thread(|| {
        let mut hole = BlackHole::open();
        hole.fill();
        hole
    })
    .await
}

async fn a_connection_may_be_refused<R: TestRuntime>(runtime: R) {
    let address = refusing();
    let client = client(&runtime, address);
    match soon(&runtime, client.connect()).await.unwrap_err() {
        ConnectError::Io { server, error } => {
            assert_eq!(server, address.into());
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
        }
        error => panic!("{error:?}"),
    }
    assert!(client.link(None).is_none());
    // It can be tried again.
    let server = ends::server(&runtime);
    server.listen(address.to_string()).await.unwrap();
    client.connect().await.unwrap();
    assert!(client.request("echo").await.is_ok());
}

async fn a_connection_may_take_too_long<R: TestRuntime>(runtime: R) {
    let hole = hole().await;
    let client = client_builder(&runtime, hole.address())
        .connect_timeout(SHORT)
        .build();
    let error = soon(&runtime, client.connect()).await.unwrap_err();
    match error {
        ConnectError::TimedOut { timeout, .. } => assert_eq!(timeout, SHORT),
        error => panic!("{error:?}"),
    }
    // A server's own option comes first.
    let patient = client_builder(&runtime, hole.address())
        .connect_timeout(LONG * 3)
        .build();
    let options = netaio_driver::ServerOptions {
        connect_timeout: Some(SHORT),
        ..Default::default()
    };
    let connecting = patient.connect_with(hole.address(), options);
    let error = soon(&runtime, connecting).await.unwrap_err();
    assert!(matches!(error, ConnectError::TimedOut { .. }), "{error}");
}

async fn a_connection_that_may_take_no_time_at_all_is_a_timeout<R: TestRuntime>(
    runtime: R,
) {
    let hole = hole().await;
    let client = client_builder(&runtime, hole.address())
        .connect_timeout(Duration::ZERO)
        .build();
    let error = soon(&runtime, client.connect()).await.unwrap_err();
    assert!(matches!(error, ConnectError::TimedOut { .. }), "{error}");
}

async fn a_name_may_be_unknown<R: TestRuntime>(runtime: R) {
    for name in ["no port here", "127.0.0.1:port", "name.invalid:1"] {
        let client = TcpClient::builder_on(runtime.clone())
            .server(name)
            .connect_timeout(LONG / 2)
            .build();
        match soon(&runtime, client.connect()).await.unwrap_err() {
            ConnectError::Io { server, .. } => assert_eq!(server, name.into()),
            // Without a name server there may be no answer at all.
            ConnectError::TimedOut { .. } if name.contains("invalid") => {}
            error => panic!("{error:?}"),
        }
    }
}

async fn a_name_without_a_port_is_an_error_that_says_so<R: TestRuntime>(runtime: R) {
    let client = TcpClient::builder_on(runtime.clone()).server("127.0.0.1");
    let error = soon(&runtime, client.build().connect()).await.unwrap_err();
    assert!(error.to_string().contains("host:port"), "{error}");
}

async fn a_client_without_a_server_says_so<R: TestRuntime>(runtime: R) {
    let client = TcpClient::builder_on(runtime.clone()).build();
    let error = client.connect().await.unwrap_err();
    assert!(matches!(error, ConnectError::NoServer), "{error}");
    assert!(client.request("echo").await.is_err());
    assert!(client.receive_once().await.is_err());
    client.close().await;
    let server = ends::server(&runtime);
    let address = listen(&server).await;
    client.connect_to(address).await.unwrap();
    assert!(client.request("echo").server(address).await.is_ok());
    assert!(client.request("echo").await.is_err());
}

async fn connecting_twice_gives_the_same_connection<R: TestRuntime>(runtime: R) {
    let (server, client, link) = ends::pair(&runtime).await;
    let again = client.connect().await.unwrap();
    assert_eq!(again.id(), link.id());
    let name = link.remote();
    assert_eq!(client.connect_to(name).await.unwrap().id(), link.id());
    assert_eq!(client.link(None).unwrap().id(), link.id());
    assert!(client.request("echo").await.is_ok());
    assert_eq!(server.links().len(), 1);
}

async fn connecting_at_once_makes_one_connection<R: TestRuntime>(runtime: R) {
    let server = ends::server(&runtime);
    let client = client(&runtime, listen(&server).await);
    for _ in 0..10 {
        let connecting: Vec<_> = (0..20)
            .map(|_| {
                let client = client.clone();
                spawn(
                    &runtime,
                    async move { client.connect().await.unwrap().id() },
                )
            })
            .collect();
        let mut ids = Vec::new();
        for connecting in connecting {
            ids.push(soon(&runtime, connecting.join()).await);
        }
        ids.dedup();
        assert_eq!(ids.len(), 1, "{ids:?}");
        assert!(client.request("echo").await.is_ok());
        assert_eq!(server.links().len(), 1);
        client.close().await;
        eventually(&runtime, "it is closed", || server.links().is_empty()).await;
    }
}

async fn connecting_again_after_a_close_makes_a_new_connection<R: TestRuntime>(
    runtime: R,
) {
    let (_server, client, mut link) = ends::pair(&runtime).await;
    for _ in 0..5 {
        soon(&runtime, client.close()).await;
        assert!(link.is_closed());
        let new = client.connect().await.unwrap();
        assert_ne!(new.id(), link.id());
        assert!(client.request("echo").await.is_ok());
        link = new;
    }
}

async fn a_dropped_attempt_leaves_room_for_another<R: TestRuntime>(runtime: R) {
    let hole = hole().await;
    let client = client_builder(&runtime, hole.address())
        .connect_timeout(LONG * 3)
        .build();
    let connecting = within(&runtime, SHORT, client.connect()).await;
    assert!(connecting.is_none());
    // One that waits for another takes over when that is dropped.
    let mut first = Box::pin(client.connect());
    assert!(within(&runtime, SHORT, &mut first).await.is_none());
    let waiting = client.clone();
    let second = spawn(&runtime, async move { waiting.connect().await.map(drop) });
    let asking = client.clone();
    let request = spawn(&runtime, async move {
        asking.request("echo").timeout(LONG).await
    });
    drop(first);
    // Those in the queue leave: from now on connections succeed.
    let address = hole.address();
    let server = ends::server(&runtime);
    off_thread(move || drop(hole)).await;
    // The second attempt is refused now, or succeeds with the new server.
    server.listen(address.to_string()).await.unwrap();
    let _ = soon(&runtime, second.join()).await;
    client.connect().await.unwrap();
    assert!(client.request("echo").await.is_ok());
    let _ = soon(&runtime, request.join()).await;
}

async fn closing_gives_up_all_who_wait_for_an_attempt<R: TestRuntime>(runtime: R) {
    let hole = hole().await;
    let client = client_builder(&runtime, hole.address())
        .connect_timeout(LONG * 3)
        .build();
    let mut connecting: Vec<_> =
        (0..5).map(|_| Box::pin(client.connect())).collect();
    for connecting in &mut connecting {
        assert!(within(&runtime, SHORT, connecting).await.is_none());
    }
    soon(&runtime, client.close()).await;
    for connecting in connecting {
        let error = soon(&runtime, connecting).await.unwrap_err();
        assert!(matches!(error, ConnectError::GivenUp { .. }), "{error}");
    }
    // Whoever comes later has not been told to stop.
    let later = within(&runtime, SHORT, client.connect()).await;
    assert!(later.is_none());
}

async fn closing_gives_up_an_attempt<R: TestRuntime>(runtime: R) {
    let listener = crate::raw_peer::listener();
    let address = listener.local_addr().unwrap();
    let hole = hole().await;
    let client = client_builder(&runtime, hole.address())
        .connect_timeout(SHORT)
        .build();
    let connecting = client.clone();
    let connecting = spawn(&runtime, async move { connecting.connect().await });
    let asking = client.clone();
    let request = spawn(&runtime, async move {
        loop {
            let error = asking.request("echo").await.unwrap_err();
            if asking.link(None).is_none() {
                return error;
            }
        }
    });
    soon(&runtime, client.close()).await;
    let error = soon(&runtime, request.join()).await;
    assert_eq!(error, netaio_driver::RequestError::NotConnected);
    assert!(soon(&runtime, connecting.join()).await.is_err());
    // Others are not concerned.
    client.connect_to(address).await.unwrap();
}
