//! Authentic messages that come a second time, and the guard against them.

use std::sync::Arc;
use std::time::Duration;

use netaio_proto::{
    Action, AuthError, AuthFailed, AuthFields, AuthPlugin, Connection, Context,
    Datagram, EndpointConfig, Envelope, HmacAuthPlugin, Instant, Layers, Message,
    MessageType, Node, OuterUse, PluginError, Random, ReplayGuard, ReplayMemory,
    Request, Role, Router, Sha256StreamCipherPlugin,
};

use crate::datagrams::{encoded, host, node, only_sent, sent, told};
use crate::frames::{
    at, frames, message, poll_all, request, sealed, tokens, written,
};
use crate::server::{CLIENT, ECHO, routes};

type Guard = ReplayGuard<HmacAuthPlugin>;

/// What time it is on the wall when a test begins.
const NOW: u64 = 1_800_000_000;

fn hmac() -> HmacAuthPlugin {
    HmacAuthPlugin::new("secret")
}

fn guard() -> Arc<Guard> {
    Arc::new(ReplayGuard::new(hmac()))
}

fn guard_with(memory: ReplayMemory) -> Arc<Guard> {
    Arc::new(ReplayGuard::new(hmac()).memory(memory))
}

fn guarded(guard: &Arc<Guard>) -> EndpointConfig {
    config(Layers::new().auth(Arc::clone(guard)))
}

fn config(layers: Layers) -> EndpointConfig {
    EndpointConfig {
        layers,
        ..EndpointConfig::default()
    }
}

fn server_of(config: EndpointConfig, seed: u8, router: Router) -> Connection {
    let role = Role::Server;
    let config = Arc::new(EndpointConfig { role, ..config });
    let router = Arc::new(router);
    let mut server =
        Connection::new(config, router, CLIENT, [seed; 32], Instant::EPOCH);
    server.set_unix_time(NOW);
    server
}

fn server(guard: &Arc<Guard>, seed: u8) -> Connection {
    server_of(guarded(guard), seed, routes())
}

fn client(config: EndpointConfig) -> Connection {
    let mut client = crate::pair::client(config);
    client.set_unix_time(NOW);
    client
}

/// A request of a client that has the secret and no guard, made at this time.
fn asked(unix_time: u64, uri: &str) -> Vec<u8> {
    let mut client = client(config(Layers::new().auth(hmac())));
    client.set_unix_time(unix_time);
    let asked = Request::new(request(uri, "hi"));
    client.request(at(0), asked).expect("it is sent");
    written(&mut client)
}

/// How a server takes this in: dispatched, or refused and why.
#[track_caller]
fn taken(server: &mut Connection, bytes: &[u8]) -> Result<(), Box<AuthFailed>> {
    server.handle_input(at(0), bytes);
    let mut actions = poll_all(server);
    assert_eq!(actions.len(), 1, "{actions:?}");
    outcome(actions.remove(0))
}

#[track_caller]
fn outcome(action: Action) -> Result<(), Box<AuthFailed>> {
    match action {
        Action::Dispatch { .. } | Action::Reply { .. } => Ok(()),
        Action::AuthFailed(failed) => Err(failed),
        other => panic!("{other:?}"),
    }
}

#[test]
fn r25_what_comes_again_is_refused_on_the_same_connection() {
    let guard = guard();
    let mut server = server(&guard, 3);
    let bytes = asked(NOW, "echo");
    server.handle_input(at(0), &bytes);
    let [token] = tokens(&mut server);
    server.no_reply(token);
    for _ in 0..3 {
        let failed = taken(&mut server, &bytes).expect_err("it came before");
        assert_eq!(failed.error, AuthError::Replayed);
        assert!(failed.reply.is_none() && failed.default_reply.is_none());
    }
    assert!(written(&mut server).is_empty(), "it is not answered");
    assert_eq!(server.in_flight(), 0);
    assert_eq!(guard.refusals().replayed, 3);
    assert_eq!(guard.remembered(), 1);
}

