//! The endpoint's own layers and those of a route or a request.

use std::sync::Arc;
use std::time::Duration;

use netaio_proto::wire::AuthFields;
use netaio_proto::{
    Action, Both, CipherPlugin, Context, Correlation, EndpointConfig, Envelope,
    HandlerId, HmacAuthPlugin, LayerKind, Layers, MessageType, OuterUse,
    PluginError, Request, Router, Sealer, SendError, Sha256StreamCipherPlugin,
};

use crate::frames::{
    at, frames, message, poll_all, request, sealed, tokens, written,
};
use crate::pair::Pair;
use crate::python_server::PythonServer;
use crate::server::{ECHO, OurServer, inner, inner_with, outer, routes, server};

const PROTECTED: (MessageType, &str) = (MessageType::REQUEST_URI, "protected");

fn config(layers: Layers) -> EndpointConfig {
    EndpointConfig {
        layers,
        ..EndpointConfig::default()
    }
}

fn protected_routes() -> Router {
    let mut router = routes();
    router.insert(PROTECTED, ECHO, inner());
    router
}

#[test]
fn two_layers_are_put_on_and_taken_off() {
    for outer in [outer(), Layers::new()] {
        let config = config(outer);
        let server = OurServer::new(config.clone(), protected_routes());
        let mut pair = Pair::new(config, server, 1);
        let asked = Request::new(request("protected", "secret"));
        let id = pair.send(asked.layers(inner()));
        pair.drive();
        assert_eq!(pair.reply(id).content(), b"secret");
        let (_, handled) = &pair.server.handled[0];
        assert_eq!(handled.content(), b"secret");
    }
}

#[test]
fn plugins_that_write_the_same_field_are_found_before_anything_is_sent() {
    let hmac = |secret: &str| HmacAuthPlugin::new(secret);
    let cipher = |key: &str| Sha256StreamCipherPlugin::new(key);
    let apart = hmac("b").hmac_field("hmac2");
    let layers = Layers::new;
    for (outer, inner, taken) in [
        (
            layers().cipher(cipher("a")),
            layers().cipher(cipher("b").encrypt_uri(false)),
            Some(AuthFields::IV),
        ),
        (
            layers().auth(hmac("a")),
            layers().auth(hmac("b")),
            Some(AuthFields::HMAC),
        ),
        (
            layers().auth(Both(hmac("a"), hmac("b"))),
            layers(),
            Some(AuthFields::HMAC),
        ),
        // They may share what the first has chosen: the nonce, the time.
        (layers().auth(hmac("a")), layers().auth(apart), None),
    ] {
        let mut sealer = Sealer::new(Arc::new(config(outer)), [3; 32]);
        // One that came with other fields is passed on with new ones.
        let mut passed_on = request("echo", "hello");
        for name in [AuthFields::IV, AuthFields::HMAC, AuthFields::RID] {
            passed_on.fields_mut().set_bytes(name, b"old").unwrap();
        }
        for message in [request("echo", "hello"), passed_on] {
            let sealed = sealer.seal(0, message, &inner, OuterUse::default());
            let expected = taken.map(|field| {
                let field = field.into();
                SendError::from(PluginError::FieldTaken { field })
            });
            assert_eq!(sealed.err(), expected);
        }
    }
}

#[test]
fn what_fails_the_inner_check_reaches_no_handler_whatever_is_answered() {
    let none = Layers::new();
    let mut router = protected_routes();
    router.insert((MessageType::ERROR, "protected"), ECHO, inner());
    for outer in [outer(), Layers::new()] {
        let mut server = server(config(outer.clone()), router.clone());
        let unproven = [none.clone(), inner_with("wrong")];
        for (inner, silent) in unproven.iter().zip([true, false]) {
            let asked = request("protected", "");
            let bytes = sealed(asked, [inner, &outer], None);
            server.handle_input(at(0), &bytes);
            let Some(Action::AuthFailed(failed)) = server.poll_action() else {
                panic!("it should have failed");
            };
            assert_eq!(failed.layer, LayerKind::Inner);
            assert_eq!(server.in_flight(), 1);
            let token = failed.reply.expect("it can be answered");
            let answer = failed.default_reply.expect("an answer");
            if silent {
                server.no_reply(token);
                assert!(written(&mut server).is_empty());
            } else {
                server.reply(at(0), token, answer).unwrap();
                let sent = frames(&written(&mut server));
                assert_eq!(sent.len(), 1);
                assert_eq!(sent[0].message_type(), MessageType::AUTH_ERROR);
                assert_eq!(sent[0].uri(), b"protected");
                assert!(sent[0].fields().is_empty(), "it goes without layers");
            }
            assert!(server.poll_action().is_none());
            assert_eq!(server.in_flight(), 0);
        }
        let error = message(MessageType::ERROR, "protected", "");
        server.handle_input(at(0), &sealed(error, [&none, &outer], None));
        let actions = poll_all(&mut server);
        let [Action::AuthFailed(failed)] = &actions[..] else {
            panic!("{actions:?}");
        };
        assert!(failed.reply.is_none(), "{failed:?}");
        assert_eq!(server.counters().dispatched, 0);
    }
}

