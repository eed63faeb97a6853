//! Waiting for what is bound to happen, with bounds that a loaded machine keeps.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use netaio_driver::{Runtime, Timer as _};
use tokio::sync::oneshot;

/// What has not happened by then never will.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// Waits for a time. For what must not happen; what must, is awaited.
pub(crate) async fn sleep<R: Runtime>(runtime: &R, span: Duration) {
    let mut timer = runtime.timer();
    timer.set(runtime.now() + span);
    std::future::poll_fn(|context| timer.poll_expired(context)).await;
}

/// What `future` gives, if it does so within `span`.
pub(crate) async fn within<R: Runtime, F: Future>(
    runtime: &R,
    span: Duration,
    future: F,
) -> Option<F::Output> {
    let mut timer = runtime.timer();
    timer.set(runtime.now() + span);
    let mut future = pin!(future);
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => timer.poll_expired(context).map(|()| None),
    })
    .await
}

/// What `future` gives, which it must do before long.
pub(crate) async fn soon<R: Runtime, F: Future>(
    runtime: &R,
    future: F,
) -> F::Output {
    let output = within(runtime, LONG, future).await;
    output.expect("this should not take so long")
}

/// Waits until `condition` holds, which nobody tells of.
pub(crate) async fn eventually<R: Runtime>(
    runtime: &R,
    what: &str,
    mut condition: impl FnMut() -> bool,
) {
    let deadline = runtime.now() + LONG;
    while !condition() {
        assert!(runtime.now() < deadline, "never: {what}");
        sleep(runtime, Duration::from_millis(2)).await;
    }
}

/// A task whose output can be had.
pub(crate) struct Joined<T>(oneshot::Receiver<T>);

impl<T> Joined<T> {
    pub(crate) async fn join(self) -> T {
        self.0.await.expect("the task has panicked")
    }
}

/// Runs a task.
pub(crate) fn spawn<R: Runtime, T: Send + 'static>(
    runtime: &R,
    task: impl Future<Output = T> + Send + 'static,
) -> Joined<T> {
    let (sender, receiver) = oneshot::channel();
    runtime.spawn(async move {
        // Nobody need want the output.
        let _ = sender.send(task.await);
    });
    Joined(receiver)
}

/// Runs what blocks on a thread of its own.
pub(crate) async fn off_thread<T: Send + 'static>(
    call: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || sender.send(call()));
    receiver.await.expect("the thread has panicked")
}

/// Polls a future once, with nobody to wake.
pub(crate) fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Counts, from anywhere.
#[derive(Clone, Debug, Default)]
pub(crate) struct Count(Arc<AtomicUsize>);

impl Count {
    pub(crate) fn add(&self) {
        self.next();
    }

    /// Adds one; gives the number before.
    pub(crate) fn next(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst)
    }

    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// Something that adds one when it is dropped, which takes it a moment.
    pub(crate) fn when_dropped(&self) -> WhenDropped {
        WhenDropped(self.clone())
    }
}

pub(crate) struct WhenDropped(Count);

impl Drop for WhenDropped {
    fn drop(&mut self) {
        std::thread::sleep(Duration::from_millis(20));
        self.0.add();
    }
}

/// Panics, as what user code may do.
pub(crate) fn fail() {
    panic!("this is what the scenario wants");
}
