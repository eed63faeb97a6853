//! The short ways: replies and requests that are plain are taken many at once, and
//! all else is left for the general way.

use netaio_proto::{
    Action, Connection, EndpointConfig, Layers, Limits, MessageType, Request,
};

use crate::frames::{at, frames, message, request, sealed, written};
use crate::pair::client;
use crate::server::{ECHO, SLOW, inner, routes, server};

#[test]
fn replies_that_are_next_come_the_short_way_and_all_else_does_not() {
    let mut client = client(EndpointConfig::default());
    let asked: Vec<_> = (0..5)
        .map(|_| {
            let asked = Request::new(request("echo", ""));
            client.request(at(0), asked).unwrap()
        })
        .collect();
    let sent = frames(&written(&mut client));
    let reply = |nth: usize, kind| {
        let reply = message(kind, "echo", &nth.to_string());
        let reply = reply.with_fields(sent[nth].fields().clone());
        reply.encode().unwrap()
    };
    assert!(client.cancel(at(0), asked[3]));
    let came = [
        reply(1, MessageType::OK),
        reply(0, MessageType::NOT_FOUND),
        reply(2, MessageType::RESPOND_URI),
        message(MessageType::NOTIFY_URI, "news", "")
            .encode()
            .unwrap(),
        reply(3, MessageType::OK),
        reply(4, MessageType::OK),
    ];
    client.handle_input(at(1), &came.concat());
    let mut replies = Vec::new();
    let mut take = |client: &mut Connection, most| {
        client.poll_replies(most, |request, reply| {
            let nth: usize = reply.text().parse().unwrap();
            assert_eq!(request, asked[nth]);
            replies.push(nth);
        })
    };
    assert_eq!(take(&mut client, 2), 2);
    assert_eq!(take(&mut client, 9), 1);
    assert_eq!(take(&mut client, 9), 0);
    let other = client.poll_action();
    assert!(matches!(other, Some(Action::Unrouted { .. })), "{other:?}");
    assert_eq!(take(&mut client, 9), 0, "nobody waits for that one");
    assert!(matches!(
        client.poll_action(),
        Some(Action::Reply { request, .. }) if request == asked[4]
    ));
    assert_eq!(replies, [1, 0, 2]);
    let counters = client.counters();
    assert_eq!((counters.replies, counters.late_replies), (4, 1));
    assert_eq!(counters.frames_in, 6);
}

#[test]
fn requests_that_are_next_come_the_short_way_and_all_else_does_not() {
    let limits = Limits {
        max_in_flight: 6,
        ..Limits::default()
    };
    let config = EndpointConfig {
        limits,
        ..EndpointConfig::default()
    };
    let mut router = routes();
    let once = (MessageType::REQUEST_URI, "once");
    router.insert_once(once, ECHO, Layers::new());
    router.insert((MessageType::REQUEST_URI, "sealed"), ECHO, inner());
    let mut server = server(config, router);
    let asks = |uri, rid: Option<&[u8]>| {
        let none = Layers::new();
        sealed(request(uri, ""), [&none, &none], rid)
    };
    let came = [
        asks("echo", Some(b"1.......")),
        asks("slow", Some(b"2.......")),
        asks("once", Some(b"3.......")),
        asks("sealed", Some(b"4.......")),
        asks("echo", None),
        asks("nobody", Some(b"6.......")),
        asks("echo", Some(b"7.......")),
        asks("echo", Some(b"8.......")),
    ];
    server.handle_input(at(0), &came.concat());
    let mut tokens = Vec::new();
    let mut take = |server: &mut Connection, most| {
        server.poll_dispatches(most, |handler, message, token| {
            let slow = message.uri() == b"slow";
            assert_eq!(handler, if slow { SLOW } else { ECHO });
            tokens.push(token);
        })
    };
    assert_eq!(take(&mut server, 1), 1);
    assert_eq!(take(&mut server, 9), 1);
    for is_other in [
        |action: &Action| matches!(action, Action::Dispatch { .. }),
        |action: &Action| matches!(action, Action::AuthFailed { .. }),
        |action: &Action| matches!(action, Action::Dispatch { .. }),
    ] {
        assert_eq!(take(&mut server, 9), 0);
        let action = server.poll_action().expect("there is one");
        assert!(is_other(&action), "{action:?}");
    }
    // Who asks for nobody is answered at once.
    assert_eq!(take(&mut server, 9), 0);
    let action = server.poll_action();
    assert!(
        matches!(action, Some(Action::Dispatch { .. })),
        "{action:?}"
    );
    let replies = frames(&written(&mut server));
    assert_eq!(replies[0].message_type(), MessageType::NOT_FOUND);
    // As many as may be are in flight.
    assert_eq!(take(&mut server, 9), 0);
    assert!(server.poll_action().is_none());
    let Some(Action::Dispatch { reply, .. }) = action else {
        unreachable!();
    };
    server.no_reply(reply.expect("it can be answered"));
    assert_eq!(take(&mut server, 9), 1);
    assert_eq!(tokens.len(), 3);
    let counters = server.counters();
    assert_eq!((counters.dispatched, counters.unrouted), (6, 1));
    assert_eq!(counters.frames_in, 8);
}
