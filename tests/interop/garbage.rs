//! Bytes that are no messages, and clients that close one direction only: what
//! our server makes of them. Python netaio's ends the connection at most.

use crate::runtime::{Message, MessageType};
use netaio_driver::{Frame, MessageTypes};
use netaio_tests::python::environment;
use serde_json::{Value, json};

use super::ends::Served;

/// Sends bytes to our server from a Python socket that then closes its
/// direction; gives the replies, and whether the server closed.
fn exchange(served: &Served, bytes: &[u8]) -> (Vec<Message>, Value) {
    let python = environment().expect("was there a moment ago");
    let ops = json!([{"op": "raw", "hex": hex(bytes), "half_close": true,
                      "timeout": 30}]);
    let report = served.report(python, &[], ops);
    report.assert_passed();
    let reply = report.line(0);
    let bytes = unhex(reply["reply_hex"].as_str().expect("bytes"));
    (messages(&bytes), reply["closed"].clone())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let byte = |i| u8::from_str_radix(&text[i..i + 2], 16).expect("two digits");
    (0..text.len()).step_by(2).map(byte).collect()
}

fn messages(mut bytes: &[u8]) -> Vec<Message> {
    let types = MessageTypes::default();
    let mut messages = Vec::new();
    while let Some(frame) = Frame::parse(bytes) {
        let (first, rest) = bytes.split_at(frame.length());
        messages.push(Message::decode(first, &types).expect("a message"));
        bytes = rest;
    }
    assert!(bytes.is_empty(), "a part of a frame was left");
    messages
}

fn request(uri: &str, content: &str) -> Vec<u8> {
    let message = Message::new(MessageType::REQUEST_URI, uri, content);
    message.unwrap().encode().unwrap()
}

/// `request("echo", "bad")` with changes.
fn bad(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = request("echo", "bad");
    change(&mut bytes);
    bytes
}

/// A request with this auth section in place of no fields.
fn with_auth(auth: &[u8]) -> Vec<u8> {
    bad(|bytes| {
        bytes.splice(9..12, auth.iter().copied());
        bytes[2] = auth.len() as u8;
    })
}

/// A frame whose body section is empty, with the checksum of that.
fn no_body() -> Vec<u8> {
    let mut bytes = vec![0; 9];
    bytes[2] = 3;
    bytes.extend([0x4d, 0x40, 0]);
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_frame_is_answered_with_an_error_and_passed_over() {
    if environment().is_none() {
        return;
    }
    let served = Served::start().await;
    for (what, frame) in [
        ("an unknown type", bad(|bytes| bytes[0] = 99)),
        ("a reserved type", bad(|bytes| bytes[0] = 14)),
        ("a wrong checksum", bad(|bytes| bytes[8] ^= 1)),
        (
            "a changed content",
            bad(|bytes| *bytes.last_mut().unwrap() = 0),
        ),
        ("no auth section", with_auth(&[])),
        (
            "an undecodable auth section",
            with_auth(&[0xff, 0xff, 0xff]),
        ),
        ("a uri longer than the body", bad(|bytes| bytes[12] = 0xff)),
        ("no body", no_body()),
    ] {
        let bytes = [request("echo", "a"), frame, request("echo", "b")];
        let (replies, closed) = exchange(&served, &bytes.concat());
        // One that does not tell which URI it is about may be early.
        let (errors, echoes): (Vec<_>, Vec<_>) = replies
            .iter()
            .partition(|reply| reply.message_type() == MessageType::ERROR);
        let [error] = &errors[..] else {
            panic!("{what}: {replies:?}")
        };
        assert_eq!(error.text(), "invalid message", "{what}");
        let echoes: Vec<_> = echoes.iter().map(|reply| reply.text()).collect();
        assert_eq!(echoes, ["a", "b"], "{what}");
        assert_eq!(closed, true, "{what}");
    }
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_closes_its_direction_gets_all_its_replies() {
    if environment().is_none() {
        return;
    }
    let served = Served::start().await;
    let requests = [
        request("slow", "0.2;a"),
        request("echo", "b"),
        request("slow", "0.1;c"),
        request("never", ""),
        request("missing", ""),
    ];
    let (replies, closed) = exchange(&served, &requests.concat());
    let texts: Vec<_> = replies.iter().map(Message::text).collect();
    // Those for one URI in the order of their requests.
    assert_eq!(texts, ["b", "not found", "slow 0.2;a", "slow 0.1;c"]);
    assert_eq!(closed, true);
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_message_is_answered_with_nothing() {
    if environment().is_none() {
        return;
    }
    let served = Served::start().await;
    let whole = request("echo", "a");
    for length in [0, 1, 8, 9, 12, whole.len() - 1] {
        let bytes = [&whole[..], &whole[..length]].concat();
        let (replies, closed) = exchange(&served, &bytes);
        assert_eq!(replies.len(), 1, "{length}");
        assert_eq!(closed, true, "{length}");
    }
    let dispatched = served.server.counters().dispatched;
    assert_eq!(dispatched, 6);
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_of_another_protocol_do_no_harm() {
    if environment().is_none() {
        return;
    }
    let served = Served::start().await;
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 300], &[0; 300]] {
        let (_, closed) = exchange(&served, bytes);
        assert_eq!(closed, true);
    }
    let (replies, _) = exchange(&served, &request("echo", "a"));
    assert_eq!(replies[0].content(), b"a");
    served.end().await;
}
