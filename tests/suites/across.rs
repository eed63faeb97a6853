//! Two runtimes in one process: what runs on one asks what runs on another, and
//! is asked in turn. Bytes do not know who wrote them.

use std::net::SocketAddr;
use std::thread;

use netaio_asyncstd::{AsyncStd, smol::Smol};
use netaio_driver::{Incoming, IncomingDatagram, MessageType, TcpServer, UdpNode};
use netaio_tokio::Tokio;
use tokio::sync::oneshot;

use crate::ends::{self, event, reason};
use crate::runtimes::{Flavour, TestRuntime, run};
use crate::waiting::{eventually, soon};

/// Makes the tests of a module, one for each pair of runtimes.
macro_rules! between {
    ($module:ident, $there:ident, $here:ident) => {
        mod $module {
            #[test]
            fn a_client_of_one_runtime_talks_to_a_server_on_another() {
                super::client_and_server::<super::$here, super::$there>();
            }

            #[test]
            fn nodes_on_two_runtimes_talk_to_each_other() {
                super::two_nodes::<super::$here, super::$there>();
            }
        }
    };
}

between!(from_tokio_to_smol, Smol, Tokio);
between!(from_tokio_to_async_std, AsyncStd, Tokio);
between!(from_smol_to_tokio, Tokio, Smol);
between!(from_smol_to_async_std, AsyncStd, Smol);
between!(from_async_std_to_tokio, Tokio, AsyncStd);
between!(from_async_std_to_smol, Smol, AsyncStd);

/// Runs the first scenario on a runtime and a thread of its own. It gets where
/// to tell its address, and lasts until the second has ended.
fn on_two_runtimes<Here, There, F, G>(
    there: impl FnOnce(There, oneshot::Sender<SocketAddr>) -> F + Send + 'static,
    here: impl FnOnce(Here, SocketAddr) -> G,
) where
    Here: TestRuntime,
    There: TestRuntime,
    F: Future<Output = ()>,
    G: Future<Output = ()>,
{
    let (tell, told) = oneshot::channel();
    let other = thread::spawn(move || {
        run::<There, _>(Flavour::OneThread, |runtime| there(runtime, tell));
    });
    run::<Here, _>(Flavour::Threads, |runtime| async move {
        let address = soon(&runtime, told).await.expect("an address");
        here(runtime, address).await;
    });
    other.join().expect("the other end has failed");
}

fn client_and_server<Here: TestRuntime, There: TestRuntime>() {
    on_two_runtimes(serve::<There>, async |runtime: Here, address| {
        let client = ends::client(&runtime, address);
        let mut events = client.events();
        client.on((MessageType::REQUEST_URI, "who"), |m| m.respond("a client"));
        client.connect().await.expect("a connection");

        let many = (0..50).map(async |n: u32| {
            let content = n.to_string().repeat(2_000);
            let reply = client.request("echo").content(&content).await;
            assert_eq!(reply.expect("a reply").text(), content);
        });
        soon(&runtime, futures_util::future::join_all(many)).await;

        // The server answers when it has been answered.
        let reply = client.request("who am I").await.expect("a reply");
        assert_eq!(reply.text(), "a client");

        let mut news = client.subscribe("news").await.expect("a subscription");
        for n in 0..50 {
            let published = client
                .request("news")
                .message_type(MessageType::PUBLISH_URI)
                .content(n.to_string())
                .await;
            assert_eq!(published.expect("an answer").text(), "notified 1");
        }
        for n in 0..50 {
            let note = soon(&runtime, news.next()).await.expect("news");
            assert_eq!((note.text(), note.lost), (n.to_string().into(), 0));
        }

        // Shutting down waits for this answer, and takes the connection along.
        let reply = client.request("leave").await.expect("a reply");
        assert_eq!(reply.message_type(), MessageType::OK);
        event(&runtime, &mut events, reason).await;
    });
}

async fn serve<R: TestRuntime>(runtime: R, tell: oneshot::Sender<SocketAddr>) {
    let server: TcpServer<R> = ends::server(&runtime);
    server.pubsub();
    server.on(
        (MessageType::REQUEST_URI, "who am I"),
        async |m: Incoming<R>| match m.link().request("who").await {
            Ok(reply) => m.respond(reply.content()),
            Err(error) => m.error(error.to_string()),
        },
    );
    let (leave, left) = async_channel::bounded(1);
    server.on((MessageType::REQUEST_URI, "leave"), move |m| {
        let _ = leave.try_send(());
        m.ok("")
    });
    tell.send(ends::listen(&server).await).expect("a listener");
    soon(&runtime, left.recv())
        .await
        .expect("the client leaves");
    server.shutdown(crate::waiting::LONG).await;
}

fn two_nodes<Here: TestRuntime, There: TestRuntime>() {
    on_two_runtimes(answer::<There>, async |runtime: Here, address| {
        let (node, _) = started(&runtime).await;
        let (sender, news) = async_channel::bounded(1);
        node.on(
            (MessageType::NOTIFY_URI, "news"),
            move |m: IncomingDatagram<Here>| {
                let _ = sender.try_send((m.text().into_owned(), m.from()));
            },
        );
        let reply = node.request("echo", address).content("hello").await;
        assert_eq!(reply.expect("a reply").text(), "hello");
        let reply = node.request("who am I", address).await.expect("a reply");
        assert_eq!(reply.text(), "a node");

        let confirmed = node
            .request("news", address)
            .message_type(MessageType::SUBSCRIBE_URI)
            .await;
        let confirmed = confirmed.expect("an answer").message_type();
        assert_eq!(confirmed, MessageType::CONFIRM_SUBSCRIBE);
        let published = node
            .request("news", address)
            .message_type(MessageType::PUBLISH_URI)
            .content("it works")
            .await;
        assert_eq!(published.expect("an answer").text(), "notified 1");
        let note = soon(&runtime, news.recv()).await.expect("news");
        assert_eq!(note, ("it works".to_owned(), address));

        let reply = node.request("leave", address).await.expect("a reply");
        assert_eq!(reply.message_type(), MessageType::OK);
    });
}

async fn answer<R: TestRuntime>(runtime: R, tell: oneshot::Sender<SocketAddr>) {
    let (node, address) = started(&runtime).await;
    node.pubsub();
    node.on(
        (MessageType::REQUEST_URI, "who am I"),
        async |m: IncomingDatagram<R>| match m.node().request("who", m.from()).await
        {
            Ok(reply) => m.respond(reply.content()),
            Err(error) => m.error(error.to_string()),
        },
    );
    let (leave, left) = async_channel::bounded(1);
    node.on((MessageType::REQUEST_URI, "leave"), move |m| {
        let _ = leave.try_send(());
        m.ok("")
    });
    tell.send(address).expect("a listener");
    soon(&runtime, left.recv()).await.expect("the other leaves");
    eventually(&runtime, "it is answered", || node.in_flight() == 0).await;
    node.stop().await;
}

/// A node on a free port of the loopback interface, which says what it is.
async fn started<R: TestRuntime>(runtime: &R) -> (UdpNode<R>, SocketAddr) {
    let builder = UdpNode::builder_on(runtime.clone());
    let node = builder.interface([127, 0, 0, 1]).port(0).build();
    node.on((MessageType::REQUEST_URI, "echo"), |m| {
        m.respond(m.content())
    });
    node.on((MessageType::REQUEST_URI, "who"), |m| m.respond("a node"));
    let address = node.start().await.expect("a free port");
    (node, address)
}