#[test]
fn r25_what_comes_again_is_refused_on_another_connection() {
    let guard = guard();
    let bytes = asked(NOW, "echo");
    taken(&mut server(&guard, 3), &bytes).expect("it is authentic");
    let failed = taken(&mut server(&guard, 4), &bytes).expect_err("a replay");
    assert_eq!(failed.error, AuthError::Replayed);
    // The guard of another endpoint has not seen it.
    taken(&mut server(&self::guard(), 4), &bytes).expect("it is authentic");
}

#[test]
fn r25_another_type_does_not_make_it_another_message() {
    let guard = guard();
    let mut server = server(&guard, 3);
    let mut bytes = asked(NOW, "echo");
    taken(&mut server, &bytes).expect("it is authentic");
    bytes[0] = MessageType::DELETE_URI.code();
    let failed = taken(&mut server, &bytes).expect_err("a replay");
    assert_eq!(failed.error, AuthError::Replayed);
}

#[test]
fn r25_a_doubled_datagram_is_handled_once_and_answered_once() {
    let guard = guard();
    let (mut here, mut there) = (node(guarded(&self::guard())), node_of(&guard));
    here.set_unix_time(NOW);
    let ask = Request::new(request("asked", ""));
    let id = here.request(at(0), host(2), ask).expect("it is sent");
    let [Datagram { bytes, .. }] = &sent(&mut here)[..] else {
        panic!("one datagram");
    };
    there.handle_datagram(at(0), host(1), bytes);
    there.handle_datagram(at(0), host(1), bytes);
    // The other source may be anybody.
    there.handle_datagram(at(0), host(9), bytes);
    let mut told_there = told(&mut there).into_iter();
    let Some(Action::Dispatch {
        message,
        reply: Some(token),
        ..
    }) = told_there.next()
    else {
        panic!("it is dispatched");
    };
    for action in told_there.by_ref().take(2) {
        let failed = outcome(action).expect_err("a replay");
        assert_eq!(failed.error, AuthError::Replayed);
        assert!(failed.reply.is_none());
    }
    assert!(told_there.next().is_none());
    // Nothing has been said that could fail the request while it is handled.
    assert!(sent(&mut there).is_empty());
    let answer = message.respond("later").expect("it is short");
    there.reply(at(1), token, answer).expect("it is sent");
    let answer = only_sent(&mut there);
    here.handle_datagram(at(1), host(2), &encoded(&answer));
    here.handle_datagram(at(1), host(2), &encoded(&answer));
    let ends = told(&mut here);
    assert!(
        matches!(
            &ends[..],
            [Action::Reply { request, .. }, Action::AuthFailed(failed)]
            if *request == id && failed.error == AuthError::Replayed
        ),
        "{ends:?}"
    );
}

fn node_of(guard: &Arc<Guard>) -> Node {
    let mut node = node(guarded(guard));
    node.set_unix_time(NOW);
    node
}

#[test]
fn r25_what_an_endpoint_made_is_no_answer_to_it() {
    let guard = guard();
    let mut client = client(guarded(&guard));
    let asked = Request::new(request("echo", "hi"));
    let id = client.request(at(0), asked).expect("it is sent");
    let mut bytes = written(&mut client);
    for kind in [MessageType::RESPOND_URI, MessageType::REQUEST_URI] {
        bytes[0] = kind.code();
        let failed = taken(&mut client, &bytes).expect_err("our own");
        assert_eq!(failed.error, AuthError::Reflected);
        assert!(failed.reply.is_none());
    }
    assert_eq!(client.pending(), 1, "it still waits");
    assert_eq!(guard.refusals().reflected, 2);
    // The honest answer ends it.
    bytes[0] = MessageType::REQUEST_URI.code();
    let mut server = server(&self::guard(), 3);
    server.handle_input(at(0), &bytes);
    let [token] = tokens(&mut server);
    let answer = message(MessageType::RESPOND_URI, "echo", "hi");
    server.reply(at(0), token, answer).expect("it is sent");
    client.handle_input(at(0), &written(&mut server));
    let actions = poll_all(&mut client);
    assert!(
        matches!(&actions[..], [Action::Reply { request, .. }] if *request == id),
        "{actions:?}"
    );
}

