//! Streams that are connected already: pipes in memory, Unix sockets, TLS. Each
//! kind of runtime has its own kind of streams. What does not depend on the kind
//! is done with tokio's alone.

use std::future::{Future, IntoFuture as _};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use netaio_asyncstd::{AsyncStd, smol::Smol};
use netaio_driver::{
    CloseReason, HmacAuthPlugin, Layers, MessageType, RequestError, Runtime,
    TcpClient as Client, TcpServer as Server, WrapStream,
};
use netaio_tokio::{
    AutoReconnectTimeoutHandler, Incoming, TcpClient, TcpServer, Tokio,
};
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf,
};

use crate::ends::{self, event, message, reason};
use crate::runtimes::{Flavour, TestRuntime, run};
use crate::tls;
use crate::waiting::{Count, LONG, eventually, sleep, soon, spawn};

fn nowhere() -> std::net::SocketAddr {
    "192.0.2.1:1".parse().expect("an address")
}

/// Asks over a client that is connected by a stream.
async fn converse<R: Runtime>(runtime: &R, server: &Server<R>, client: &Client<R>) {
    let link = client.link(Some(&"other end".into())).unwrap();
    let asking: Vec<_> = (0..20)
        .map(|task| {
            let client = client.clone();
            spawn(runtime, async move {
                for number in 0..20 {
                    let content = format!("{task}/{number}").repeat(200);
                    let request = client.request("echo").server("other end");
                    let reply = request.content(&content).timeout(LONG).await;
                    assert_eq!(reply.unwrap().text(), content);
                }
            })
        })
        .collect();
    for asking in asking {
        soon(runtime, asking.join()).await;
    }
    let accepted = ends::only_link(runtime, server).await;
    assert_eq!(accepted.remote(), nowhere());
    accepted
        .send(message(MessageType::NOTIFY_URI, "news", ""))
        .await
        .unwrap();
    let news = soon(runtime, link.receive_once()).await.unwrap();
    assert_eq!(news.uri(), b"news");
    assert_eq!(news.from(), nowhere());
    let mut events = server.events();
    soon(runtime, client.close_server("other end")).await;
    let reason = event(runtime, &mut events, reason).await;
    assert_eq!(reason, CloseReason::Eof);
}

/// Connects a client and a server by the two ends of a stream, and has them talk.
async fn talk_over<R, A, B>(runtime: R, (here, there): (A, B))
where
    R: TestRuntime + WrapStream<A> + WrapStream<B>,
{
    let server = ends::server(&runtime);
    let client = Client::builder_on(runtime.clone()).build();
    server.serve_stream(there, nowhere()).unwrap();
    client.connect_stream("other end", nowhere(), here).unwrap();
    converse(&runtime, &server, &client).await;
}

fn on_both_flavours<F>(scenario: impl Fn(Tokio) -> F)
where
    F: Future<Output = ()>,
{
    run::<Tokio, _>(Flavour::OneThread, &scenario);
    run::<Tokio, _>(Flavour::Threads, &scenario);
}

#[test]
fn a_pipe_in_memory_is_a_connection() {
    on_both_flavours(|runtime| async move {
        // One so narrow that no message fits is as good.
        for width in [64, 65_536] {
            talk_over(runtime, tokio::io::duplex(width)).await;
        }
    });
}

/// Always has something to say, and takes whatever it is told.
struct Talker {
    says: Vec<u8>,
    at: usize,
}

impl AsyncRead for Talker {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while buffer.remaining() > 0 {
            let rest = &self.says[self.at..];
            let count = rest.len().min(buffer.remaining());
            buffer.put_slice(&rest[..count]);
            self.at = (self.at + count) % self.says.len();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Talker {
    fn poll_write(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buffer.len()))
    }