#[test]
fn what_fails_the_outer_check_is_answered_only_if_it_asks_something() {
    for kind in MessageType::STANDARD {
        let mut server = server(config(outer()), routes());
        let bytes = message(*kind, "echo", "").encode().unwrap();
        server.handle_input(at(0), &bytes);
        let Some(Action::AuthFailed(failed)) = server.poll_action() else {
            panic!("{kind} should have failed");
        };
        assert_eq!(failed.layer, LayerKind::Outer);
        assert_eq!(failed.reply.is_some(), !kind.is_reply());
        assert_eq!(failed.default_reply.is_some(), !kind.is_reply());
        assert!(server.poll_action().is_none());
        if let Some(token) = failed.reply {
            server.no_reply(token);
        }
    }
}

fn handlers(actions: &[Action]) -> Vec<Option<HandlerId>> {
    let handler = |action: &Action| match action {
        Action::Dispatch { handler, .. } => Some(*handler),
        _ => None,
    };
    actions.iter().map(handler).collect()
}

#[test]
fn an_ephemeral_route_serves_the_first_message_that_passes_and_no_other() {
    const ONCE: HandlerId = HandlerId(77);
    let none = Layers::new();
    let mut router = Router::new();
    router.insert_once(PROTECTED, ONCE, inner());
    router.insert(PROTECTED, ECHO, inner());
    let mut server = server(config(none.clone()), router);
    let asked = || request("protected", "");
    let wrong = sealed(asked(), [&inner_with("wrong"), &none], None);
    let right = sealed(asked(), [&inner(), &none], None);
    for bytes in [&wrong, &asked().encode().unwrap(), &right, &wrong, &right] {
        server.handle_input(at(0), bytes);
    }
    let served = handlers(&poll_all(&mut server));
    assert_eq!(served, [None, None, Some(ONCE), None, Some(ECHO)]);
}

/// Does something to messages on the way out, and on the way in.
#[derive(Debug)]
struct Meddling {
    out: fn(&mut Envelope),
    back: fn(&mut Envelope),
}

impl CipherPlugin for Meddling {
    fn encrypt(
        &self,
        envelope: &mut Envelope,
        _context: &mut Context<'_>,
    ) -> Result<(), PluginError> {
        (self.out)(envelope);
        Ok(())
    }

    fn decrypt(
        &self,
        envelope: &mut Envelope,
        _context: &mut Context<'_>,
    ) -> Result<(), PluginError> {
        (self.back)(envelope);
        Ok(())
    }
}

#[test]
fn an_ephemeral_route_is_not_consumed_by_what_decrypts_to_no_message() {
    // What it leaves then is no body section.
    let mangling = Meddling {
        out: |_| (),
        back: |envelope| {
            if envelope.body.ends_with(b"mangle") {
                envelope.body.truncate(1);
            }
        },
    };
    let mut router = Router::new();
    router.insert_once(PROTECTED, ECHO, Layers::new().cipher(mangling));
    let mut server = server(EndpointConfig::default(), router);
    for content in ["mangle", "fine", "fine"] {
        let bytes = request("protected", content).encode().unwrap();
        server.handle_input(at(0), &bytes);
    }
    let served = handlers(&poll_all(&mut server));
    assert_eq!(served, [None, Some(ECHO)]);
}

#[test]
fn a_reply_finds_its_request_whatever_a_plugin_does_to_the_fields() {
    let ways: [fn(&mut Envelope); 3] = [
        |envelope| envelope.fields = AuthFields::new(),
        |envelope| assert!(envelope.fields.remove(AuthFields::RID)),
        |envelope| {
            let set = envelope.fields.set_bytes(AuthFields::RID, &[7; 8]);
            set.unwrap();
        },
    ];
    for out in ways {
        let layers = Layers::new().cipher(Meddling { out, back: |_| () });
        let mut client = crate::pair::client(config(layers));
        let ask = |content| Request::new(request("echo", content));
        let ids = ["a", "b"].map(|content| {
            let asked = client.request(at(0), ask(content));
            asked.unwrap()
        });
        let asked = frames(&written(&mut client));
        for (id, asked) in ids.iter().zip(&asked).rev() {
            let reply = message(MessageType::RESPOND_URI, "echo", &asked.text());
            let rid = asked.fields().get_bytes(AuthFields::RID);
            let none = Layers::new();
            client.handle_input(at(0), &sealed(reply, [&none, &none], rid));
            let [Action::Reply { request, message }] = &poll_all(&mut client)[..]
            else {
                panic!("no reply");
            };
            assert_eq!((request, message.content()), (id, asked.content()));
        }
    }
}

