//! Ready-made handlers of subscriptions, for servers and nodes.

/// The methods by which servers and nodes take subscriptions. `self.inner` must
/// have `subscribe_sender`, `unsubscribe_sender` and `publish`. The warning is what is
/// to be known before anybody may subscribe.
macro_rules! pubsub_methods {
    ($incoming:ty, $warning:literal) => {
        /// Answers `SUBSCRIBE_URI`, `UNSUBSCRIBE_URI` and `PUBLISH_URI`: whoever
        /// subscribes to a URI gets what is published to it, as `NOTIFY_URI`, and
        /// whoever publishes is told how many that were. The answers are those of
        /// Python netaio's convention.
        ///
        #[doc = $warning]
        pub fn pubsub(&self) {
            self.pubsub_with(Layers::new(), |_| true);
        }

        /// The same with inner layers, which notifications get as well, and with
        /// a hook that may refuse: whoever subscribes or publishes and is not
        /// allowed to gets `NOT_PERMITTED`.
        pub fn pubsub_with<F>(&self, inner: Layers, allow: F)
        where
            F: Fn(&$incoming) -> bool + Send + Sync + 'static,
        {
            use netaio_proto::MessageType as T;
            let allow = Arc::new(allow);
            let (this, allowed) = (Arc::downgrade(&self.inner), Arc::clone(&allow));
            self.on_with(T::SUBSCRIBE_URI, inner.clone(), move |m: $incoming| {
                let Some(this) = this.upgrade().filter(|_| allowed(&m)) else {
                    return m.not_permitted();
                };
                match this.subscribe_sender(&m) {
                    Ok(_) => Message::new(T::CONFIRM_SUBSCRIBE, m.uri(), ""),
                    Err(error) => m.error(error.to_string()),
                }
            });
            let this = Arc::downgrade(&self.inner);
            self.on_with(T::UNSUBSCRIBE_URI, inner.clone(), move |m: $incoming| {
                if let Some(this) = this.upgrade() {
                    this.unsubscribe_sender(&m);
                }
                Message::new(T::CONFIRM_UNSUBSCRIBE, m.uri(), "")
            });
            let this = Arc::downgrade(&self.inner);
            let layers = inner.clone();
            self.on_with(T::PUBLISH_URI, inner, move |m: $incoming| {
                let this = this.upgrade().filter(|_| allow(&m));
                let layers = layers.clone();
                async move {
                    let Some(this) = this else {
                        return m.not_permitted().map_err(|e| e.to_string());
                    };
                    let notice = Message::new(T::NOTIFY_URI, m.uri(), m.content());
                    let notice = notice.map_err(|e| e.to_string())?;
                    let told = this.publish(m.uri(), notice, &layers).await;
                    let told = told.map_err(|e| e.to_string())?;
                    m.ok(format!("notified {told}")).map_err(|e| e.to_string())
                }
            });
        }
    };
}
pub(crate) use pubsub_methods;
