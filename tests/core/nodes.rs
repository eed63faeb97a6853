//! Requests between nodes: which reply belongs to which, and how they end.

use std::time::Duration;

use netaio_proto::{
    Action, AuthFields, Correlation, EndpointConfig, Hint, Layers, Message,
    MessageType, MessageTypes, Node, Random, Request, RequestError, RequestId,
    TimeoutContext,
};

use crate::datagrams::{
    answer, ask, decoded, default_node, encoded, host, node, only_sent,
    request_with_id, sent, sent_messages, told,
};
use crate::frames::{at, message, request, sealed};
use crate::server::{inner, outer};

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
        [Action::TimedOut { context, .. }] => (**context).clone(),
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

#[test]
fn a_custom_type_that_answers_too_late_is_not_answered_itself() {
    let mut types = MessageTypes::default();
    let pong = types.register("PONG", 77).unwrap();
    for correlation in [Correlation::RequestIds, Correlation::Off] {
        let config = EndpointConfig {
            types: types.clone(),
            correlation,
            ..EndpointConfig::default()
        };
        // Its default is to answer what it does not know with NOT_FOUND.
        let mut node = default_node(config);
        let asked = Request::new(request("elsewhere", "")).accept(pong);
        let timeout = Duration::from_millis(10);
        node.request(at(0), host(2), asked.timeout(timeout))
            .unwrap();
        let answer = only_sent(&mut node).with_type(pong);
        node.handle_timeout(at(10));
        node.handle_datagram(at(11), host(2), &encoded(&answer));
        assert_eq!(sent_messages(&mut node), []);
        assert_eq!(node.in_flight(), 0);
    }
}

#[test]
fn a_node_that_sends_no_ids_is_not_meant_by_an_answer_with_one() {
    let mut node = node(EndpointConfig {
        correlation: Correlation::Off,
        ..EndpointConfig::default()
    });
    let asked = Request::new(request("asked", ""));
    let id = node.request(at(0), host(2), asked).unwrap();
    let _ = only_sent(&mut node);
    // What became of an answer of this node's own that came too late, say.
    let mut other = message(MessageType::NOT_FOUND, "asked", "");
    let fields = other.fields_mut();
    fields.set_bytes(AuthFields::RID, &[7; 8]).unwrap();
    node.handle_datagram(at(1), host(2), &encoded(&other));
    let stray = told(&mut node);
    assert!(
        matches!(&stray[..], [Action::Unrouted { reply: None, .. }]),
        "{stray:?}"
    );
    let answer = message(MessageType::RESPOND_URI, "asked", "");
    node.handle_datagram(at(2), host(2), &encoded(&answer));
    assert_eq!(ends(&mut node).first().map(|(ended, _)| *ended), Some(id));
}

#[test]
fn a_request_that_is_said_not_to_have_been_sent_is_not_sent_afterwards() {
    let mut node = node(EndpointConfig::default());
    node.handle_datagram(at(0), host(3), &request_with_id("asked", "?", 9));
    let token = told(&mut node).into_iter().find_map(|action| match action {
        Action::Dispatch { reply, .. } => reply,
        _ => None,
    });
    let first = ask(&mut node, 2, "asked");
    let left = node.poll_datagram().expect("the first request");
    let second = ask(&mut node, 2, "asked");
    let reply = message(MessageType::RESPOND_URI, "asked", "!");
    node.reply(at(0), token.expect("a token"), reply).unwrap();
    let third = ask(&mut node, 4, "asked");
    node.close(at(1));
    assert_eq!(left.to, host(2));
    let still_sent = sent(&mut node);
    let to: Vec<_> = still_sent.iter().map(|datagram| datagram.to).collect();
    assert_eq!(to, [host(3)], "the reply, and no request");
    assert_eq!(node.queued(), 0);
    let failed = told(&mut node)
        .into_iter()
        .filter_map(|action| match action {
            Action::Failed {
                request,
                error: RequestError::Disconnected { sent, .. },
            } => Some((request, sent)),
            _ => None,
        });
    let failed: Vec<_> = failed.collect();
    assert_eq!(failed, [(first, true), (second, false), (third, false)]);
}
