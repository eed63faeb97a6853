//! The core alone, around plain sockets of the standard library: no async
//! runtime, no driver, one thread per connection.
//!
//! ```text
//! cargo run --release -p netaio-tokio --example by_hand
//! ```
//!
//! This is what it takes to put netaio into an event loop of your own. All of
//! the loop is in [`drive`]; the server and the client are two ways to act on
//! what it finds. Ends by itself, with an error if anything is not as expected.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Buf;
use netaio_proto::{
    Action, CloseReason, Connection, EndpointConfig, HandlerId, HmacAuthPlugin,
    Instant, Layers, Message, MessageType, Request, Role, Router,
};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let server = thread::spawn(move || serve_one(&listener));
    ask(address)?;
    server.join().map_err(|_| "the server has panicked")?
}

// --- the loop ---------------------------------------------------------------

/// Drives a connection over a blocking socket, until it is over.
///
/// `act` is given each action in turn, with the connection to answer on.
fn drive(
    mut socket: TcpStream,
    connection: &mut Connection,
    clock: &Clock,
    mut act: impl FnMut(&mut Connection, Action) -> Outcome<()>,
) -> Outcome<()> {
    socket.set_nodelay(true)?;
    // A blocking write must not last for ever either.
    socket.set_write_timeout(Some(Duration::from_secs(30)))?;
    loop {
        connection.set_unix_time(unix_time());

        // 1. What is due. Harmless when nothing is.
        connection.handle_timeout(clock.now());

        // 2. What happened. Frames are decoded as this is called.
        while let Some(action) = connection.poll_action() {
            act(connection, action)?;
        }
        if connection.is_closed() {
            return Ok(());
        }

        // 3. What is to be written. Say with `advance` how much was. Then
        //    start over: there may be room for a frame that had to wait, or
        //    nothing left to wait for.
        if connection.outgoing().has_remaining() {
            match socket.write(connection.outgoing().chunk()) {
                Ok(count) => connection.outgoing().advance(count),
                Err(error) => {
                    let reason = CloseReason::Io(error.to_string());
                    connection.close(clock.now(), reason);
                }
            }
            continue;
        }

        // 4. Wait for bytes, but no longer than until the next deadline.
        let patience = patience(connection, clock);
        if !connection.wants_read() {
            // The peer will send no more, or has to wait until some of its
            // requests are answered.
            thread::sleep(patience);
            continue;
        }
        socket.set_read_timeout(Some(patience))?;
        match socket.read(connection.recv_buffer()) {
            Ok(0) => connection.handle_eof(clock.now()),
            Ok(count) => connection.handle_received(clock.now(), count),
            Err(error) if is_no_failure(&error) => {}
            Err(error) => {
                let reason = CloseReason::Io(error.to_string());
                connection.close(clock.now(), reason);
            }
        }
    }
}

/// How long to wait for the socket. Never zero, which would mean "for ever" to
/// a socket.
fn patience(connection: &Connection, clock: &Clock) -> Duration {
    let at_most = Duration::from_secs(60);
    let next = connection.poll_timeout();
    let until = next.map_or(at_most, |at| at.duration_since(clock.now()));
    until.clamp(Duration::from_millis(1), at_most)
}

/// Whether a read has only been in vain: nothing came in time.
fn is_no_failure(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

/// Time as the core wants it: microseconds since a moment of our choice. It
/// never reads a clock itself.
struct Clock(std::time::Instant);

impl Clock {
    fn start() -> Self {
        Self(std::time::Instant::now())
    }

    fn now(&self) -> Instant {
        let micros = self.0.elapsed().as_micros();
        Instant::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }
}

/// What the wall clock says: plugins put it into what they send.
fn unix_time() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Randomness as the core wants it: secret bytes that no other connection has.
fn seed() -> Outcome<[u8; 32]> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| error.to_string())?;
    Ok(seed)
}

fn config(role: Role) -> Arc<EndpointConfig> {
    Arc::new(EndpointConfig {
        role,
        layers: Layers::new().auth(HmacAuthPlugin::new("a shared secret")),
        ..EndpointConfig::default()
    })
}

