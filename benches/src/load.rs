//! Asking again and again, and the runtimes on which that is done.

use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use netaio_driver::{MessageType, PendingReply, Runtime};

/// On how many threads a side runs its tasks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Threads(pub(crate) usize);

impl Threads {
    /// A runtime that runs everything on the thread that it was made on.
    pub(crate) const ONE: Self = Self(1);
}

/// Who keeps several requests under way on a connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Askers {
    /// One task.
    One,
    /// A task for each.
    Many,
}

/// How much is asked at a time, and on what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Of each side.
    pub(crate) threads: Threads,
    pub(crate) connections: usize,
    /// Requests that are under way at a time on each connection.
    pub(crate) depth: usize,
    /// Who keeps them under way.
    pub(crate) askers: Askers,
    /// Bytes.
    pub(crate) content: usize,
}

/// One of both ends.
#[derive(Clone, Copy, Debug)]
enum Side {
    Client,
    Server,
}

/// Does something on a core that the other side does not use, where there are
/// two and each side has one thread: otherwise it would change from one round to
/// the next whether they share one.
fn on_own_core<T>(side: Side, threads: Threads, run: impl FnOnce() -> T) -> T {
    #[cfg(target_os = "linux")]
    if threads == Threads::ONE {
        use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
        let all = sched_getaffinity(None).expect("the cores of this thread");
        let mut cores = (0..CpuSet::MAX_CPU).filter(|&core| all.is_set(core));
        if let (Some(one), Some(other)) = (cores.next(), cores.next()) {
            let mut own = CpuSet::new();
            own.set(match side {
                Side::Client => one,
                Side::Server => other,
            });
            sched_setaffinity(None, &own).expect("a core of its own");
            let done = run();
            sched_setaffinity(None, &all).expect("all of them again");
            return done;
        }
    }
    let _ = (side, threads);
    run()
}

/// Runs a client on a tokio runtime, and on a core, of its own.
pub(crate) fn client_on_tokio<T>(
    threads: Threads,
    client: impl Future<Output = T>,
) -> T {
    on_own_core(Side::Client, threads, || on_tokio(threads, client))
}

/// Runs a client on an executor of smol's, and on a core, of its own.
pub(crate) fn client_on_smol<T, F>(
    threads: Threads,
    client: impl FnOnce(Arc<smol::Executor<'static>>) -> F,
) -> T
where
    F: Future<Output = T>,
{
    on_own_core(Side::Client, threads, || on_smol(threads, client))
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

/// A server on a thread, and a core, of its own, until it is dropped.
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
    pub(crate) fn start(
        threads: Threads,
        run: impl FnOnce(Started) + Send + 'static,
    ) -> Self {
        let (sender, receiver) = mpsc::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let started = Started {
            address: sender,
            stopped,
        };
        let thread = thread::spawn(move || {
            on_own_core(Side::Server, threads, || run(started));
        });
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

/// Runs tasks on tokio that go on until the time is over; gives how many answers
/// they have had a second.
pub(crate) async fn rate<F>(tasks: Vec<F>, clock: &Clock, span: Duration) -> f64
where
    F: Future<Output = u64> + Send + 'static,
{
    let start = Instant::now();
    let tasks = tasks
        .into_iter()
        .map(tokio::spawn)
        .map(|task| async { task.await.expect("it goes on until the end") });
    counted(tasks.collect(), tokio::time::sleep(span), clock).await / since(start)
}

/// The same on smol.
pub(crate) async fn rate_on_smol<F>(
    executor: &smol::Executor<'static>,
    tasks: Vec<F>,
    clock: &Clock,
    span: Duration,
) -> f64
where
    F: Future<Output = u64> + Send + 'static,
{
    let start = Instant::now();
    let tasks = tasks.into_iter().map(|task| executor.spawn(task));
    counted(tasks.collect(), smol::Timer::after(span), clock).await / since(start)
}

/// How many answers these tasks, which run, have had when the time is over.
async fn counted(
    tasks: Vec<impl Future<Output = u64>>,
    time: impl Future,
    clock: &Clock,
) -> f64 {
    time.await;
    clock.stop();
    let mut count = 0;
    for task in tasks {
        count += task.await;
    }
    count as f64
}

fn since(start: Instant) -> f64 {
    start.elapsed().as_secs_f64()
}

/// Asks again as soon as it is answered, until the time is over; gives how many
/// answers came.
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

/// Keeps so many requests on the way, until the time is over; gives how many
/// answers came.
pub(crate) async fn kept_on_the_way<R: Runtime>(
    depth: usize,
    start: impl Fn() -> PendingReply<R>,
    clock: Clock,
) -> u64 {
    let mut on_the_way: VecDeque<_> = (0..depth).map(|_| start()).collect();
    let mut count = 0;
    while let Some(reply) = on_the_way.pop_front() {
        let reply = reply.await.expect("a reply");
        assert_eq!(reply.message_type(), MessageType::RESPOND_URI);
        count += 1;
        if !clock.is_over() {
            on_the_way.push_back(start());
        }
    }
    count
}
