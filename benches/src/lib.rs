//! What the core of netaio is measured by: pieces of its work, without a socket,
//! a task or a clock. The table, the micro-benchmarks and the instruction counts
//! all use these.

use std::fmt;
use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Buf as _;
use netaio_proto::{
    Action, Connection, EndpointConfig, FrameDecoder, HandlerId, HmacAuthPlugin,
    Instant, Layers, Limits, Message, MessageType, MessageTypes, ReplyToken,
    Request, RequestId, Role, Router, Sha256StreamCipherPlugin,
};

/// Bytes that come with one read, if there are as many.
pub const READ: usize = 64 * 1024;
/// Messages that a server takes in before it answers them.
const AT_ONCE: usize = 32;
/// Bytes of a small content.
pub const SMALL: usize = 64;

const NOW: Instant = Instant::EPOCH;

/// A piece of work that can be done any number of times, each time alike.
pub trait Work {
    /// Does it once; gives of how many messages it is.
    fn once(&mut self) -> u64;
}

/// Whoever is at the other end.
pub fn remote() -> SocketAddr {
    ([192, 0, 2, 1], 8888).into()
}

/// Both of the plugins that the core comes with.
pub fn both_layers() -> Layers {
    Layers::new()
        .auth(HmacAuthPlugin::new("secret"))
        .cipher(Sha256StreamCipherPlugin::new("key"))
}

/// A request for `echo`.
pub fn question(content: usize) -> Message {
    let content = vec![7; content];
    let message = Message::new(MessageType::REQUEST_URI, "echo", content);
    message.expect("it is short")
}

/// An end without a bound on what it takes in and has to write.
fn end(role: Role, layers: Layers, router: Router) -> Connection {
    let config = EndpointConfig {
        role,
        layers,
        limits: Limits {
            max_pending: usize::MAX,
            max_outgoing: usize::MAX,
            outgoing_high_water: usize::MAX,
            max_errors_per_minute: u32::MAX,
            ..Limits::default()
        },
        ..EndpointConfig::default()
    };
    let seed = [1 + role as u8; 32];
    Connection::new(Arc::new(config), Arc::new(router), remote(), seed, NOW)
}

/// A client.
pub fn client(layers: Layers) -> Connection {
    end(Role::Client, layers, Router::new())
}

/// A server with a route for `echo`.
pub fn server(layers: Layers) -> Connection {
    let mut router = Router::new();
    let echo = (MessageType::REQUEST_URI, "echo");
    router.insert(echo, HandlerId(1), Layers::new());
    end(Role::Server, layers, router)
}

/// Forgets what a connection has to write.
pub fn discard(connection: &mut Connection) {
    let outgoing = connection.outgoing();
    black_box(outgoing.chunk());
    outgoing.advance(outgoing.remaining());
}

/// Frames of so many requests, with ids.
fn frames(layers: &Layers, content: usize, count: u64) -> Vec<u8> {
    let mut client = client(layers.clone());
    for _ in 0..count {
        let request = Request::new(question(content));
        client.request(NOW, request).expect("there is room");
    }
    let outgoing = client.outgoing();
    outgoing.copy_to_bytes(outgoing.remaining()).to_vec()
}

/// How many requests one read brings.
pub fn of_a_read(layers: &Layers, content: usize) -> u64 {
    (READ / frames(layers, content, 1).len()) as u64
}

/// A server takes in what one read brings, routes each request, and replies.
#[derive(Debug)]
pub struct Echo {
    server: Connection,
    bytes: Vec<u8>,
    count: u64,
    asked: Vec<(Message, ReplyToken)>,
}

impl Echo {
    /// So many requests with so much content, sealed with these layers as their
    /// replies are.
    pub fn new(layers: &Layers, content: usize, count: u64) -> Self {
        Self {
            server: server(layers.clone()),
            bytes: frames(layers, content, count),
            count,
            asked: Vec::new(),
        }
    }
}

impl Work for Echo {
    fn once(&mut self) -> u64 {
        let server = &mut self.server;
        server.handle_input(NOW, &self.bytes);
        loop {
            let asked = &mut self.asked;
            server.poll_dispatches(AT_ONCE, |_, message, token| {
                asked.push((message, token));
            });
            if asked.is_empty() {
                match server.poll_action() {
                    Some(Action::Dispatch {
                        message,
                        reply: Some(token),
                        ..
                    }) => asked.push((message, token)),
                    Some(other) => panic!("{other:?}"),
                    None => break,
                }
            }
            for (message, token) in asked.drain(..) {
                let reply = message.respond(message.content());
                let reply = reply.expect("it is short");
                server.reply(NOW, token, reply).expect("it is open");
            }
        }
        discard(server);
        self.count
    }
}

/// Bytes are cut into frames, checked and copied out; nothing more.
pub struct Decode {
    decoder: FrameDecoder,
    types: MessageTypes,
    bytes: Vec<u8>,
    count: u64,
}

