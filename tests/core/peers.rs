//! Who is taken for whom, and for how long.

use std::time::Duration;

use netaio_proto::{
    Action, EndpointConfig, KnownPeer, Layers, Limits, Message, MessageType,
    MessageTypes, Node, Peer, PeerError, PeerEvent, PeerManagement, Peers,
    canonical_address,
};

use crate::datagrams::{
    advertisement, config_of, decoded, host, node, only_sent, peer_message, sent,
    told,
};
use crate::frames::at;
use crate::network::GROUP;

fn management() -> PeerManagement {
    PeerManagement::new("app")
        .every(Duration::from_secs(20))
        .timeout(Duration::from_secs(60))
}

/// A managed node called `me`.
fn managed(by: PeerManagement, limits: Limits) -> Node {
    let mut node = node(EndpointConfig {
        limits,
        ..config_of(Peer::new("me", "mine"))
    });
    node.set_group(Some(GROUP));
    node.manage_peers(at(0), by).unwrap();
    node
}

fn usual() -> Node {
    managed(management(), Limits::default())
}

/// A table of peers by itself, managed by an endpoint called `me`.
fn table(limits: &Limits) -> Peers {
    let local = Peer::new("me", "mine").into();
    let mut peers = Peers::new(limits, Some(local), [1; 32]);
    peers.manage(at(0), management()).unwrap();
    peers
}

fn farewell(id: &str) -> Vec<u8> {
    let peer = Peer::new(id.to_owned(), "");
    peer_message(MessageType::DISCONNECT, &peer)
}

/// What happened to peers, in few words.
fn events(node: &mut Node) -> Vec<String> {
    let events = told(node).into_iter().filter_map(|action| match action {
        Action::Peer(event) => Some(event),
        _ => None,
    });
    events.map(|event| in_words(&event)).collect()
}

fn in_words(event: &PeerEvent) -> String {
    let id = event.peer().peer.id.clone().unwrap();
    let id = String::from_utf8_lossy(&id).into_owned();
    match event {
        PeerEvent::Found(_) => format!("{id} found"),
        PeerEvent::Updated(_) => format!("{id} updated"),
        PeerEvent::Lost { reason, .. } => format!("{id} lost: {reason:?}"),
        other => panic!("{other:?}"),
    }
}

fn known<'a>(node: &'a Node, id: &str) -> &'a KnownPeer {
    node.peers().get(id.as_bytes()).expect("it is known")
}

fn data(node: &Node, id: &str) -> Vec<u8> {
    known(node, id).peer.data.clone().unwrap().to_vec()
}

#[test]
fn s21_only_those_at_a_peers_address_speak_in_its_name() {
    let mut node = usual();
    node.handle_datagram(at(0), host(2), &advertisement("two", "true"));
    node.handle_datagram(at(1), host(3), &advertisement("two", "forged"));
    let discovered = Peer::new("two", "forged");
    let discovered = peer_message(MessageType::PEER_DISCOVERED, &discovered);
    node.handle_datagram(at(2), host(3), &discovered);
    node.handle_datagram(at(3), host(3), &farewell("two"));
    assert_eq!(node.peers().refused(), 3);
    assert_eq!(data(&node, "two"), b"true");
    assert_eq!(known(&node, "two").addresses, [host(2)]);
    assert_eq!(known(&node, "two").last_seen, at(0));
    assert_eq!(sent(&mut node).len(), 1, "only the first is answered");
    node.handle_datagram(at(4), host(2), &advertisement("two", "newer"));
    assert_eq!(data(&node, "two"), b"newer");
    node.handle_datagram(at(5), host(2), &farewell("two"));
    let expected = ["two found", "two updated", "two lost: Left"];
    assert_eq!(events(&mut node), expected);
    assert!(node.peers().is_empty());
}

#[test]
fn s21_peers_may_speak_from_anywhere_if_that_is_allowed() {
    let by = management().from_anywhere(true);
    let mut node = managed(by, Limits::default());
    node.handle_datagram(at(0), host(2), &advertisement("two", "old"));
    node.handle_datagram(at(1), host(3), &advertisement("two", "new"));
    assert_eq!(data(&node, "two"), b"new");
    assert_eq!(known(&node, "two").addresses, [host(2), host(3)]);
    node.handle_datagram(at(2), host(4), &farewell("two"));
    assert!(node.peers().is_empty());
    assert!(node.peers().at(host(2)).is_none());
    assert!(node.peers().at(host(3)).is_none());
}

