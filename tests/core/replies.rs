//! What ends a request, what must not, and who is answered.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use netaio_proto::wire::MAX_URI_AND_CONTENT;
use netaio_proto::{
    Action, AuthFields, CloseReason, Connection, Correlation, DefaultRoute,
    EndpointConfig, Envelope, HandlerId, HmacAuthPlugin, Layers, Limits,
    MessageType, MessageTypes, Request, RequestError, Router, SendError,
};

use crate::frames::{
    at, frames, message, poll_all, request, sealed, sent_rid, tokens, written,
};
use crate::pair::{Pair, client};
use crate::python_server::PythonServer;
use crate::server::{
    CLIENT, ECHO, OurServer, inner, inner_with, outer, routes, server,
};

const ERRORS: [MessageType; 4] = [
    MessageType::ERROR,
    MessageType::AUTH_ERROR,
    MessageType::NOT_FOUND,
    MessageType::NOT_PERMITTED,
];

fn secured() -> EndpointConfig {
    EndpointConfig {
        layers: outer(),
        ..EndpointConfig::default()
    }
}

#[test]
fn every_terminal_type_ends_a_request_at_once() {
    use MessageType as T;
    let terminal = [T::RESPOND_URI, T::OK].into_iter().chain(ERRORS);
    for correlation in [Correlation::RequestIds, Correlation::Off] {
        for kind in terminal.clone() {
            let config = EndpointConfig {
                correlation,
                ..EndpointConfig::default()
            };
            let mut pair = Pair::new(config, OurServer::plain(), 1);
            let id = pair.ask("typed", &kind.code().to_string());
            pair.drive();
            let reply = pair.reply(id).clone();
            assert_eq!(reply.message_type(), kind);
            let status = reply.error_for_status();
            assert_eq!(status.is_err(), ERRORS.contains(&kind));
        }
    }
}

#[test]
fn every_error_type_ends_every_kind_of_request() {
    use MessageType as T;
    let asked = [
        T::REQUEST_URI,
        T::CREATE_URI,
        T::DELETE_URI,
        T::SUBSCRIBE_URI,
    ];
    for kind in ERRORS {
        for asked in asked {
            let mut client = client(EndpointConfig::default());
            let asked = message(asked, "uri", "");
            let id = client.request(at(0), Request::new(asked)).unwrap();
            let reply = message(kind, "uri", "no");
            client.handle_input(at(0), &reply.encode().unwrap());
            let actions = poll_all(&mut client);
            assert!(
                matches!(&actions[..], [Action::Reply { request, .. }]
                    if *request == id),
                "{actions:?}"
            );
        }
    }
}

#[test]
fn a_confirmation_ends_what_it_confirms_and_nothing_else() {
    use MessageType as T;
    let pairs = [
        (T::SUBSCRIBE_URI, T::CONFIRM_SUBSCRIBE),
        (T::UNSUBSCRIBE_URI, T::CONFIRM_UNSUBSCRIBE),
        (T::ADVERTISE_PEER, T::PEER_DISCOVERED),
        (T::DISCONNECT, T::DISCONNECT),
    ];
    for (asked, _) in &pairs[..3] {
        for (fits, confirmation) in &pairs {
            let mut client = client(EndpointConfig::default());
            let request = Request::new(message(*asked, "netaio", ""));
            client.request(at(0), request).unwrap();
            let reply = message(*confirmation, "netaio", "");
            client.handle_input(at(0), &reply.encode().unwrap());
            let ended = poll_all(&mut client)
                .iter()
                .any(|action| matches!(action, Action::Reply { .. }));
            assert_eq!(ended, asked == fits, "{asked} {confirmation}");
        }
    }
}

#[test]
fn a_custom_type_ends_a_request_that_named_it_and_no_other() {
    let mut types = MessageTypes::default();
    let pong = types.register("PONG", 77).unwrap();
    let config = EndpointConfig {
        types,
        ..EndpointConfig::default()
    };
    for named in [true, false] {
        let server = OurServer::new(config.clone(), routes());
        let mut pair = Pair::new(config.clone(), server, 1);
        let mut request = Request::new(request("typed", "77"));
        if named {
            request = request.accept(pong);
        }
        let id = pair.send(request);
        pair.drive();
        match named {
            true => assert_eq!(pair.reply(id).message_type(), pong),
            false => assert!(pair.outcome(id).is_none()),
        }
    }
}

