//! The time on the wall, which may be anything: it is written into messages and
//! not believed in, and nothing waits by it.

use std::sync::Arc;
use std::time::Duration;

use netaio_proto::{
    Action, AuthError, AuthFields, AuthPlugin, Context, EndpointConfig,
    HmacAuthPlugin, Layers, MessageType, Node, OuterUse, PluginError, Random,
    Request, Sealer,
};

use crate::datagrams::host;
use crate::frames::{at, frames, message, poll_all, request, tokens, written};
use crate::pair::client;
use crate::server::{outer, routes, server};

const DAY: u64 = 86_400;
const NOW: u64 = 1_800_000_000;
/// The first second that a signed `ts` cannot tell, in 2038.
const SIGNED_END: u64 = 1 << 31;
/// The first second that four bytes cannot tell, in 2106.
const END: u64 = 1 << 32;

const TIMES: [u64; 13] = [
    0,
    1,
    NOW - DAY,
    NOW,
    NOW + DAY,
    SIGNED_END - 1,
    SIGNED_END,
    END - DAY,
    END - 1,
    END,
    END + 1,
    END + NOW,
    u64::MAX,
];

fn secured() -> EndpointConfig {
    EndpointConfig {
        layers: outer(),
        ..EndpointConfig::default()
    }
}

/// What `ts` is at this time: four bytes, which start over in 2106.
fn expected_ts(unix_time: u64) -> [u8; 4] {
    ((unix_time % END) as u32).to_be_bytes()
}

#[test]
fn r19_whatever_time_it_is_at_either_end_messages_pass() {
    for here in TIMES {
        for there in TIMES {
            let mut client = client(secured());
            let mut server = server(secured(), routes());
            client.set_unix_time(here);
            server.set_unix_time(there);
            let asked = Request::new(request("echo", "hello"));
            let id = client.request(at(0), asked).unwrap();
            let bytes = written(&mut client);
            let sent = &frames(&bytes)[0];
            let ts = sent.fields().get_bytes(AuthFields::TS);
            assert_eq!(ts, Some(&expected_ts(here)[..]));
            server.handle_input(at(0), &bytes);
            let [token] = tokens(&mut server);
            let answer = message(MessageType::RESPOND_URI, "echo", "hello");
            server.reply(at(0), token, answer).unwrap();
            let bytes = written(&mut server);
            let sent = &frames(&bytes)[0];
            let ts = sent.fields().get_bytes(AuthFields::TS);
            assert_eq!(ts, Some(&expected_ts(there)[..]));
            client.handle_input(at(0), &bytes);
            let actions = poll_all(&mut client);
            assert!(
                matches!(&actions[..], [Action::Reply { request, .. }]
                    if *request == id),
                "{actions:?} at {here} and {there}"
            );
        }
    }
}

#[test]
fn r19_whatever_time_it_is_datagrams_and_notices_pass() {
    for unix_time in TIMES {
        let config = Arc::new(secured());
        let node = |seed| {
            let router = Arc::new(routes());
            Node::new(Arc::clone(&config), router, [seed; 32], at(0))
        };
        let (mut one, mut two) = (node(1), node(2));
        one.set_unix_time(unix_time);
        let asked = Request::new(request("echo", ""));
        one.request(at(0), host(2), asked).unwrap();
        let datagram = one.poll_datagram().expect("a request");
        two.handle_datagram(at(0), host(1), &datagram.bytes);
        let told = two.poll_action();
        assert!(matches!(told, Some(Action::Dispatch { .. })), "{told:?}");

        let mut sealer = Sealer::new(Arc::clone(&config), [3; 32]);
        let news = message(MessageType::NOTIFY_URI, "news", "");
        let (none, all) = (Layers::new(), OuterUse::default());
        let news = sealer.seal(unix_time, news, &none, all).unwrap();
        let sent = &frames(&news.bytes())[0];
        let ts = sent.fields().get_bytes(AuthFields::TS);
        assert_eq!(ts, Some(&expected_ts(unix_time)[..]));
        let mut server = server(secured(), routes());
        server.handle_input(at(0), &news.bytes());
        assert!(server.poll_action().is_none());
        assert_eq!(server.counters().auth_failures, 0);
    }
}

#[test]
fn r19_a_wall_clock_that_jumps_moves_no_deadline() {
    for jump in TIMES {
        let mut client = client(secured());
        client.set_unix_time(NOW);
        let timeout = Duration::from_secs(5);
        let asked = Request::new(request("echo", "")).timeout(timeout);
        client.request(at(0), asked).unwrap();
        let _ = written(&mut client);
        client.set_unix_time(jump);
        assert_eq!(client.poll_timeout(), Some(at(5_000)));
        client.handle_timeout(at(4_999));
        assert!(client.poll_action().is_none());
        client.handle_timeout(at(5_000));
        let told = client.poll_action();
        assert!(matches!(told, Some(Action::TimedOut { .. })), "{told:?}");
    }
}

/// Lets a plugin prove a message that has this `ts` already.
fn proven(
    plugin: &dyn AuthPlugin,
    ts: impl Fn(&mut AuthFields),
) -> Result<netaio_proto::Envelope, PluginError> {
    let mut envelope = request("echo", "").into_envelope();
    ts(&mut envelope.fields);
    let mut random = Random::from_seed([1; 32]);
    let mut context = Context {
        unix_time: NOW,
        random: &mut random,
        local_peer: None,
        peer: None,
    };
    plugin.make(&mut envelope, &mut context)?;
    Ok(envelope)
}

#[test]
fn r19_a_time_that_is_given_is_kept_if_four_bytes_can_tell_it() {
    let plugin = HmacAuthPlugin::new("secret");
    for time in TIMES {
        let number = move |fields: &mut AuthFields| {
            fields.set(AuthFields::TS, &time.into()).unwrap();
        };
        let bytes = move |fields: &mut AuthFields| {
            let time = time.to_be_bytes();
            fields.set_bytes(AuthFields::TS, &time).unwrap();
        };
        for made in [proven(&plugin, number), proven(&plugin, bytes)] {
            if time < END {
                let made = made.unwrap();
                let ts = made.fields.get_bytes(AuthFields::TS);
                assert_eq!(ts, Some(&expected_ts(time)[..]));
            } else {
                let field = AuthFields::TS.to_owned();
                assert_eq!(made.err(), Some(PluginError::BadField { field }));
            }
        }
    }
}

#[test]
fn r19_a_time_that_four_bytes_cannot_tell_is_not_authentic() {
    let strict = HmacAuthPlugin::new("secret");
    let lenient = HmacAuthPlugin::new("secret").python_compatible();
    for time in [END, END + 1, u64::MAX] {
        let mut made = proven(&strict, |_| {}).unwrap();
        made.fields.set(AuthFields::TS, &time.into()).unwrap();
        let mut random = Random::from_seed([1; 32]);
        let mut context = Context {
            unix_time: time,
            random: &mut random,
            local_peer: None,
            peer: None,
        };
        for plugin in [&strict, &lenient] {
            let field = AuthFields::TS.to_owned();
            let refused = plugin.check(&made, &mut context);
            assert_eq!(refused, Err(AuthError::BadField { field }));
        }
    }
}
