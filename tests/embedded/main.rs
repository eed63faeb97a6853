//! A runtime of one's own: `Runtime` over an executor of one thread that is
//! written here, with sockets and timers of `async-io`. Neither of our crates for
//! runtimes is needed to bring one, and nothing runs but when `block_on` does.
//!
//! Read it from top to bottom: first what it is good for, then the executor, then
//! what the driver wants of it.

use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::thread::{self, Thread};
use std::time::{Duration, Instant as StdInstant};

use async_channel::{Receiver, Sender};
use async_io::Async;
use futures_util::future::{Either, join_all, select};
use futures_util::stream::{FuturesUnordered, Stream as _};
use netaio_driver::{
    ByteStream, ConnectionEvent, DatagramSocket, Incoming, IncomingDatagram,
    Instant, Message, MessageType, RequestError, Runtime, TcpClient, TcpServer,
    Timer, UdpNode,
};

// --- what it is good for ----------------------------------------------------

#[test]
fn a_client_asks_a_server_on_an_executor_of_one_thread() {
    let runtime = Bare::new();
    runtime.block_on(async {
        let server = TcpServer::builder_on(runtime.clone()).build();
        let here = thread::current().id();
        server.on(
            (MessageType::REQUEST_URI, "echo"),
            move |m: Incoming<Bare>| {
                assert_eq!(thread::current().id(), here);
                m.respond(m.content())
            },
        );
        let address = server.listen("127.0.0.1:0").await.unwrap();
        let client = TcpClient::builder_on(runtime.clone())
            .server(address)
            .build();
        client.connect().await.unwrap();

        // Any number of requests at the same time; long ones as well.
        let asking = (1..=100).map(async |length: usize| {
            let content = vec![length as u8; length * 600];
            let reply = client.request("echo").content(&content).await;
            assert_eq!(reply.unwrap().content(), content);
        });
        join_all(asking).await;

        // Closing says goodbye, and whoever listens is told.
        let mut events = server.events();
        client.close().await;
        while let Some(event) = events.next().await {
            if let ConnectionEvent::Disconnected { .. } = event {
                break;
            }
        }
        server.shutdown(Duration::from_secs(10)).await;
        assert!(server.links().is_empty());
    });
}

#[test]
fn a_request_that_nobody_answers_ends_in_time() {
    let runtime = Bare::new();
    runtime.block_on(async {
        let server = TcpServer::builder_on(runtime.clone()).build();
        server.on((MessageType::REQUEST_URI, "silence"), |_| ());
        let address = server.listen("127.0.0.1:0").await.unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let handler = Arc::clone(&told);
        let client = TcpClient::builder_on(runtime.clone())
            .server(address)
            .timeout_handler(move |event| {
                handler.lock().unwrap().push(event.server.to_string());
            })
            .build();
        client.connect().await.unwrap();

        let patience = Duration::from_millis(50);
        let asked = StdInstant::now();
        let outcome = client.request("silence").timeout(patience).await;
        assert!(matches!(outcome, Err(RequestError::TimedOut(_))));
        assert!(asked.elapsed() >= patience);
        assert_eq!(*told.lock().unwrap(), [address.to_string()]);
    });
}

#[test]
fn nodes_ask_each_other_on_an_executor_of_one_thread() {
    let runtime = Bare::new();
    runtime.block_on(async {
        let node = || {
            let builder = UdpNode::builder_on(runtime.clone());
            let node = builder.interface([127, 0, 0, 1]).port(0).build();
            node.on(
                (MessageType::REQUEST_URI, "echo"),
                |m: IncomingDatagram<Bare>| m.respond(m.content()),
            );
            node.on((MessageType::REQUEST_URI, "silence"), |_| ());
            node
        };
        let (one, two) = (node(), node());
        let (here, there) = (one.start().await.unwrap(), two.start().await.unwrap());
        for (node, to) in [(&one, there), (&two, here)] {
            let reply = node.request("echo", to).content("hello").await;
            assert_eq!(reply.unwrap().content(), b"hello");
        }
        let silence = one.request("silence", there);
        let outcome = silence.timeout(Duration::from_millis(50)).await;
        assert!(matches!(outcome, Err(RequestError::TimedOut(_))));
        one.stop().await;
        two.stop().await;
    });
}

