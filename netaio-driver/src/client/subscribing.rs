//! A client and its subscriptions: how they are made, renewed and ended.

use std::future::Future;
use std::sync::Arc;

use netaio_proto::{
    CloseReason, Message, MessageType, Request, RequestError, SendError,
};

use super::{Inner, TcpClient, WeakTcpClient};
use crate::handler::{Incoming, erase};
use crate::link::{Link, Submitted};
use crate::reply::ReplyFuture;
use crate::request::RequestBuilder;
use crate::runtime::Runtime;
use crate::server_name::ServerName;
use crate::subscription::{Key, Options, Queue, SubscriptionEnd};

impl<R: Runtime> TcpClient<R> {
    /// Makes room for the notifications of a subscription.
    pub(crate) fn add_subscription(
        &self,
        key: &Key,
        options: &Options,
    ) -> Arc<Queue> {
        let weak = Arc::downgrade(&self.inner);
        let handler = erase(move |m: Incoming<R>| {
            if let Some(inner) = weak.upgrade() {
                TcpClient { inner }.notified(m);
            }
        });
        let route = (MessageType::NOTIFY_URI, &key.uri[..]).into();
        let layers = options.layers.clone();
        let endpoint = &self.inner.endpoint;
        let route = || endpoint.route(route, layers, handler);
        let (queue, removed) = self.inner.subscriptions.add(key, options, route);
        drop(removed);
        queue
    }

    /// Asks a server for what is sent to a URI.
    pub(crate) fn ask_to_subscribe(
        &self,
        server: &ServerName,
        uri: &[u8],
        options: &Options,
    ) -> RequestBuilder<R> {
        self.ask(MessageType::SUBSCRIBE_URI, uri)
            .server(server.clone())
            .layers(options.layers.clone())
            .timeout(options.timeout)
            .error_for_status()
    }

    /// Forgets a subscription. Tells the server if it was the last one of its
    /// kind; the confirmation can be waited for.
    pub(crate) fn remove_subscription(
        &self,
        key: &Key,
        queue: &Arc<Queue>,
    ) -> Option<ReplyFuture<R>> {
        let unroute = |handler| {
            let route = (MessageType::NOTIFY_URI, &key.uri[..]).into();
            self.inner.endpoint.unroute(&route, handler)
        };
        // Under the lock, or the server might hear of the next subscription first.
        let tell = |options| self.ask_to_unsubscribe(key, options);
        let all = &self.inner.subscriptions;
        let (told, removed) = all.remove(key, queue, unroute, tell)?;
        drop(removed);
        told
    }

    /// Tells a server that nothing of a URI is wanted any more, at once or as soon
    /// as there is room for that.
    fn ask_to_unsubscribe(
        &self,
        key: &Key,
        options: Options,
    ) -> Option<ReplyFuture<R>> {
        let link = self.live_link(Some(&key.server))?;
        let kind = MessageType::UNSUBSCRIBE_URI;
        let message = Message::new(kind, &key.uri, "").ok()?;
        let request = Request::new(message)
            .layers(options.layers)
            .timeout(options.timeout);
        match link.clone().try_request(request, None) {
            Submitted::Sent(reply) => Some(reply),
            Submitted::NotNow(request, SendError::OutgoingFull { .. }) => {
                let Inner { runtime, tasks, .. } = &*self.inner;
                let later = unsubscribe_later(self.downgrade(), link, key, request);
                tasks.spawn(runtime, "unsubscribing", later);
                None
            }
            Submitted::NotNow(..) | Submitted::Failed(_) => None,
        }
    }

    /// Hands a notification to those who have subscribed.
    fn notified(&self, m: Incoming<R>) {
        let Some(server) = m.link().server().cloned() else {
            return;
        };
        let queues = self.inner.subscriptions.queues(&server, m.uri());
        if queues.is_empty() {
            // Some other server's: nobody has subscribed to that.
            m.link().lock().inbox.push(Message::clone(&m));
            m.link().notify();
            return;
        }
        for queue in queues {
            if !queue.push(Message::clone(&m)) {
                queue.end(SubscriptionEnd::Lagged);
                let uri = m.uri().to_vec();
                let server = server.clone();
                drop(self.remove_subscription(&Key { server, uri }, &queue));
            }
        }
    }

    pub(super) fn has_subscriptions(&self, server: &ServerName) -> bool {
        !self.inner.subscriptions.at(server).is_empty()
    }

