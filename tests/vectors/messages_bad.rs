//! Bytes that are not quite messages, against the golden vectors: what decoding
//! says to them, and what a server does that is sent them.
//!
//! What a UDP node answers (`udp_reply`) is in the file too, but not tested
//! here: there is no UDP node yet.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Buf as _;
use netaio_proto::{
    Action, CloseReason, Compatibility, Connection, EndpointConfig, Frame,
    HandlerId, Instant, Layers, Message, MessageType, MessageTypes, ProtocolError,
    Role, Router,
};
use netaio_tests::vectors::{bytes, text, to_hex, value};
use serde_json::Value;

use crate::notation::{is_same, message_type, raised, truth};
use crate::section::{Section, load_with};

const VECTORS: Section = Section {
    name: "vectors",
    count: 37,
    columns: &[
        "id",
        "note",
        "hex",
        "decode",
        "tcp_replies",
        "tcp_closes_by_itself",
        "udp_reply",
    ],
};

/// The vectors that end within a frame: what is sent next belongs to it.
const INCOMPLETE: [&str; 6] = ["mb023", "mb026", "mb027", "mb030", "mb031", "mb032"];

const NOW: Instant = Instant::EPOCH;
const ECHO: HandlerId = HandlerId(0);
const REQUEST: HandlerId = HandlerId(1);
const CREATE: HandlerId = HandlerId(2);
const UPDATE: HandlerId = HandlerId(3);
const DELETE: HandlerId = HandlerId(4);

fn file() -> Value {
    load_with("messages_bad", &[VECTORS], &[])
}

#[test]
fn odd_bytes_are_decoded_or_refused_as_in_python() {
    let types = MessageTypes::default();
    VECTORS.each(&file(), |case| {
        let (id, expected) = (text(case, "id"), &case["decode"]);
        let decoded = Message::decode(&bytes(&case["hex"]), &types);
        assert_eq!(decoded.is_err(), raised(expected), "{id}: {decoded:?}");
        let Ok(message) = decoded else { return };
        let kind = message_type(&expected["type"]);
        assert_eq!(message.message_type(), kind, "{id}");
        assert_eq!(message.uri(), bytes(&expected["uri"]), "{id}");
        assert_eq!(message.content(), bytes(&expected["content"]), "{id}");
        let auth = message.fields().to_value();
        assert!(is_same(&auth, &value(&expected["auth"])), "{id}: {auth:?}");
    });
}

#[test]
fn a_python_like_server_does_what_pythons_does() {
    VECTORS.each(&file(), |case| {
        let input = bytes(&case["hex"]);
        for pieces in cuts(&input) {
            assert_like_python(case, &pieces);
        }
    });
}

#[test]
fn a_hardened_server_survives_all_of_it() {
    let mut incomplete = Vec::new();
    VECTORS.each(&file(), |case| {
        let input = bytes(&case["hex"]);
        let (frames, rest) = frames(&input);
        for pieces in cuts(&input) {
            assert_survives(text(case, "id"), &frames, rest, &pieces);
        }
        if !rest.is_empty() {
            incomplete.push(text(case, "id").to_owned());
        }
    });
    assert_eq!(incomplete, INCOMPLETE);
}

#[track_caller]
fn assert_like_python(case: &Value, pieces: &[&[u8]]) {
    let id = format!("{} as {pieces:02x?}", text(case, "id"));
    let mut server = Server::new(Compatibility::Python);
    server.feed(pieces);
    let by_itself = server.closed.is_some();
    assert_eq!(by_itself, server.connection.is_closing(), "{id}");
    assert_eq!(by_itself, truth(case, "tcp_closes_by_itself"), "{id}");
    server.end();
    assert_eq!(to_hex(&server.sent), text(case, "tcp_replies"), "{id}");
    let reason = server.closed.expect("closed at the end");
    let malformed = matches!(reason, CloseReason::Malformed(_));
    assert_eq!(malformed, by_itself, "{id}: {reason}");
}

