//! What `quickstart` shows, on the runtime that `main.rs` has chosen: `netaio` is
//! the crate for it, `sleep` is the runtime's own.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender};
use futures_util::future::{join, join3};

use crate::netaio::{
    AutoReconnectTimeoutHandler, ConnectionEvent, ConnectionEvents, HmacAuthPlugin,
    Incoming, Message, MessageType, RequestError, Sha256StreamCipherPlugin,
    TcpClient, TcpServer,
};
use crate::sleep;

pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

/// What the server keeps. It lives outside of the server, so that a second
/// server can take over where the first one stopped.
type Notes = Arc<Mutex<BTreeMap<Vec<u8>, Vec<u8>>>>;

pub(crate) async fn tour() -> Outcome<()> {
    let notes = Notes::default();
    let server = build_server(&notes);
    // Port 0 asks for any free port; the answer tells which one it is.
    let address = server.listen("127.0.0.1:0").await?;
    println!("A server listens on {address}.");

    let (reconnected, on_reconnect) = async_channel::unbounded();
    let client = build_client(address, reconnected);
    let mut events = client.events();
    client.connect().await?;
    next_event(&mut events).await?;

    exchange_messages(&client).await?;
    ask_at_the_same_time(&client).await?;
    wait_in_vain(&client, &mut events, &on_reconnect).await?;
    let server =
        lose_the_server(&client, server, address, &notes, &mut events).await?;

    client.close().await;
    next_event(&mut events).await?;
    server.shutdown(Duration::from_secs(1)).await;
    println!("\nAll went as it should.");
    Ok(())
}

/// A server of notes: messages of four types, for any URI, and three URIs with
/// a handler of their own. The narrower key wins.
fn build_server(notes: &Notes) -> TcpServer {
    let server = TcpServer::builder()
        .auth(HmacAuthPlugin::new("a secret that both sides know"))
        .cipher(Sha256StreamCipherPlugin::new("a key that both sides know"))
        .build();

    // A handler gets a message and returns its answer. `m.ok(..)` and the like
    // make answers that carry the message's URI.
    let store = Arc::clone(notes);
    server.on(MessageType::CREATE_URI, move |m| {
        let mut notes = store.lock().unwrap();
        if notes.contains_key(m.uri()) {
            return m.error("it exists already");
        }
        notes.insert(m.uri().to_vec(), m.content().to_vec());
        m.ok("created")
    });
    let store = Arc::clone(notes);
    server.on(MessageType::REQUEST_URI, move |m| {
        match store.lock().unwrap().get(m.uri()) {
            Some(note) => m.respond(note),
            None => m.not_found(),
        }
    });
    let store = Arc::clone(notes);
    server.on(MessageType::UPDATE_URI, move |m| {
        match store.lock().unwrap().get_mut(m.uri()) {
            Some(note) => {
                *note = m.content().to_vec();
                m.ok("updated")
            }
            None => m.not_found(),
        }
    });
    let store = Arc::clone(notes);
    server.on(MessageType::DELETE_URI, move |m| {
        match store.lock().unwrap().remove(m.uri()) {
            Some(_) => m.ok("deleted"),
            None => m.not_found(),
        }
    });

    server.on((MessageType::REQUEST_URI, "echo"), |m| {
        m.respond(m.content())
    });
    // A handler may be async. While it waits, it holds up nothing else.
    server.on((MessageType::REQUEST_URI, "slow echo"), slow_echo);
    // One that returns nothing leaves the message unanswered.
    server.on((MessageType::REQUEST_URI, "black hole"), |_| ());
    server
}

/// Echoes after as many milliseconds as the content says.
async fn slow_echo(m: Incoming) -> Result<Message, Box<dyn Error + Send + Sync>> {
    let millis = m.text().parse()?;
    sleep(Duration::from_millis(millis)).await;
    Ok(m.respond(m.content())?)
}