#[test]
fn r25_what_a_node_made_is_refused_when_it_comes_back() {
    let guard = guard();
    let mut node = node_of(&guard);
    let asked = Request::new(request("asked", ""));
    node.request(at(0), host(2), asked).expect("it is sent");
    let mut bytes = encoded(&only_sent(&mut node));
    bytes[0] = MessageType::RESPOND_URI.code();
    node.handle_datagram(at(0), host(2), &bytes);
    let failed = outcome(told(&mut node).remove(0)).expect_err("our own");
    assert_eq!(failed.error, AuthError::Reflected);
    assert_eq!(node.pending(), 1);
}

#[test]
fn r25_what_is_outside_of_the_window_is_refused_and_answered() {
    let guard = guard();
    let mut server = server(&guard, 3);
    for made in [NOW - 60, NOW, NOW + 60] {
        taken(&mut server, &asked(made, "silent")).expect("it is authentic");
    }
    for (made, age) in [(NOW - 61, 61), (NOW + 61, -61), (0, NOW as i64)] {
        let bytes = asked(made, "silent");
        let failed = taken(&mut server, &bytes).expect_err("too far away");
        assert_eq!(failed.error, AuthError::OutsideWindow { age });
        // Its clock may be wrong: whoever it is gets to know.
        assert!(failed.reply.is_some() && failed.default_reply.is_some());
    }
    assert_eq!(guard.refusals().outside_window, 3);
    assert_eq!(guard.remembered(), 3);
}

#[test]
fn r25_a_window_and_what_was_before_the_start_can_be_chosen() {
    let memory = ReplayMemory::new()
        .max_age(Duration::from_secs(5))
        .max_ahead(Duration::from_secs(2))
        .not_before(NOW - 3);
    let guard = guard_with(memory);
    let mut server = server(&guard, 3);
    for made in [NOW - 3, NOW + 2] {
        taken(&mut server, &asked(made, "silent")).expect("it is authentic");
    }
    let mut refused = |made| {
        let bytes = asked(made, "silent");
        taken(&mut server, &bytes).expect_err("outside").error
    };
    assert_eq!(refused(NOW - 4), AuthError::Forgotten);
    assert_eq!(refused(NOW - 6), AuthError::OutsideWindow { age: 6 });
    assert_eq!(refused(NOW + 3), AuthError::OutsideWindow { age: -3 });
}

/// Takes in one message, whose nonce is its number.
fn accept(
    memory: &mut ReplayMemory,
    now: u64,
    made: u64,
    n: u64,
) -> Result<(), AuthError> {
    memory.accept(now, made as u32, &u128::from(n).to_be_bytes())
}

#[test]
fn r25_a_replay_is_refused_at_every_moment_of_the_window() {
    let mut memory = ReplayMemory::new();
    for made in NOW - 60..=NOW + 60 {
        assert_eq!(accept(&mut memory, NOW, made, made), Ok(()));
    }
    for now in NOW..NOW + 200 {
        for made in NOW - 60..=NOW + 60 {
            let replay = accept(&mut memory, now, made, made);
            let age = now as i64 - made as i64;
            if age > 60 {
                assert_eq!(replay, Err(AuthError::OutsideWindow { age }));
            } else {
                assert_eq!(replay, Err(AuthError::Replayed));
            }
        }
    }
    // Nothing is kept that would be refused anyway.
    assert_eq!(accept(&mut memory, NOW + 200, NOW + 200, 0), Ok(()));
    assert_eq!(memory.len(), 1);
}

#[test]
fn r25_a_clock_that_goes_back_lets_no_replay_pass() {
    let day = 86_400;
    let mut memory = ReplayMemory::new();
    for made in NOW - 10..=NOW {
        assert_eq!(accept(&mut memory, NOW, made, made), Ok(()));
    }
    // Back by less than the window: all is still known.
    let replay = accept(&mut memory, NOW - 50, NOW, NOW);
    assert_eq!(replay, Err(AuthError::Replayed));
    // A day ahead, where all is forgotten, and back again.
    assert_eq!(accept(&mut memory, NOW + day, NOW + day, 1), Ok(()));
    assert_eq!(memory.len(), 1);
    for made in NOW - 60..=NOW {
        let again = accept(&mut memory, NOW, made, made);
        assert_eq!(again, Err(AuthError::Forgotten), "{}", NOW - made);
    }
    // What is made from then on is let pass at once, ...
    assert_eq!(accept(&mut memory, NOW + 1, NOW + 1, 2), Ok(()));
    // ... and what came meanwhile is known when its time has come.
    let replay = accept(&mut memory, NOW + day, NOW + day, 1);
    assert_eq!(replay, Err(AuthError::Replayed));
}