// --- a server ---------------------------------------------------------------

/// The core names handlers by numbers; what they stand for is our business.
const ECHO: HandlerId = HandlerId(1);
const SILENCE: HandlerId = HandlerId(2);

/// Serves one connection.
fn serve_one(listener: &TcpListener) -> Outcome<()> {
    let mut router = Router::new();
    router.insert((MessageType::REQUEST_URI, "echo"), ECHO, Layers::new());
    router.insert(
        (MessageType::REQUEST_URI, "silence"),
        SILENCE,
        Layers::new(),
    );

    let (socket, from) = listener.accept()?;
    let clock = Clock::start();
    let (config, router) = (config(Role::Server), Arc::new(router));
    let mut connection = Connection::new(config, router, from, seed()?, clock.now());

    drive(socket, &mut connection, &clock, |connection, action| {
        match action {
            Action::Dispatch {
                handler,
                message,
                reply: Some(token),
                ..
            } => {
                println!(
                    "server: {} {}",
                    message.message_type(),
                    message.uri_text()
                );
                match handler {
                    ECHO => {
                        let reply = message.respond(message.content())?;
                        connection.reply(clock.now(), token, reply)?;
                    }
                    // Every token is given back, with a reply or without.
                    _ => connection.no_reply(token),
                }
            }
            // Somebody does not know the secret. The reply is ready-made.
            Action::AuthFailed(failed) => match (failed.reply, failed.default_reply)
            {
                (Some(token), Some(reply)) => {
                    connection.reply(clock.now(), token, reply)?;
                }
                (Some(token), None) => connection.no_reply(token),
                (None, _) => {}
            },
            Action::Closed { reason } => println!("server: the end: {reason}"),
            other => println!("server: {other:?}"),
        }
        Ok(())
    })
}

// --- a client ---------------------------------------------------------------

/// Sends three requests at once, waits until each has ended, and closes.
fn ask(address: SocketAddr) -> Outcome<()> {
    let socket = TcpStream::connect(address)?;
    let clock = Clock::start();
    // A client without handlers needs no routes.
    let (config, router) = (config(Role::Client), Arc::default());
    let mut connection =
        Connection::new(config, router, address, seed()?, clock.now());
    connection.set_unix_time(unix_time());

    // Each request gets an id, and ends with exactly one action that names it.
    let mut waiting = BTreeMap::new();
    for uri in ["silence", "echo", "nowhere"] {
        let message = Message::new(MessageType::REQUEST_URI, uri, "hello")?;
        let request = Request::new(message).timeout(Duration::from_millis(300));
        waiting.insert(connection.request(clock.now(), request)?, uri);
    }

    let mut ends = BTreeMap::new();
    drive(socket, &mut connection, &clock, |connection, action| {
        let (request, end) = match action {
            Action::Reply { request, message } => {
                (request, message.message_type().to_string())
            }
            Action::TimedOut { request, context } => {
                (request, format!("no reply within {:?}", context.timeout))
            }
            Action::Failed { request, error } => (request, error.to_string()),
            Action::Closed { reason } => {
                println!("client: the end: {reason}");
                return Ok(());
            }
            other => {
                println!("client: {other:?}");
                return Ok(());
            }
        };
        let uri = waiting
            .remove(&request)
            .ok_or("a request that we never made")?;
        println!("client: {uri}: {end}");
        ends.insert(uri, end);
        if waiting.is_empty() {
            // Writes what is left, and closes; at the latest in a second.
            connection.finish(clock.now(), Duration::from_secs(1));
        }
        Ok(())
    })?;

    let expected = [
        ("echo", "RESPOND_URI"),
        ("nowhere", "NOT_FOUND"),
        ("silence", "no reply within 300ms"),
    ];
    if ends.iter().map(|(uri, end)| (*uri, &**end)).eq(expected) {
        Ok(())
    } else {
        Err(format!("not as expected: {ends:?}").into())
    }
}