#[track_caller]
fn assert_survives(id: &str, frames: &[Frame<'_>], rest: &[u8], pieces: &[&[u8]]) {
    let id = format!("{id} as {pieces:02x?}");
    let mut server = Server::new(Compatibility::Hardened);
    server.feed(pieces);
    assert_eq!(server.closed, None, "{id}");
    assert!(!server.connection.is_closing(), "{id}");
    assert_answered(frames, &server.replies(), &id);
    if rest.is_empty() {
        let before = server.sent.len();
        server.feed(&[&echo(MessageType::REQUEST_URI)]);
        let reply = &server.sent[before..];
        assert_eq!(reply, echo(MessageType::RESPOND_URI), "{id}");
    }
    server.end();
    let reason = match rest {
        [] => CloseReason::Eof,
        _ => CloseReason::UnexpectedEof,
    };
    assert_eq!(server.closed, Some(reason), "{id}");
}

/// Each frame that is not itself an answer gets one; a bad one gets an `ERROR`,
/// with its own URI if that can be read.
#[track_caller]
fn assert_answered(frames: &[Frame<'_>], replies: &[Message], id: &str) {
    let asking = frames.iter().filter(|f| !f.header.message_type.is_reply());
    let asking: Vec<_> = asking.collect();
    assert_eq!(asking.len(), replies.len(), "{id}: {replies:?}");
    for (frame, reply) in asking.into_iter().zip(replies) {
        let types = MessageTypes::default();
        let verdict = frame.check(&types).and_then(|()| frame.verify_checksum());
        let bad = verdict.is_err();
        let is_error = reply.message_type() == MessageType::ERROR;
        assert_eq!(is_error, bad, "{id}: {reply:?}");
        let unreadable = matches!(
            verdict,
            Err(ProtocolError::BadAuthFields(_) | ProtocolError::BadUriLength)
        );
        let uri = if unreadable { b"ERROR" } else { frame.uri() };
        assert_eq!(reply.uri(), uri, "{id}");
        if bad {
            assert_eq!(reply.content(), b"invalid message", "{id}");
        }
    }
}

/// The input in one piece, in two cut at each byte, and byte by byte.
fn cuts(input: &[u8]) -> Vec<Vec<&[u8]>> {
    let in_two = (0..=input.len()).map(|cut| {
        let (start, end) = input.split_at(cut);
        vec![start, end]
    });
    let bytes = input.chunks(1).collect();
    [vec![input], bytes].into_iter().chain(in_two).collect()
}

/// The frames that the lengths in the headers make of these bytes, and what is
/// left over.
fn frames(mut bytes: &[u8]) -> (Vec<Frame<'_>>, &[u8]) {
    let mut frames = Vec::new();
    while let Some(frame) = Frame::parse(bytes) {
        bytes = &bytes[frame.length()..];
        frames.push(frame);
    }
    (frames, bytes)
}

/// A good request of the echo, or its good answer.
fn echo(message_type: MessageType) -> Vec<u8> {
    let message = Message::new(message_type, "echo", "still there?");
    message.and_then(|message| message.encode()).expect("short")
}

/// The server that the vectors were made with: no plugins, an empty store, and
/// handlers that reply with the request's URI.
struct Server {
    connection: Connection,
    store: BTreeMap<Vec<u8>, Vec<u8>>,
    /// All that it has sent.
    sent: Vec<u8>,
    closed: Option<CloseReason>,
}

impl Server {
    fn new(compatibility: Compatibility) -> Self {
        let config = EndpointConfig {
            role: Role::Server,
            compatibility,
            ..EndpointConfig::default()
        };
        let address = "192.0.2.1:8888".parse().expect("an address");
        let router = Arc::new(router());
        let config = Arc::new(config);
        let connection = Connection::new(config, router, address, [1; 32], NOW);
        Self {
            connection,
            store: BTreeMap::new(),
            sent: Vec::new(),
            closed: None,
        }
    }

    /// Takes the pieces in, and does all there is to do after each.
    fn feed(&mut self, pieces: &[&[u8]]) {
        for piece in pieces {
            self.connection.handle_input(NOW, piece);
            self.run();
        }
    }

    /// The peer shuts its writing side.
    fn end(&mut self) {
        self.connection.handle_eof(NOW);
        self.run();
    }

    fn replies(&self) -> Vec<Message> {
        let types = MessageTypes::default();
        let (frames, rest) = frames(&self.sent);
        assert!(rest.is_empty(), "half a reply");
        let encoded = frames.iter().scan(0, |start, frame| {
            let bytes = &self.sent[*start..*start + frame.length()];
            *start += frame.length();
            Some(bytes)
        });
        let decode = |bytes| Message::decode(bytes, &types).expect("a good reply");
        encoded.map(decode).collect()
    }

    fn run(&mut self) {
        loop {
            let action = self.connection.poll_action();
            let gathered = self.gather();
            match action {
                Some(action) => self.act(action),
                None if gathered => {}
                None => return,
            }
        }
    }

    /// Takes what waits to be written; tells whether there was something.
    fn gather(&mut self) -> bool {
        let outgoing = self.connection.outgoing();
        let before = self.sent.len();
        while outgoing.has_remaining() {
            let chunk = outgoing.chunk();
            let count = chunk.len();
            self.sent.extend_from_slice(chunk);
            outgoing.advance(count);
        }
        self.sent.len() > before
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Dispatch {
                handler,
                message,
                reply,
                ..
            } => {
                let answer = self.handle(handler, &message);
                let token = reply.expect("a message that can be answered");
                let sent = self.connection.reply(NOW, token, answer);
                sent.expect("an open connection");
            }
            // An answer that answers nothing, which Python would answer.
            Action::Unrouted { reply: None, .. } => {}
            Action::Rejected { .. } => {}
            Action::Closed { reason } => {
                assert_eq!(self.closed.replace(reason), None, "closed twice");
            }
            other => panic!("{other:?}"),
        }
    }

    fn handle(&mut self, handler: HandlerId, message: &Message) -> Message {
        let (uri, content) = (message.uri(), message.content());
        let known = self.store.get(uri);
        let answer = match (handler, known) {
            (ECHO, _) => message.respond(content),
            (REQUEST, Some(stored)) => message.respond(stored),
            (CREATE, Some(_)) => message.error("exists"),
            (CREATE, None) | (UPDATE, Some(_)) => {
                self.store.insert(uri.to_vec(), content.to_vec());
                message.ok("stored")
            }
            (DELETE, Some(_)) => {
                self.store.remove(uri);
                message.ok("deleted")
            }
            (_, None) => message.not_found(),
            (other, _) => panic!("unknown {other:?}"),
        };
        answer.expect("a short answer")
    }
}

fn router() -> Router {
    let mut router = Router::new();
    let echo = (MessageType::REQUEST_URI, "echo");
    router.insert(echo, ECHO, Layers::new());
    for (message_type, handler) in [
        (MessageType::REQUEST_URI, REQUEST),
        (MessageType::CREATE_URI, CREATE),
        (MessageType::UPDATE_URI, UPDATE),
        (MessageType::DELETE_URI, DELETE),
    ] {
        router.insert(message_type, handler, Layers::new());
    }
    router
}