#[test]
fn the_own_id_is_nobody_elses() {
    let mut node = usual();
    node.handle_datagram(at(0), host(2), &advertisement("me", "mine"));
    node.handle_datagram(at(0), host(2), &farewell("me"));
    assert_eq!((node.peers().len(), sent(&mut node).len()), (0, 0));
    assert_eq!(node.peers().refused(), 0);
}

#[test]
fn what_another_app_or_nobody_says_is_passed_over() {
    let mut node = usual();
    let peer = |id: Option<&'static str>, data: Option<&'static str>| Peer {
        id: id.map(Into::into),
        data: data.map(Into::into),
    };
    let kind = MessageType::ADVERTISE_PEER;
    let odd = [
        peer(None, Some("x")),
        peer(Some("a"), None),
        peer(None, None),
    ];
    for odd in odd {
        node.handle_datagram(at(0), host(2), &peer_message(kind, &odd));
    }
    let elsewhere = decoded(&advertisement("two", "here"));
    let elsewhere = elsewhere.content().to_vec();
    let elsewhere = netaio_proto::Message::new(kind, "another app", elsewhere);
    let elsewhere = elsewhere.unwrap().encode().unwrap();
    node.handle_datagram(at(0), host(2), &elsewhere);
    assert_eq!((node.peers().len(), sent(&mut node).len()), (0, 0));
    let told = told(&mut node);
    assert!(matches!(&told[..], [Action::Unrouted { .. }]), "{told:?}");
}

#[test]
fn what_says_too_much_of_itself_is_not_kept() {
    let limits = Limits {
        max_peer_size: 10,
        ..Limits::default()
    };
    let mut node = managed(management(), limits);
    node.handle_datagram(at(0), host(2), &advertisement("two", "12345678"));
    node.handle_datagram(at(0), host(3), &advertisement("two", "1234567"));
    assert_eq!(node.peers().refused(), 1);
    assert_eq!(known(&node, "two").addresses, [host(3)]);
}

fn few(max_peers: usize) -> Limits {
    Limits {
        max_peers,
        ..Limits::default()
    }
}

#[test]
fn a_full_table_makes_room_by_losing_who_was_heard_of_longest_ago() {
    let mut node = managed(management(), few(3));
    for (n, id) in [(2, "two"), (3, "three"), (4, "four")] {
        node.handle_datagram(at(n), host(n as u8), &advertisement(id, "mine"));
    }
    // Any message keeps its sender.
    let hello = crate::frames::request("asked", "hello").encode().unwrap();
    node.handle_datagram(at(5), host(2), &hello);
    events(&mut node);
    node.handle_datagram(at(6), host(5), &advertisement("five", "mine"));
    node.handle_datagram(at(7), host(6), &advertisement("six", "mine"));
    let expected = [
        "three lost: Evicted",
        "five found",
        "four lost: Evicted",
        "six found",
    ];
    assert_eq!(events(&mut node), expected);
    let ids: Vec<_> = node.peers().iter().map(|p| p.peer.id.clone()).collect();
    assert_eq!(
        ids,
        [Some("five".into()), Some("six".into()), Some("two".into())]
    );
}