#[test]
fn a_node_answers_the_first_of_many_before_it_receives_the_others() {
    let runtime = Bare::new();
    runtime.block_on(async {
        let asker = UdpSocket::bind("127.0.0.1:0").unwrap();
        asker
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let asker = Arc::new(asker);
        let builder = UdpNode::builder_on(runtime.clone());
        let node = builder.interface([127, 0, 0, 1]).port(0).build();
        let (hears, calls) = (Arc::clone(&asker), Arc::new(Mutex::new(0)));
        let called = Arc::clone(&calls);
        node.on(
            (MessageType::REQUEST_URI, "echo"),
            move |m: IncomingDatagram<Bare>| {
                let mut calls = calls.lock().unwrap();
                *calls += 1;
                if *calls == 2 {
                    let reply = hears.recv(&mut [0; 100]);
                    reply.expect("the first has its answer");
                }
                m.respond(m.content())
            },
        );
        let address = node.start().await.unwrap();

        // Here nothing else runs meanwhile.
        let question = Message::new(MessageType::REQUEST_URI, "echo", "hello");
        let question = question.unwrap().encode().unwrap();
        for _ in 0..3 {
            asker.send_to(&question, address).unwrap();
        }
        let asked = StdInstant::now();
        while *called.lock().unwrap() < 3 {
            assert!(asked.elapsed() < Duration::from_secs(20));
            async_io::Timer::after(Duration::from_millis(1)).await;
        }
        for _ in 0..2 {
            asker.recv(&mut [0; 100]).expect("the others have theirs");
        }
        node.stop().await;
    });
}

#[test]
fn a_socket_that_takes_nothing_keeps_no_node_busy() {
    let runtime = Bare::new();
    runtime.block_on(async {
        let builder = UdpNode::builder_on(runtime.clone());
        let node = builder.interface([127, 0, 0, 1]).port(0).build();
        let address = node.start().await.unwrap();
        runtime.line.blocked.store(true, Ordering::Relaxed);
        for number in 0..200_u8 {
            let news = Message::new(MessageType::NOTIFY_URI, [number], "news");
            node.send(news.unwrap(), address).await.unwrap();
        }
        let wait = || async_io::Timer::after(Duration::from_millis(100));
        wait().await;
        let tried = runtime.line.tried.load(Ordering::Relaxed);
        assert!(tried < 500, "it has tried to send {tried} times");

        // It has not stopped before all of it is sent.
        let stopping = node.clone();
        runtime.spawn(async move { stopping.stop().await });
        let (stopped, pause) = (pin!(node.stopped()), pin!(wait()));
        let Either::Right((_, stopped)) = select(stopped, pause).await else {
            panic!("it says that it has stopped");
        };
        assert_eq!(node.local_addr(), Some(address));
        runtime.line.unblock();
        stopped.await;
        assert_eq!(node.local_addr(), None);
    });
}

#[test]
fn a_handler_that_was_removed_may_hold_the_last_handle_of_its_node() {
    let (tell, told) = mpsc::channel();
    // A lock that is never released is noticed here.
    thread::spawn(move || {
        let runtime = Bare::new();
        runtime.block_on(async {
            let node = || {
                let builder = UdpNode::builder_on(runtime.clone());
                builder.interface([127, 0, 0, 1]).port(0).build()
            };
            let (one, two) = (node(), node());
            two.start().await.unwrap();
            let last = one.clone();
            let key = (MessageType::REQUEST_URI, "last");
            one.on(key, move |m: IncomingDatagram<Bare>| {
                m.respond(last.pending().to_string())
            });
            let address = one.start().await.unwrap();
            let reply = two.request("last", address).await.unwrap();
            assert_eq!(reply.content(), b"0");
            one.remove(key);
            drop(one);
            // The node looks at its routes again at what comes next.
            let late = two.request("last", address);
            let late = late.timeout(Duration::from_millis(200)).await;
            assert!(late.is_err());
            two.stop().await;
        });
        tell.send(()).unwrap();
    });
    told.recv_timeout(Duration::from_secs(20))
        .expect("it goes on");
}

// --- the executor -----------------------------------------------------------

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Tasks wait in a queue for the thread that calls `block_on`, and are polled
/// there and nowhere else.
#[derive(Clone, Debug)]
struct Bare {
    epoch: StdInstant,
    line: Arc<Line>,
    spawn: Sender<Task>,
    spawned: Receiver<Task>,
}

impl Bare {
    fn new() -> Self {
        let (spawn, spawned) = async_channel::unbounded();
        Self {
            epoch: StdInstant::now(),
            line: Arc::default(),
            spawn,
            spawned,
        }
    }

