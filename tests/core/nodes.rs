//! Requests between nodes: which reply belongs to which, and how they end.

use std::time::Duration;

use netaio_proto::{
    Action, AuthFields, CloseReason, Correlation, EndpointConfig, Hint, Layers,
    Limits, Message, MessageType, MessageTypes, Node, Peer, PeerManagement, Random,
    Request, RequestError, RequestId, SendError, TimeoutContext,
};

use crate::datagrams::{
    advertisement, config_of, decoded, encoded, host, node, only_sent,
    request_with_id, sent, sent_messages, told,
};
use crate::frames::{at, message, request, sealed};
use crate::network::{GROUP, Network, Weather, calm};
use crate::server::{inner, outer};

/// Sends a `REQUEST_URI` that waits a second.
fn ask(node: &mut Node, to: u8, uri: &str) -> RequestId {
    let request = Request::new(request(uri, "")).timeout(Duration::from_secs(1));
    node.request(at(0), host(to), request).expect("it is sent")
}

/// A request's answer, which repeats its id.
fn answer(asked: &Message, content: impl AsRef<[u8]>) -> Vec<u8> {
    let answer = asked.respond(content).expect("it is short");
    encoded(&answer.with_fields(asked.fields().clone()))
}

/// How the requests of a node ended, in order.
fn ends(node: &mut Node) -> Vec<(RequestId, Option<Message>)> {
    let ends = told(node).into_iter().map(|action| match action {
        Action::Reply { request, message } => (request, Some(message)),
        Action::TimedOut { request, .. } => (request, None),
        other => panic!("{other:?}"),
    });
    ends.collect()
}

/// The texts that requests were answered with.
fn texts(node: &mut Node) -> Vec<(RequestId, String)> {
    let ends = ends(node).into_iter();
    let answered = ends.map(|(id, reply)| (id, reply.expect("a reply")));
    answered
        .map(|(id, reply)| (id, reply.text().into_owned()))
        .collect()
}

fn without_ids() -> EndpointConfig {
    EndpointConfig {
        correlation: Correlation::Off,
        ..EndpointConfig::default()
    }
}

#[test]
fn requests_for_one_uri_get_their_own_answers_in_any_order() {
    let mut dice = Random::from_seed([3; 32]);
    let mut node = node(EndpointConfig::default());
    let mut answers = Vec::new();
    for n in 0..200_u8 {
        let to = 2 + n % 3;
        let id = ask(&mut node, to, "asked");
        let answer = answer(&only_sent(&mut node), [n]);
        answers.push((host(to), answer, id, vec![n]));
    }
    while !answers.is_empty() {
        let next = dice.below(answers.len() as u64) as usize;
        let (from, answer, id, content) = answers.swap_remove(next);
        node.handle_datagram(at(1), from, &answer);
        let ends = ends(&mut node);
        let [(ended, Some(reply))] = &ends[..] else {
            panic!("{ends:?}");
        };
        assert_eq!((*ended, reply.content()), (id, &content[..]));
    }
    assert_eq!((node.pending(), node.poll_timeout()), (0, None));
}

#[test]
fn an_answer_from_another_address_is_not_taken_whatever_it_knows() {
    let mut node = node(EndpointConfig::default());
    let id = ask(&mut node, 2, "asked");
    let answer = answer(&only_sent(&mut node), "true");
    let mut other_port = host(2);
    other_port.set_port(1);
    for from in [host(3), other_port] {
        node.handle_datagram(at(1), from, &answer);
        assert_eq!(ends(&mut node), []);
        assert_eq!(node.pending(), 1);
    }
    node.handle_datagram(at(2), host(2), &answer);
    assert_eq!(texts(&mut node), [(id, "true".to_owned())]);
}