#[test]
fn pinned_peers_stay_and_a_table_of_nothing_else_refuses_more() {
    let mut node = managed(management(), few(2));
    let pinned = |id: &'static str| Peer::new(id, "pinned");
    node.add_peer(at(0), pinned("one"), host(1)).unwrap();
    node.handle_datagram(at(1), host(2), &advertisement("two", "mine"));
    node.handle_datagram(at(2), host(3), &advertisement("three", "mine"));
    let expected = ["one found", "two found", "two lost: Evicted", "three found"];
    assert_eq!(events(&mut node), expected);
    node.add_peer(at(3), pinned("three"), host(3)).unwrap();
    assert_eq!(events(&mut node), ["three updated"]);
    sent(&mut node);
    node.handle_datagram(at(4), host(4), &advertisement("four", "mine"));
    assert_eq!(sent(&mut node), [], "it is not kept, so it is not answered");
    let refused = node.add_peer(at(4), pinned("four"), host(4));
    assert_eq!(refused, Err(PeerError::TooManyPinned { limit: 2 }));
    let nobody = Peer::default();
    assert_eq!(node.add_peer(at(4), nobody, host(4)), Err(PeerError::NoId));
    node.handle_timeout(at(3_600_000));
    assert_eq!(events(&mut node), [""; 0]);
    assert_eq!(node.peers().len(), 2);
    assert!(node.remove_peer(b"one") && !node.remove_peer(b"one"));
    assert_eq!(events(&mut node), ["one lost: Removed"]);
}

#[test]
fn what_was_said_by_hand_is_not_changed_by_messages() {
    let mut node = usual();
    let by_hand = Peer::new("server", "its key");
    node.add_peer(at(0), by_hand.clone(), host(1)).unwrap();
    assert_eq!(events(&mut node), ["server found"]);
    for (now, datagram) in [
        (1, advertisement("server", "another key")),
        (2, advertisement("mallory", "a key")),
        (3, farewell("server")),
        (4, farewell("mallory")),
    ] {
        node.handle_datagram(at(now), host(1), &datagram);
        let there = node.peers().at(host(1)).expect("it stays");
        assert_eq!(*there.peer, by_hand);
    }
    assert_eq!(events(&mut node), ["mallory found", "mallory lost: Left"]);
    let newer = Peer::new("server", "its next key");
    node.add_peer(at(5), newer.clone(), host(1)).unwrap();
    assert_eq!(*node.peers().at(host(1)).unwrap().peer, newer);
    let other = Peer::new("other", "a key");
    node.add_peer(at(6), other.clone(), host(1)).unwrap();
    assert_eq!(*node.peers().at(host(1)).unwrap().peer, other);
}

#[test]
fn a_peer_that_sends_anything_is_kept_and_a_silent_one_is_lost() {
    let mut node = usual();
    node.handle_datagram(at(0), host(2), &advertisement("two", "mine"));
    node.handle_datagram(at(0), host(3), &advertisement("three", "mine"));
    let reply = crate::frames::message(MessageType::OK, "", "")
        .encode()
        .unwrap();
    node.handle_datagram(at(50_000), host(2), &reply);
    events(&mut node);
    node.handle_timeout(at(59_999));
    assert_eq!(events(&mut node), [""; 0]);
    node.handle_timeout(at(60_000));
    assert_eq!(events(&mut node), ["three lost: TimedOut"]);
    node.handle_timeout(at(109_999));
    assert_eq!(events(&mut node), [""; 0]);
    node.handle_timeout(at(110_000));
    assert_eq!(events(&mut node), ["two lost: TimedOut"]);
}

#[test]
fn damaged_messages_keep_nobody() {
    let mut node = usual();
    node.handle_datagram(at(0), host(2), &advertisement("two", "mine"));
    let mut damaged = advertisement("two", "mine");
    damaged[6] ^= 1;
    node.handle_datagram(at(30_000), host(2), &damaged);
    assert_eq!(known(&node, "two").last_seen, at(0));
}

#[test]
fn subscriptions_go_with_a_peer_that_goes() {
    for reason in ["Left", "TimedOut", "Removed"] {
        let mut node = usual();
        node.handle_datagram(at(0), host(2), &advertisement("two", "mine"));
        node.handle_datagram(at(40_000), host(3), &advertisement("three", "m"));
        for n in [2, 3] {
            assert_eq!(node.subscribe(b"news", host(n)), Ok(true));
            assert_eq!(node.subscribe(b"weather", host(n)), Ok(true));
        }
        events(&mut node);
        match reason {
            "Left" => node.handle_datagram(at(41_000), host(2), &farewell("two")),
            "TimedOut" => node.handle_timeout(at(60_000)),
            _ => assert!(node.remove_peer(b"two")),
        }
        assert_eq!(events(&mut node), [format!("two lost: {reason}")]);
        let left: Vec<_> = node.subscriptions().subscribers(b"news").collect();
        assert_eq!(left, [host(3)], "{reason}");
        assert_eq!(node.subscriptions().len(), 2, "{reason}");
    }
}

