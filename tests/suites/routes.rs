//! Which handler a message goes to, and that changes of it take effect at once.

use std::net::SocketAddr;
use std::sync::Arc;

use netaio_driver::{
    Incoming, KeyExtractor, Message, MessageType, RouteKey, TcpServer,
};

use crate::ends::{self, connected, listen};
use crate::runtimes::TestRuntime;
use crate::waiting::{Count, soon, spawn};

on_every_runtime![
    handlers_come_and_go_while_connections_live,
    a_handler_of_one_message_gets_exactly_one_of_many,
    the_narrowest_key_decides,
    a_key_extractor_replaces_the_keys,
    a_default_handler_takes_what_no_other_does,
    handlers_are_changed_while_they_are_used,
];

const REQUEST: MessageType = MessageType::REQUEST_URI;

fn says<R: TestRuntime>(
    text: &'static str,
) -> impl Fn(Incoming<R>) -> Option<Message> + Send + Sync + 'static {
    move |m| m.respond(text).ok()
}

async fn handlers_come_and_go_while_connections_live<R: TestRuntime>(runtime: R) {
    let (server, client, link) = ends::pair(&runtime).await;
    let ask = async || {
        let request = client.request("it").into_future();
        let reply = soon(&runtime, request).await.unwrap();
        match reply.message_type() {
            MessageType::RESPOND_URI => reply.text().into_owned(),
            kind => kind.to_string(),
        }
    };
    let key = (REQUEST, "it");
    for _ in 0..3 {
        assert_eq!(ask().await, "NOT_FOUND");
        server.on(key, says("lasting"));
        assert_eq!(ask().await, "lasting");
        server.on(key, says("replaced"));
        assert_eq!(ask().await, "replaced");
        server.once(key, says("once"));
        assert_eq!(ask().await, "once");
        assert_eq!(ask().await, "replaced");
        server.once(key, says("never"));
        assert!(server.remove_once(key));
        assert!(!server.remove_once(key));
        assert_eq!(ask().await, "replaced");
        server.once(key, says("once"));
        assert!(server.remove(key));
        assert!(!server.remove(key));
        assert_eq!(ask().await, "once");
        assert!(!server.remove_once(key));
    }
    assert_eq!(ask().await, "NOT_FOUND");
    assert!(!link.is_closed());
}

async fn a_handler_of_one_message_gets_exactly_one_of_many<R: TestRuntime>(
    runtime: R,
) {
    let server = ends::server(&runtime);
    let address = listen(&server).await;
    let mut clients = Vec::new();
    for _ in 0..50 {
        clients.push(connected(&runtime, address).await);
    }
    for _ in 0..10 {
        let served = Count::default();
        let count = served.clone();
        server.once((REQUEST, "once"), move |m: Incoming<R>| {
            count.add();
            m.respond("mine")
        });
        let asking: Vec<_> = clients
            .iter()
            .map(|(client, _)| {
                let client = client.clone();
                spawn(&runtime, async move { client.request("once").await })
            })
            .collect();
        let mut mine = 0;
        for asking in asking {
            let reply = asking.join().await.unwrap();
            match reply.message_type() {
                MessageType::RESPOND_URI => mine += 1,
                MessageType::NOT_FOUND => {}
                kind => panic!("{kind}"),
            }
        }
        assert_eq!((mine, served.get()), (1, 1));
    }
}