#[test]
fn an_ephemeral_route_is_shared_by_all_connections_and_served_once() {
    let mut router = Router::new();
    router.insert_once(PROTECTED, ECHO, Layers::new());
    let mut one = server(EndpointConfig::default(), router.clone());
    let mut two = server(EndpointConfig::default(), router);
    let asked = request("protected", "").encode().unwrap();
    two.handle_input(at(0), &asked);
    one.handle_input(at(0), &asked);
    let [token] = tokens(&mut two);
    two.no_reply(token);
    assert!(poll_all(&mut one).is_empty());
    let answer = &frames(&written(&mut one))[0];
    assert_eq!(answer.message_type(), MessageType::NOT_FOUND);
}

fn hmac() -> Layers {
    Layers::new().auth(HmacAuthPlugin::new("outer secret"))
}

fn cipher() -> Layers {
    Layers::new().cipher(Sha256StreamCipherPlugin::new("outer key"))
}

/// What the client uses of its own, and the server that has just that.
fn partial() -> [(OuterUse, Layers); 3] {
    let all = OuterUse::default();
    let neither = OuterUse {
        auth: false,
        cipher: false,
    };
    [
        (OuterUse { auth: false, ..all }, cipher()),
        (
            OuterUse {
                cipher: false,
                ..all
            },
            hmac(),
        ),
        (neither, Layers::new()),
    ]
}

#[test]
fn a_request_without_some_outer_plugins_takes_such_a_reply() {
    for (outer_use, layers) in partial() {
        for correlation in [Correlation::RequestIds, Correlation::Off] {
            let client = EndpointConfig {
                correlation,
                ..config(outer())
            };
            let server = OurServer::new(config(layers.clone()), routes());
            let mut pair = Pair::new(client, server, 1);
            for uri in ["echo", "unknown"] {
                let asked = Request::new(request(uri, "open")).outer(outer_use);
                let id = pair.send(asked);
                pair.drive();
                let kind = match uri {
                    "echo" => MessageType::RESPOND_URI,
                    _ => MessageType::NOT_FOUND,
                };
                assert_eq!(pair.reply(id).message_type(), kind);
            }
            pair.assert_at_rest();
        }
    }
}

#[test]
fn a_request_with_all_outer_plugins_takes_no_reply_without_them() {
    for (outer_use, layers) in partial() {
        let mut client = crate::pair::client(config(outer()));
        let sealed_one = Request::new(request("echo", ""));
        client.request(at(0), sealed_one).unwrap();
        let open = Request::new(request("other", "")).outer(outer_use);
        client.request(at(0), open).unwrap();
        let reply = message(MessageType::RESPOND_URI, "echo", "");
        let reply = sealed(reply, [&Layers::new(), &layers], None);
        client.handle_input(at(0), &reply);
        let actions = poll_all(&mut client);
        let replied = |action: &Action| matches!(action, Action::Reply { .. });
        assert!(!actions.iter().any(replied), "{actions:?}");
        assert_eq!(client.pending(), 2);
    }
}

#[test]
fn a_late_reply_without_the_outer_plugins_is_not_the_next_ones() {
    for (outer_use, layers) in partial() {
        let server = PythonServer::new(layers);
        let mut pair = Pair::new(config(outer()), server, 1);
        let open = |content: &str| {
            let asked = Request::new(request("slow", content)).outer(outer_use);
            asked.timeout(Duration::from_millis(500))
        };
        let cancelled = pair.send(open("300 cancelled"));
        pair.run_for(100);
        assert!(pair.cancel(cancelled));
        let next = pair.send(open("0 next"));
        pair.run_for(1_000);
        assert_eq!(pair.reply(next).text(), "0 next");
        let late = pair.send(open("300 late"));
        pair.run_for(100);
        assert!(pair.cancel(late));
        pair.run_for(1_000);
        let last = pair.send(open("0 last"));
        pair.run_for(1_000);
        assert_eq!(pair.reply(last).text(), "0 last");
        assert_eq!(pair.client.counters().late_replies, 2);
        pair.assert_at_rest();
    }
}