#[test]
fn subscriptions_of_one_who_makes_room_for_others_stay() {
    // Made-up peers must not end what others have subscribed to.
    let mut node = managed(management(), few(1));
    node.handle_datagram(at(0), host(2), &advertisement("two", "mine"));
    node.subscribe(b"news", host(2)).unwrap();
    node.handle_datagram(at(1), host(3), &advertisement("made up", "mine"));
    assert_eq!(node.subscriptions().len(), 1);
}

#[test]
fn subscriptions_of_one_who_took_over_an_address_stay() {
    let mut node = usual();
    node.handle_datagram(at(0), host(2), &advertisement("two", "mine"));
    // It starts again, with another id.
    node.handle_datagram(at(30_000), host(2), &advertisement("again", "mine"));
    node.handle_datagram(at(50_000), host(2), &advertisement("again", "mine"));
    node.subscribe(b"news", host(2)).unwrap();
    events(&mut node);
    node.handle_timeout(at(90_000));
    assert_eq!(events(&mut node), ["two lost: TimedOut"]);
    assert_eq!(node.subscriptions().len(), 1);
    node.handle_timeout(at(110_000));
    assert_eq!(events(&mut node), ["again lost: TimedOut"]);
    assert!(node.subscriptions().is_empty());
}

#[test]
fn a_large_table_that_times_out_at_once_leaves_no_subscription_behind() {
    const COUNT: u16 = 3_000;
    let mut node = managed(management(), few(COUNT.into()));
    for n in 0..COUNT {
        let mut from = host(2);
        from.set_port(n);
        let id = format!("peer {n}");
        node.handle_datagram(at(0), from, &advertisement(&id, "mine"));
        node.subscribe(b"news", from).unwrap();
        sent(&mut node);
    }
    assert_eq!(events(&mut node).len(), usize::from(COUNT));
    node.handle_timeout(at(60_000));
    assert_eq!(events(&mut node).len(), usize::from(COUNT));
    assert!(node.subscriptions().is_empty() && node.peers().is_empty());
}

#[test]
fn an_address_is_that_of_the_peer_which_spoke_from_it_last() {
    let mut node = usual();
    let who = |node: &Node| {
        let known = node.peers().at(host(2));
        known.map(|known| known.peer.id.clone().unwrap())
    };
    node.handle_datagram(at(0), host(2), &advertisement("two", "mine"));
    node.handle_datagram(at(1), host(2), &advertisement("restarted", "mine"));
    assert_eq!(who(&node), Some("restarted".into()));
    node.handle_datagram(at(2), host(2), &advertisement("two", "mine"));
    assert_eq!(who(&node), Some("two".into()));
    node.handle_datagram(at(3), host(2), &farewell("restarted"));
    assert_eq!(who(&node), Some("two".into()));
}

#[test]
fn a_peer_has_so_many_addresses_and_no_more() {
    let limits = Limits {
        max_peer_addresses: 2,
        ..Limits::default()
    };
    let mut node = managed(management().from_anywhere(true), limits);
    for n in 2..9 {
        node.handle_datagram(at(0), host(n), &advertisement("two", "mine"));
    }
    assert_eq!(known(&node, "two").addresses, [host(2), host(3)]);
    assert!(node.peers().at(host(4)).is_none());
    let peer = Peer::new("two", "mine");
    let refused = node.add_peer(at(0), peer.clone(), host(4));
    assert_eq!(refused, Err(PeerError::TooManyAddresses { limit: 2 }));
    assert_eq!(node.add_peer(at(0), peer, host(3)), Ok(()));
    node.remove_peer(b"two");
    assert!(node.peers().at(host(2)).is_none());
}

