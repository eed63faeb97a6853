//! How many allocations a message costs, counted. Buffers and tables are as large
//! as they get before anything is counted, and nothing is kept that would make
//! them grow.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use allocation_counter::measure;
use bytes::{Buf as _, Bytes};
use futures_util::future::join_all;
use netaio_proto::{
    Action, Connection, EndpointConfig, HandlerId, HmacAuthPlugin, Instant, Layers,
    Limits, Message, MessageType, ReplyToken, Request, Role, Router,
    Sha256StreamCipherPlugin,
};
use netaio_tokio::{TcpClient, TcpServer};

const NOW: Instant = Instant::EPOCH;
const THERE: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 8888);
/// Messages that are under way together.
const TOGETHER: usize = 64;
const CONTENT: [u8; 64] = [7; 64];

/// What `work` allocates, in number.
fn allocations(work: impl FnOnce()) -> u64 {
    measure(work).count_total
}

fn layers() -> Layers {
    Layers::new()
        .auth(HmacAuthPlugin::new("secret"))
        .cipher(Sha256StreamCipherPlugin::new("key"))
}

fn end(role: Role, layers: Layers, router: Router) -> Connection {
    let config = EndpointConfig {
        role,
        layers,
        limits: Limits {
            max_in_flight: 2 * TOGETHER,
            ..Limits::default()
        },
        ..EndpointConfig::default()
    };
    let seed = [role as u8; 32];
    Connection::new(Arc::new(config), Arc::new(router), THERE, seed, NOW)
}

fn client(layers: Layers) -> Connection {
    end(Role::Client, layers, Router::new())
}

/// A server with an echo.
fn server(layers: Layers) -> Connection {
    let mut router = Router::new();
    let echo = (MessageType::REQUEST_URI, "echo");
    router.insert(echo, HandlerId(1), Layers::new());
    end(Role::Server, layers, router)
}

fn question() -> Message {
    let question = Message::new(MessageType::REQUEST_URI, "echo", CONTENT);
    question.expect("it is short")
}

/// Requests of a client, as many as are under way together.
fn questions() -> Vec<Request> {
    let mut questions = Vec::with_capacity(TOGETHER);
    questions.resize_with(TOGETHER, || Request::new(question()));
    questions
}

fn ask(client: &mut Connection, questions: Vec<Request>) {
    for question in questions {
        client.request(NOW, question).expect("there is room");
    }
}

/// Everything that a connection has to write.
fn written(connection: &mut Connection) -> Bytes {
    let outgoing = connection.outgoing();
    outgoing.copy_to_bytes(outgoing.remaining())
}

/// Requests that a server has been asked, in the order in which they came.
fn dispatched(server: &mut Connection, asked: &mut Vec<(Message, ReplyToken)>) {
    while let Some(action) = server.poll_action() {
        match action {
            Action::Dispatch {
                message,
                reply: Some(token),
                ..
            } => asked.push((message, token)),
            other => panic!("{other:?}"),
        }
    }
}

/// What a server allocates in the three steps of one turn: taking in so many
/// requests, making the replies, and handing them over.
fn of_a_server(layers: &Layers) -> [u64; 3] {
    let (mut client, mut server) = (client(layers.clone()), server(layers.clone()));
    let mut asked = Vec::with_capacity(TOGETHER);
    let mut replies = Vec::with_capacity(TOGETHER);
    let mut turn = || {
        ask(&mut client, questions());
        let bytes = written(&mut client);
        let taken = allocations(|| {
            server.handle_input(NOW, &bytes);
            dispatched(&mut server, &mut asked);
        });
        assert_eq!(asked.len(), TOGETHER);
        let made = allocations(|| {
            replies.extend(asked.drain(..).map(|(message, token)| {
                let reply = message.respond(message.content());
                (token, reply.expect("it is short"))
            }));
        });
        let given = allocations(|| {
            for (token, reply) in replies.drain(..) {
                server.reply(NOW, token, reply).expect("it is open");
            }
            let outgoing = server.outgoing();
            assert_eq!(outgoing.chunk().len(), outgoing.remaining());
        });
        let bytes = written(&mut server);
        client.handle_input(NOW, &bytes);
        while client.poll_action().is_some() {}
        [taken, made, given]
    };
    for _ in 0..4 {
        turn();
    }
    turn()
}

