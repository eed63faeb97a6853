//! A server that stores content under URIs: the one from Python netaio's
//! readme, in Rust. Either can take the other's place.
//!
//! ```text
//! cargo run -p netaio-tokio --example server [ADDRESS]
//! ```
//!
//! The address is `127.0.0.1:8888` unless you give another one. Try it with the
//! example `client`, or with the client of Python's readme. End it with Ctrl-C.
//! `RUST_LOG=debug` shows what happens to connections.
//!
//! Everybody who knows the first secret may read. To create, update and delete
//! one must know the second secret as well: it is an inner layer of those
//! three handlers.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use netaio_tokio::{
    HmacAuthPlugin, Incoming, Layers, Message, MessageType, TcpServer, TooLong,
};

#[tokio::main]
async fn main() -> io::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .init();
    let address = std::env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:8888");

    let server = TcpServer::builder()
        .auth(HmacAuthPlugin::new("test"))
        .build();
    serve(&server, &Arc::default());
    let address = server.listen(address).await?;
    println!("listening on {address}, Ctrl-C ends");

    tokio::signal::ctrl_c().await?;
    // What was accepted is still answered, for at most 5 seconds.
    server.shutdown(Duration::from_secs(5)).await;
    Ok(())
}

/// What the server keeps.
#[derive(Default)]
struct Store {
    contents: Mutex<HashMap<Vec<u8>, Vec<u8>>>,
}

/// Registers the handlers. Of the keys that fit a message the narrowest
/// decides: `(REQUEST_URI, "echo")` before `REQUEST_URI`.
fn serve(server: &TcpServer, store: &Arc<Store>) {
    server.on((MessageType::REQUEST_URI, "echo"), |m| {
        m.respond(m.content())
    });

    let reader = Arc::clone(store);
    server.on(MessageType::REQUEST_URI, move |m| reader.read(&m));

    // The inner layer writes its code to a field of its own: the outer layer
    // has `hmac` already. Plugins are shared by cloning the layers.
    let admin = HmacAuthPlugin::new("adminpassword").hmac_field("camh");
    let admin = Layers::new().auth(admin);
    let writer = Arc::clone(store);
    server.on_with(MessageType::CREATE_URI, admin.clone(), move |m| {
        writer.create(&m)
    });
    let (writer, hub) = (Arc::clone(store), server.clone());
    server.on_with(MessageType::UPDATE_URI, admin.clone(), move |m| {
        let (writer, hub) = (Arc::clone(&writer), hub.clone());
        async move { writer.update(&m, &hub).await }
    });
    let writer = Arc::clone(store);
    server.on_with(MessageType::DELETE_URI, admin, move |m| writer.delete(&m));

    // Whoever subscribes to a URI is told of its new content.
    server.pubsub();
}

/// What a handler makes of a message. It is an error only if the answer is
/// longer than a message can be; whoever asked is then told so.
type Answer = Result<Message, TooLong>;

impl Store {
    fn read(&self, m: &Incoming) -> Answer {
        println!("{} reads {}", m.from(), m.uri_text());
        match self.contents.lock().unwrap().get(m.uri()) {
            Some(content) => m.respond(content),
            None => m.not_found(),
        }
    }

    fn create(&self, m: &Incoming) -> Answer {
        let mut contents = self.contents.lock().unwrap();
        if contents.contains_key(m.uri()) {
            return m.error("cannot overwrite");
        }
        contents.insert(m.uri().to_vec(), m.content().to_vec());
        println!("{} has created {}", m.from(), m.uri_text());
        m.ok("stored")
    }

    async fn update(&self, m: &Incoming, hub: &TcpServer) -> Answer {
        match self.contents.lock().unwrap().get_mut(m.uri()) {
            None => return m.not_found(),
            Some(content) => *content = m.content().to_vec(),
        }
        println!("{} has updated {}", m.from(), m.uri_text());
        let note = Message::new(MessageType::NOTIFY_URI, m.uri(), m.content())?;
        // Nobody who is slow to take it keeps the others waiting.
        match hub.notify(m.uri(), note).await {
            Ok(told) => println!("{told} were told"),
            Err(error) => println!("nobody was told: {error}"),
        }
        m.ok("stored")
    }

    fn delete(&self, m: &Incoming) -> Answer {
        if self.contents.lock().unwrap().remove(m.uri()).is_none() {
            return m.not_found();
        }
        println!("{} has deleted {}", m.from(), m.uri_text());
        m.ok("deleted")
    }
}
