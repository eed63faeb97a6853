//! Timeout handlers: what they are told, when, and what they cannot change.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use netaio_driver::{
    ConnectError, MessageType, Runtime, ServerName, TcpClient, TimeoutEvent,
    TimeoutKind,
};

use crate::ends::{self, client_builder, listen};
use crate::raw_peer::BlackHole;
use crate::runtimes::TestRuntime;
use crate::waiting::{
    Count, LONG, eventually, fail, off_thread, soon, spawn, within,
};

on_every_runtime![
    a_handler_given_at_construction_is_told_everything,
    a_plain_handler_has_run_before_its_caller_is_told,
    an_async_handler_runs_as_a_task,
    a_handler_can_be_replaced_and_removed,
    a_handler_that_panics_or_fails_changes_nothing,
    a_handler_is_told_of_connections_that_take_too_long,
    a_handler_is_told_of_every_request_once,
    a_handler_can_make_requests_of_its_own,
    cancelling_handler_tasks_waits_until_they_have_ended,
    cancelling_handler_tasks_leaves_later_ones_alone,
    many_requests_that_time_out_together_and_are_made_again_all_end,
];

const SHORT: Duration = Duration::from_millis(30);

type Told<R> = Arc<Mutex<Vec<TimeoutEvent<TcpClient<R>>>>>;

async fn a_handler_given_at_construction_is_told_everything<R: TestRuntime>(
    runtime: R,
) {
    let server = ends::server(&runtime);
    let address = listen(&server).await;
    let told = Told::<R>::default();
    let notes = Arc::clone(&told);
    let client = client_builder(&runtime, address)
        .timeout_handler(move |event| notes.lock().unwrap().push(event))
        .build();
    client.connect().await.unwrap();
    let error = client.request("silence").timeout(SHORT).await.unwrap_err();
    let event = told.lock().unwrap().remove(0);
    assert_eq!(event.kind, TimeoutKind::Request);
    assert_eq!(event.server, ServerName::from(address));
    assert_eq!(event.error, error);
    assert!(error.is_timeout());
    assert_eq!(error.timeout(), Some(SHORT));
    let context = event.context.expect("what was asked for");
    assert_eq!(context.uri, "silence");
    assert_eq!(context.message_type, MessageType::REQUEST_URI);
    assert_eq!(context.timeout, SHORT);
    assert_eq!(context.server, address);
    for kind in [
        MessageType::RESPOND_URI,
        MessageType::OK,
        MessageType::NOT_FOUND,
        MessageType::NOT_PERMITTED,
        MessageType::ERROR,
        MessageType::AUTH_ERROR,
    ] {
        assert!(context.keys.contains(&(kind, "silence".into())), "{kind}");
    }
    // The node is the client itself.
    let reply = event.node.request("echo").content("hello").await.unwrap();
    assert_eq!(reply.content(), b"hello");
}

async fn a_plain_handler_has_run_before_its_caller_is_told<R: TestRuntime>(
    runtime: R,
) {
    let (_server, client, _) = ends::pair(&runtime).await;
    let told = Count::default();
    let count = told.clone();
    client.set_timeout_handler(move |_| {
        std::thread::sleep(Duration::from_millis(5));
        count.add();
    });
    for number in 0..20 {
        assert_eq!(told.get(), number);
        let error = client
            .request("silence")
            .timeout(SHORT / 10)
            .await
            .unwrap_err();
        assert!(error.is_timeout());
        assert_eq!(told.get(), number + 1);
    }
}

async fn an_async_handler_runs_as_a_task<R: TestRuntime>(runtime: R) {
    let (_server, client, _) = ends::pair(&runtime).await;
    let (told, go_on) = (Count::default(), Arc::new(tokio::sync::Notify::new()));
    let inside = (told.clone(), Arc::clone(&go_on));
    client.set_timeout_handler(move |event: TimeoutEvent<TcpClient<R>>| {
        let (told, go_on) = inside.clone();
        async move {
            go_on.notified().await;
            assert_eq!(event.kind, TimeoutKind::Request);
            told.add();
        }
    });
    // The caller does not wait for it.
    let error = client.request("silence").timeout(SHORT).await.unwrap_err();
    assert!(error.is_timeout());
    assert_eq!(told.get(), 0);
    assert_eq!(client.timeout_handler_tasks(), 1);
    go_on.notify_one();
    eventually(&runtime, "the handler ends", || {
        told.get() == 1 && client.timeout_handler_tasks() == 0
    })
    .await;
}

