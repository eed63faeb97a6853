//! Bytes that are not quite messages, against the golden vectors: what decoding
//! says to them, and what a server and a node do that are sent them.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Buf as _;
use netaio_proto::{
    Action, CloseReason, Compatibility, Connection, EndpointConfig, Frame, Instant,
    Message, MessageType, MessageTypes, Node, ProtocolError, Role,
};
use netaio_tests::vectors::{bytes, text, to_hex, value};
use serde_json::Value;

use crate::fixture::{self, Store};
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
/// Where the bytes come from.
const THERE: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
    8888,
);

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

#[test]
fn a_python_like_node_answers_as_pythons_does() {
    let mut answered = 0;
    VECTORS.each(&file(), |case| {
        let mut node = DatagramNode::new(Compatibility::Python);
        let sent = node.feed(&bytes(&case["hex"]));
        let sent: Vec<_> = sent.iter().map(|reply| to_hex(reply)).collect();
        let expected: Vec<_> = case["udp_reply"].as_str().into_iter().collect();
        assert_eq!(sent, expected, "{}", text(case, "id"));
        assert!(!node.node.is_closed(), "{}", text(case, "id"));
        answered += expected.len();
    });
    assert_eq!(answered, 21);
}

#[test]
fn a_hardened_node_survives_all_of_it_and_sends_no_more_than_it_got() {
    VECTORS.each(&file(), |case| {
        let (id, input) = (text(case, "id"), bytes(&case["hex"]));
        let mut node = DatagramNode::new(Compatibility::Hardened);
        let replies = node.feed(&input);
        let types = MessageTypes::default();
        for reply in &replies {
            let decoded = Message::decode(reply, &types);
            assert!(decoded.is_ok(), "{id}: {decoded:?}");
        }
        let sent: usize = replies.iter().map(Vec::len).sum();
        if node.handled == 0 {
            assert!(sent <= input.len(), "{id}: {sent} bytes for {input:02x?}");
        }
        assert!(replies.len() <= 1, "{id}: {} replies", replies.len());
        let answer = node.feed(&echo(MessageType::REQUEST_URI));
        assert_eq!(answer, [echo(MessageType::RESPOND_URI)], "{id}");
        assert_eq!(node.node.in_flight(), 0, "{id}");
    });
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

/// The server that the vectors were made with.
struct Server {
    connection: Connection,
    store: Store,
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
        let router = Arc::new(fixture::router());
        let config = Arc::new(config);
        let connection = Connection::new(config, router, THERE, [1; 32], NOW);
        Self {
            connection,
            store: Store::default(),
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
                let answer = self.store.answer(handler, &message);
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
}

/// The node that the vectors were made with.
struct DatagramNode {
    node: Node,
    store: Store,
    /// Messages that a handler was given.
    handled: usize,
}

impl DatagramNode {
    fn new(compatibility: Compatibility) -> Self {
        let config = EndpointConfig {
            compatibility,
            ..EndpointConfig::default()
        };
        let router = Arc::new(fixture::router());
        Self {
            node: Node::new(Arc::new(config), router, [1; 32], NOW),
            store: Store::default(),
            handled: 0,
        }
    }

    /// Takes a datagram in; gives what is sent back.
    fn feed(&mut self, datagram: &[u8]) -> Vec<Vec<u8>> {
        self.node.handle_datagram(NOW, THERE, datagram);
        while let Some(action) = self.node.poll_action() {
            self.act(action);
        }
        let datagrams = std::iter::from_fn(|| self.node.poll_datagram());
        let sent = datagrams.map(|datagram| {
            assert_eq!(datagram.to, THERE);
            datagram.bytes.to_vec()
        });
        sent.collect()
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Dispatch {
                handler,
                message,
                reply,
                ..
            } => {
                self.handled += 1;
                let answer = self.store.answer(handler, &message);
                let token = reply.expect("a message that can be answered");
                let sent = self.node.reply(NOW, token, answer);
                sent.expect("an open node");
            }
            // An answer that answers nothing, which Python would answer.
            Action::Unrouted { reply: None, .. } => {}
            Action::Rejected { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}