#[test]
fn a_connection_that_ends_takes_its_peer_with_it_unless_there_is_another() {
    let mut peers = table(&Limits::default());
    let two = Peer::new("two", "mine");
    peers.add(at(0), two.clone(), host(2)).unwrap();
    peers.add(at(0), two, host(3)).unwrap();
    peers.disconnected(host(9));
    peers.disconnected(host(2));
    assert_eq!(peers.get(b"two").unwrap().addresses, [host(3)]);
    peers.disconnected(host(3));
    let events = std::iter::from_fn(|| peers.poll_event());
    let events: Vec<_> = events.map(|event| in_words(&event)).collect();
    let expected = ["two found", "two updated", "two lost: Disconnected"];
    assert_eq!(events, expected);
    assert!(peers.is_empty());
}

#[test]
fn events_that_nobody_asks_for_are_bounded() {
    let mut peers = table(&few(10));
    for n in 0..5_000 {
        let peer = Peer::new(format!("peer {n}"), "mine");
        let advertised = peer_message(MessageType::ADVERTISE_PEER, &peer);
        peers.receive(at(n), host(2), &decoded(&advertised));
    }
    let events = std::iter::from_fn(|| peers.poll_event());
    let events: Vec<_> = events.map(|event| in_words(&event)).collect();
    assert_eq!(events.len(), 1_024);
    assert_eq!(events.last().unwrap(), "peer 4999 found");
}

#[test]
fn peers_are_managed_only_by_who_has_an_id() {
    let without = [
        EndpointConfig::default(),
        config_of(Peer {
            id: None,
            data: Some("mine".into()),
        }),
    ];
    for config in without {
        let mut node = node(config);
        let refused = node.manage_peers(at(0), management());
        assert_eq!(refused, Err(PeerError::NoLocalPeer));
        assert_eq!(node.poll_timeout(), None);
    }
}

#[test]
fn managing_again_replaces_what_was_managed() {
    let mut node = usual();
    node.handle_timeout(at(0));
    sent(&mut node);
    let other = PeerManagement::new("another app");
    node.manage_peers(at(1), other).unwrap();
    node.handle_timeout(at(1));
    assert_eq!(only_sent(&mut node).uri(), b"another app");
    node.handle_datagram(at(2), host(2), &advertisement("two", "mine"));
    let told = told(&mut node);
    assert!(matches!(&told[..], [Action::Unrouted { .. }]), "{told:?}");
    node.stop_peer_management(at(3));
    assert_eq!(only_sent(&mut node).uri(), b"another app");
    node.stop_peer_management(at(3));
    assert_eq!(sent(&mut node), []);
}

#[test]
fn addresses_are_compared_in_one_form() {
    let mut node = usual();
    let mapped = "[::ffff:192.0.2.2]:8888".parse().unwrap();
    assert_eq!(canonical_address(mapped), host(2));
    node.handle_datagram(at(0), mapped, &advertisement("two", "mine"));
    assert_eq!(known(&node, "two").addresses, [host(2)]);
    node.handle_datagram(at(1), host(2), &farewell("two"));
    assert!(node.peers().is_empty());
    node.subscribe(b"news", mapped).unwrap();
    assert!(node.unsubscribe(b"news", host(2)));
    let scoped = ["[fe80::1%3]:1", "[2001:db8::1]:1", "[ff02::1%3]:1"];
    for text in scoped {
        let address = text.parse().unwrap();
        assert_eq!(canonical_address(address), address);
    }
    let global =
        std::net::SocketAddrV6::new("2001:db8::1".parse().unwrap(), 1, 7, 3);
    let plain = "[2001:db8::1]:1".parse().unwrap();
    assert_eq!(canonical_address(global.into()), plain);
}

#[test]
fn a_peers_own_layers_are_asked_for_and_given() {
    let layers = Layers::new().auth(netaio_proto::HmacAuthPlugin::new("peers"));
    let mut node = managed(management().layers(layers.clone()), Limits::default());
    let unproven = advertisement("two", "mine");
    node.handle_datagram(at(0), host(2), &unproven);
    let told = told(&mut node);
    assert!(matches!(&told[..], [Action::AuthFailed(_)]), "{told:?}");
    let none = Layers::new();
    let proven = decoded(&unproven);
    let proven = crate::frames::sealed(proven, [&layers, &none], None);
    node.handle_datagram(at(0), host(2), &proven);
    assert_eq!(node.peers().len(), 1);
    let reply = only_sent(&mut node);
    assert_eq!(reply.message_type(), MessageType::PEER_DISCOVERED);
    assert!(reply.fields().get("hmac").is_some());
}