#[test]
fn errors_of_a_python_server_that_name_no_request_end_it_at_once() {
    let config = EndpointConfig::default;
    let mut pair = Pair::new(config(), PythonServer::plain(), 1);
    for (uri, kind) in [
        ("unknown", MessageType::NOT_FOUND),
        ("error", MessageType::ERROR),
    ] {
        let id = pair.ask(uri, "");
        pair.drive();
        assert_eq!(pair.reply(id).message_type(), kind);
    }
    let forbidden = pair.ask("forbidden", "");
    pair.drive();
    let kind = pair.reply(forbidden).message_type();
    assert_eq!(kind, MessageType::NOT_PERMITTED);
    pair.assert_at_rest();
}

#[test]
fn an_error_that_names_no_request_ends_the_oldest() {
    for uri in ["", "ERROR"] {
        let mut client = client(EndpointConfig::default());
        let oldest = Request::new(request("unknown", ""));
        let oldest = client.request(at(0), oldest).unwrap();
        client
            .request(at(0), Request::new(request(uri, "")))
            .unwrap();
        let error = message(MessageType::NOT_FOUND, uri, "not found");
        client.handle_input(at(0), &error.encode().unwrap());
        let actions = poll_all(&mut client);
        assert!(
            matches!(&actions[..], [Action::Reply { request, .. }]
                if *request == oldest),
            "{actions:?}"
        );
    }
}

#[test]
fn a_request_that_is_given_up_keeps_its_place_from_then_on() {
    let mut client = client(EndpointConfig::default());
    let minute = |n: u64| at(n * 60_000);
    let patient = Request::new(request("x", "")).timeout(Duration::from_secs(600));
    let first = client.request(minute(0), patient.clone()).unwrap();
    written(&mut client);
    // Nothing has happened in between that would have told the time.
    assert!(client.cancel(minute(5), first));
    client.handle_timeout(minute(5));
    let second = client.request(minute(5), patient).unwrap();
    let late = message(MessageType::RESPOND_URI, "x", "late");
    client.handle_input(minute(5), &late.encode().unwrap());
    assert!(poll_all(&mut client).is_empty(), "it is not {second:?}'s");
}

#[test]
fn custom_messages_with_the_id_of_a_request_are_bounded_too() {
    let mut types = MessageTypes::default();
    let custom = types.register("CUSTOM", 31).unwrap();
    let config = EndpointConfig {
        types,
        limits: Limits {
            max_in_flight: 4,
            ..Limits::default()
        },
        ..EndpointConfig::default()
    };
    let mut client = client(config);
    client
        .request(at(0), Request::new(request("x", "")))
        .unwrap();
    let [sent] = &frames(&written(&mut client))[..] else {
        panic!("one request")
    };
    let unasked = message(custom, "y", "").with_fields(sent.fields().clone());
    for _ in 0..10 {
        client.handle_input(at(0), &unasked.encode().unwrap());
    }
    let actions = poll_all(&mut client);
    assert_eq!(client.in_flight(), 4, "{actions:?}");
    assert!(!client.wants_read());
}

