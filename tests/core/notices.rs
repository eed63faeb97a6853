//! Messages that go to many connections: sealed once, never waited for.

use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use netaio_proto::{
    Action, CloseReason, Connection, EndpointConfig, LagPolicy, Layers, Limits,
    MessageType, OuterUse, Peer, PluginError, Request, RequestError, Sealed, Sealer,
    SendError,
};

use crate::audiences::Addressed;
use crate::datagrams::decoded;
use crate::frames::{at, frames, message, poll_all, request, tokens, written};
use crate::server::{outer, routes, server};

/// A sealer of an endpoint without layers.
fn sealer() -> Sealer {
    Sealer::new(Arc::default(), [3; 32])
}

/// The news with this number, of about a kilobyte.
fn news(sealer: &mut Sealer, number: u32) -> Sealed {
    let content = format!("{number} {}", "x".repeat(1_000));
    let news = message(MessageType::NOTIFY_URI, "news", &content);
    let sealed = sealer.seal(0, news, &Layers::new(), OuterUse::default());
    sealed.expect("it is short")
}

/// A server's connection with room for so many bytes of notices.
fn subscriber(max_notices: usize, lag_policy: LagPolicy) -> Connection {
    let limits = Limits {
        max_notices,
        lag_policy,
        ..Limits::default()
    };
    let config = EndpointConfig {
        limits,
        ..EndpointConfig::default()
    };
    server(config, routes())
}

/// Everything that waits to be written, to the last notice.
fn written_to_the_end(connection: &mut Connection) -> Vec<u8> {
    let mut all = Vec::new();
    while connection.outgoing().has_remaining() {
        all.extend(written(connection));
    }
    all
}

/// The numbers of the news that are written.
fn numbers(connection: &mut Connection) -> Vec<u32> {
    let written = written_to_the_end(connection);
    let news = frames(&written).into_iter().map(|message| {
        let text = message.text().into_owned();
        let number = text.split(' ').next().expect("a number");
        number.parse().expect("a number")
    });
    news.collect()
}

/// Sends a thousand news to a subscriber that takes nothing after the first of
/// them; gives how many it was told were dropped.
fn publish(to: &mut Connection) -> u64 {
    let mut sealer = sealer();
    let mut lost = 0;
    for number in 0..1_000 {
        let news = news(&mut sealer, number);
        lost += to.notify(at(0), &news).expect("it is open");
        assert!(to.notices() <= 100_000);
        if number == 0 {
            assert!(to.outgoing().has_remaining());
        }
    }
    lost
}

#[test]
fn a_subscriber_that_lags_loses_the_oldest_news() {
    let mut connection = subscriber(100_000, LagPolicy::DropOldest);
    let lost = publish(&mut connection);
    let numbers = numbers(&mut connection);
    assert_eq!(connection.counters().lagged, lost);
    assert_eq!(numbers.len() as u64 + lost, 1_000);
    assert!(
        numbers.len() > 80 && numbers.len() < 100,
        "{}",
        numbers.len()
    );
    assert_eq!((numbers[0], numbers[numbers.len() - 1]), (0, 999));
    assert!(numbers[1..].windows(2).all(|pair| pair[0] + 1 == pair[1]));
    assert_eq!(connection.notices(), 0);
}

#[test]
fn a_subscriber_that_lags_loses_the_newest_news_if_that_is_the_policy() {
    let mut connection = subscriber(100_000, LagPolicy::DropNewest);
    let lost = publish(&mut connection);
    let numbers = numbers(&mut connection);
    assert_eq!(connection.counters().lagged, lost);
    let kept = 1_000 - u32::try_from(lost).unwrap();
    assert_eq!(numbers, (0..kept).collect::<Vec<_>>());
    assert!(kept > 80 && kept < 100, "{kept}");
    // There is room again.
    let news = news(&mut sealer(), 1_000);
    assert_eq!(connection.notify(at(0), &news), Ok(0));
    assert_eq!(self::numbers(&mut connection), [1_000]);
}

#[test]
fn a_subscriber_that_lags_is_given_up_if_that_is_the_policy() {
    let mut connection = subscriber(5_000, LagPolicy::Disconnect);
    let asked = Request::new(request("asked", ""));
    let id = connection.request(at(0), asked).unwrap();
    let mut sealer = sealer();
    let mut accepted = 0;
    let refused = loop {
        match connection.notify(at(0), &news(&mut sealer, accepted)) {
            Ok(lost) => assert_eq!(lost, 0),
            Err(error) => break error,
        }
        accepted += 1;
    };
    assert_eq!((accepted, refused), (4, SendError::Closed));
    assert!(connection.is_closing());
    assert_eq!((connection.notices(), connection.counters().lagged), (0, 1));
    let news = news(&mut sealer, 9);
    assert_eq!(connection.notify(at(0), &news), Err(SendError::Closed));
    assert_eq!(connection.counters().lagged, 1);
    let told = poll_all(&mut connection);
    let [
        Action::Failed {
            request,
            error: RequestError::Disconnected { sent: false, .. },
        },
        Action::Closed { reason },
    ] = &told[..]
    else {
        panic!("{told:?}");
    };
    assert_eq!((*request, reason), (id, &CloseReason::Lagging));
}