/// A client that connects again after a timeout and after a lost connection.
fn build_client(address: SocketAddr, reconnected: Sender<()>) -> TcpClient {
    // What to do when no answer comes: make a new connection, and say so.
    let reconnect = AutoReconnectTimeoutHandler::new()
        .on_reconnect(move |_client| {
            // Here a real client would log in again, or subscribe again.
            let _ = reconnected.try_send(());
        })
        .into_handler();

    TcpClient::builder()
        .server(address)
        .auth(HmacAuthPlugin::new("a secret that both sides know"))
        .cipher(Sha256StreamCipherPlugin::new("a key that both sides know"))
        // One handler for all timeouts of the client. It has been told before
        // the caller gets its error.
        .timeout_handler(move |event| {
            // There is no request to tell of if connecting took too long.
            if let Some(request) = &event.context {
                let uri = String::from_utf8_lossy(&request.uri);
                let (timeout, server) = (request.timeout, &event.server);
                println!("   timeout handler: {uri:?}, {timeout:?}, {server}");
            }
            reconnect(event)
        })
        // A lost connection is another matter: no answer is late, the peer is
        // gone. The same rules say how to come back.
        .reconnect_when_lost(
            AutoReconnectTimeoutHandler::new()
                .delay(Duration::from_millis(100))
                .max_delay(Duration::from_millis(400)),
        )
        .build()
}

async fn exchange_messages(client: &TcpClient) -> Outcome<()> {
    println!("\n1. Messages, authenticated and encrypted");

    let reply = client.request("echo").content("hello").await?;
    show("request echo \"hello\"", &reply);
    expect(reply.content() == b"hello")?;

    let reply = client.create("/notes/1", "buy milk").await?;
    show("create /notes/1 \"buy milk\"", &reply);
    expect(reply.message_type() == MessageType::OK)?;

    let reply = client.request("/notes/1").await?;
    show("request /notes/1", &reply);
    expect(reply.content() == b"buy milk")?;

    let reply = client.update("/notes/1", "buy oat milk").await?;
    show("update /notes/1 \"buy oat milk\"", &reply);
    let reply = client.request("/notes/1").await?;
    show("request /notes/1", &reply);
    expect(reply.content() == b"buy oat milk")?;

    let reply = client.delete("/notes/1").await?;
    show("delete /notes/1", &reply);
    expect(reply.message_type() == MessageType::OK)?;

    // A reply that says no is a reply like any other ..
    let reply = client.request("/notes/1").await?;
    show("request /notes/1", &reply);
    expect(reply.message_type() == MessageType::NOT_FOUND)?;

    // .. unless you ask for it to be an error, which `?` can pass on.
    let outcome = client.request("/notes/1").error_for_status().await;
    let error = outcome.err().ok_or("a deleted note was found")?;
    println!("   the same, as an error: {error}");
    expect(matches!(error, RequestError::Status(_)))
}

async fn ask_at_the_same_time(client: &TcpClient) -> Outcome<()> {
    println!("\n2. Three requests at the same time, for one URI, on one connection");

    let ask = async |millis: &str| {
        let reply = client.request("slow echo").content(millis).await?;
        println!("   asked for {millis} ms, got {} ms", reply.text());
        expect(reply.text() == millis)
    };
    let (a, b, c) = join3(ask("300"), ask("100"), ask("200")).await;
    println!("   Each got its own answer, the quick ones first.");
    a.and(b).and(c)
}

async fn wait_in_vain(
    client: &TcpClient,
    events: &mut ConnectionEvents,
    on_reconnect: &Receiver<()>,
) -> Outcome<()> {
    println!("\n3. An answer that does not come");

    println!("   request \"black hole\", with a timeout of 300 ms");
    let started = Instant::now();
    let outcome = client
        .request("black hole")
        .timeout(Duration::from_millis(300))
        .await;
    let error = outcome.err().ok_or("a black hole has answered")?;
    println!("   caller, after {}: {error}", millis_since(started));
    expect(error.is_timeout())?;

    // The handler has begun to connect again. No need to wait for it: a
    // request that is made now goes out as soon as the connection is there.
    let reply = client.request("echo").content("still there?").await?;
    on_reconnect.recv().await?;
    events_until(events, is_reconnected).await?;
    println!("   on_reconnect was called");
    show("request echo \"still there?\"", &reply);
    expect(reply.content() == b"still there?")
}