#[test]
fn an_error_that_names_no_request_is_not_for_one_that_was_passed_over() {
    let mut client = client(EndpointConfig::default());
    let mut ask = |uri| {
        let request = Request::new(request(uri, ""));
        client.request(at(0), request).unwrap()
    };
    let (_silent, answered, unknown) = (ask("never"), ask("echo"), ask("nobody"));
    for reply in [
        message(MessageType::RESPOND_URI, "echo", ""),
        message(MessageType::NOT_FOUND, "", "not found"),
    ] {
        client.handle_input(at(0), &reply.encode().unwrap());
    }
    let ended: Vec<_> = poll_all(&mut client)
        .into_iter()
        .map(|action| match action {
            Action::Reply { request, .. } => request,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ended, [answered, unknown]);
}

/// An id tells where its request is, however many there are.
#[test]
fn replies_to_very_many_requests_are_told_apart() {
    const MANY: usize = 66_000;
    let limits = Limits {
        max_pending: MANY,
        max_outgoing: usize::MAX,
        ..Limits::default()
    };
    let mut client = client(EndpointConfig {
        limits,
        ..EndpointConfig::default()
    });
    let asked: Vec<_> = (0..MANY)
        .map(|_| {
            let asked = Request::new(request("echo", ""));
            client.request(at(0), asked).unwrap()
        })
        .collect();
    let sent = frames(&written(&mut client));
    for nth in [0, 65_535, 65_536, MANY - 1] {
        let reply = sent[nth].clone().with_type(MessageType::OK);
        client.handle_input(at(0), &reply.encode().unwrap());
        assert!(matches!(
            &poll_all(&mut client)[..],
            [Action::Reply { request, .. }] if *request == asked[nth]
        ));
    }
}

/// Places in the table are used again: who is first there was not sent first.
#[test]
fn a_peer_that_stops_repeating_ids_answers_the_oldest_first() {
    let mut client = client(EndpointConfig::default());
    let ask = |client: &mut Connection| {
        let asked = Request::new(request("echo", ""));
        client.request(at(0), asked).unwrap()
    };
    let answered = |client: &mut Connection, fields: AuthFields| {
        let reply = message(MessageType::RESPOND_URI, "echo", "");
        let reply = reply.with_fields(fields).encode().unwrap();
        client.handle_input(at(0), &reply);
        match &poll_all(client)[..] {
            [Action::Reply { request, .. }] => *request,
            other => panic!("{other:?}"),
        }
    };
    let (first, second) = (ask(&mut client), ask(&mut client));
    let sent = frames(&written(&mut client));
    assert_eq!(answered(&mut client, sent[0].fields().clone()), first);
    let third = ask(&mut client);
    assert_eq!(third.slot(), first.slot());
    assert_eq!(answered(&mut client, AuthFields::new()), second);
    let fourth = ask(&mut client);
    assert_eq!(answered(&mut client, AuthFields::new()), third);
    assert_eq!(answered(&mut client, AuthFields::new()), fourth);
}

#[test]
fn a_wrong_secret_ends_a_request_at_once_as_unauthorized() {
    let wrong = Layers::new().auth(HmacAuthPlugin::new("wrong"));
    let config = EndpointConfig {
        layers: wrong,
        ..EndpointConfig::default()
    };
    let refusal = RequestError::Unauthorized {
        verified: false,
        text: "HMAC auth failed".into(),
    };
    let mut pair = Pair::new(config.clone(), PythonServer::new(outer()), 1);
    let id = pair.ask("echo", "");
    pair.drive();
    assert_eq!(pair.failure(id), &refusal);
    pair.assert_at_rest();

    let ours = OurServer::new(secured(), routes());
    let mut pair = Pair::new(config, ours, 1);
    let ids = [pair.ask("echo", "1"), pair.ask("echo", "2")];
    pair.drive();
    for id in ids {
        assert_eq!(pair.failure(id), &refusal);
    }
    assert!(pair.server.handled.is_empty());
    pair.assert_at_rest();
}

#[test]
fn a_forged_reply_does_not_end_the_request() {
    let reply = || message(MessageType::RESPOND_URI, "echo", "reply");
    let other = Layers::new().auth(HmacAuthPlugin::new("other"));
    let none = Layers::new();
    let mut client = client(secured());
    let asked = Request::new(request("echo", "reply"));
    let id = client.request(at(0), asked).unwrap();
    let rid = sent_rid(&mut client);
    for layers in [&none, &other] {
        for rid in [Some(&rid[..]), None] {
            let forged = sealed(reply(), [&none, layers], rid);
            client.handle_input(at(0), &forged);
        }
    }
    let failed = poll_all(&mut client);
    assert_eq!(failed.len(), 4);
    for action in failed {
        assert!(matches!(action, Action::AuthFailed(_)), "{action:?}");
    }
    assert!(written(&mut client).is_empty());

    let genuine = sealed(reply(), [&none, &outer()], Some(&rid));
    client.handle_input(at(0), &genuine);
    let actions = poll_all(&mut client);
    assert!(
        matches!(&actions[..], [Action::Reply { request, message }]
            if *request == id && message.content() == b"reply"),
        "{actions:?}"
    );
}

#[test]
fn a_refusal_with_a_wrong_code_ends_nothing() {
    let other = Layers::new().auth(HmacAuthPlugin::new("other"));
    let mut client = client(secured());
    let asked = Request::new(request("echo", ""));
    client.request(at(0), asked).unwrap();
    for kind in ERRORS {
        let forged = message(kind, "ERROR", "forged");
        let forged = sealed(forged, [&Layers::new(), &other], None);
        client.handle_input(at(0), &forged);
    }
    let actions = poll_all(&mut client);
    assert_eq!(actions.len(), 4);
    assert!(actions.iter().all(|a| matches!(a, Action::AuthFailed(_))));
    assert_eq!(client.pending(), 1);
}

#[test]
fn a_reply_that_fails_the_inner_check_does_not_end_the_request() {
    for outer in [Layers::new(), outer()] {
        let config = EndpointConfig {
            layers: outer.clone(),
            ..EndpointConfig::default()
        };
        let mut client = client(config);
        let asked = Request::new(request("echo", "")).layers(inner());
        let id = client.request(at(0), asked).unwrap();
        let rid = sent_rid(&mut client);
        let reply = || message(MessageType::RESPOND_URI, "echo", "reply");
        let none = Layers::new();
        for layers in [&none, &inner_with("other")] {
            for rid in [Some(&rid[..]), None] {
                let forged = sealed(reply(), [layers, &outer], rid);
                client.handle_input(at(0), &forged);
            }
        }
        let failed = poll_all(&mut client);
        assert_eq!(failed.len(), 4, "{failed:?}");
        assert!(failed.iter().all(|a| matches!(a, Action::AuthFailed(_))));
        let genuine = sealed(reply(), [&inner(), &outer], Some(&rid));
        client.handle_input(at(0), &genuine);
        let actions = poll_all(&mut client);
        assert!(
            matches!(&actions[..], [Action::Reply { request, message }]
                if *request == id && message.content() == b"reply"),
            "{actions:?}"
        );
    }
}

#[test]
fn a_refusal_with_a_wrong_inner_code_ends_nothing() {
    let config = EndpointConfig::default();
    let mut client = client(config);
    let asked = Request::new(request("echo", "")).layers(inner());
    client.request(at(0), asked).unwrap();
    let rid = sent_rid(&mut client);
    let layers = [&inner_with("other"), &Layers::new()];
    for kind in ERRORS {
        let forged = message(kind, "echo", "forged");
        client.handle_input(at(0), &sealed(forged, layers, Some(&rid)));
    }
    let actions = poll_all(&mut client);
    assert_eq!(actions.len(), 4);
    assert!(actions.iter().all(|a| matches!(a, Action::AuthFailed(_))));
    assert_eq!(client.pending(), 1);
}

#[test]
fn a_refusal_without_the_inner_layers_is_told_as_a_refusal() {
    for (layers, verified) in [(outer(), true), (Layers::new(), false)] {
        let config = EndpointConfig {
            layers,
            ..EndpointConfig::default()
        };
        let server = OurServer::new(config.clone(), routes());
        let mut pair = Pair::new(config, server, 1);
        let asked = Request::new(request("unknown", "")).layers(inner());
        let id = pair.send(asked);
        pair.drive();
        let refusal = RequestError::Refused {
            message_type: MessageType::NOT_FOUND,
            verified,
            text: "not found".into(),
        };
        assert_eq!(pair.failure(id), &refusal);
    }
}

#[test]
fn an_answer_is_never_answered() {
    let quiet = || {
        let mut connection = client(EndpointConfig::default());
        connection.set_router(Router::new().into());
        connection
    };
    for kind in MessageType::STANDARD {
        for rid in [None, Some(&b"12345678"[..])] {
            let mut here = quiet();
            let mut there = quiet();
            let none = Layers::new();
            let first = message(*kind, "unknown", "");
            let first = sealed(first, [&none, &none], rid);
            there.handle_input(at(0), &first);
            let mut answers = 0;
            for _ in 0..10 {
                let _ = poll_all(&mut there);
                let answer = written(&mut there);
                answers += frames(&answer).len();
                here.handle_input(at(0), &answer);
                std::mem::swap(&mut here, &mut there);
            }
            let expected = usize::from(!kind.is_reply());
            assert_eq!(answers, expected, "{kind}");
        }
    }
}

#[test]
fn an_answer_gives_no_means_to_answer_it() {
    let mut router = Router::new();
    router.insert(MessageType::RESPOND_URI, ECHO, Layers::new());
    router.set_default_route(DefaultRoute::Handler(HandlerId(9)));
    let mut server = server(EndpointConfig::default(), router);
    for kind in [MessageType::RESPOND_URI, MessageType::NOT_FOUND] {
        let answer = message(kind, "uri", "").encode().unwrap();
        server.handle_input(at(0), &answer);
    }
    let actions = poll_all(&mut server);
    assert!(
        matches!(
            &actions[..],
            [
                Action::Dispatch {
                    handler: ECHO,
                    reply: None,
                    ..
                },
                Action::Dispatch {
                    handler: HandlerId(9),
                    reply: None,
                    ..
                },
            ]
        ),
        "{actions:?}"
    );
    assert_eq!(server.in_flight(), 0);
}

/// Which of three requests that take 30, 20 and 10 ms are answered first.
fn order_of_replies(correlation: Correlation, uris: [&str; 3]) -> Vec<String> {
    let config = EndpointConfig {
        correlation,
        ..EndpointConfig::default()
    };
    let mut router = routes();
    let slow = (MessageType::REQUEST_URI, "slow/2");
    router.insert(slow, crate::server::SLOW, Layers::new());
    let server = OurServer::new(EndpointConfig::default(), router);
    let mut pair = Pair::new(config, server, 1);
    for (uri, content) in uris.into_iter().zip(["30", "20", "10"]) {
        pair.ask(uri, content);
    }
    pair.run_for(1_000);
    let ended = pair.outcomes.iter();
    ended
        .map(|(id, _)| pair.reply(*id).text().into_owned())
        .collect()
}

#[test]
fn replies_to_requests_with_ids_leave_when_they_are_ready() {
    let order = order_of_replies(Correlation::RequestIds, ["slow"; 3]);
    assert_eq!(order, ["10", "20", "30"]);
}

#[test]
fn replies_without_ids_keep_the_order_of_their_uri_and_of_no_other() {
    let order = order_of_replies(Correlation::Off, ["slow"; 3]);
    assert_eq!(order, ["30", "20", "10"]);
    let order = order_of_replies(Correlation::Off, ["slow", "slow/2", "slow"]);
    assert_eq!(order, ["20", "30", "10"]);
}

#[test]
fn a_request_that_is_left_unanswered_holds_nobody_up() {
    let mut connection = server(EndpointConfig::default(), routes());
    for _ in 0..3 {
        let asked = request("never", "").encode().unwrap();
        connection.handle_input(at(0), &asked);
    }
    let [first, second, third] = tokens(&mut connection);
    let answer = |text| message(MessageType::OK, "never", text);
    connection.reply(at(0), third, answer("3")).unwrap();
    connection.reply(at(0), second, answer("2")).unwrap();
    assert!(written(&mut connection).is_empty());
    assert_eq!(connection.in_flight(), 3);
    connection.no_reply(first);
    let texts: Vec<_> = frames(&written(&mut connection))
        .iter()
        .map(|reply| reply.text().into_owned())
        .collect();
    assert_eq!(texts, ["2", "3"]);
    assert_eq!(connection.in_flight(), 0);
    assert_eq!(connection.queued(), 0);
}

#[test]
fn a_token_fits_its_own_connection_only() {
    let mut one = server(EndpointConfig::default(), routes());
    let config = Arc::new(EndpointConfig::default());
    let router = Arc::new(routes());
    let mut two = Connection::new(config, router, CLIENT, [9; 32], at(0));
    let asked = request("never", "").encode().unwrap();
    one.handle_input(at(0), &asked);
    two.handle_input(at(0), &asked);
    let [of_one] = tokens(&mut one);
    let [of_two] = tokens(&mut two);
    let answer = || message(MessageType::OK, "never", "");
    let refused = two.reply(at(0), of_one, answer());
    assert_eq!(refused, Err(SendError::StaleToken));
    assert_eq!(two.in_flight(), 1);
    assert!(written(&mut two).is_empty());
    assert_eq!(two.reply(at(0), of_two, answer()), Ok(()));
    assert_eq!(frames(&written(&mut two)).len(), 1);
}

#[test]
fn a_token_of_a_connection_that_is_over_is_refused() {
    let mut connection = server(EndpointConfig::default(), routes());
    let asked = request("never", "").encode().unwrap();
    connection.handle_input(at(0), &asked);
    connection.handle_input(at(0), &asked);
    let [one, two] = tokens(&mut connection);
    connection.close(at(0), CloseReason::Local);
    let answer = || message(MessageType::OK, "never", "");
    let refused = connection.reply(at(0), one, answer());
    assert_eq!(refused, Err(SendError::Closed));
    assert_eq!(poll_all(&mut connection).len(), 1);
    let refused = connection.reply_error(at(0), two, "too late");
    assert_eq!(refused, Err(SendError::Closed));
    assert!(written(&mut connection).is_empty());
}

#[test]
fn a_reply_that_cannot_be_sealed_becomes_an_error() {
    let longest = MAX_URI_AND_CONTENT - "never".len();
    let longest = message(MessageType::OK, "never", &"x".repeat(longest));
    for correlation in [Correlation::RequestIds, Correlation::Off] {
        let config = EndpointConfig {
            correlation,
            ..secured()
        };
        let server = OurServer::new(secured(), routes());
        let mut pair = Pair::new(config, server, 1);
        pair.wire.longest = 10_000;
        let id = pair.ask("never", "");
        pair.drive();
        let token = pair.server.never.pop().expect("it is kept");
        let connection = &mut pair.server.connection;
        let sent = connection.reply(at(0), token, longest.clone());
        assert!(matches!(sent, Err(SendError::Plugin(_))), "{sent:?}");
        pair.drive();
        let reply = pair.reply(id);
        assert_eq!(reply.message_type(), MessageType::ERROR);
        assert_eq!(reply.uri(), b"never");
        assert_eq!(pair.server.connection.in_flight(), 0);
    }
}

#[test]
fn a_handler_that_fails_gives_its_peer_an_error_with_the_uri() {
    let mut pair = Pair::new(secured(), OurServer::new(secured(), routes()), 1);
    let id = pair.ask("error", "");
    pair.drive();
    let reply = pair.reply(id);
    assert_eq!(reply.message_type(), MessageType::ERROR);
    assert_eq!((reply.uri(), &*reply.text()), (&b"error"[..], "it broke"));
}

#[test]
fn the_longest_uri_that_can_come_is_answered_too() {
    // Longer than a message of our own may have.
    let mut body = vec![0xff, 0xfd];
    body.resize(2 + 0xfffd, b'u');
    let envelope = Envelope {
        message_type: MessageType::REQUEST_URI,
        fields: AuthFields::new(),
        body: BytesMut::from(&body[..]),
    };
    let longest = envelope.into_message().unwrap().encode().unwrap();
    let mut damaged = longest.clone();
    damaged[5] ^= 1;
    for bytes in [longest, damaged] {
        let mut connection = server(EndpointConfig::default(), routes());
        connection.handle_input(at(0), &bytes);
        let _ = poll_all(&mut connection);
        assert_eq!(frames(&written(&mut connection)).len(), 1);
    }
}
