//! Requests that have to be worked for: nobody waits for the work but whoever
//! makes the request.

use std::future::IntoFuture as _;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::poll;
use netaio_asymmetric::HashcashAuthPlugin;
use netaio_driver::{
    AuthError, AuthPlugin, Context, Envelope, Layers, Message, MessageType,
    OuterUse, PluginError, RequestError, SendError, TcpClient, TcpServer, UdpNode,
};

use crate::ends::{connected, echo, listen, server};
use crate::runtimes::TestRuntime;
use crate::waiting::{eventually, soon};

on_every_runtime![
    what_was_worked_for_is_answered,
    nodes_work_for_each_other,
    a_message_without_a_reply_is_worked_for,
    others_are_served_while_a_request_is_worked_for,
    work_that_nobody_waits_for_ends,
    work_ends_with_the_requests_timeout,
];

/// Work that is begun again when luck has ended it.
const ENDLESS: u32 = HashcashAuthPlugin::MOST_BITS;

/// A plugin, and how many threads are at work in it.
#[derive(Debug)]
struct Watched {
    plugin: HashcashAuthPlugin,
    endless: bool,
    at_work: AtomicUsize,
}

impl Watched {
    fn new(bits: u32) -> Arc<Self> {
        Arc::new(Self {
            plugin: HashcashAuthPlugin::new(bits),
            endless: bits == ENDLESS,
            at_work: AtomicUsize::new(0),
        })
    }

    fn at_work(&self) -> usize {
        self.at_work.load(Ordering::SeqCst)
    }
}

impl AuthPlugin for Watched {
    fn make(
        &self,
        _envelope: &mut Envelope,
        _context: &mut Context<'_>,
    ) -> Result<(), PluginError> {
        panic!("it has to be done apart");
    }

    fn check(
        &self,
        envelope: &Envelope,
        context: &mut Context<'_>,
    ) -> Result<(), AuthError> {
        self.plugin.check(envelope, context)
    }

    fn is_costly(&self, message_type: MessageType) -> bool {
        self.plugin.is_costly(message_type)
    }

    fn make_unless(
        &self,
        cancelled: &AtomicBool,
        envelope: &mut Envelope,
        context: &mut Context<'_>,
    ) -> Result<(), PluginError> {
        self.at_work.fetch_add(1, Ordering::SeqCst);
        let made = loop {
            let made = self.plugin.make_unless(cancelled, envelope, context);
            if made.is_err() || !self.endless {
                break made;
            }
        };
        self.at_work.fetch_sub(1, Ordering::SeqCst);
        made
    }
}

fn layers(bits: u32) -> Layers {
    Layers::new().auth(Watched::new(bits))
}

async fn what_was_worked_for_is_answered<R: TestRuntime>(runtime: R) {
    for (outer, inner) in [(true, false), (false, true), (true, true)] {
        let layers = |wanted, field| match wanted {
            true => Layers::new().auth(HashcashAuthPlugin::new(8).field(field)),
            false => Layers::new(),
        };
        let (own, inner) = (|| layers(outer, "outer"), || layers(inner, "inner"));
        let server = TcpServer::builder_on(runtime.clone()).layers(own()).build();
        let key = (MessageType::REQUEST_URI, "worked");
        server.on_with(key, inner(), echo);
        let address = listen(&server).await;
        let client = TcpClient::builder_on(runtime.clone())
            .server(address)
            .layers(own())
            .build();
        let link = client.connect().await.expect("a connection");
        for content in ["over the link", "by the client"] {
            let request = match content {
                "over the link" => link.request("worked"),
                _ => client.request("worked"),
            };
            let request = request.content(content).layers(inner());
            let reply = soon(&runtime, request.into_future()).await;
            assert_eq!(reply.expect("a reply").text(), content);
        }
        assert_eq!(server.counters().dispatched, 2);
    }
}

async fn nodes_work_for_each_other<R: TestRuntime>(runtime: R) {
    let node = || {
        UdpNode::builder_on(runtime.clone())
            .interface([127, 0, 0, 1])
            .port(0)
            .no_multicast()
            .layers(layers(8))
            .build()
    };
    let (one, two) = (node(), node());
    two.on((MessageType::REQUEST_URI, "echo"), |m| {
        m.respond(m.content())
    });
    one.start().await.expect("a port");
    let to = two.start().await.expect("a port");
    let request = one.request("echo", to).content("worked").into_future();
    let reply = soon(&runtime, request).await.expect("a reply");
    assert_eq!(reply.text(), "worked");
    assert_eq!(two.counters().auth_failures, 0);
}

