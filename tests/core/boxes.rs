//! Messages that are encrypted between two key pairs: whom plugins are told that
//! they are for, and come from.

use std::sync::Arc;

use netaio_asymmetric::X25519CipherPlugin;
use netaio_proto::{
    Action, EndpointConfig, HandlerId, Layers, MessageType, Node, OuterUse, Peer,
    PluginError, ProtocolError, Request, Router, Sealer, SendError,
};

use crate::datagrams::{decoded, encoded, host, node_with, only_sent, sent, told};
use crate::frames::{at, frames, message, poll_all, request, tokens, written};
use crate::server::{ECHO, routes, server};

const US: [u8; 32] = [1; 32];
const THEM: [u8; 32] = [2; 32];

fn plugin(seed: [u8; 32]) -> X25519CipherPlugin {
    X25519CipherPlugin::new(&seed)
}

fn layers(seed: [u8; 32]) -> Layers {
    Layers::new().cipher(plugin(seed))
}

fn hidden(seed: [u8; 32]) -> Layers {
    Layers::new().cipher(plugin(seed).encrypt_uri(true))
}

fn peer(seed: [u8; 32]) -> Peer {
    plugin(seed).peer(seed.to_vec())
}

fn known(seed: [u8; 32]) -> Option<Arc<Peer>> {
    Some(Arc::new(peer(seed)))
}

fn config(layers: Layers) -> EndpointConfig {
    EndpointConfig {
        layers,
        ..EndpointConfig::default()
    }
}

/// An echo under `sealed`, with these inner layers.
fn sealed_echo(inner: Layers) -> Router {
    let mut router = routes();
    router.insert((MessageType::REQUEST_URI, "sealed"), ECHO, inner);
    router
}

