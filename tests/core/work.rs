//! Proof of work: what it is bound to, that it is good once, and where it is done.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use netaio_asymmetric::HashcashAuthPlugin;
use netaio_proto::{
    Action, AuthError, AuthPlugin, Both, Connection, Context, EndpointConfig,
    Envelope, HmacAuthPlugin, Layers, MessageType, OuterUse, Peer, PeerManagement,
    PluginError, ReplayGuard, Request, SendError, Sha256StreamCipherPlugin,
};

use crate::datagrams::{advertisement, host, node, sent};
use crate::frames::{
    at, frames, message, poll_all, request, sealed, tokens, written,
};
use crate::server::{routes, server};

/// Enough to be seen, and done at once.
const BITS: u32 = 8;

fn work() -> HashcashAuthPlugin {
    HashcashAuthPlugin::new(BITS)
}

fn config(auth: impl AuthPlugin + 'static) -> EndpointConfig {
    EndpointConfig {
        layers: Layers::new().auth(auth),
        ..EndpointConfig::default()
    }
}

fn client(auth: impl AuthPlugin + 'static) -> Connection {
    let mut client = crate::pair::client(config(auth));
    client.set_unix_time(1_800_000_000);
    client
}

fn demanding(auth: impl AuthPlugin + 'static) -> Connection {
    let mut server = server(config(auth), routes());
    server.set_unix_time(1_800_000_000);
    server
}

fn asked(auth: impl AuthPlugin + 'static) -> Vec<u8> {
    let mut client = client(auth);
    let asked = Request::new(request("silent", "hi"));
    client.request(at(0), asked).expect("it is sent");
    written(&mut client)
}

