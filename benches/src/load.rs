//! Asking again and again, and the runtimes on which that is done.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// On how many threads a side runs its tasks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Threads(pub(crate) usize);

impl Threads {
    /// A runtime that runs everything on the thread that it was made on.
    pub(crate) const ONE: Self = Self(1);
}

/// How much is asked at a time, and on what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Of each side.
    pub(crate) threads: Threads,
    pub(crate) connections: usize,
    /// Requests that are under way at a time on each connection.
    pub(crate) depth: usize,
    /// Bytes.
    pub(crate) content: usize,
}

/// Runs a future on a tokio runtime of its own.
pub(crate) fn on_tokio<T>(threads: Threads, future: impl Future<Output = T>) -> T {
    let mut builder = match threads {
        Threads::ONE => tokio::runtime::Builder::new_current_thread(),
        Threads(many) => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(many);
            builder
        }
    };
    let runtime = builder.enable_all().build().expect("a runtime");
    runtime.block_on(future)
}

/// Runs a future on an executor of smol's, with as many threads.
pub(crate) fn on_smol<T, F>(
    threads: Threads,
    run: impl FnOnce(Arc<smol::Executor<'static>>) -> F,
) -> T
where
    F: Future<Output = T>,
{
    let executor = Arc::new(smol::Executor::new());
    let (stop, stopped) = smol::channel::bounded::<()>(1);
    thread::scope(|scope| {
        for _ in 1..threads.0 {
            let (executor, stopped) = (Arc::clone(&executor), stopped.clone());
            scope.spawn(move || smol::block_on(executor.run(stopped.recv())));
        }
        let done = smol::block_on(executor.run(run(Arc::clone(&executor))));
        drop(stop);
        done
    })
}

/// A server on a thread of its own, until it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// What a server is given: where to say its address, and when to end.
pub(crate) struct Started {
    address: mpsc::Sender<SocketAddr>,
    stopped: tokio::sync::oneshot::Receiver<()>,
}

impl Started {
    /// Says that the server can be asked, and waits until it is not needed any
    /// more.
    pub(crate) async fn at(self, address: SocketAddr) {
        // Nobody listens if the thread that started it has panicked.
        let _ = self.address.send(address);
        let _ = self.stopped.await;
    }
}

impl Server {
    pub(crate) fn start(run: impl FnOnce(Started) + Send + 'static) -> Self {
        let (sender, receiver) = mpsc::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let started = Started {
            address: sender,
            stopped,
        };
        let thread = thread::spawn(move || run(started));
        Self {
            address: receiver.recv().expect("it listens"),
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().expect("it ends by itself");
        }
    }
}

/// The time in which answers are counted.
#[derive(Clone)]
pub(crate) struct Clock(Arc<AtomicBool>);

impl Clock {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicBool::new(false)))
    }

    pub(crate) fn is_over(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Asks with each of `askers` again as soon as it is answered; gives how many
/// answers came a second. Runs on tokio.
pub(crate) async fn rate<A, F>(askers: Vec<A>, span: Duration) -> f64
where
    A: Fn() -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let clock = Clock::new();
    let start = Instant::now();
    let tasks: Vec<_> = askers
        .into_iter()
        .map(|ask| tokio::spawn(asked(ask, clock.clone())))
        .collect();
    tokio::time::sleep(span).await;
    clock.stop();
    let mut count = 0;
    for task in tasks {
        count += task.await.expect("it goes on until the end");
    }
    count as f64 / start.elapsed().as_secs_f64()
}

/// Asks until the time is over; gives how many answers came.
pub(crate) async fn asked<A, F>(ask: A, clock: Clock) -> u64
where
    A: Fn() -> F,
    F: Future<Output = ()>,
{
    let mut count = 0;
    while !clock.is_over() {
        ask().await;
        count += 1;
    }
    count
}
