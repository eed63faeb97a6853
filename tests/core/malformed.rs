//! Messages that cannot be used, among others that can.

use netaio_proto::{
    Action, AuthFields, CloseReason, Compatibility, EndpointConfig, Header, Layers,
    MessageType, ProtocolError, Request,
};

use crate::frames::{
    at, frames, message, poll_all, request, sealed, sent_rid, tokens, written,
};
use crate::pair::client;
use crate::server::{routes, server};

const RID: &[u8] = b"12345678";

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Checksum,
    Type,
    Auth,
    UriLength,
}

const FAULTS: [Fault; 4] =
    [Fault::Checksum, Fault::Type, Fault::Auth, Fault::UriLength];

/// A message of this type with an id and a fault.
fn faulty(kind: MessageType, fault: Fault) -> Vec<u8> {
    let mut fields = AuthFields::new();
    fields.set_bytes(AuthFields::RID, RID).unwrap();
    let whole = message(kind, "echo", "").with_fields(fields);
    let mut bytes = whole.encode().unwrap();
    let body = bytes.len() - whole.body().len();
    match fault {
        Fault::Checksum => bytes[5] ^= 1,
        Fault::Type => bytes[0] = 14,
        Fault::Auth => bytes[Header::LENGTH] = 0xff,
        Fault::UriLength => bytes[body] = 0xff,
    }
    bytes
}

#[test]
fn one_bad_message_is_answered_and_the_next_one_served() {
    let none = Layers::new();
    for fault in FAULTS {
        let mut server = server(EndpointConfig::default(), routes());
        server.handle_input(at(0), &faulty(MessageType::REQUEST_URI, fault));
        let good = sealed(request("echo", ""), [&none, &none], Some(RID));
        server.handle_input(at(0), &good);
        let Some(Action::Rejected { error, .. }) = server.poll_action() else {
            panic!("{fault:?} was not rejected");
        };
        let fits = match fault {
            Fault::Checksum => matches!(error, ProtocolError::BadChecksum { .. }),
            Fault::Type => {
                matches!(error, ProtocolError::UnknownMessageType { .. })
            }
            Fault::Auth => matches!(error, ProtocolError::BadAuthFields(_)),
            Fault::UriLength => matches!(error, ProtocolError::BadUriLength),
        };
        assert!(fits, "{error:?}");
        let answers = frames(&written(&mut server));
        assert_eq!(answers.len(), 1);
        assert_eq!(answers[0].message_type(), MessageType::ERROR);
        assert_eq!(answers[0].content(), b"invalid message");
        // What can be read of the request is repeated.
        let (uri, rid): (&[u8], _) = match fault {
            Fault::Checksum | Fault::Type => (b"echo", Some(RID)),
            Fault::UriLength => (b"ERROR", Some(RID)),
            Fault::Auth => (b"ERROR", None),
        };
        assert_eq!(answers[0].uri(), uri, "{fault:?}");
        assert_eq!(answers[0].fields().get_bytes("rid"), rid, "{fault:?}");
        let [token] = tokens(&mut server);
        let answer = message(MessageType::OK, "echo", "");
        server.reply(at(0), token, answer).unwrap();
        assert_eq!(frames(&written(&mut server)).len(), 1);
    }
}

#[test]
fn the_error_ends_the_request_whose_id_it_repeats() {
    for fault in [Fault::Checksum, Fault::Type, Fault::UriLength] {
        let mut client = client(EndpointConfig::default());
        let other = Request::new(request("echo", "older"));
        client.request(at(0), other).unwrap();
        let _ = written(&mut client);
        let asked = Request::new(request("echo", ""));
        let id = client.request(at(0), asked).unwrap();
        let rid = sent_rid(&mut client);
        let mut bytes = faulty(MessageType::REQUEST_URI, fault);
        let place = bytes.windows(8).position(|part| part == RID).unwrap();
        bytes[place..place + 8].copy_from_slice(&rid);
        let mut server = server(EndpointConfig::default(), routes());
        server.handle_input(at(0), &bytes);
        let _ = poll_all(&mut server);
        client.handle_input(at(0), &written(&mut server));
        let actions = poll_all(&mut client);
        assert!(
            matches!(&actions[..], [Action::Reply { request, message }]
                if *request == id && message.message_type() == MessageType::ERROR),
            "{fault:?} {actions:?}"
        );
        assert_eq!(client.pending(), 1);
    }
}

#[test]
fn a_bad_answer_is_not_answered() {
    let replies = MessageType::STANDARD.iter().filter(|kind| kind.is_reply());
    for kind in replies {
        for fault in [Fault::Checksum, Fault::Auth, Fault::UriLength] {
            let mut server = server(EndpointConfig::default(), routes());
            server.handle_input(at(0), &faulty(*kind, fault));
            let actions = poll_all(&mut server);
            assert!(
                matches!(&actions[..], [Action::Rejected { .. }]),
                "{actions:?}"
            );
            assert!(written(&mut server).is_empty(), "{kind} {fault:?}");
        }
    }
}

#[test]
fn a_bad_reply_does_not_end_a_request() {
    let mut client = client(EndpointConfig::default());
    let asked = Request::new(request("echo", ""));
    let id = client.request(at(0), asked).unwrap();
    let rid = sent_rid(&mut client);
    for fault in [Fault::Checksum, Fault::Auth, Fault::UriLength] {
        client.handle_input(at(0), &faulty(MessageType::RESPOND_URI, fault));
    }
    assert_eq!(poll_all(&mut client).len(), 3);
    assert_eq!(client.pending(), 1);
    let none = Layers::new();
    let reply = message(MessageType::RESPOND_URI, "echo", "");
    client.handle_input(at(0), &sealed(reply, [&none, &none], Some(&rid)));
    let actions = poll_all(&mut client);
    assert!(
        matches!(&actions[..], [Action::Reply { request, .. }] if *request == id),
        "{actions:?}"
    );
}

#[test]
fn as_python_does_a_malformed_message_closes_and_a_damaged_one_does_not() {
    let config = EndpointConfig {
        compatibility: Compatibility::Python,
        ..EndpointConfig::default()
    };
    for fault in FAULTS {
        let mut server = server(config.clone(), routes());
        server.handle_input(at(0), &faulty(MessageType::REQUEST_URI, fault));
        let actions = poll_all(&mut server);
        let answers = frames(&written(&mut server));
        if fault == Fault::Checksum {
            assert!(!server.is_closed());
            assert_eq!(answers[0].uri(), b"ERROR");
            continue;
        }
        assert!(
            matches!(
                &actions[..],
                [Action::Closed {
                    reason: CloseReason::Malformed(_)
                }]
            ),
            "{actions:?}"
        );
        assert!(answers.is_empty());
    }
}

#[test]
fn as_python_does_the_default_answer_names_no_uri() {
    let config = EndpointConfig {
        compatibility: Compatibility::Python,
        ..EndpointConfig::default()
    };
    let mut server = server(config, routes());
    let asked = request("unknown", "").encode().unwrap();
    server.handle_input(at(0), &asked);
    assert!(poll_all(&mut server).is_empty());
    let answers = frames(&written(&mut server));
    assert_eq!(answers[0].message_type(), MessageType::NOT_FOUND);
    assert_eq!(answers[0].uri(), b"");
}