#[test]
fn answers_without_ids_go_to_the_oldest_request_for_that_address_and_uri() {
    for config in [EndpointConfig::default(), without_ids()] {
        let mut node = node(config);
        let ids = [(2, "asked"), (2, "asked"), (3, "asked"), (2, "other")]
            .map(|(to, uri)| ask(&mut node, to, uri));
        let answer =
            |uri, text| encoded(&message(MessageType::RESPOND_URI, uri, text));
        for (from, uri, text, expected) in [
            (3, "asked", "one", ids[2]),
            (2, "asked", "two", ids[0]),
            (2, "other", "three", ids[3]),
            (2, "asked", "four", ids[1]),
        ] {
            node.handle_datagram(at(1), host(from), &answer(uri, text));
            assert_eq!(texts(&mut node), [(expected, text.to_owned())]);
        }
        node.handle_datagram(at(1), host(2), &answer("asked", "five"));
        let told = told(&mut node);
        let nobodys = matches!(&told[..], [Action::Unrouted { reply: None, .. }]);
        assert!(nobodys, "{told:?}");
    }
}

#[test]
fn a_request_that_was_given_up_takes_no_answer_of_a_later_one() {
    let mut node = node(without_ids());
    let first = ask(&mut node, 2, "asked");
    assert!(node.cancel(at(1), first));
    assert!(!node.cancel(at(1), first));
    let second = ask(&mut node, 2, "asked");
    let answer = encoded(&message(MessageType::RESPOND_URI, "asked", "new"));
    node.handle_datagram(at(2), host(2), &answer);
    assert_eq!(texts(&mut node), [(second, "new".to_owned())]);
    assert_eq!((node.pending(), node.poll_timeout()), (0, None));
}

#[test]
fn a_cancelled_request_is_never_told_of() {
    let mut node = node(EndpointConfig::default());
    let id = ask(&mut node, 2, "asked");
    let answer = answer(&only_sent(&mut node), "late");
    assert!(node.cancel(at(1), id));
    assert_eq!((node.pending(), node.poll_timeout()), (0, None));
    node.handle_datagram(at(2), host(2), &answer);
    node.handle_timeout(at(10_000));
    assert_eq!(ends(&mut node), []);
    assert_eq!(node.counters().late_replies, 1);
}

#[test]
fn copies_of_an_answer_are_dropped_and_counted() {
    let mut node = node(EndpointConfig::default());
    let id = ask(&mut node, 2, "asked");
    let other = ask(&mut node, 2, "asked");
    let asked = sent_messages(&mut node);
    let answer = answer(&asked[0], "once");
    for _ in 0..5 {
        node.handle_datagram(at(1), host(2), &answer);
    }
    assert_eq!(texts(&mut node), [(id, "once".to_owned())]);
    assert_eq!(node.counters().late_replies, 4);
    node.handle_timeout(at(1_000));
    assert_eq!(ends(&mut node), [(other, None)]);
}

/// What a request's timeout says about it.
fn timed_out(node: &mut Node, now: u64) -> TimeoutContext {
    node.handle_timeout(at(now));
    let told = told(node);
    match &told[..] {
        [Action::TimedOut { context, .. }] => context.clone(),
        _ => panic!("{told:?}"),
    }
}

#[test]
fn an_error_that_does_not_say_what_about_is_a_hint_and_ends_nothing() {
    use MessageType as T;
    let secured = EndpointConfig {
        layers: outer(),
        ..EndpointConfig::default()
    };
    for config in [secured, EndpointConfig::default()] {
        for kind in [T::AUTH_ERROR, T::ERROR] {
            let mut node = node(config.clone());
            ask(&mut node, 2, "asked");
            let hint = encoded(&message(kind, "ERROR", "who are you?"));
            node.handle_datagram(at(1), host(3), &hint);
            node.handle_datagram(at(2), host(2), &hint);
            let ended = told(&mut node).into_iter().any(|action| {
                matches!(action, Action::Reply { .. } | Action::Failed { .. })
            });
            assert!(!ended && node.pending() == 1, "{kind}");
            let hint = timed_out(&mut node, 1_000).hint.expect("a hint");
            assert_eq!((hint.message_type, &*hint.text), (kind, "who are you?"));
        }
    }
}