#[test]
fn r25_a_clock_that_jumps_about_lets_no_replay_pass() {
    let mut dice = Random::from_seed([8; 32]);
    for capacity in [50, 500, 100_000] {
        let mut memory = ReplayMemory::new()
            .capacity(capacity)
            .max_age(Duration::from_secs(20))
            .max_ahead(Duration::from_secs(20));
        let mut accepted = Vec::new();
        let mut now = NOW;
        for n in 0..20_000 {
            now = match dice.below(200) {
                0 => NOW + dice.below(200),
                1..20 => now + 1,
                _ => now,
            };
            let made = now - 22 + dice.below(44);
            if accept(&mut memory, now, made, n).is_ok() {
                accepted.push((made, n));
            }
            assert!(memory.len() <= capacity);
            if let Some(last) = accepted.len().checked_sub(1) {
                let old = last - dice.below(last as u64 + 1).min(500) as usize;
                let (made, n) = accepted[old];
                let replay = accept(&mut memory, now, made, n);
                assert!(replay.is_err(), "{made} again at {now}");
            }
        }
        assert!(accepted.len() > 1_000, "{} accepted", accepted.len());
    }
}

#[test]
fn r25_time_that_needs_more_than_four_bytes_is_understood() {
    let wrap = 1 << 32;
    let mut memory = ReplayMemory::new();
    for (now, made) in [(wrap - 1, wrap + 5), (wrap + 9, wrap - 3)] {
        assert_eq!(accept(&mut memory, now, made, 1), Ok(()));
        let again = accept(&mut memory, wrap, made, 1);
        assert_eq!(again, Err(AuthError::Replayed));
    }
    let past = accept(&mut memory, 5, wrap - 3, 1);
    assert_eq!(past, Err(AuthError::OutsideWindow { age: 8 }));
    for now in [0, u64::MAX] {
        let far = ReplayMemory::new().accept(now, 0x8000_0000, b"");
        assert!(far.is_err(), "{far:?}");
    }
}

#[test]
fn r25_memory_is_bounded_whatever_comes_and_lets_no_replay_pass() {
    let (capacity, seconds) = (5_000, 50);
    let count = if cfg!(debug_assertions) {
        100_000
    } else {
        1_000_000
    };
    let mut memory = ReplayMemory::new().capacity(capacity);
    let per_second = count / seconds;
    let mut accepted = 0;
    for n in 0..count {
        let now = NOW + n / per_second;
        accepted += u64::from(accept(&mut memory, now, now, n).is_ok());
        assert!(memory.len() <= capacity);
        if n % 7 == 0 {
            for back in [0, 10, per_second, 3 * per_second] {
                let n = n.saturating_sub(back);
                let made = NOW + n / per_second;
                assert!(accept(&mut memory, now, made, n).is_err(), "{n}");
            }
        }
    }
    // As many as there is room for are let pass each second; the others are
    // refused, counted, and let nobody in.
    let room = capacity as u64 * seconds;
    assert_eq!(accepted, count.min(room), "{:?}", memory.refusals());
    let forgotten = memory.refusals().forgotten;
    assert!(forgotten >= count - accepted, "{forgotten}");
}