/// What a client allocates in two steps: sending so many requests that were
/// made before, and being given the replies.
fn of_a_client(layers: &Layers) -> [u64; 2] {
    let (mut client, mut server) = (client(layers.clone()), server(layers.clone()));
    let mut asked = Vec::with_capacity(TOGETHER);
    let mut turn = || {
        let questions = questions();
        let sent = allocations(|| ask(&mut client, questions));
        let bytes = written(&mut client);
        server.handle_input(NOW, &bytes);
        dispatched(&mut server, &mut asked);
        for (message, token) in asked.drain(..) {
            let reply = message.respond(message.content()).expect("it is short");
            server.reply(NOW, token, reply).expect("it is open");
        }
        let bytes = written(&mut server);
        let mut replies = Vec::with_capacity(TOGETHER);
        let taken = allocations(|| {
            client.handle_input(NOW, &bytes);
            while let Some(action) = client.poll_action() {
                match action {
                    Action::Reply { message, .. } => replies.push(message),
                    other => panic!("{other:?}"),
                }
            }
        });
        assert_eq!(replies.len(), TOGETHER);
        [sent, taken]
    };
    for _ in 0..4 {
        turn();
    }
    turn()
}

/// What a client allocates that sends so many messages which ask for no reply.
fn of_a_sender() -> u64 {
    let mut client = client(Layers::new());
    let mut turn = || {
        let notes: Vec<_> = (0..TOGETHER).map(|_| question()).collect();
        let sent = allocations(|| {
            for note in notes {
                client.send(NOW, note, &Layers::new()).expect("it is open");
            }
        });
        written(&mut client);
        sent
    };
    for _ in 0..4 {
        turn();
    }
    turn()
}

#[track_caller]
fn assert_at_most(each: u64, all: u64) {
    let most = each * TOGETHER as u64;
    assert!(all <= most, "{all} for {TOGETHER}, and not {most}");
}

const EACH: u64 = TOGETHER as u64;

#[test]
fn a_message_takes_one_allocation_to_be_made() {
    let made = allocations(|| drop(questions()));
    assert_eq!(made, EACH + 1, "one for the list");
}

#[test]
fn a_request_costs_its_server_one_allocation_and_its_reply_another() {
    let [taken, made, given] = of_a_server(&Layers::new());
    assert_eq!((taken, made, given), (EACH, EACH, 0));
}

#[test]
fn a_reply_costs_its_client_one_allocation_and_the_request_none() {
    let [sent, taken] = of_a_client(&Layers::new());
    assert_eq!((sent, taken), (0, EACH));
}

#[test]
fn a_message_is_sent_without_an_allocation() {
    assert_eq!(of_a_sender(), 0);
}

#[test]
fn what_is_sealed_costs_two_allocations_on_each_way() {
    let [taken, made, given] = of_a_server(&layers());
    assert_eq!(made, EACH);
    assert_at_most(2, taken);
    assert_at_most(2, given);
    let [sent, taken] = of_a_client(&layers());
    assert_at_most(2, taken);
    assert_at_most(2, sent);
}

// --- with the driver, on tokio ---

/// Allocations for each of so many requests over TCP, `depth` at a time: of both
/// ends and the runtime, all in this thread. Four of them are the messages.
fn over_tcp(depth: usize) -> f64 {
    const ROUNDS: usize = 500;
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().expect("a runtime");
    let start = async {
        let server = TcpServer::new();
        server.on((MessageType::REQUEST_URI, "echo"), |m| {
            m.respond(m.content())
        });
        let address = server.listen("127.0.0.1:0").await.expect("a port");
        let client = TcpClient::new(address);
        client.connect().await.expect("a connection");
        (client, server)
    };
    let (client, _server) = runtime.block_on(start);
    let ask = async || {
        let reply = client.request("echo").content(CONTENT).await;
        assert_eq!(reply.expect("a reply").content(), CONTENT);
    };
    let rounds = async || {
        for _ in 0..ROUNDS {
            join_all((0..depth).map(|_| ask())).await;
        }
    };
    runtime.block_on(rounds());
    let all = allocations(|| runtime.block_on(rounds()));
    all as f64 / (ROUNDS * depth) as f64
}

#[test]
fn a_request_over_tcp_costs_a_bounded_number_of_allocations_at_both_ends() {
    let [one, many] = [1, TOGETHER].map(over_tcp);
    println!("{one:.2} for a request by itself, {many:.2} for one of {TOGETHER}");
    // Four messages, and what joins the requests together here.
    assert!(one <= 5.2, "{one} for a request by itself");
    assert!(many <= 5.2, "{many} for one of {TOGETHER}");
}
