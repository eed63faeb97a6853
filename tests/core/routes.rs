//! Which handler a message goes to.

use std::net::SocketAddr;
use std::sync::Arc;

use netaio_proto::{
    Action, Connection, DefaultRoute, EndpointConfig, HandlerId, KeyExtractor,
    Layers, Message, MessageType, RouteKey, Router,
};

use crate::frames::{at, frames, poll_all, request, written};
use crate::server::{CLIENT, server};

const REQUEST: MessageType = MessageType::REQUEST_URI;

fn serving(router: Router) -> Connection {
    server(EndpointConfig::default(), router)
}

/// Who is given a request for this URI; `None` if nobody is.
fn handler(connection: &mut Connection, uri: &str) -> Option<u64> {
    connection.handle_input(at(0), &request(uri, "").encode().unwrap());
    let actions = poll_all(connection);
    let [Action::Dispatch { handler, from, .. }] = &actions[..] else {
        assert!(actions.is_empty(), "{actions:?}");
        return None;
    };
    assert_eq!(*from, CLIENT);
    Some(handler.0)
}

#[test]
fn a_route_takes_the_address_then_the_uri_then_the_type() {
    let elsewhere: SocketAddr = "203.0.113.1:1".parse().unwrap();
    let mut router = Router::new();
    let none = Layers::new;
    router.insert(REQUEST, HandlerId(1), none());
    router.insert((REQUEST, "a"), HandlerId(2), none());
    router.insert((REQUEST, "b"), HandlerId(3), none());
    router.insert((REQUEST, "b", CLIENT), HandlerId(4), none());
    router.insert((REQUEST, "a", elsewhere), HandlerId(5), none());
    router.insert_once((REQUEST, "b", CLIENT), HandlerId(6), none());
    let mut server = serving(router);
    assert_eq!(handler(&mut server, "a"), Some(2));
    assert_eq!(handler(&mut server, "b"), Some(6));
    assert_eq!(handler(&mut server, "b"), Some(4));
    assert_eq!(handler(&mut server, "c"), Some(1));
}

#[test]
fn without_a_route_the_default_decides() {
    let mut router = Router::new();
    let mut connection = serving(router.clone());
    assert_eq!(handler(&mut connection, "unknown"), None);
    let answers = frames(&written(&mut connection));
    assert_eq!(answers[0].message_type(), MessageType::NOT_FOUND);
    assert_eq!(answers[0].uri(), b"unknown");

    router.set_default_route(DefaultRoute::Handler(HandlerId(7)));
    let mut connection = serving(router.clone());
    assert_eq!(handler(&mut connection, "unknown"), Some(7));

    router.set_default_route(DefaultRoute::Unrouted);
    let mut connection = serving(router);
    let asked = request("unknown", "").encode().unwrap();
    connection.handle_input(at(0), &asked);
    let mut actions = poll_all(&mut connection);
    let Some(Action::Unrouted { message, reply, .. }) = actions.pop() else {
        panic!("{actions:?}");
    };
    assert!(written(&mut connection).is_empty());
    let answer = message.ok("found it after all").unwrap();
    let token = reply.expect("it can be answered");
    connection.reply(at(0), token, answer).unwrap();
    assert_eq!(frames(&written(&mut connection)).len(), 1);
}

#[test]
fn new_routes_hold_for_messages_that_are_decoded_from_then_on() {
    let mut connection = serving(Router::new());
    let asked = request("a", "").encode().unwrap();
    connection.handle_input(at(0), &asked);
    connection.handle_input(at(0), &asked);
    let mut router = Router::new();
    router.insert((REQUEST, "a"), HandlerId(1), Layers::new());
    connection.set_router(Arc::new(router));
    assert_eq!(poll_all(&mut connection).len(), 2);
    connection.set_router(Arc::new(Router::new()));
    assert_eq!(handler(&mut connection, "a"), None);
}

/// Routes by the first segment of a path and the address, then the address's
/// family.
#[derive(Debug)]
struct ByAddress;

impl KeyExtractor for ByAddress {
    fn keys(
        &self,
        message: &Message,
        from: SocketAddr,
        visit: &mut dyn FnMut(RouteKey) -> bool,
    ) {
        let kind = message.message_type();
        let first = message.uri().split(|byte| *byte == b'/').next();
        let found = visit((kind, first.unwrap_or_default(), from).into());
        assert!(!found || from == CLIENT);
        if !found {
            visit((kind, if from.is_ipv4() { "v4" } else { "v6" }).into());
        }
    }
}

#[test]
fn an_extractor_may_route_by_part_of_the_uri_and_the_address() {
    let mut router = Router::new();
    let none = Layers::new;
    router.insert((REQUEST, "files", CLIENT), HandlerId(1), none());
    router.insert((REQUEST, "v4"), HandlerId(2), none());
    router.insert((REQUEST, "whole/path"), HandlerId(3), none());
    router.insert(REQUEST, HandlerId(4), none());
    router.set_extractor(Some(Arc::new(ByAddress)));
    let mut server = serving(router);
    assert_eq!(handler(&mut server, "files/a"), Some(1));
    assert_eq!(handler(&mut server, "whole/path"), Some(2));
}