#[test]
fn on_a_stream_either_layer_is_for_the_peer_at_the_other_end() {
    let none = Layers::new;
    for (outer, inner) in [
        ([hidden(US), hidden(THEM)], [none(), none()]),
        ([layers(US), layers(THEM)], [none(), none()]),
        ([none(), none()], [layers(US), layers(THEM)]),
        ([hidden(US), hidden(THEM)], [layers(US), layers(THEM)]),
    ] {
        let ([outer_us, outer_them], [us, them]) = (outer, inner);
        let mut client = crate::pair::client(config(outer_us));
        let mut server = server(config(outer_them), sealed_echo(them));
        client.set_peer(known(THEM));
        server.set_peer(known(US));
        let asked = Request::new(request("sealed", "a secret")).layers(us);
        let id = client.request(at(0), asked).expect("the peer is known");
        let bytes = written(&mut client);
        assert!(!bytes.windows(8).any(|part| part == b"a secret"));
        server.handle_input(at(0), &bytes);
        let [token] = tokens(&mut server);
        let answer = message(MessageType::RESPOND_URI, "sealed", "an answer");
        server
            .reply(at(0), token, answer)
            .expect("the peer is known");
        let bytes = written(&mut server);
        assert!(!bytes.windows(9).any(|part| part == b"an answer"));
        client.handle_input(at(0), &bytes);
        match &poll_all(&mut client)[..] {
            [Action::Reply { request, message }] => {
                assert_eq!(*request, id);
                assert_eq!(message.content(), b"an answer");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn nobody_unknown_is_written_to_or_heard() {
    let mut client = crate::pair::client(config(hidden(US)));
    let asked = || Request::new(request("echo", ""));
    let unknown = SendError::Plugin(PluginError::UnknownPeer);
    assert_eq!(client.request(at(0), asked()), Err(unknown));
    assert_eq!(client.pending(), 0);
    client.set_peer(known(THEM));
    client.request(at(0), asked()).expect("the peer is known");
    let bytes = written(&mut client);

    let mut server = server(config(hidden(THEM)), routes());
    server.handle_input(at(0), &bytes);
    let actions = poll_all(&mut server);
    assert!(
        matches!(
            &actions[..],
            [Action::Rejected {
                error: ProtocolError::Undecryptable(PluginError::UnknownPeer),
                ..
            }]
        ),
        "{actions:?}"
    );
    // Whoever it is can be told only in the clear.
    let told = frames(&written(&mut server));
    assert_eq!(told[0].message_type(), MessageType::ERROR);
    // Known, it is heard.
    server.set_peer(known(US));
    server.handle_input(at(0), &bytes);
    let [token] = tokens(&mut server);
    server.no_reply(token);
    // As somebody else it is not.
    server.set_peer(known([3; 32]));
    server.handle_input(at(0), &bytes);
    assert!(matches!(
        poll_all(&mut server)[..],
        [Action::Rejected { .. }]
    ));
}

#[test]
fn a_request_to_a_sealed_route_that_is_not_sealed_reaches_no_handler() {
    let mut server = server(EndpointConfig::default(), sealed_echo(layers(THEM)));
    server.set_peer(known(US));
    let clear = request("sealed", &"x".repeat(100));
    server.handle_input(at(0), &clear.encode().expect("it is short"));
    assert!(matches!(
        poll_all(&mut server)[..],
        [Action::Rejected { .. }]
    ));
    assert_eq!(server.counters().dispatched, 0);
}

#[test]
fn what_is_published_is_sealed_for_each_connection() {
    let config = Arc::new(EndpointConfig::default());
    let sealer = Sealer::new(config, [7; 32]);
    assert!(sealer.is_peer_specific(&layers(US), OuterUse::default()));
    let note = || message(MessageType::NOTIFY_URI, "news", "a secret");
    let others: [[u8; 32]; 3] = [[2; 32], [3; 32], [4; 32]];
    for other in others {
        let mut ours = server(EndpointConfig::default(), Router::new());
        let outer = OuterUse::default();
        let unknown = ours.seal(note(), &layers(US), outer);
        let expected = SendError::Plugin(PluginError::UnknownPeer);
        assert_eq!(unknown.err(), Some(expected));
        ours.set_peer(known(other));
        let sealed = ours.seal(note(), &layers(US), outer);
        ours.notify(at(0), &sealed.expect("known")).expect("room");
        let bytes = written(&mut ours);
        for reader in others {
            let mut router = Router::new();
            let key = (MessageType::NOTIFY_URI, "news");
            router.insert(key, HandlerId(1), layers(reader));
            let mut reading = server(EndpointConfig::default(), router);
            reading.set_peer(known(US));
            reading.handle_input(at(0), &bytes);
            let actions = poll_all(&mut reading);
            let [action] = &actions[..] else {
                panic!("{actions:?}");
            };
            match action {
                Action::Dispatch { message, .. } if reader == other => {
                    assert_eq!(message.content(), b"a secret");
                }
                Action::Rejected { .. } if reader != other => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

/// A node at `host(number)`, with an echo of its own.
fn node(outer: Layers, inner: Layers) -> Node {
    node_with(config(outer), sealed_echo(inner))
}

#[test]
fn a_nodes_layers_are_for_the_peer_at_the_address() {
    let none = Layers::new;
    for (outer, inner) in [
        ([hidden(US), hidden(THEM)], [none(), none()]),
        ([none(), none()], [layers(US), layers(THEM)]),
        ([layers(US), layers(THEM)], [layers(US), layers(THEM)]),
    ] {
        let ([outer_us, outer_them], [us, them]) = (outer, inner);
        let mut here = node(outer_us, none());
        let mut there = node(outer_them, them);
        here.add_peer(at(0), peer(THEM), host(2)).expect("room");
        there.add_peer(at(0), peer(US), host(1)).expect("room");
        let _ = (told(&mut here), told(&mut there));
        let ask = || Request::new(request("sealed", "hi")).layers(us.clone());
        let id = here.request(at(0), host(2), ask()).expect("it is known");
        there.handle_datagram(at(0), host(1), &encoded(&only_sent(&mut here)));
        let Some(Action::Dispatch {
            message,
            reply: Some(token),
            ..
        }) = there.poll_action()
        else {
            panic!("it is dispatched");
        };
        assert_eq!(message.content(), b"hi");
        let answer = message.respond("ho").expect("it is short");
        there.reply(at(0), token, answer).expect("it is known");
        here.handle_datagram(at(0), host(2), &encoded(&only_sent(&mut there)));
        match &told(&mut here)[..] {
            [Action::Reply { request, message }] => {
                assert_eq!((*request, message.content()), (id, &b"ho"[..]));
            }
            other => panic!("{other:?}"),
        }
        let unknown = here.request(at(0), host(3), ask());
        let expected = SendError::Plugin(PluginError::UnknownPeer);
        assert_eq!(unknown, Err(expected));
    }
}

#[test]
fn a_broadcast_is_sealed_for_each_peer_and_left_out_for_those_without_a_key() {
    for outer in [true, false] {
        let of = |seed| match outer {
            true => (hidden(seed), Layers::new()),
            false => (Layers::new(), layers(seed)),
        };
        let (own, with) = of(US);
        let mut here = node(own, Layers::new());
        for n in [2, 3, 4] {
            let peer = peer([n; 32]);
            here.add_peer(at(0), peer, host(n)).expect("room");
        }
        let keyless = Peer::new("keyless", "not packed");
        here.add_peer(at(0), keyless, host(5)).expect("room");
        let news = message(MessageType::NOTIFY_URI, "sealed", "a secret");
        let sent_to = here.broadcast(at(0), news, &with, OuterUse::default());
        assert_eq!(sent_to, Ok(3));
        let sent = sent(&mut here);
        assert_eq!(sent.len(), 3);
        for datagram in &sent {
            for n in [2, 3, 4] {
                let (own, inner) = of([n; 32]);
                let mut router = Router::new();
                let key = (MessageType::NOTIFY_URI, "sealed");
                router.insert(key, ECHO, inner);
                let mut there = node_with(config(own), router);
                there.add_peer(at(0), peer(US), host(1)).expect("room");
                let _ = told(&mut there);
                there.handle_datagram(at(0), host(1), &datagram.bytes);
                let actions = told(&mut there);
                let dispatched = matches!(
                    &actions[..],
                    [Action::Dispatch { message, .. }]
                    if message.content() == b"a secret"
                );
                assert_eq!(dispatched, datagram.to == host(n), "{actions:?}");
            }
        }
    }
}

/// There is nobody in particular to seal a multicast for.
#[test]
fn a_multicast_cannot_be_sealed() {
    let mut here = node(hidden(US), Layers::new());
    here.set_group(Some(host(200)));
    let news = message(MessageType::NOTIFY_URI, "news", "");
    let plain = OuterUse {
        cipher: false,
        ..OuterUse::default()
    };
    let none = Layers::new();
    let refused = here.multicast(at(0), news.clone(), &none, OuterUse::default());
    let expected = SendError::Plugin(PluginError::UnknownPeer);
    assert_eq!(refused, Err(expected));
    here.multicast(at(0), news, &none, plain)
        .expect("in the clear");
    assert_eq!(decoded(&sent(&mut here)[0].bytes).uri(), b"news");
}
