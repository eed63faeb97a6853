//! Waiting until something holds that others bring about.

use std::sync::atomic::{AtomicUsize, Ordering, fence};

use event_listener::Event;

/// Tells those who wait for something to look again. Made so that telling costs
/// next to nothing while nobody waits: connections tell at each write.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    event: Event,
    waiting: AtomicUsize,
}

impl Signal {
    /// To be called after what others wait for has been brought about.
    pub(crate) fn tell(&self) {
        // Either this sees who waits, or who waits sees what there is.
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.event.notify(usize::MAX);
        }
    }

    /// Waits until `look` finds something; it looks at once, and again when it is
    /// told to.
    ///
    /// Cancel safe: nothing is found that is not given.
    pub(crate) async fn wait_for<T>(
        &self,
        mut look: impl FnMut() -> Option<T>,
    ) -> T {
        if let Some(found) = look() {
            return found;
        }
        let _waiting = Waiting::new(&self.waiting);
        loop {
            let told = self.event.listen();
            if let Some(found) = look() {
                return found;
            }
            told.await;
        }
    }

    /// Waits until this holds.
    pub(crate) async fn wait_until(&self, holds: impl Fn() -> bool) {
        self.wait_for(|| holds().then_some(())).await;
    }
}

/// Counts somebody who waits, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
