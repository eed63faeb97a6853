//! What a node refuses to send or to take in, and how it ends.

use std::sync::Arc;

use netaio_proto::{
    Action, CloseReason, EndpointConfig, Layers, Limits, MessageType, MessageTypes,
    Node, Peer, PeerManagement, ReplyToken, Request, RequestError, Router,
    SendError,
};

use crate::datagrams::{
    HANDLER, advertisement, answer, ask, config_of, encoded, host, node, node_with,
    only_sent, request_with_id, sent, told,
};
use crate::frames::{at, message, request};
use crate::network::GROUP;

/// A node whose datagrams have at most 100 bytes.
fn narrow() -> EndpointConfig {
    EndpointConfig {
        limits: Limits {
            max_datagram: 100,
            ..Limits::default()
        },
        ..config_of(Peer::new("me", "mine"))
    }
}

#[track_caller]
fn assert_too_long<T: std::fmt::Debug>(sent: Result<T, SendError>) {
    match sent {
        Err(SendError::TooLongForDatagram(too_long)) => {
            assert_eq!(too_long.limit, 100);
            assert!(too_long.length > 100);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_too_long_for_a_datagram_is_refused_and_nothing_of_it_is_sent() {
    let mut node = node(narrow());
    node.set_group(Some(GROUP));
    for n in [2, 3] {
        let peer = Peer::new(vec![n], "data");
        node.add_peer(at(0), peer, host(n)).unwrap();
        node.subscribe(b"news", host(n)).unwrap();
    }
    let long = || message(MessageType::NOTIFY_URI, "news", &"x".repeat(100));
    let (none, all) = (Layers::new(), Default::default());
    assert_too_long(node.send(at(0), host(2), long(), &none));
    assert_too_long(node.request(at(0), host(2), Request::new(long())));
    assert_too_long(node.multicast(at(0), long(), &none, all));
    assert_too_long(node.broadcast(at(0), long(), &none, all));
    assert_too_long(node.notify(at(0), b"news", long(), &none, all));
    assert_eq!((node.queued(), node.pending()), (0, 0));
    assert_eq!(node.poll_timeout(), None);
    assert_eq!(sent(&mut node), []);
    assert_eq!(node.counters().frames_out, 0);
    let longest = message(MessageType::NOTIFY_URI, "", &"x".repeat(86));
    node.send(at(0), host(2), longest, &none).unwrap();
    assert_eq!(sent(&mut node)[0].bytes.len(), 100);
}

/// The token of the only message that was dispatched.
#[track_caller]
fn only_token(node: &mut Node) -> ReplyToken {
    let told = told(node);
    match <[Action; 1]>::try_from(told) {
        Ok(
            [
                Action::Dispatch {
                    reply: Some(token), ..
                },
            ],
        ) => token,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_reply_that_is_too_long_for_a_datagram_becomes_an_error() {
    let mut node = node(narrow());
    let asked = request_with_id("asked", &"?".repeat(30), 7);
    node.handle_datagram(at(0), host(2), &asked);
    let token = only_token(&mut node);
    let long = message(MessageType::RESPOND_URI, "asked", &"x".repeat(100));
    assert_too_long(node.reply(at(0), token, long));
    let error = only_sent(&mut node);
    assert_eq!(error.message_type(), MessageType::ERROR);
    assert_eq!(error.uri(), b"asked");
    assert_eq!(
        error.fields().get_bytes("rid"),
        Some(&7_u64.to_be_bytes()[..])
    );
    assert_eq!(node.in_flight(), 0);
}

#[test]
fn a_queue_that_is_full_takes_no_more_until_it_is_sent() {
    let limits = Limits {
        max_outgoing: 10_000,
        ..Limits::default()
    };
    let mut node = node(EndpointConfig {
        limits,
        ..EndpointConfig::default()
    });
    let hello = || message(MessageType::NOTIFY_URI, "news", &"x".repeat(900));
    let none = Layers::new();
    let mut count = 0;
    let refused = loop {
        match node.send(at(0), host(2), hello(), &none) {
            Ok(()) => count += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused, SendError::OutgoingFull { limit: 10_000 });
    assert_eq!(count, 11, "64 bytes and the frame each");
    assert_eq!(node.can_send(), Err(refused.clone()));
    let asked = node.request(at(0), host(2), Request::new(request("a", "")));
    assert_eq!(asked, Err(refused));
    assert_eq!(node.pending(), 0);
    assert!(node.poll_datagram().is_some() && node.poll_datagram().is_some());
    node.send(at(0), host(2), hello(), &none).unwrap();
    assert_eq!(sent(&mut node).len(), 10);
    assert_eq!(node.queued(), 0);
}

#[test]
fn a_full_node_drops_requests_and_still_takes_replies() {
    let limits = Limits {
        max_in_flight: 3,
        ..Limits::default()
    };
    let mut node = node(EndpointConfig {
        limits,
        ..EndpointConfig::default()
    });
    let id = ask(&mut node, 2, "asked");
    let answer = answer(&only_sent(&mut node), "true");
    for n in 0..5 {
        node.handle_datagram(at(0), host(3), &request_with_id("asked", "?", n));
    }
    assert_eq!((node.in_flight(), node.counters().ignored), (3, 2));
    node.handle_datagram(at(0), host(2), &answer);
    let mut told = told(&mut node);
    let last = told.pop();
    assert!(matches!(last, Some(Action::Reply { request, .. }) if request == id));
    for action in told {
        let Action::Dispatch {
            reply: Some(token), ..
        } = action
        else {
            panic!("{action:?}");
        };
        node.no_reply(token);
    }
    node.handle_datagram(at(0), host(3), &request_with_id("asked", "?", 9));
    assert_eq!(node.in_flight(), 1);
}

#[test]
fn as_many_requests_wait_as_may() {
    let limits = Limits {
        max_pending: 2,
        ..Limits::default()
    };
    let mut node = node(EndpointConfig {
        limits,
        ..EndpointConfig::default()
    });
    let first = ask(&mut node, 2, "asked");
    ask(&mut node, 2, "asked");
    let third = || Request::new(request("asked", ""));
    let refused = node.request(at(0), host(2), third());
    assert_eq!(refused, Err(SendError::TooManyPending { limit: 2 }));
    assert_eq!(sent(&mut node).len(), 2);
    assert!(node.cancel(at(0), first));
    assert!(node.request(at(0), host(2), third()).is_ok());
}

#[test]
fn a_custom_type_with_an_id_that_was_overheard_is_no_answer() {
    let mut types = MessageTypes::default();
    let pong = types.register("PONG", 77).unwrap();
    let config = EndpointConfig {
        types,
        limits: Limits {
            max_in_flight: 2,
            ..Limits::default()
        },
        ..EndpointConfig::default()
    };
    let mut router = Router::new();
    router.insert(pong, HANDLER, Layers::new());
    let mut node = node_with(config, router);
    let asked = Request::new(request("asked", "")).accept(pong);
    node.request(at(0), host(2), asked).unwrap();
    let overheard = encoded(&only_sent(&mut node).with_type(pong));
    for _ in 0..5 {
        node.handle_datagram(at(0), host(3), &overheard);
    }
    assert_eq!((node.in_flight(), node.counters().ignored), (2, 3));
    node.handle_datagram(at(0), host(2), &overheard);
    assert_eq!(node.pending(), 0);
}

#[test]
fn closing_fails_what_is_pending_and_then_says_so_once() {
    let mut node = node(config_of(Peer::new("me", "mine")));
    node.set_group(Some(GROUP));
    node.manage_peers(at(0), PeerManagement::new("app"))
        .unwrap();
    node.handle_datagram(at(0), host(4), &advertisement("four", "mine"));
    node.handle_datagram(at(0), host(3), &request_with_id("asked", "?", 9));
    let early = ask(&mut node, 2, "asked");
    let sent_before = sent(&mut node);
    let late = ask(&mut node, 2, "asked");
    let token = told(&mut node).into_iter().find_map(|action| match action {
        Action::Dispatch { reply, .. } => reply,
        _ => None,
    });
    node.close(at(1));
    node.close(at(1));
    assert!(node.is_closed());
    let told_at_last = told(&mut node);
    let [
        Action::Failed {
            request: one,
            error: first,
        },
        Action::Failed {
            request: two,
            error: second,
        },
        Action::Closed { reason },
    ] = &told_at_last[..]
    else {
        panic!("{told_at_last:?}");
    };
    let reason = reason.clone();
    assert_eq!(reason, CloseReason::Local);
    let failed = |sent| RequestError::Disconnected {
        sent,
        reason: reason.clone(),
    };
    assert_eq!([*one, *two], [early, late]);
    assert_eq!([first, second], [&failed(true), &failed(false)]);
    assert_eq!((sent_before.len(), sent(&mut node).len()), (2, 0));
    // Whatever is done now, nothing comes of it.
    let (none, all) = (Layers::new(), Default::default());
    let hello = || message(MessageType::NOTIFY_URI, "news", "hello");
    let closed = Err(SendError::Closed);
    assert_eq!(node.send(at(2), host(2), hello(), &none), closed);
    assert_eq!(node.multicast(at(2), hello(), &none, all), closed);
    let asked = node.request(at(2), host(2), Request::new(hello()));
    assert_eq!(asked, Err(SendError::Closed));
    let answer = hello();
    let stale = node.reply(at(2), token.expect("a request"), answer);
    assert_eq!(stale, Err(SendError::StaleToken));
    node.handle_datagram(at(2), host(2), &request_with_id("asked", "?", 10));
    node.handle_timeout(at(100_000));
    node.stop_peer_management(at(100_000));
    assert!(node.remove_peer(b"four"));
    assert!(!node.cancel(at(2), early));
    assert_eq!((node.poll_timeout(), node.in_flight()), (None, 0));
    assert!(told(&mut node).is_empty() && sent(&mut node).is_empty());
}

#[test]
fn tokens_are_good_once_and_for_one_node() {
    let mut one = node(EndpointConfig::default());
    one.handle_datagram(at(0), host(2), &request_with_id("asked", "?", 1));
    let token = only_token(&mut one);
    let mut other = Node::new(Arc::default(), Arc::default(), [9; 32], at(0));
    let answer = message(MessageType::RESPOND_URI, "asked", "!");
    let stale = other.reply(at(0), token, answer);
    assert_eq!(stale, Err(SendError::StaleToken));
    assert_eq!((one.in_flight(), other.in_flight()), (1, 0));
}

#[test]
fn own_multicasts_that_come_back_are_dropped_unread() {
    let mut node = node(config_of(Peer::new("me", "mine")));
    let mapped = "[::ffff:192.0.2.1]:8888".parse().unwrap();
    node.set_own_addresses([mapped]);
    node.handle_datagram(at(0), host(1), &request_with_id("asked", "?", 1));
    assert_eq!(node.counters().ignored, 1);
    assert_eq!((told(&mut node).len(), node.in_flight()), (0, 0));
    let none = Layers::new();
    let hello = message(MessageType::NOTIFY_URI, "news", "hello");
    let sent = node.multicast(at(0), hello, &none, Default::default());
    assert_eq!(sent, Err(SendError::NoGroup));
}