#[test]
fn r25_a_full_memory_refuses_what_is_far_from_now_first() {
    let capacity = 100;
    let mut memory = ReplayMemory::new().capacity(capacity);
    // Somebody with the secret fills it with what is far in the future.
    for n in 0..500 {
        let _ = accept(&mut memory, NOW, NOW + 60, n);
    }
    assert_eq!(memory.len(), capacity);
    for (n, made) in [(1_000, NOW - 5), (1_001, NOW), (1_002, NOW + 5)] {
        assert_eq!(accept(&mut memory, NOW, made, n), Ok(()));
    }
    assert_eq!(memory.len(), 3);
    let forgotten = Err(AuthError::Forgotten);
    assert_eq!(accept(&mut memory, NOW, NOW + 60, 1), forgotten);
    // That second stays refused until it is over.
    assert_eq!(accept(&mut memory, NOW + 60, NOW + 60, 7_000), forgotten);
    assert_eq!(accept(&mut memory, NOW + 60, NOW + 59, 7_000), Ok(()));
    let age = 61;
    let over = accept(&mut memory, NOW + 121, NOW + 60, 1);
    assert_eq!(over, Err(AuthError::OutsideWindow { age }));
}

#[test]
fn r25_sending_never_fails_for_a_full_memory_and_nothing_is_taken_back() {
    let guard = guard_with(ReplayMemory::new().capacity(10));
    let mut client = client(guarded(&guard));
    let mut sent = Vec::new();
    for n in 0..30 {
        let asked = Request::new(request("echo", &n.to_string()));
        client.request(at(0), asked).expect("it is sent");
        sent.push(written(&mut client));
    }
    assert!(guard.remembered() <= 10);
    for mut bytes in sent {
        bytes[0] = MessageType::RESPOND_URI.code();
        let failed = taken(&mut client, &bytes).expect_err("our own");
        let unsure = [AuthError::Forgotten, AuthError::Reflected];
        assert!(unsure.contains(&failed.error), "{failed:?}");
    }
    assert_eq!(client.pending(), 30);
}

#[test]
fn r25_what_does_not_pass_the_plugin_takes_no_memory() {
    let guard = guard();
    let mut server = server(&guard, 3);
    let good = asked(NOW, "silent");
    let mut message = Message::new(MessageType::REQUEST_URI, "silent", "ho");
    message = message.map(|m| m.with_fields(frames(&good)[0].fields().clone()));
    let bad = message.and_then(|m| m.encode()).expect("it is short");
    let failed = taken(&mut server, &bad).expect_err("a wrong proof");
    assert_eq!(failed.error, AuthError::Mismatch);
    assert_eq!(guard.remembered(), 0);
    // The nonce is not used up by whoever copied it.
    taken(&mut server, &good).expect("it is authentic");
    let bare = request("silent", "").encode().expect("it is short");
    let failed = taken(&mut server, &bare).expect_err("no proof");
    assert!(matches!(failed.error, AuthError::MissingField { .. }));
    assert_eq!(guard.remembered(), 1);
}

/// Two layers share nonce and timestamp; each has its guard.
#[test]
fn r25_two_layers_have_a_guard_each() {
    let inner = || {
        let plugin = HmacAuthPlugin::new("inner").hmac_field("hmac2");
        Arc::new(ReplayGuard::new(plugin))
    };
    let (ours, theirs) = (inner(), inner());
    let (outer_ours, outer_theirs) = (guard(), guard());
    let mut router = Router::new();
    let key = (MessageType::REQUEST_URI, "inner");
    router.insert(key, ECHO, Layers::new().auth(Arc::clone(&theirs)));
    let mut server = server_of(guarded(&outer_theirs), 3, router);
    let mut client = client(guarded(&outer_ours));
    for n in 1..4 {
        let asked = Request::new(request("inner", "hi"));
        let asked = asked.layers(Layers::new().auth(Arc::clone(&ours)));
        client.request(at(0), asked).expect("it is sent");
        let bytes = written(&mut client);
        server.handle_input(at(0), &bytes);
        let [token] = tokens(&mut server);
        let answer = message(MessageType::RESPOND_URI, "inner", "ho");
        server.reply(at(0), token, answer).expect("it is sent");
        client.handle_input(at(0), &written(&mut server));
        outcome(poll_all(&mut client).remove(0)).expect("it is authentic");
        let failed = taken(&mut server, &bytes).expect_err("a replay");
        assert_eq!(failed.error, AuthError::Replayed);
        for guard in [&ours, &theirs] {
            assert_eq!(guard.remembered(), 2 * n);
        }
    }
}