/// Why a server refuses this; `None` if it does not.
#[track_caller]
fn refused(server: &mut Connection, bytes: &[u8]) -> Option<AuthError> {
    server.handle_input(at(0), bytes);
    match &poll_all(server)[..] {
        [Action::Dispatch { .. }] => None,
        [Action::AuthFailed(failed)] => Some(failed.error.clone()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn work_is_good_once_on_all_connections() {
    let plugin = Arc::new(work());
    let (bytes, other) = (asked(work()), asked(work().audience("elsewhere")));
    let mut one = demanding(Arc::clone(&plugin));
    let mut two = demanding(Arc::clone(&plugin));
    assert_eq!(refused(&mut one, &bytes), None);
    assert_eq!(refused(&mut one, &bytes), Some(AuthError::Replayed));
    assert_eq!(refused(&mut two, &bytes), Some(AuthError::Replayed));
    assert_eq!((plugin.remembered(), plugin.refusals().replayed), (1, 2));
    let little = AuthError::Other("too little work".into());
    assert_eq!(refused(&mut two, &other), Some(little));
    assert_eq!(plugin.remembered(), 1);
}

#[test]
fn work_is_bound_to_the_message_and_its_time() {
    let plugin = Arc::new(HashcashAuthPlugin::new(16));
    let mut server = demanding(Arc::clone(&plugin));
    let good = asked(HashcashAuthPlugin::new(16));
    let little = Some(AuthError::Other("too little work".into()));
    let mut other = good.clone();
    other[0] = MessageType::DELETE_URI.code();
    assert_eq!(refused(&mut server, &other), little);
    let fields = frames(&good)[0].fields().clone();
    for (uri, content) in [("silent", "ho"), ("silen", "thi")] {
        let other = request(uri, content).with_fields(fields.clone());
        let other = other.encode().expect("it is short");
        assert_eq!(refused(&mut server, &other), little);
    }
    // Less work than is demanded, for all that it is good for itself.
    let less = asked(HashcashAuthPlugin::new(2));
    assert_eq!(refused(&mut server, &less), little);
    server.set_unix_time(1_800_000_061);
    let outside = AuthError::OutsideWindow { age: 61 };
    assert_eq!(refused(&mut server, &good), Some(outside));
    assert_eq!(plugin.remembered(), 0);
    server.set_unix_time(1_800_000_060);
    assert_eq!(refused(&mut server, &good), None);
}

#[test]
fn a_proof_of_any_other_form_is_refused() {
    let mut server = demanding(work());
    let bare = request("silent", "").encode().expect("it is short");
    let missing = refused(&mut server, &bare);
    assert!(matches!(missing, Some(AuthError::MissingField { .. })));
    for length in [0, 1, 27, 29, 100] {
        let mut odd = request("silent", "");
        let proof = vec![0; length];
        odd.fields_mut()
            .set_bytes("hashcash", &proof)
            .expect("it fits");
        let odd = odd.encode().expect("it is short");
        let bad = refused(&mut server, &odd);
        assert!(matches!(bad, Some(AuthError::BadField { .. })), "{length}");
    }
}

#[test]
fn answers_and_notices_need_no_work() {
    use MessageType as T;
    let mut ours = client(work());
    let mut server = demanding(work());
    let asked = Request::new(request("echo", "hi"));
    let id = ours.request(at(0), asked).expect("it is sent");
    server.handle_input(at(0), &written(&mut ours));
    let [token] = tokens(&mut server);
    let answer = message(T::RESPOND_URI, "echo", "hi");
    server.reply(at(0), token, answer).expect("it is sent");
    let bytes = written(&mut server);
    assert!(frames(&bytes)[0].fields().get("hashcash").is_none());
    ours.handle_input(at(0), &bytes);
    let actions = poll_all(&mut ours);
    assert!(
        matches!(&actions[..], [Action::Reply { request, .. }] if *request == id),
        "{actions:?}"
    );
    for kind in MessageType::STANDARD {
        let free = kind.is_reply()
            || [T::NOTIFY_URI, T::UNSUBSCRIBE_URI, T::ADVERTISE_PEER].contains(kind);
        assert_eq!(work().is_costly(*kind), !free, "{kind}");
    }
    assert!(work().is_costly(MessageType::from_code(31)));
}

#[test]
fn it_comes_before_what_is_dearer() {
    #[derive(Debug, Default)]
    struct Dear(AtomicUsize);

    impl AuthPlugin for Dear {
        fn make(
            &self,
            _envelope: &mut Envelope,
            _context: &mut Context<'_>,
        ) -> Result<(), PluginError> {
            Ok(())
        }

        fn check(
            &self,
            _envelope: &Envelope,
            _context: &mut Context<'_>,
        ) -> Result<(), AuthError> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    }

    let dear = Arc::new(Dear::default());
    let both = Both(work(), Arc::clone(&dear));
    assert!(both.is_costly(MessageType::REQUEST_URI) && both.authenticates());
    let mut server = demanding(both);
    let bare = request("silent", "").encode().expect("it is short");
    assert!(refused(&mut server, &bare).is_some());
    assert_eq!(dear.0.load(Ordering::Relaxed), 0);
    assert_eq!(refused(&mut server, &asked(work())), None);
    assert_eq!(dear.0.load(Ordering::Relaxed), 1);
}

#[test]
fn it_goes_with_other_plugins_in_one_layer_and_in_two() {
    let hmac = || HmacAuthPlugin::new("secret");
    let stacked = || ReplayGuard::new(Both(work(), hmac()));
    let bytes = asked(stacked());
    let mut server = demanding(stacked());
    assert_eq!(refused(&mut server, &bytes), None);
    let again = refused(&mut server, &bytes);
    assert_eq!(again, Some(AuthError::Replayed));
    // Two layers that both demand work, under different names.
    let (outer, inner) = (work(), work().field("inner work"));
    let (outer, inner) = (Layers::new().auth(outer), Layers::new().auth(inner));
    let bytes = sealed(request("a", "b"), [&inner, &outer], None);
    let fields = frames(&bytes)[0].fields().clone();
    let names: Vec<_> = fields.names().collect();
    assert_eq!(names, ["hashcash", "inner work"]);
}

#[test]
fn work_that_is_not_wanted_ends_and_too_much_is_not_begun() {
    let most = HashcashAuthPlugin::MOST_BITS;
    let ask = || Request::new(request("echo", ""));
    let mut ours = client(HashcashAuthPlugin::new(most));
    let given_up = ours.sealing().request(&AtomicBool::new(true), ask());
    let cancelled = SendError::Plugin(PluginError::Cancelled);
    assert_eq!(given_up.err(), Some(cancelled));
    let mut ours = client(HashcashAuthPlugin::new(most + 1));
    let refused = ours.request(at(0), ask());
    assert!(matches!(
        refused,
        Err(SendError::Plugin(PluginError::Other(_)))
    ));
    assert_eq!(ours.pending(), 0);
}

#[test]
fn what_was_sealed_apart_is_sent_as_it_is_and_its_reply_is_opened() {
    let cipher = || Sha256StreamCipherPlugin::new("key");
    let layers = || Layers::new().auth(work()).cipher(cipher());
    let config = || EndpointConfig {
        layers: layers(),
        ..EndpointConfig::default()
    };
    let inner = || Layers::new().auth(HmacAuthPlugin::new("inner"));
    let mut router = routes();
    let key = (MessageType::REQUEST_URI, "sealed");
    router.insert(key, crate::server::ECHO, inner());
    let mut ours = crate::pair::client(config());
    let mut theirs = server(config(), router);
    let ask = Request::new(request("sealed", "hi")).layers(inner());
    let outer = OuterUse::default();
    assert!(ours.is_costly(MessageType::REQUEST_URI, ask.inner(), outer));
    assert!(!ours.is_costly(MessageType::OK, ask.inner(), outer));
    let neither = OuterUse::NEITHER;
    assert!(!ours.is_costly(MessageType::REQUEST_URI, ask.inner(), neither));
    let never = AtomicBool::new(false);
    let ask = ours.sealing().request(&never, ask).expect("it is sealed");
    assert!(ask.is_sealed());
    let id = ours.request(at(0), ask).expect("it is sent");
    theirs.handle_input(at(0), &written(&mut ours));
    let [token] = tokens(&mut theirs);
    let answer = message(MessageType::RESPOND_URI, "sealed", "ho");
    theirs.reply(at(0), token, answer).expect("it is sent");
    ours.handle_input(at(0), &written(&mut theirs));
    match &poll_all(&mut ours)[..] {
        [Action::Reply { request, message }] => {
            assert_eq!((*request, message.content()), (id, &b"ho"[..]));
        }
        other => panic!("{other:?}"),
    }
}

/// Anybody can do the work, from anybody's address.
#[test]
fn work_proves_nobody_s_address() {
    let peer = Peer::new("a long name of a peer that says a lot", "of itself");
    let config = EndpointConfig {
        local_peer: Some(Arc::new(peer)),
        ..config(work())
    };
    let mut node = node(config);
    node.manage_peers(at(0), PeerManagement::new("app"))
        .expect("it has an id");
    let short = advertisement("x", "");
    node.handle_datagram(at(0), host(2), &short);
    assert_eq!(node.peers().len(), 1);
    assert!(sent(&mut node).is_empty(), "the answer would be longer");
    assert_eq!(node.counters().withheld, 1);
}