    fn poll_flush(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn a_request_times_out_though_the_other_end_never_stops_talking() {
    on_both_flavours(|runtime| async move {
        let answer = message(MessageType::OK, "nobody asked", "");
        let says = answer.encode().expect("it is short");
        let client = Client::builder_on(runtime).build();
        let talker = Talker { says, at: 0 };
        let link = client.connect_stream("talker", nowhere(), talker);
        let link = link.expect("a connection");
        eventually(&runtime, "it talks", || link.counters().frames_in > 0).await;
        let request = client.request("a").server("talker");
        let request = request.timeout(Duration::from_millis(50)).into_future();
        let outcome = soon(&runtime, request).await;
        let timed_out = matches!(outcome, Err(RequestError::TimedOut { .. }));
        assert!(timed_out, "{outcome:?}");
    });
}

/// A pipe that counts what is written to it at once.
struct Counted(tokio::io::DuplexStream, Count);

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.1.add();
        Pin::new(&mut self.0).poll_write(context, buffer)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[test]
fn requests_of_many_tasks_leave_in_few_writes() {
    const TASKS: usize = 32;
    const EACH: usize = 20;
    // With one worker it is certain who runs next: whoever was woken last.
    let one_worker = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let writes = Count::default();
    let counted = writes.clone();
    one_worker.block_on(async move {
        let server = ends::server(&Tokio::default());
        // All are answered at once, and ask again.
        let all = Arc::new(tokio::sync::Barrier::new(TASKS));
        server.on(
            (MessageType::REQUEST_URI, "together"),
            move |m: Incoming| {
                let all = Arc::clone(&all);
                async move {
                    all.wait().await;
                    m.respond("")
                }
            },
        );
        let (here, there) = tokio::io::duplex(65_536);
        server.serve_stream(there, nowhere()).unwrap();
        let client = TcpClient::builder().server("other end").build();
        let here = Counted(here, counted);
        client.connect_stream("other end", nowhere(), here).unwrap();
        let asking = (0..TASKS).map(|_| {
            let client = client.clone();
            tokio::spawn(async move {
                for _ in 0..EACH {
                    client.request("together").timeout(LONG).await.unwrap();
                }
            })
        });
        for asking in asking.collect::<Vec<_>>() {
            asking.await.unwrap();
        }
    });
    let writes = writes.get();
    assert!(writes < TASKS * EACH / 4, "{writes} writes");
}

/// Asks a server so many things at a time, nine times, and waits each time until
/// all are answered; gives how often the server wrote.
fn writes_of_nine_rounds(layers: Layers, at_a_time: usize) -> usize {
    const WARM_UP: usize = 20;
    let one_thread = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    one_thread.block_on(async move {
        let server = TcpServer::builder().layers(layers.clone()).build();
        server.on((MessageType::REQUEST_URI, "echo"), |m: Incoming| {
            m.respond(m.content())
        });
        let (here, there) = tokio::io::duplex(65_536);
        let writes = Count::default();
        let there = Counted(there, writes.clone());
        server.serve_stream(there, nowhere()).unwrap();
        let client = TcpClient::builder().server("other end").layers(layers);
        let client = client.build();
        client.connect_stream("other end", nowhere(), here).unwrap();
        let mut before = 0;
        for round in 0..WARM_UP + 9 {
            if round == WARM_UP {
                before = writes.get();
            }
            let ask = |number: usize| {
                let request = client.request("echo").timeout(LONG);
                request.content(number.to_string()).start()
            };
            let asked: Vec<_> = (0..at_a_time).map(ask).collect();
            for (number, reply) in asked.into_iter().enumerate() {
                assert_eq!(reply.await.unwrap().text(), number.to_string());
            }
        }
        writes.get() - before
    })
}

#[test]
fn who_waits_for_many_replies_gets_half_of_them_sooner() {
    let sealed = || Layers::new().auth(HmacAuthPlugin::new("secret"));
    assert_eq!(writes_of_nine_rounds(Layers::new(), 16), 18);
    assert_eq!(writes_of_nine_rounds(sealed(), 4), 18);
    // Few that are plain are answered in less time than a write takes.
    assert_eq!(writes_of_nine_rounds(Layers::new(), 8), 9);
    assert_eq!(writes_of_nine_rounds(sealed(), 1), 9);
}

#[cfg(unix)]
#[test]
fn a_unix_socket_is_a_connection() {
    on_both_flavours(|runtime| async move {
        talk_over(runtime, tokio::net::UnixStream::pair().unwrap()).await;
    });
}

#[cfg(unix)]
#[test]
fn a_unix_socket_is_a_connection_on_smol_and_async_std() {
    use smol::net::unix::UnixStream;
    run::<Smol, _>(Flavour::OneThread, |runtime| async move {
        talk_over(runtime, UnixStream::pair().unwrap()).await;
    });
    run::<AsyncStd, _>(Flavour::Threads, |runtime| async move {
        talk_over(runtime, UnixStream::pair().unwrap()).await;
    });
}

#[cfg(unix)]
#[test]
fn a_stream_that_does_not_pass_a_close_on_ends_all_the_same() {
    run::<Smol, _>(Flavour::OneThread, |runtime| async move {
        use std::os::unix::net::UnixStream;
        talk_over(runtime, smol::Async::<UnixStream>::pair().unwrap()).await;
    });
    run::<AsyncStd, _>(Flavour::Threads, |runtime| async move {
        use async_std::os::unix::net::UnixStream;
        talk_over(runtime, UnixStream::pair().unwrap()).await;
    });
}

#[test]
fn a_tls_stream_is_a_connection() {
    on_both_flavours(|runtime| async move {
        use tokio::net::{TcpListener, TcpStream};
        let (client, server) = tls::configs();
        let listener = TcpListener::bind(ends::ANYWHERE).await.unwrap();
        let connect = TcpStream::connect(listener.local_addr().unwrap());
        let (here, there) = tokio::join!(connect, listener.accept());
        let connector = tokio_rustls::TlsConnector::from(client);
        let acceptor = tokio_rustls::TlsAcceptor::from(server);
        let (here, there) = tokio::join!(
            connector.connect(tls::name(), here.unwrap()),
            acceptor.accept(there.unwrap().0),
        );
        talk_over(runtime, (here.unwrap(), there.unwrap())).await;
    });
}

#[test]
fn a_tls_stream_is_a_connection_on_smol_and_async_std() {
    run::<Smol, _>(Flavour::OneThread, |runtime| async move {
        use smol::net::{TcpListener, TcpStream};
        let listener = TcpListener::bind(ends::ANYWHERE).await.unwrap();
        let connect = TcpStream::connect(listener.local_addr().unwrap());
        let (here, there) = tokio::join!(connect, listener.accept());
        talk_over(runtime, secured(here.unwrap(), there.unwrap().0).await).await;
    });
    run::<AsyncStd, _>(Flavour::Threads, |runtime| async move {
        use async_std::net::{TcpListener, TcpStream};
        let listener = TcpListener::bind(ends::ANYWHERE).await.unwrap();
        let connect = TcpStream::connect(listener.local_addr().unwrap());
        let (here, there) = tokio::join!(connect, listener.accept());
        talk_over(runtime, secured(here.unwrap(), there.unwrap().0).await).await;
    });
}

/// TLS over the two ends of a stream that is of the `futures-io` kind.
async fn secured<S>(
    here: S,
    there: S,
) -> (
    futures_rustls::client::TlsStream<S>,
    futures_rustls::server::TlsStream<S>,
)
where
    S: futures_util::AsyncRead + futures_util::AsyncWrite + Unpin,
{
    let (client, server) = tls::configs();
    let (here, there) = tokio::join!(
        futures_rustls::TlsConnector::from(client).connect(tls::name(), here),
        futures_rustls::TlsAcceptor::from(server).accept(there),
    );
    (here.expect("a handshake"), there.expect("a handshake"))
}

#[test]
fn a_new_stream_of_a_name_takes_the_place_of_the_old_one() {
    on_both_flavours(|runtime| async move {
        let server = ends::server(&runtime);
        let client = TcpClient::builder().server("other end").build();
        let mut links = Vec::new();
        for _ in 0..3 {
            let (here, there) = tokio::io::duplex(1_000);
            server.serve_stream(there, nowhere()).unwrap();
            let link = client.connect_stream("other end", nowhere(), here);
            links.push(link.unwrap());
            assert!(client.request("echo").await.is_ok());
        }
        let last = links.pop().unwrap();
        assert!(!last.is_closed());
        for old in links {
            assert_eq!(soon(&runtime, old.closed()).await, CloseReason::Local);
        }
        // `connect` gives it, rather than to look for a host of that name.
        assert_eq!(client.connect().await.unwrap().id(), last.id());
    });
}

#[test]
fn a_runtime_that_stops_leaves_nobody_waiting() {
    let first = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (client, link, mut request) = first.block_on(async {
        let server = TcpServer::new();
        server.on((MessageType::REQUEST_URI, "hang"), |_: Incoming| {
            std::future::pending::<()>()
        });
        let client = TcpClient::new(server.listen(ends::ANYWHERE).await.unwrap());
        let link = client.connect().await.unwrap();
        let request = link.request("hang").timeout(LONG * 3).into_future();
        let mut request = Box::pin(request);
        let early =
            tokio::time::timeout(Duration::from_millis(20), &mut request).await;
        assert!(early.is_err());
        (client, link, request)
    });
    drop(first);
    // What it has done is not forgotten.
    assert_eq!(client.counters().requests, 1);
    run::<Tokio, _>(Flavour::OneThread, |runtime| async move {
        let outcome = soon(&runtime, &mut request).await;
        assert!(outcome.is_err());
        soon(&runtime, link.closed()).await;
    });
}

#[test]
fn a_stream_that_is_lost_is_not_replaced_by_a_plain_connection() {
    on_both_flavours(|runtime| async move {
        let server = ends::server(&runtime);
        let address = ends::listen(&server).await;
        let client = TcpClient::builder()
            .server(address)
            .reconnect_when_lost(AutoReconnectTimeoutHandler::new())
            .build();
        let (here, there) = tokio::io::duplex(1_000);
        let link = client.connect_stream(address, address, here).unwrap();
        drop(there);
        soon(&runtime, link.closed()).await;
        let outcome = soon(&runtime, client.request("echo").into_future()).await;
        assert_eq!(outcome, Err(RequestError::NotConnected));
        assert!(server.links().is_empty());
    });
}

#[test]
fn a_server_that_accepts_and_closes_is_not_stormed() {
    on_both_flavours(|runtime| async move {
        const RETRIES: u32 = 3;
        let listener = tokio::net::TcpListener::bind(ends::ANYWHERE).await.unwrap();
        let rules = AutoReconnectTimeoutHandler::new()
            .delay(Duration::from_millis(1))
            .spread(Duration::ZERO)
            .max_retries(Some(RETRIES));
        let client = TcpClient::builder()
            .server(listener.local_addr().unwrap())
            .reconnect_when_lost(rules)
            .build();
        let accepted = Count::default();
        let count = accepted.clone();
        let accepting = tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                count.add();
            }
        });
        client.connect().await.unwrap();
        // The first one, the one that is made at once in its place, the retries.
        let most = 2 + RETRIES as usize;
        eventually(&runtime, "it gives up", || accepted.get() == most).await;
        sleep(&runtime, Duration::from_millis(100)).await;
        assert_eq!(accepted.get(), most);
        accepting.abort();
    });
}

#[test]
fn closing_takes_back_nothing_that_was_sent() {
    const MESSAGES: usize = 40;
    on_both_flavours(|runtime| async move {
        let listener = tokio::net::TcpListener::bind(ends::ANYWHERE).await.unwrap();
        let client = TcpClient::new(listener.local_addr().unwrap());
        let (link, accepted) = tokio::join!(client.connect(), listener.accept());
        let (mut input, mut output) = accepted.unwrap().0.into_split();
        // A peer that goes on talking, whoever listens.
        let frame = message(MessageType::NOTIFY_URI, "news", "")
            .encode()
            .unwrap();
        let talking = tokio::spawn(async move {
            while output.write_all(&frame).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        let content = "x".repeat(50_000);
        let sent = message(MessageType::NOTIFY_URI, "news", &content);
        for _ in 0..MESSAGES {
            link.as_ref().unwrap().send(sent.clone()).await.unwrap();
        }
        let closing = spawn(&runtime, async move { client.close().await });
        let mut received = Vec::new();
        soon(&runtime, input.read_to_end(&mut received))
            .await
            .unwrap();
        assert_eq!(received.len(), MESSAGES * sent.encode().unwrap().len());
        soon(&runtime, closing.join()).await;
        talking.abort();
    });
}
