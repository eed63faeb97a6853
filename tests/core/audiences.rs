//! One message of a node to many: broadcasts and notifications.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use netaio_proto::{
    AuthError, AuthPlugin, Context, EndpointConfig, Envelope, Layers, Message,
    MessageType, Node, OuterUse, Peer, PluginError, SendError,
};

use crate::datagrams::{decoded, host, node, sent};
use crate::frames::{at, message};
use crate::server::outer;

/// Puts the recipient's id into a field.
#[derive(Debug)]
pub(crate) struct Addressed;

impl AuthPlugin for Addressed {
    fn make(
        &self,
        envelope: &mut Envelope,
        context: &mut Context<'_>,
    ) -> Result<(), PluginError> {
        let id = context.peer.and_then(|peer| peer.id.as_ref());
        let id = id.ok_or(PluginError::UnknownPeer)?;
        let set = envelope.fields.set_bytes("to", id);
        set.map_err(|_| PluginError::FieldsTooLong)
    }

    fn check(
        &self,
        _envelope: &Envelope,
        _context: &mut Context<'_>,
    ) -> Result<(), AuthError> {
        Ok(())
    }

    fn is_peer_specific(&self) -> bool {
        true
    }
}

fn news() -> Message {
    message(MessageType::NOTIFY_URI, "news", "it works")
}

/// A node that knows the peers 2, 3 and 4, all of which are subscribed.
fn with_audience(layers: Layers) -> Node {
    let mut node = node(EndpointConfig {
        layers,
        ..EndpointConfig::default()
    });
    for n in 2..5 {
        let peer = Peer::new(vec![n], "data");
        node.add_peer(at(0), peer, host(n)).unwrap();
        node.subscribe(b"news", host(n)).unwrap();
    }
    node
}

/// Sends the news to all in both ways.
fn both_ways(node: &mut Node, with: &Layers) -> [Result<usize, SendError>; 2] {
    let all = OuterUse::default();
    let broadcast = node.broadcast(at(0), news(), with, all);
    [broadcast, node.notify(at(0), b"news", news(), with, all)]
}

#[test]
fn a_message_to_many_is_sealed_once_and_shared() {
    for layers in [Layers::new(), outer()] {
        let mut node = with_audience(layers);
        let none = Layers::new();
        assert_eq!(both_ways(&mut node, &none), [Ok(3), Ok(3)]);
        let all = sent(&mut node);
        for datagrams in [&all[..3], &all[3..]] {
            let to: Vec<_> = datagrams.iter().map(|d| d.to).collect();
            assert_eq!(to, [host(2), host(3), host(4)]);
            let places = datagrams.iter().map(|d| d.bytes.as_ptr());
            assert_eq!(places.collect::<BTreeSet<_>>().len(), 1);
        }
        assert_ne!(all[0].bytes.as_ptr(), all[3].bytes.as_ptr());
        assert_eq!(
            decoded(&all[0].bytes).message_type(),
            MessageType::NOTIFY_URI
        );
        assert_eq!(node.counters().frames_out, 6);
        assert_eq!(node.queued(), 0);
    }
}

#[test]
fn a_message_to_many_is_sealed_for_each_if_a_plugin_wants_to() {
    let addressed = || Layers::new().auth(Addressed);
    for (outer, inner) in
        [(addressed(), Layers::new()), (Layers::new(), addressed())]
    {
        let mut node = with_audience(outer);
        assert_eq!(both_ways(&mut node, &inner), [Ok(3), Ok(3)]);
        for datagram in sent(&mut node) {
            let message = decoded(&datagram.bytes);
            let to = message.fields().get_bytes("to").expect("an id");
            assert_eq!(datagram.to, host(to[0]));
        }
    }
}

#[test]
fn a_plugin_that_is_left_out_makes_nothing_specific() {
    let mut node = with_audience(Layers::new().auth(Addressed));
    let without = OuterUse {
        auth: false,
        ..OuterUse::default()
    };
    let none = Layers::new();
    assert_eq!(node.broadcast(at(0), news(), &none, without), Ok(3));
    let sent = sent(&mut node);
    assert_eq!(sent[0].bytes.as_ptr(), sent[2].bytes.as_ptr());
}

#[test]
fn one_who_cannot_be_sent_it_keeps_it_from_nobody_else() {
    let mut node = with_audience(Layers::new().auth(Addressed));
    // Nobody knows who is there, and it comes first.
    node.subscribe(b"news", host(1)).unwrap();
    let (none, all) = (Layers::new(), OuterUse::default());
    assert_eq!(node.notify(at(0), b"news", news(), &none, all), Ok(3));
    let to: Vec<SocketAddr> = sent(&mut node).iter().map(|d| d.to).collect();
    assert_eq!(to, [host(2), host(3), host(4)]);
    node.subscribe(b"other news", host(1)).unwrap();
    let nobody = node.notify(at(0), b"other news", news(), &none, all);
    assert_eq!(nobody, Err(PluginError::UnknownPeer.into()));
}

#[test]
fn nobody_is_an_audience_too() {
    let mut node = node(EndpointConfig::default());
    assert_eq!(both_ways(&mut node, &Layers::new()), [Ok(0), Ok(0)]);
    assert_eq!(sent(&mut node), []);
}

#[test]
fn a_peer_with_several_addresses_gets_a_broadcast_at_the_first() {
    let mut node = with_audience(Layers::new());
    node.add_peer(at(0), Peer::new(vec![2], "data"), host(9))
        .unwrap();
    let none = Layers::new();
    let sent_to = node.broadcast(at(0), news(), &none, OuterUse::default());
    assert_eq!(sent_to, Ok(3));
    let to: Vec<SocketAddr> = sent(&mut node).iter().map(|d| d.to).collect();
    assert_eq!(to, [host(2), host(3), host(4)]);
}