#[test]
fn news_that_can_never_fit_cost_no_other_its_place() {
    for (policy, open) in [
        (LagPolicy::DropOldest, true),
        (LagPolicy::DropNewest, true),
        (LagPolicy::Disconnect, false),
    ] {
        let mut connection = subscriber(3_000, policy);
        let mut sealer = sealer();
        connection.notify(at(0), &news(&mut sealer, 1)).unwrap();
        let huge = message(MessageType::NOTIFY_URI, "news", &"x".repeat(3_000));
        let none = Layers::new();
        let huge = sealer.seal(0, huge, &none, OuterUse::default()).unwrap();
        let expected = open.then_some(1).ok_or(SendError::Closed);
        assert_eq!(connection.notify(at(0), &huge), expected, "{policy:?}");
        if open {
            assert_eq!(numbers(&mut connection), [1], "{policy:?}");
        }
    }
}

#[test]
fn a_reply_does_not_wait_for_all_the_news_before_it() {
    let mut connection = subscriber(10_000_000, LagPolicy::DropOldest);
    publish_to_the_brim(&mut connection);
    let asked = request("echo", "hello").encode().unwrap();
    connection.handle_input(at(0), &asked);
    let [token] = tokens(&mut connection);
    let answer = message(MessageType::RESPOND_URI, "echo", "hello");
    connection.reply(at(0), token, answer).unwrap();
    let all = frames(&written_to_the_end(&mut connection));
    let kinds = all.iter().map(netaio_proto::Message::message_type);
    let before = { kinds }.position(|kind| kind == MessageType::RESPOND_URI);
    let before = before.expect("it is answered");
    let bytes: usize = all[..before].iter().map(|m| m.body().len() + 12).sum();
    assert!(bytes <= 64 * 1024 + 1_100, "{bytes} bytes before the reply");
    assert_eq!(all.len(), 2_001);
}

/// Some megabytes of news, of which as many are on their way as may be.
fn publish_to_the_brim(connection: &mut Connection) {
    let mut sealer = sealer();
    for number in 0..2_000 {
        let news = news(&mut sealer, number);
        assert_eq!(connection.notify(at(0), &news), Ok(0));
        connection.outgoing();
    }
    assert!(connection.queued() <= 64 * 1024 + 1_100);
}

#[test]
fn news_do_not_keep_a_peers_requests_from_being_read() {
    let mut connection = subscriber(10_000_000, LagPolicy::DropOldest);
    publish_to_the_brim(&mut connection);
    let asked = request("echo", "hello").encode().unwrap();
    connection.handle_input(at(0), &asked);
    assert!(connection.wants_read());
}

#[test]
fn r12_one_who_stops_reading_holds_up_nobody_and_little_memory() {
    let (count, stopped) = (1_000, 7);
    let mut all: Vec<_> = (0..count)
        .map(|_| server(EndpointConfig::default(), routes()))
        .collect();
    let mut sealer = sealer();
    let mut delivered = vec![0; count];
    for number in 0..2_000 {
        let news = news(&mut sealer, number);
        for (n, connection) in all.iter_mut().enumerate() {
            // Most are asked rarely; that it is not all keeps this short.
            if n % 50 != 0 && n != stopped {
                continue;
            }
            connection.notify(at(0), &news).expect("it is open");
            let outgoing = connection.outgoing();
            if n != stopped {
                assert_eq!(outgoing.chunk(), &news.bytes()[..]);
                outgoing.advance(outgoing.remaining());
                delivered[n] += 1;
            }
            assert!(connection.queued() + connection.notices() <= 1024 * 1024);
        }
    }
    let lagged = |n: usize| all[n].counters().lagged;
    assert!(lagged(stopped) > 1_000);
    assert!((0..count).step_by(50).all(|n| lagged(n) == 0));
    assert!((0..count).step_by(50).all(|n| delivered[n] == 2_000));
}