async fn lose_the_server(
    client: &TcpClient,
    server: TcpServer,
    address: SocketAddr,
    notes: &Notes,
    events: &mut ConnectionEvents,
) -> Outcome<TcpServer> {
    println!("\n4. A server that dies in the middle of a request");

    println!("   request \"slow echo\", which takes 60 s; its timeout is 10 s");
    let waiting = client.request("slow echo").content("60000");
    let waiting = async { (waiting.await, Instant::now()) };
    let dying = async {
        sleep(Duration::from_millis(100)).await;
        println!("   The server is shut down without grace.");
        let died = Instant::now();
        server.shutdown(Duration::ZERO).await;
        died
    };
    let ((outcome, ended), died) = join(waiting, dying).await;
    let error = outcome.err().ok_or("a dead server has answered")?;
    let after = ended.duration_since(died);
    println!("   caller, {} ms later: {error}", after.as_millis());
    // `sent` tells whether the server may have acted on the request.
    expect(matches!(
        error,
        RequestError::Disconnected { sent: true, .. }
    ))?;
    expect(after < Duration::from_secs(1))?;

    // The client notices at once, and tries again in vain.
    let second_attempt = |event: &ConnectionEvent| {
        matches!(event, ConnectionEvent::Reconnecting { attempt: 2.., .. })
    };
    events_until(events, second_attempt).await?;

    println!("   In 500 ms a new server starts on the same port. Meanwhile:");
    println!("   create /notes/2 \"patience\"");
    let started = Instant::now();
    let second = async {
        sleep(Duration::from_millis(500)).await;
        let server = build_server(notes);
        server.listen(address.to_string()).await?;
        Ok::<_, Box<dyn Error>>(server)
    };
    // This request waits for the connection, within its own timeout.
    let request = client.create("/notes/2", "patience").into_future();
    let (server, reply) = join(second, request).await;
    let (server, reply) = (server?, reply?);
    events_until(events, is_reconnected).await?;
    show(&format!("after {}", millis_since(started)), &reply);
    expect(reply.message_type() == MessageType::OK)?;
    expect(notes.lock().unwrap().contains_key(&b"/notes/2"[..]))?;
    Ok(server)
}

/// Prints what has happened to the client's connection, up to a certain event.
async fn events_until(
    events: &mut ConnectionEvents,
    last: impl Fn(&ConnectionEvent) -> bool,
) -> Outcome<()> {
    while !last(&next_event(events).await?) {}
    Ok(())
}

fn is_reconnected(event: &ConnectionEvent) -> bool {
    matches!(event, ConnectionEvent::Reconnected { .. })
}

async fn next_event(events: &mut ConnectionEvents) -> Outcome<ConnectionEvent> {
    let event = events.next().await.ok_or("the client is gone")?;
    match &event {
        ConnectionEvent::Connected { remote, .. } => {
            println!("   event: connected to {remote}");
        }
        ConnectionEvent::Disconnected { reason, .. } => {
            println!("   event: disconnected: {reason}");
        }
        ConnectionEvent::Reconnecting { attempt, after, .. } => {
            println!("   event: reconnecting, attempt {attempt}, after {after:.0?}");
        }
        ConnectionEvent::Reconnected { .. } => {
            println!("   event: reconnected");
        }
        other => println!("   event: {other:?}"),
    }
    Ok(event)
}

fn show(what: &str, reply: &Message) {
    println!("   {what} -> {} {:?}", reply.message_type(), reply.text());
}

fn millis_since(start: Instant) -> String {
    format!("{} ms", start.elapsed().as_millis())
}

/// Ends the tour if something is not as it should be.
#[track_caller]
fn expect(as_expected: bool) -> Outcome<()> {
    if as_expected {
        return Ok(());
    }
    let place = std::panic::Location::caller();
    Err(format!("not as expected, at {place}").into())
}
