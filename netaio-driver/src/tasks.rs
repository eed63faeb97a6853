//! Tasks that can be cancelled together, and waited for.

use std::future::Future;
use std::sync::{Arc, Mutex};

use futures_util::FutureExt as _;
use futures_util::future::{AbortHandle, abortable};
use slab::Slab;

use crate::endpoint::lock;
use crate::runtime::Runtime;
use crate::signal::Signal;

/// The tasks that belong to something.
#[derive(Debug, Default)]
pub(crate) struct TaskSet {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    tasks: Mutex<Slab<AbortHandle>>,
    ended: Signal,
}

impl TaskSet {
    /// Runs a task. If it panics, that is logged as what `what` did.
    pub(crate) fn spawn<R: Runtime>(
        &self,
        runtime: &R,
        what: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let (task, handle) = abortable(task);
        let key = lock(&self.inner.tasks).insert(handle);
        let place = Place {
            inner: Arc::clone(&self.inner),
            key,
        };
        runtime.spawn(async move {
            let task = std::panic::AssertUnwindSafe(task);
            if task.catch_unwind().await.is_err() {
                tracing::error!("{what} panicked");
            }
            drop(place);
        });
    }

    /// Runs a task, and waits for its end. It goes on if nobody waits any more.
    pub(crate) async fn spawn_and_wait<R: Runtime>(
        &self,
        runtime: &R,
        what: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let (running, ended) = async_channel::bounded::<()>(1);
        self.spawn(runtime, what, async move {
            task.await;
            drop(running);
        });
        // Nothing is sent: it ends when the task is gone.
        let _ = ended.recv().await;
    }

    /// Cancels the tasks that run now, and waits until they have ended.
    pub(crate) async fn cancel(&self) {
        let keys: Vec<usize> = {
            let tasks = lock(&self.inner.tasks);
            tasks.iter().for_each(|(_, handle)| handle.abort());
            tasks.iter().map(|(key, _)| key).collect()
        };
        let ended = || {
            let tasks = lock(&self.inner.tasks);
            let running =
                |key: &usize| tasks.get(*key).is_some_and(AbortHandle::is_aborted);
            !keys.iter().any(running)
        };
        self.inner.ended.wait_until(ended).await;
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.inner.tasks).len()
    }
}

/// A running task's entry; gone when the task is.
struct Place {
    inner: Arc<Inner>,
    key: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.inner.tasks).try_remove(self.key);
        self.inner.ended.tell();
    }
}