async fn a_handler_can_be_replaced_and_removed<R: TestRuntime>(runtime: R) {
    let server = ends::server(&runtime);
    let address = listen(&server).await;
    let (first, second) = (Count::default(), Count::default());
    let count = first.clone();
    let client = client_builder(&runtime, address)
        .timeout_handler(move |_| count.add())
        .build();
    client.connect().await.unwrap();
    let silence = || async {
        let error = client.request("silence").timeout(SHORT).await.unwrap_err();
        assert!(error.is_timeout());
    };
    silence().await;
    assert_eq!((first.get(), second.get()), (1, 0));
    let count = second.clone();
    client.set_timeout_handler(move |_| count.add());
    silence().await;
    assert_eq!((first.get(), second.get()), (1, 1));
    let count = second.clone();
    client.set_timeout_handler(move |_| {
        let count = count.clone();
        async move { count.add() }
    });
    silence().await;
    eventually(&runtime, "the async one runs", || second.get() == 2).await;
    client.clear_timeout_handler();
    silence().await;
    assert_eq!((first.get(), second.get()), (1, 2));
}

async fn a_handler_that_panics_or_fails_changes_nothing<R: TestRuntime>(runtime: R) {
    let (_server, client, link) = ends::pair(&runtime).await;
    let told = Count::default();
    let check = async |what: &str, before: usize| {
        let error = client.request("silence").timeout(SHORT).await.unwrap_err();
        assert!(error.is_timeout(), "{what}: {error}");
        eventually(&runtime, what, || told.get() == before + 1).await;
        eventually(&runtime, "its task ends", || {
            client.timeout_handler_tasks() == 0
        })
        .await;
        let reply = client.request("echo").content(what).await.unwrap();
        assert_eq!(reply.text(), what);
        assert!(!link.is_closed());
    };
    let count = told.clone();
    client.set_timeout_handler(move |_| {
        count.add();
        fail();
    });
    check("a plain one panics", 0).await;
    let count = told.clone();
    client.set_timeout_handler(move |_| {
        count.add();
        Err::<(), _>("a failure")
    });
    check("a plain one fails", 1).await;
    let count = told.clone();
    client.set_timeout_handler(move |_| {
        let count = count.clone();
        async move {
            count.add();
            if count.get() > 0 {
                fail();
            }
        }
    });
    check("an async one panics", 2).await;
    let count = told.clone();
    client.set_timeout_handler(move |_| {
        let count = count.clone();
        async move {
            count.add();
            Err::<(), _>("a failure")
        }
    });
    check("an async one fails", 3).await;
}

async fn a_handler_is_told_of_connections_that_take_too_long<R: TestRuntime>(
    runtime: R,
) {
    let hole = off_thread(|| {
        let mut hole = BlackHole::open();
        hole.fill();
        hole
    })
    .await;
    let told = Told::<R>::default();
    let notes = Arc::clone(&told);
    let client = client_builder(&runtime, hole.address())
        .connect_timeout(SHORT)
        .timeout_handler(move |event| notes.lock().unwrap().push(event))
        .build();
    match soon(&runtime, client.connect()).await {
        Err(ConnectError::TimedOut { server, timeout }) => {
            assert_eq!(server, hole.address().into());
            assert_eq!(timeout, SHORT);
        }
        other => panic!("{other:?}"),
    }
    let event = told.lock().unwrap().remove(0);
    assert_eq!(event.kind, TimeoutKind::Connect);
    assert_eq!(event.server, hole.address().into());
    assert!(event.context.is_none());
    assert!(told.lock().unwrap().is_empty());
}

async fn a_handler_is_told_of_every_request_once<R: TestRuntime>(runtime: R) {
    let (_server, client, link) = ends::pair(&runtime).await;
    let told = Told::<R>::default();
    let notes = Arc::clone(&told);
    client.set_timeout_handler(move |event| notes.lock().unwrap().push(event));
    let requests: Vec<_> = (0..100)
        .map(|number: u32| {
            let client = client.clone();
            spawn(&runtime, async move {
                let uri = number.to_string();
                client
                    .request(&uri)
                    .message_type(MessageType::PUBLISH_URI)
                    .timeout(LONG)
                    .await
            })
        })
        .collect();
    // Of these nobody hears: they are answered with NOT_FOUND.
    for request in requests {
        let reply = request.join().await.unwrap();
        assert_eq!(reply.message_type(), MessageType::NOT_FOUND);
    }
    assert_eq!(told.lock().unwrap().len(), 0);
    let requests: Vec<_> = (0..100)
        .map(|_| {
            let client = client.clone();
            spawn(&runtime, async move {
                client.request("silence").timeout(SHORT).await
            })
        })
        .collect();
    for request in requests {
        assert!(request.join().await.unwrap_err().is_timeout());
    }
    assert_eq!(told.lock().unwrap().len(), 100);
    assert_eq!(link.pending(), 0);
    told.lock().unwrap().clear();
}

