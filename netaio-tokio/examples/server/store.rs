//! What the example's server stores, and its handlers. `netaio` is the crate for
//! the runtime that `main.rs` has chosen.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::netaio::{
    HmacAuthPlugin, Incoming, Layers, Message, MessageType, TcpServer, TooLong,
};

/// What the server keeps.
#[derive(Default)]
pub(crate) struct Store {
    contents: Mutex<HashMap<Vec<u8>, Vec<u8>>>,
}

/// Registers the handlers. Of the keys that fit a message the narrowest
/// decides: `(REQUEST_URI, "echo")` before `REQUEST_URI`.
pub(crate) fn serve(server: &TcpServer, store: &Arc<Store>) {
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