impl Decode {
    /// So many requests with so much content.
    pub fn new(content: usize, count: u64) -> Self {
        Self {
            decoder: FrameDecoder::new(),
            types: MessageTypes::default(),
            bytes: frames(&Layers::new(), content, count),
            count,
        }
    }
}

impl fmt::Debug for Decode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decode").finish_non_exhaustive()
    }
}

impl Work for Decode {
    fn once(&mut self) -> u64 {
        self.decoder.push(&self.bytes);
        let mut count = 0;
        while let Some(frame) = self.decoder.next_frame(&self.types) {
            black_box(frame.expect("a good frame"));
            count += 1;
        }
        assert_eq!(count, self.count);
        count
    }
}

/// A client sends requests and is given their replies, in the same order.
#[derive(Debug)]
pub struct Ask {
    client: Connection,
    question: Message,
    count: u64,
    answers: Vec<u8>,
}

impl Ask {
    /// So many requests at a time, with so much content.
    pub fn new(content: usize, count: u64) -> Self {
        Self {
            client: client(Layers::new()),
            question: question(content),
            count,
            answers: Vec::new(),
        }
    }
}

impl Work for Ask {
    fn once(&mut self) -> u64 {
        let client = &mut self.client;
        for _ in 0..self.count {
            let request = Request::new(self.question.clone());
            client.request(NOW, request).expect("there is room");
        }
        answer(client, self.count, &mut self.answers);
        let most = self.count as usize;
        let count = client.poll_replies(most, |request, reply| {
            black_box((request, reply));
        });
        assert_eq!(count, most);
        self.count
    }
}

/// Answers a client's requests, which are of one length. An echo differs from
/// what it answers in nothing but the type, and that is not in the checksum.
fn answer(client: &mut Connection, count: u64, answers: &mut Vec<u8>) {
    let outgoing = client.outgoing();
    answers.resize(outgoing.remaining(), 0);
    outgoing.copy_to_slice(answers);
    let length = answers.len() / count as usize;
    for frame in answers.chunks_exact_mut(length) {
        frame[0] = MessageType::RESPOND_URI.code();
    }
    client.handle_input(NOW, answers);
}

/// Messages are sealed with layers, framed, and put in line.
#[derive(Debug)]
pub struct Seal {
    client: Connection,
    message: Message,
    count: u64,
}

impl Seal {
    /// So many messages with so much content.
    pub fn new(layers: &Layers, content: usize, count: u64) -> Self {
        Self {
            client: client(layers.clone()),
            message: question(content).with_type(MessageType::NOTIFY_URI),
            count,
        }
    }
}

impl Work for Seal {
    fn once(&mut self) -> u64 {
        for _ in 0..self.count {
            let message = self.message.clone();
            let sent = self.client.send(NOW, message, &Layers::new());
            sent.expect("it is open");
        }
        discard(&mut self.client);
        self.count
    }
}

/// Routes are looked up among many.
#[derive(Debug)]
pub struct Route {
    router: Router,
    messages: Vec<Message>,
}

impl Route {
    /// So many routes: as many messages are looked up.
    pub fn new(count: u64) -> Self {
        let mut router = Router::new();
        let kind = MessageType::REQUEST_URI;
        let messages = (0..count).map(|number| {
            let uri = format!("a/longer/uri/{number}");
            router.insert((kind, &*uri), HandlerId(number), Layers::new());
            Message::new(kind, uri, [7; SMALL]).expect("it is short")
        });
        let messages = messages.collect();
        Self { router, messages }
    }
}

impl Work for Route {
    fn once(&mut self) -> u64 {
        let from = black_box(remote());
        for message in &self.messages {
            let route = self.router.route(message, from);
            black_box(route.expect("it is there").handler());
        }
        self.messages.len() as u64
    }
}

/// Requests are sent and given up while many others wait.
#[derive(Debug)]
pub struct Pend {
    client: Connection,
    question: Message,
    count: u64,
    ids: Vec<RequestId>,
}

impl Pend {
    /// So many at a time, while so many others wait.
    pub fn new(count: u64, others: u64) -> Self {
        let mut client = client(Layers::new());
        let question = question(0);
        let request = || Request::new(question.clone());
        // Towards a peer that repeats ids, what is given up leaves no place.
        client.request(NOW, request()).expect("there is room");
        answer(&mut client, 1, &mut Vec::new());
        let action = client.poll_action();
        assert!(matches!(action, Some(Action::Reply { .. })), "{action:?}");
        for _ in 0..others {
            client.request(NOW, request()).expect("there is room");
            discard(&mut client);
        }
        Self {
            client,
            question,
            count,
            ids: Vec::new(),
        }
    }
}

impl Work for Pend {
    fn once(&mut self) -> u64 {
        let client = &mut self.client;
        for _ in 0..self.count {
            let request = Request::new(self.question.clone());
            let id = client.request(NOW, request);
            self.ids.push(id.expect("there is room"));
        }
        discard(client);
        for id in self.ids.drain(..) {
            assert!(client.cancel(NOW, id));
        }
        self.count
    }
}