async fn a_handler_can_make_requests_of_its_own<R: TestRuntime>(runtime: R) {
    let (_server, client, _) = ends::pair(&runtime).await;
    let (sender, mut replies) = tokio::sync::mpsc::unbounded_channel();
    client.set_timeout_handler(move |event: TimeoutEvent<TcpClient<R>>| {
        let sender = sender.clone();
        async move {
            let reply = event.node.request("echo").content("again").await;
            sender.send(reply).map_err(|_| "nobody listens")
        }
    });
    let error = client.request("silence").timeout(SHORT).await.unwrap_err();
    assert!(error.is_timeout());
    let reply = soon(&runtime, replies.recv()).await.unwrap().unwrap();
    assert_eq!(reply.content(), b"again");
}

/// Makes requests time out whose handlers never end by themselves.
async fn with_endless_handlers<R: Runtime>(
    runtime: &R,
    client: &TcpClient<R>,
    tasks: usize,
) -> Count {
    let ended = Count::default();
    let count = ended.clone();
    client.set_timeout_handler(move |_| {
        let dropped = count.when_dropped();
        async move {
            std::future::pending::<()>().await;
            drop(dropped);
        }
    });
    for _ in 0..tasks {
        let request = client.request("silence").timeout(SHORT / 10);
        assert!(request.await.unwrap_err().is_timeout());
    }
    eventually(runtime, "the handlers run", || {
        client.timeout_handler_tasks() == tasks
    })
    .await;
    assert_eq!(ended.get(), 0);
    ended
}

async fn cancelling_handler_tasks_waits_until_they_have_ended<R: TestRuntime>(
    runtime: R,
) {
    let (_server, client, _) = ends::pair(&runtime).await;
    // With none of them there is nothing to wait for.
    soon(&runtime, client.cancel_timeout_handler_tasks()).await;
    for tasks in [1, 7] {
        let ended = with_endless_handlers(&runtime, &client, tasks).await;
        soon(&runtime, client.cancel_timeout_handler_tasks()).await;
        assert_eq!(ended.get(), tasks);
        assert_eq!(client.timeout_handler_tasks(), 0);
    }
    // Two may cancel at once, and both wait.
    let ended = with_endless_handlers(&runtime, &client, 5).await;
    let other = client.clone();
    let (seen, by_other) = (ended.clone(), Count::default());
    let other = spawn(&runtime, async move {
        other.cancel_timeout_handler_tasks().await;
        assert_eq!(seen.get(), 5);
        by_other.add();
    });
    client.cancel_timeout_handler_tasks().await;
    assert_eq!(ended.get(), 5);
    other.join().await;
}

async fn cancelling_handler_tasks_leaves_later_ones_alone<R: TestRuntime>(
    runtime: R,
) {
    let (_server, client, _) = ends::pair(&runtime).await;
    let first = with_endless_handlers(&runtime, &client, 2).await;
    soon(&runtime, client.cancel_timeout_handler_tasks()).await;
    assert_eq!(first.get(), 2);
    let second = with_endless_handlers(&runtime, &client, 2).await;
    // Dropped before its end, the cancelling has begun all the same.
    let cancelling = client.cancel_timeout_handler_tasks();
    let _ = within(&runtime, Duration::ZERO, cancelling).await;
    eventually(&runtime, "they end", || second.get() == 2).await;
    assert!(client.request("echo").await.is_ok());
}

/// More time out at once than one turn of the task has actions, and the places
/// of the first are taken again before the last are told.
async fn many_requests_that_time_out_together_and_are_made_again_all_end<
    R: TestRuntime,
>(
    runtime: R,
) {
    const MANY: usize = 200;
    let (_server, client, link) = ends::pair(&runtime).await;
    // The client learns that its server repeats ids: no places are kept.
    assert!(client.request("echo").await.is_ok());
    let asking: Vec<_> = (0..MANY)
        .map(|_| {
            let client = client.clone();
            spawn(&runtime, async move {
                let silence = client.request("silence").timeout(SHORT * 5).await;
                let again = client.request("echo").timeout(LONG).await;
                silence.is_err_and(|error| error.is_timeout()) && again.is_ok()
            })
        })
        .collect();
    for asking in asking {
        assert!(soon(&runtime, asking.join()).await);
    }
    assert_eq!(link.pending(), 0);
}