/// Python's handlers may return the message that came, with all its fields.
#[test]
fn r25_a_message_that_is_passed_on_gets_a_nonce_of_its_own() {
    let (ours, theirs) = (guard(), guard());
    let mut client = client(guarded(&ours));
    let mut server = server(&theirs, 3);
    let asked = Request::new(request("echo", "hi"));
    client.request(at(0), asked).expect("it is sent");
    server.handle_input(at(0), &written(&mut client));
    let Some(Action::Dispatch {
        message,
        reply: Some(token),
        ..
    }) = server.poll_action()
    else {
        panic!("it is dispatched");
    };
    let same = message.clone().with_type(MessageType::RESPOND_URI);
    server.reply(at(0), token, same).expect("it is sent");
    let bytes = written(&mut server);
    let nonce = |m: &Message| {
        let nonce = m.fields().get_bytes(AuthFields::NONCE);
        nonce.expect("a nonce").to_vec()
    };
    assert_ne!(nonce(&frames(&bytes)[0]), nonce(&message));
    client.handle_input(at(0), &bytes);
    outcome(poll_all(&mut client).remove(0)).expect("it is authentic");
    // Without a guard of its own the sender repeats it, and is refused.
    let plain = Layers::new().auth(hmac());
    let repeated = sealed(message, [&Layers::new(), &plain], None);
    let failed = taken(&mut server, &repeated).expect_err("it has been used");
    assert_eq!(failed.error, AuthError::Replayed);
}

#[test]
fn r25_a_message_of_ours_from_the_future_is_not_sent() {
    let mut client = client(guarded(&guard()));
    let mut asked = request("echo", "hi");
    let ts = (NOW as u32 + 61).to_be_bytes();
    asked.fields_mut().set_bytes("ts", &ts).expect("it fits");
    let refused = client.request(at(0), Request::new(asked));
    assert!(refused.is_err(), "{refused:?}");
}

#[test]
fn r25_fields_can_have_other_names() {
    let plugin = || hmac().nonce_field("n").ts_field("t");
    let guard = || ReplayGuard::new(plugin()).nonce_field("n").ts_field("t");
    let mut server = server_of(config(Layers::new().auth(guard())), 3, routes());
    let mut client = client(config(Layers::new().auth(guard())));
    let asked = Request::new(request("silent", "hi"));
    client.request(at(0), asked).expect("it is sent");
    let bytes = written(&mut client);
    taken(&mut server, &bytes).expect("it is authentic");
    let failed = taken(&mut server, &bytes).expect_err("a replay");
    assert_eq!(failed.error, AuthError::Replayed);
}

/// Lets everything pass, and says how often it was asked.
#[derive(Debug, Default)]
struct Counting(std::sync::atomic::AtomicUsize);

impl Counting {
    fn count(&self) -> usize {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}

impl AuthPlugin for Counting {
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
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(())
    }
}

#[test]
fn a_guard_demands_a_nonce_and_a_timestamp_from_whatever_is_within() {
    let guard = Arc::new(ReplayGuard::new(Counting::default()));
    let layers = Layers::new().auth(Arc::clone(&guard));
    let mut server = server_of(config(layers), 3, routes());
    let bare = request("silent", "").encode().expect("it is short");
    let failed = taken(&mut server, &bare).expect_err("no fields");
    assert!(matches!(failed.error, AuthError::MissingField { .. }));
    let mut odd = request("silent", "");
    odd.fields_mut().set_bytes("ts", b"five!").expect("it fits");
    let failed = taken(&mut server, &encoded(&odd)).expect_err("odd");
    assert!(matches!(failed.error, AuthError::BadField { .. }));
}