    /// Subscribes again, over a connection, to what was subscribed to. Does not wait
    /// for that.
    pub(super) fn renew_over(&self, link: &Link<R>) {
        let server = link.server();
        if server.is_some_and(|server| self.has_subscriptions(server)) {
            let (client, link) = (self.downgrade(), link.clone());
            let renewing = async move { renew_subscriptions(&client, &link).await };
            let Inner { runtime, tasks, .. } = &*self.inner;
            tasks.spawn(runtime, "subscribing", renewing);
        }
    }

    /// Servers have been told that this client leaves, which ends what it has
    /// subscribed to; yet it stays.
    pub(super) fn farewell_said(&self) {
        for link in self.inner.links() {
            self.renew_over(&link);
        }
    }

    /// Ends the subscriptions at a server if there is no connection to it, and
    /// nobody makes one.
    pub(crate) fn end_if_apart(&self, server: &ServerName, reason: &CloseReason) {
        if self
            .known_server(server)
            .is_some_and(|known| !known.is_apart())
        {
            return;
        }
        self.end_subscriptions(server, reason);
        self.forget_if_blank(server);
    }

    /// Ends the subscriptions at a server.
    pub(super) fn end_subscriptions(
        &self,
        server: &ServerName,
        reason: &CloseReason,
    ) {
        for (key, _) in self.inner.subscriptions.at(server) {
            for queue in self.inner.subscriptions.queues(server, &key.uri) {
                queue.end(SubscriptionEnd::Disconnected(reason.clone()));
                drop(self.remove_subscription(&key, &queue));
            }
        }
    }
}

/// Subscribes again, over a connection, to what was subscribed to. What is refused or
/// not confirmed ends, unless the connection has ended as well: then it is renewed on
/// the next. The client is not kept alive by that.
pub(super) async fn renew_subscriptions<R: Runtime>(
    client: &WeakTcpClient<R>,
    link: &Link<R>,
) {
    let (Some(server), Some(strong)) = (link.server(), client.upgrade()) else {
        return;
    };
    let all = strong.inner.subscriptions.at(server);
    drop(strong);
    let renewing = all
        .into_iter()
        .map(|(key, options)| renew(client, link, key, options));
    futures_util::future::join_all(renewing).await;
}

async fn renew<R: Runtime>(
    client: &WeakTcpClient<R>,
    link: &Link<R>,
    key: Key,
    options: Options,
) {
    let subscribed = |client: &TcpClient<R>| {
        client.inner.subscriptions.queues(&key.server, &key.uri)
    };
    let Some(queues) = client.upgrade().as_ref().map(subscribed) else {
        return;
    };
    queues.iter().for_each(|queue| queue.resumed());
    let kind = MessageType::SUBSCRIBE_URI;
    let request = RequestBuilder::over(link.clone(), kind, &key.uri)
        .layers(options.layers.clone())
        .timeout(options.timeout)
        .error_for_status();
    let end = match request.await {
        Ok(_) => {
            if let Some(client) = client.upgrade() {
                // It may have ended before the server heard of the renewal.
                let tell = || client.ask_to_unsubscribe(&key, options).map(drop);
                client.inner.subscriptions.unless_wanted(&key, tell);
            }
            return;
        }
        Err(RequestError::Status(refusal)) => SubscriptionEnd::Refused(refusal),
        Err(_) if !link.is_open() => return,
        Err(error) => SubscriptionEnd::NotRenewed(error),
    };
    tracing::warn!(server = %key.server, ?end, "a subscription is not renewed");
    for queue in queues {
        queue.end(end.clone());
        if let Some(client) = client.upgrade() {
            drop(client.remove_subscription(&key, &queue));
        }
    }
}

/// Tells a server that nothing of a URI is wanted any more, once there is room for
/// that; unless it is wanted again by then, or the connection is over.
fn unsubscribe_later<R: Runtime>(
    client: WeakTcpClient<R>,
    link: Link<R>,
    key: &Key,
    request: Box<Request>,
) -> impl Future<Output = ()> + Send + use<R> {
    let key = key.clone();
    let mut unsent = Some(request);
    async move {
        let look = || {
            let client = client.upgrade()?;
            let mut send = || {
                let request = unsent.take()?;
                match link.clone().try_request(*request, None) {
                    Submitted::NotNow(again, SendError::OutgoingFull { .. }) => {
                        unsent = Some(again);
                        None
                    }
                    // Nobody waits for the confirmation.
                    _ => Some(()),
                }
            };
            client.inner.subscriptions.unless_wanted(&key, &mut send)
        };
        link.look_until(look).await;
    }
}