#[test]
fn news_are_sealed_once_and_their_bytes_are_shared() {
    let config = Arc::new(EndpointConfig {
        layers: outer(),
        ..EndpointConfig::default()
    });
    let mut sealer = Sealer::new(Arc::clone(&config), [3; 32]);
    let content = "x".repeat(50);
    let news = message(MessageType::NOTIFY_URI, "news", &content);
    let (none, all) = (Layers::new(), OuterUse::default());
    assert!(!sealer.is_peer_specific(&none, all));
    let news = sealer.seal(7, news, &none, all).unwrap();
    for _ in 0..3 {
        let mut connection = server((*config).clone(), routes());
        connection.notify(at(0), &news).unwrap();
        let outgoing = connection.outgoing();
        let chunk = (outgoing.chunk().as_ptr(), outgoing.chunk().len());
        assert_eq!(chunk, (news.bytes().as_ptr(), news.bytes().len()));
    }
    let fields = decoded(&news.bytes());
    assert!(fields.fields().get("hmac").is_some());
    let mut client = crate::pair::client((*config).clone());
    client.handle_input(at(0), &news.bytes());
    let told = poll_all(&mut client);
    assert!(
        matches!(&told[..], [Action::Unrouted { message, .. }]
            if message.text() == content),
        "{told:?}"
    );
}

#[test]
fn news_are_sealed_for_each_if_a_plugin_wants_to() {
    let addressed = Layers::new().auth(Addressed);
    let all = OuterUse::default();
    assert!(sealer().is_peer_specific(&addressed, all));
    let news = || message(MessageType::NOTIFY_URI, "news", "it works");
    for id in ["one", "two"] {
        let mut connection = subscriber(100_000, LagPolicy::DropOldest);
        let refused = connection.seal(news(), &addressed, all);
        assert_eq!(refused, Err(PluginError::UnknownPeer.into()));
        connection.set_peer(Some(Arc::new(Peer::new(id, "data"))));
        let sealed = connection.seal(news(), &addressed, all).unwrap();
        connection.notify(at(0), &sealed).unwrap();
        let sent = frames(&written(&mut connection));
        let to = sent[0].fields().get_bytes("to");
        assert_eq!(to, Some(id.as_bytes()));
    }
}

#[test]
fn what_waits_is_written_before_a_connection_shuts_down() {
    let mut connection = subscriber(10_000_000, LagPolicy::DropOldest);
    publish_to_the_brim(&mut connection);
    let within = std::time::Duration::from_secs(5);
    connection.shutdown(at(0), within);
    let late = news(&mut sealer(), 9);
    assert_eq!(connection.notify(at(0), &late), Err(SendError::Closed));
    assert!(poll_all(&mut connection).is_empty());
    assert_eq!(numbers(&mut connection).len(), 2_000);
    let told = poll_all(&mut connection);
    let reason = CloseReason::Shutdown;
    assert!(
        matches!(&told[..], [Action::Closed { reason: r }] if *r == reason),
        "{told:?}"
    );
}

#[test]
fn a_peer_that_takes_no_news_at_all_is_given_up_in_time() {
    let mut connection = subscriber(10_000_000, LagPolicy::DropOldest);
    let hello = request("echo", "hello").encode().unwrap();
    connection.handle_input(at(0), &hello);
    let [token] = tokens(&mut connection);
    connection.no_reply(token);
    publish_to_the_brim(&mut connection);
    let due = connection.poll_timeout().expect("a write deadline");
    assert_eq!(due, at(30_000));
    connection.handle_timeout(due);
    let told = poll_all(&mut connection);
    let reason = CloseReason::WriteStalled;
    assert!(
        matches!(&told[..], [Action::Closed { reason: r }] if *r == reason),
        "{told:?}"
    );
    assert_eq!((connection.notices(), connection.queued()), (0, 0));
}

#[test]
fn bytes_taken_away_to_be_written_are_the_same_ones() {
    let mut connection = subscriber(10_000_000, LagPolicy::DropOldest);
    let mut sealer = sealer();
    let news: Vec<_> = (0..200).map(|n| news(&mut sealer, n)).collect();
    for news in &news {
        connection.notify(at(0), news).unwrap();
    }
    let mut taken = netaio_proto::Outgoing::new();
    let mut all = Vec::new();
    loop {
        connection.take_outgoing(&mut taken);
        let count = taken.remaining();
        if count == 0 {
            break;
        }
        assert!(count <= 64 * 1024 + 1_100);
        let bytes: Bytes = taken.copy_to_bytes(count);
        all.extend_from_slice(&bytes);
        connection.handle_written(at(0), count);
    }
    let expected: Vec<_> = news.iter().flat_map(|n| n.bytes().to_vec()).collect();
    assert!(all == expected);
    assert_eq!(connection.counters().bytes_out, all.len() as u64);
}