/// A table for connections, and what it makes of a peer message from a host.
fn on_streams(limits: &Limits) -> Peers {
    let mut peers = table(limits);
    peers
        .manage(at(0), management().without_interval())
        .unwrap();
    peers
}

fn said(peers: &mut Peers, n: u8, kind: MessageType, data: &str) -> bool {
    let peer = Peer::new("two", data.to_owned());
    let bytes = peer_message(kind, &peer);
    let message = Message::decode(&bytes, &MessageTypes::default()).unwrap();
    peers.receive(at(1), host(n), &message).is_some()
}

#[test]
fn who_claims_an_id_on_another_stream_has_it_once_it_is_free() {
    use MessageType as T;
    let mut peers = on_streams(&Limits::default());
    assert!(said(&mut peers, 2, T::ADVERTISE_PEER, "first"));
    // It is told who is here, but not heard.
    assert!(said(&mut peers, 3, T::ADVERTISE_PEER, "second"));
    assert!(said(&mut peers, 4, T::ADVERTISE_PEER, "third"));
    assert!(!said(&mut peers, 3, T::DISCONNECT, "second"));
    let known = peers.get(b"two").unwrap().clone();
    assert_eq!(known.peer.data.as_deref(), Some(&b"first"[..]));
    assert_eq!((known.addresses, peers.refused()), (vec![host(2)], 3));

    peers.disconnected(host(2));
    let events = std::iter::from_fn(|| peers.poll_event());
    let events: Vec<_> = events.map(|event| in_words(&event)).collect();
    let expected = ["two found", "two lost: Disconnected", "two found"];
    assert_eq!(events, expected);
    let known = peers.at(host(4)).unwrap();
    assert_eq!(known.peer.data.as_deref(), Some(&b"third"[..]));
    peers.disconnected(host(4));
    assert!(peers.is_empty(), "the other one took back what it had said");
}

#[test]
fn a_claim_goes_with_its_connection_and_there_are_only_so_many() {
    use MessageType as T;
    let mut peers = on_streams(&Limits {
        max_peers: 2,
        ..Limits::default()
    });
    assert!(said(&mut peers, 2, T::ADVERTISE_PEER, "first"));
    for n in 3..9 {
        assert!(said(&mut peers, n, T::ADVERTISE_PEER, "another"));
    }
    peers.disconnected(host(3));
    peers.disconnected(host(2));
    assert!(peers.at(host(4)).is_some());
    peers.disconnected(host(4));
    assert!(peers.is_empty(), "further ones were not kept");
}

#[test]
fn who_says_many_ids_on_one_stream_is_known_by_the_last() {
    let mut peers = on_streams(&Limits::default());
    let from = host(2);
    for id in ["one", "two", "three"] {
        let peer = Peer::new(id, "data");
        let bytes = peer_message(MessageType::ADVERTISE_PEER, &peer);
        let message = decoded(&bytes);
        assert!(peers.receive(at(0), from, &message).is_some());
    }
    let lost: Vec<_> = std::iter::from_fn(|| peers.poll_event())
        .filter(|event| matches!(event, PeerEvent::Lost { .. }))
        .map(|event| in_words(&event))
        .collect();
    assert_eq!(lost.len(), 2, "{lost:?}");
    assert_eq!(peers.len(), 1);
    peers.disconnected(from);
    assert!(peers.is_empty());
}

#[test]
fn an_empty_id_is_none() {
    let nobody = Peer::new("", "data");
    let mut peers = table(&Limits::default());
    let added = peers.add(at(0), nobody.clone(), host(2));
    assert_eq!(added, Err(PeerError::NoId));
    let mut peers = Peers::new(&Limits::default(), Some(nobody.into()), [1; 32]);
    let managed = peers.manage(at(0), management());
    assert_eq!(managed, Err(PeerError::NoLocalPeer));
}