async fn the_narrowest_key_decides<R: TestRuntime>(runtime: R) {
    let server = TcpServer::builder_on(runtime.clone()).build();
    let address = listen(&server).await;
    let (first, _) = connected(&runtime, address).await;
    crate::waiting::eventually(&runtime, "it is accepted", || {
        server.links().len() == 1
    })
    .await;
    let known: SocketAddr = server.links()[0].remote();
    let (second, _) = connected(&runtime, address).await;
    server.on(REQUEST, says("type"));
    server.on((REQUEST, "it"), says("uri"));
    server.on((REQUEST, "it", known), says("address"));
    let ask = async |uri: &str| {
        let (a, b) = (first.request(uri).await, second.request(uri).await);
        (
            a.unwrap().text().into_owned(),
            b.unwrap().text().into_owned(),
        )
    };
    assert_eq!(ask("it").await, ("address".into(), "uri".into()));
    assert_eq!(ask("other").await, ("type".into(), "type".into()));
    // A broader handler of one message does not come before a narrower one.
    server.once(REQUEST, says("once"));
    assert_eq!(ask("it").await, ("address".into(), "uri".into()));
    assert_eq!(ask("other").await, ("once".into(), "type".into()));
    assert!(server.remove((REQUEST, "it", known)));
    assert_eq!(ask("it").await, ("uri".into(), "uri".into()));
    assert!(server.remove((REQUEST, "it")));
    assert_eq!(ask("it").await, ("type".into(), "type".into()));
    let created = first.create("it", "").await.unwrap();
    assert_eq!(created.message_type(), MessageType::NOT_FOUND);
}

#[derive(Debug)]
struct FirstSegment;

impl KeyExtractor for FirstSegment {
    fn keys(
        &self,
        message: &Message,
        _from: SocketAddr,
        visit: &mut dyn FnMut(RouteKey) -> bool,
    ) {
        let first = message.uri().split(|byte| *byte == b'/').next();
        visit((message.message_type(), first.unwrap_or_default()).into());
    }
}

async fn a_key_extractor_replaces_the_keys<R: TestRuntime>(runtime: R) {
    let (server, client, _) = ends::pair(&runtime).await;
    server.on((REQUEST, "notes"), says("notes"));
    let ask = async |uri: &str| client.request(uri).await.unwrap().message_type();
    assert_eq!(ask("notes/1").await, MessageType::NOT_FOUND);
    server.set_key_extractor(Some(Arc::new(FirstSegment)));
    assert_eq!(ask("notes/1").await, MessageType::RESPOND_URI);
    assert_eq!(ask("notes").await, MessageType::RESPOND_URI);
    assert_eq!(ask("other/notes").await, MessageType::NOT_FOUND);
    server.set_key_extractor(None);
    assert_eq!(ask("notes/1").await, MessageType::NOT_FOUND);
}

async fn a_default_handler_takes_what_no_other_does<R: TestRuntime>(runtime: R) {
    let (server, client, _) = ends::pair(&runtime).await;
    server.set_default_handler(says("default"));
    let ask = async |uri: &str| {
        let reply = client.request(uri).content("echo").await.unwrap();
        reply.text().into_owned()
    };
    assert_eq!(ask("echo").await, "echo");
    assert_eq!(ask("other").await, "default");
    server.set_default_handler(async |m: Incoming<R>| m.respond("another"));
    assert_eq!(ask("other").await, "another");
    // A client has one too: then nothing is kept for `receive_once`.
    client.set_default_handler(says("client"));
    let link = ends::only_link(&runtime, &server).await;
    let reply = soon(&runtime, link.request("any").into_future())
        .await
        .unwrap();
    assert_eq!(reply.content(), b"client");
}

async fn handlers_are_changed_while_they_are_used<R: TestRuntime>(runtime: R) {
    let (server, client, link) = ends::pair(&runtime).await;
    let asking: Vec<_> = (0..4)
        .map(|_| {
            let client = client.clone();
            spawn(&runtime, async move {
                for _ in 0..300 {
                    let kind = client.request("it").await.unwrap().message_type();
                    let known = [MessageType::RESPOND_URI, MessageType::NOT_FOUND];
                    assert!(known.contains(&kind), "{kind}");
                    assert!(client.request("echo").await.is_ok());
                }
            })
        })
        .collect();
    let changing = server.clone();
    let pace = runtime.clone();
    let changing = spawn(&runtime, async move {
        for _ in 0..300 {
            changing.on((REQUEST, "it"), says("it"));
            changing.once((REQUEST, "it"), says("once"));
            spawn(&pace, async {}).join().await;
            changing.remove((REQUEST, "it"));
            changing.remove_once((REQUEST, "it"));
        }
    });
    for asking in asking {
        asking.join().await;
    }
    changing.join().await;
    assert_eq!(link.pending(), 0);
}