/// A reply to a request that went out without the cipher: its proof has been
/// checked when its decryption fails.
#[test]
fn r25_an_auth_plugin_is_asked_once_about_a_message() {
    let counting = Arc::new(Counting::default());
    let guard = guard();
    let cipher = || Sha256StreamCipherPlugin::new("key");
    let counted = Layers::new().auth(Arc::clone(&counting)).cipher(cipher());
    let guarded = Layers::new().auth(Arc::clone(&guard)).cipher(cipher());
    for (layers, at_server) in [
        (counted, Layers::new()),
        (guarded, Layers::new().auth(hmac())),
    ] {
        let mut client = client(config(layers));
        let mut server = server_of(config(at_server), 3, routes());
        let without = OuterUse {
            cipher: false,
            ..OuterUse::default()
        };
        let asked = Request::new(request("echo", "hi")).outer(without);
        let id = client.request(at(0), asked).expect("it is sent");
        server.handle_input(at(0), &written(&mut client));
        let [token] = tokens(&mut server);
        let answer = message(MessageType::RESPOND_URI, "echo", "hi");
        server.reply(at(0), token, answer).expect("it is sent");
        client.handle_input(at(0), &written(&mut server));
        let actions = poll_all(&mut client);
        assert!(
            matches!(
                &actions[..],
                [Action::Reply { request, .. }] if *request == id
            ),
            "{actions:?}"
        );
    }
    assert_eq!(counting.count(), 1);
    assert_eq!(guard.remembered(), 2);
}

#[test]
fn what_a_guard_shows_of_itself_has_no_secrets() {
    let shown = format!("{:?}", guard());
    assert!(shown.contains("HmacAuthPlugin"), "{shown}");
    assert!(!shown.contains("secret"), "{shown}");
}

/// An entry of packed fields, its value with this head, and something behind its
/// name.
fn entry(name: &str, behind: &[u8], head: &[u8], value: &[u8]) -> Vec<u8> {
    let name_length = name.len() as u8;
    let key = [&[0x43, name_length], name.as_bytes(), behind].concat();
    let value = [head, value].concat();
    let lengths = [key.len() as u8, value.len() as u8];
    [&[0x4c, 0x40, 2], &lengths[..], &key, &value].concat()
}

/// Two readers of fields must not see two nonces in what is encoded oddly.
#[test]
fn a_message_that_is_encoded_anew_is_the_same() {
    let guard = guard();
    let config = Arc::new(config(Layers::new().auth(hmac())));
    let mut sender =
        Connection::new(config, Arc::default(), CLIENT, [1; 32], Instant::EPOCH);
    sender.set_unix_time(NOW);
    let asked = Request::new(request("echo", "once"));
    sender.request(Instant::EPOCH, asked).unwrap();
    let recorded = written(&mut sender);
    let mut server = server(&guard, 2);
    let dispatched = |server: &mut Connection| {
        let actions = poll_all(server).into_iter();
        actions
            .filter(|a| matches!(a, Action::Dispatch { .. }))
            .count()
    };
    server.handle_input(Instant::EPOCH, &recorded);
    assert_eq!(dispatched(&mut server), 1);

    let length = usize::from(u16::from_be_bytes([recorded[1], recorded[2]]));
    let (start, rest) = recorded.split_at(9);
    let (section, body) = rest.split_at(length);
    let fields = AuthFields::from_packed(section).unwrap();
    let get = |name| fields.get_bytes(name).unwrap();
    for n in 0..9 {
        let nonce = get("nonce");
        let behind = [0x41, nonce.len() as u8 + 3, n];
        let entries = [
            // With a length of two bytes, which only the long way reads.
            entry("ts", &[], &[0x81, 0, 4], get("ts")),
            entry("hmac", &[], &[0x41, 32], get("hmac")),
            entry("nonce", &behind, &[0x41, nonce.len() as u8], nonce),
        ];
        let lengths = entries.each_ref().map(|entry| entry.len() as u8);
        let section = [&[0x4d, 0x40, 3][..], &lengths, &entries.concat()].concat();
        let mut anew = start.to_vec();
        anew[1..3].copy_from_slice(&(section.len() as u16).to_be_bytes());
        anew.extend([&section[..], body].concat());
        server.handle_input(Instant::EPOCH, &anew);
        assert_eq!(dispatched(&mut server), 0);
    }
    assert_eq!(guard.refusals().replayed, 9);
    assert_eq!(guard.remembered(), 1);
}