#[test]
fn a_hint_is_of_the_same_address_and_came_meanwhile() {
    let hint = encoded(&message(MessageType::ERROR, "ERROR", "no"));
    let mut other = node(EndpointConfig::default());
    ask(&mut other, 2, "asked");
    other.handle_datagram(at(1), host(3), &hint);
    told(&mut other);
    assert_eq!(timed_out(&mut other, 1_000).hint, None);
    let mut before = node(EndpointConfig::default());
    ask(&mut before, 3, "asked");
    before.handle_datagram(at(0), host(2), &hint);
    told(&mut before);
    timed_out(&mut before, 1_000);
    let late = Request::new(request("asked", "")).timeout(Duration::from_secs(1));
    before.request(at(2_000), host(2), late).unwrap();
    assert_eq!(timed_out(&mut before, 3_000).hint, None);
}

#[test]
fn a_hint_is_short_and_hints_are_few() {
    let mut node = node(EndpointConfig::default());
    for n in 1..=200 {
        ask(&mut node, n, "asked");
    }
    sent(&mut node);
    for n in 1..=200 {
        let text = "é".repeat(10_000);
        let hint = encoded(&message(MessageType::ERROR, "ERROR", &text));
        node.handle_datagram(at(n), host(n as u8), &hint);
        told(&mut node);
    }
    node.handle_timeout(at(1_000));
    let hints: Vec<Hint> = told(&mut node)
        .into_iter()
        .filter_map(|action| match action {
            Action::TimedOut { context, .. } => context.hint,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(hints.len(), 64);
    assert!(hints.iter().all(|hint| hint.text.chars().count() == 256));
}

/// A message without the node's own layers, with the fields of a request.
fn raw(kind: MessageType, asked: &Message, text: &str) -> Vec<u8> {
    let rid = asked.fields().get_bytes(AuthFields::RID).expect("an id");
    let none = Layers::new();
    sealed(message(kind, "ERROR", text), [&none, &none], Some(rid))
}

#[test]
fn an_unauthenticated_refusal_with_the_id_ends_the_request() {
    use MessageType as T;
    for kind in [T::AUTH_ERROR, T::ERROR] {
        let mut node = node(EndpointConfig {
            layers: outer(),
            ..EndpointConfig::default()
        });
        let id = ask(&mut node, 2, "asked");
        let asked = only_sent(&mut node);
        node.handle_datagram(at(1), host(3), &raw(kind, &asked, "overheard"));
        assert_eq!(node.pending(), 1);
        told(&mut node);
        node.handle_datagram(at(1), host(2), &raw(kind, &asked, "go away"));
        let text = "go away".to_owned();
        let verified = false;
        let expected = match kind {
            T::AUTH_ERROR => RequestError::Unauthorized { verified, text },
            message_type => RequestError::Refused {
                message_type,
                verified,
                text,
            },
        };
        let told = told(&mut node);
        assert!(
            matches!(&told[..], [Action::Failed { request, error }]
                if *request == id && *error == expected),
            "{told:?}"
        );
        assert_eq!(node.pending(), 0);
    }
}

#[test]
fn an_answer_comes_from_the_ipv4_address_that_was_asked_as_ipv6() {
    let mapped = "[::ffff:192.0.2.2]:8888".parse().unwrap();
    for (asked, answering) in [(mapped, host(2)), (host(2), mapped)] {
        let mut node = node(EndpointConfig::default());
        let id = node.request(at(0), asked, Request::new(request("asked", "")));
        let datagrams = sent(&mut node);
        assert_eq!(datagrams[0].to, host(2), "one form of it is used");
        let answer = answer(&decoded(&datagrams[0].bytes), "here");
        node.handle_datagram(at(1), answering, &answer);
        assert_eq!(texts(&mut node), [(id.unwrap(), "here".to_owned())]);
    }
}

#[test]
fn a_request_and_its_answer_have_the_layers_that_it_asks_for() {
    let mut router = netaio_proto::Router::new();
    let key = (MessageType::REQUEST_URI, "asked");
    router.insert(key, crate::datagrams::HANDLER, inner());
    let secured = EndpointConfig {
        layers: outer(),
        ..EndpointConfig::default()
    };
    let mut two = crate::datagrams::node_with(secured.clone(), router);
    let mut one = node(secured);
    let asked = Request::new(request("asked", "hello")).layers(inner());
    let id = one.request(at(0), host(2), asked).unwrap();
    for datagram in sent(&mut one) {
        assert!(!datagram.bytes.windows(5).any(|w| w == b"hello"));
        two.handle_datagram(at(0), host(1), &datagram.bytes);
    }
    for action in told(&mut two) {
        let Action::Dispatch {
            message,
            reply: Some(token),
            ..
        } = action
        else {
            panic!("{action:?}");
        };
        assert_eq!(message.text(), "hello");
        let answer = message.respond("good day").unwrap();
        two.reply(at(0), token, answer).unwrap();
    }
    for datagram in sent(&mut two) {
        one.handle_datagram(at(0), host(2), &datagram.bytes);
    }
    assert_eq!(texts(&mut one), [(id, "good day".to_owned())]);
}

// --- bounds ---

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
fn only_token(node: &mut Node) -> netaio_proto::ReplyToken {
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

// --- the end ---

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
    assert_eq!((sent_before.len(), sent(&mut node).len()), (2, 1));
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
    let mut other = Node::new(
        std::sync::Arc::default(),
        std::sync::Arc::default(),
        [9; 32],
        at(0),
    );
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

#[test]
fn a_datagram_holds_one_message_and_what_follows_it_means_nothing() {
    let mut node = node(EndpointConfig::default());
    let mut two = request_with_id("asked", "first", 1);
    two.extend(request_with_id("asked", "second", 2));
    node.handle_datagram(at(0), host(2), &two);
    let told = told(&mut node);
    assert!(
        matches!(&told[..], [Action::Dispatch { message, .. }]
            if message.content() == b"first"),
        "{told:?}"
    );
}

#[test]
fn a_custom_type_is_an_answer_for_who_named_it() {
    let mut types = MessageTypes::default();
    let pong = types.register("PONG", 77).unwrap();
    let config = EndpointConfig {
        types,
        ..EndpointConfig::default()
    };
    let mut node = node(config);
    let asked = Request::new(request("asked", "")).accept(pong);
    let id = node.request(at(0), host(2), asked).unwrap();
    let answer = only_sent(&mut node).with_type(pong);
    node.handle_datagram(at(0), host(2), &encoded(&answer));
    assert_eq!(ends(&mut node).first().map(|(ended, _)| *ended), Some(id));
}

/// All that members of a network sent in bad weather: when, and which bytes.
fn transcript(seed: u8) -> Vec<(u64, usize, Vec<u8>)> {
    let weather = Weather {
        lost: 20,
        doubled: 10,
        reordered: 20,
        cut: 5,
        ..calm()
    };
    let mut network = Network::managed(seed, 8, weather);
    for n in 0..200 {
        let (by, to) = (n % 8, (n * 3 + 1) % 8);
        let to = crate::network::address(to);
        let asked = Request::new(request("echo", &n.to_string()));
        let node = &mut network.members[by].node;
        node.request(network.now, to, asked).unwrap();
        network.run_for(Duration::from_millis(100));
    }
    let sent = network.sent.drain(..);
    sent.map(|(at, by, d)| (at.as_micros(), by, d.bytes.to_vec()))
        .collect()
}

#[test]
fn the_same_seeds_and_datagrams_give_the_same_bytes() {
    let first = transcript(1);
    assert!(first.len() > 300);
    assert!(first == transcript(1));
    assert!(first != transcript(2));
}