    /// Runs `future`, and meanwhile the tasks that were spawned. Those that have
    /// not ended when it has are dropped.
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let mut spawned = pin!(self.spawned.clone());
        let mut tasks = FuturesUnordered::new();
        let mut everything = pin!(poll_fn(|context| {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(output);
            }
            loop {
                while let Poll::Ready(Some(task)) =
                    spawned.as_mut().poll_next(context)
                {
                    tasks.push(task);
                }
                match Pin::new(&mut tasks).poll_next(context) {
                    Poll::Ready(Some(())) => {}
                    Poll::Ready(None) | Poll::Pending => return Poll::Pending,
                }
            }
        }));
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        loop {
            let mut context = Context::from_waker(&waker);
            match everything.as_mut().poll(&mut context) {
                Poll::Ready(output) => return output,
                Poll::Pending => thread::park(),
            }
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

// --- what the driver wants of it --------------------------------------------

impl Runtime for Bare {
    type TcpStream = Stream;
    type TcpListener = Async<TcpListener>;
    type UdpSocket = Datagrams;
    type Timer = Alarm;

    fn now(&self) -> Instant {
        Instant::from_micros(self.epoch.elapsed().as_micros() as u64)
    }

    fn timer(&self) -> Alarm {
        Alarm(self.epoch, async_io::Timer::never())
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        // The queue has no bound, and this is one of its readers.
        let _ = self.spawn.try_send(Box::pin(task));
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<Stream> {
        Ok(Stream(Async::<TcpStream>::connect(address).await?))
    }

    async fn listen(&self, address: SocketAddr) -> io::Result<Self::TcpListener> {
        Async::<TcpListener>::bind(address)
    }

    async fn accept(
        &self,
        listener: &Self::TcpListener,
    ) -> io::Result<(Stream, SocketAddr)> {
        let (stream, from) = listener.accept().await?;
        Ok((Stream(stream), from))
    }

    fn local_addr(&self, listener: &Self::TcpListener) -> io::Result<SocketAddr> {
        listener.get_ref().local_addr()
    }

    fn udp_socket(&self, socket: UdpSocket) -> io::Result<Datagrams> {
        let line = Arc::clone(&self.line);
        Ok(Datagrams(Async::new_nonblocking(socket)?, line))
    }

    /// Whoever wants names asks somebody for them here.
    async fn resolve(&self, server: &str) -> io::Result<Vec<SocketAddr>> {
        let address = server.parse().map_err(io::Error::other)?;
        Ok(vec![address])
    }
}

/// Tries a call that may not block, now and each time that it may work.
fn attempt<T>(
    mut call: impl FnMut() -> io::Result<T>,
    mut poll_ready: impl FnMut() -> Poll<io::Result<()>>,
) -> Poll<io::Result<T>> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            outcome => return Poll::Ready(outcome),
        }
        ready!(poll_ready())?;
    }
}

struct Stream(Async<TcpStream>);

impl ByteStream for Stream {
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let read = || self.0.get_ref().read(buffer);
        attempt(read, || self.0.poll_readable(context))
    }

    fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let write = || self.0.get_ref().write_vectored(buffers);
        attempt(write, || self.0.poll_writable(context))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.get_ref().shutdown(Shutdown::Write))
    }
}

struct Datagrams(Async<UdpSocket>, Arc<Line>);

/// What datagrams are sent by: it may be that it takes none.
#[derive(Debug, Default)]
struct Line {
    blocked: AtomicBool,
    /// How often something was to be sent.
    tried: AtomicUsize,
    waits: Mutex<Option<Waker>>,
}

impl Line {
    fn unblock(&self) {
        self.blocked.store(false, Ordering::Relaxed);
        if let Some(waker) = self.waits.lock().unwrap().take() {
            waker.wake();
        }
    }
}

impl DatagramSocket for Datagrams {
    fn poll_recv_from(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        let receive = || self.0.get_ref().recv_from(buffer);
        attempt(receive, || self.0.poll_readable(context))
    }

    fn poll_send_to(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
        to: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        self.1.tried.fetch_add(1, Ordering::Relaxed);
        if self.1.blocked.load(Ordering::Relaxed) {
            *self.1.waits.lock().unwrap() = Some(context.waker().clone());
            return Poll::Pending;
        }
        let send = || self.0.get_ref().send_to(bytes, to);
        attempt(send, || self.0.poll_writable(context))
    }
}

/// Since when time counts, and what goes off.
struct Alarm(StdInstant, async_io::Timer);

impl Timer for Alarm {
    fn set(&mut self, at: Instant) {
        match self.0.checked_add(Duration::from_micros(at.as_micros())) {
            Some(at) => self.1.set_at(at),
            None => self.1 = async_io::Timer::never(),
        }
    }

    fn poll_expired(&mut self, context: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.1).poll(context).map(|_| ())
    }
}