async fn a_message_without_a_reply_is_worked_for<R: TestRuntime>(runtime: R) {
    let server = TcpServer::builder_on(runtime.clone())
        .layers(layers(8))
        .build();
    let heard = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&heard);
    server.on(MessageType::PUBLISH_URI, move |_| {
        count.fetch_add(1, Ordering::SeqCst);
    });
    let address = listen(&server).await;
    let client = TcpClient::builder_on(runtime.clone())
        .server(address)
        .layers(layers(8))
        .build();
    let link = client.connect().await.expect("a connection");
    let message = Message::new(MessageType::PUBLISH_URI, "u", "c").expect("short");
    soon(&runtime, link.send(message))
        .await
        .expect("it is sent");
    let arrived = || heard.load(Ordering::SeqCst) == 1;
    eventually(&runtime, "it arrives", arrived).await;
}

async fn others_are_served_while_a_request_is_worked_for<R: TestRuntime>(
    runtime: R,
) {
    let server = server(&runtime);
    let address = listen(&server).await;
    let (client, link) = connected(&runtime, address).await;
    client.on((MessageType::REQUEST_URI, "echo"), echo);
    let work = Watched::new(ENDLESS);
    let worked = link
        .request("echo")
        .layers(Layers::new().auth(Arc::clone(&work)));
    let mut worked = pin!(worked.timeout(Duration::from_secs(600)).into_future());
    assert!(poll!(worked.as_mut()).is_pending());
    let begun = || work.at_work() == 1;
    eventually(&runtime, "the work has begun", begun).await;
    let back = server.links().remove(0);
    for n in 0..20 {
        let content = n.to_string();
        for end in [&link, &back] {
            let request = end.request("echo").content(&content).into_future();
            let reply = soon(&runtime, request).await.expect("a reply");
            assert_eq!(reply.text(), content);
        }
        assert!(poll!(worked.as_mut()).is_pending());
    }
    assert_eq!((work.at_work(), link.pending()), (1, 0));
}

async fn work_that_nobody_waits_for_ends<R: TestRuntime>(runtime: R) {
    let server = server(&runtime);
    let address = listen(&server).await;
    let (_client, link) = connected(&runtime, address).await;
    let node = UdpNode::builder_on(runtime.clone())
        .interface([127, 0, 0, 1])
        .port(0)
        .no_multicast()
        .build();
    node.start().await.expect("a port");
    let work = Watched::new(ENDLESS);
    let layers = || Layers::new().auth(Arc::clone(&work));
    let forever = Duration::from_secs(600);
    let over_link = link.request("echo").layers(layers()).timeout(forever);
    let by_node = node
        .request("echo", address)
        .layers(layers())
        .timeout(forever);
    let message = Message::new(MessageType::PUBLISH_URI, "u", "c").expect("short");
    let inner = layers();
    let begun = || work.at_work() == 1;
    let ended = || work.at_work() == 0;
    {
        let mut request = pin!(over_link.into_future());
        assert!(poll!(request.as_mut()).is_pending());
        eventually(&runtime, "the work has begun", begun).await;
    }
    eventually(&runtime, "the work has ended", ended).await;
    {
        let mut request = pin!(by_node.into_future());
        assert!(poll!(request.as_mut()).is_pending());
        eventually(&runtime, "the work has begun", begun).await;
    }
    eventually(&runtime, "the work has ended", ended).await;
    {
        let sent = link.send_with(message, &inner, OuterUse::default());
        let mut sent = pin!(sent);
        assert!(poll!(sent.as_mut()).is_pending());
        eventually(&runtime, "the work has begun", begun).await;
    }
    eventually(&runtime, "the work has ended", ended).await;
    assert_eq!((link.pending(), node.pending()), (0, 0));
    let request = link.request("echo").content("still").into_future();
    let reply = soon(&runtime, request).await.expect("a reply");
    assert_eq!(reply.text(), "still");
}

async fn work_ends_with_the_requests_timeout<R: TestRuntime>(runtime: R) {
    let server = server(&runtime);
    let address = listen(&server).await;
    let (client, _link) = connected(&runtime, address).await;
    let work = Watched::new(ENDLESS);
    let request = client
        .request("echo")
        .layers(Layers::new().auth(Arc::clone(&work)))
        .timeout(Duration::from_millis(50));
    let ended = soon(&runtime, request.into_future()).await;
    let given_up = SendError::Plugin(PluginError::Cancelled);
    assert_eq!(ended.err(), Some(RequestError::NotSent(given_up)));
    let idle = || work.at_work() == 0;
    eventually(&runtime, "the work has ended", idle).await;
}
