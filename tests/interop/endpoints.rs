//! The endpoints that a server and a node of ours have in common with the Python
//! programs.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex};

use crate::runtime::{Message, TooLong};

/// Adds them to `$end`, whose handlers take an `$incoming`. What is protected has
/// the layers `$inner`.
macro_rules! add_endpoints {
    ($end:expr, $incoming:ty, $inner:expr) => {{
        use std::time::Duration;

        use crate::runtime::{Layers, Message, MessageType as T};

        use super::endpoints::Store;

        let end = &$end;
        let inner: Layers = $inner;
        let ask = |uri: &str| (T::REQUEST_URI, uri.to_owned());
        end.on(ask("echo"), |m| m.respond(m.content()));
        end.on(ask("never"), |_| ());
        end.on(ask("error"), |m| m.error("an error for you"));
        end.on(ask("error-default-uri"), |_| {
            Message::make_error("an error for nobody", None, None)
        });
        end.on(ask("not-permitted"), |m| m.not_permitted());
        end.on(ask("slow"), async |m: $incoming| {
            let seconds = m.text().split(';').next().map(str::parse);
            let seconds = seconds.and_then(Result::ok).unwrap_or(1.0);
            crate::runtime::sleep(Duration::from_secs_f64(seconds)).await;
            m.respond([b"slow ", m.content()].concat())
        });
        end.on(ask("size"), |m| {
            let length = m.text().parse().expect("a number");
            m.respond(vec![b's'; length])
        });
        end.on_with(ask("inner"), inner.clone(), |m| {
            m.respond([b"inner ", m.content()].concat())
        });

        let store = Store::default();
        let stored = store.clone();
        end.on(T::REQUEST_URI, move |m| stored.read(&m));
        let stored = store.clone();
        end.on_with(T::CREATE_URI, inner.clone(), move |m| stored.create(&m));
        let stored = store.clone();
        end.on_with(T::UPDATE_URI, inner.clone(), move |m| stored.update(&m));
        end.on_with(T::DELETE_URI, inner, move |m| store.delete(&m));

        end.pubsub();
    }};
}
pub(crate) use add_endpoints;

/// Contents by URI, and what requests do to them.
#[derive(Clone, Default)]
pub(crate) struct Store {
    contents: Arc<Mutex<BTreeMap<Vec<u8>, Vec<u8>>>>,
}

impl Store {
    pub(crate) fn read(&self, m: &Message) -> Result<Message, TooLong> {
        match self.contents.lock().unwrap().get(m.uri()) {
            Some(content) => m.respond(content),
            None => m.not_found(),
        }
    }

    pub(crate) fn create(&self, m: &Message) -> Result<Message, TooLong> {
        match self.contents.lock().unwrap().entry(m.uri().to_vec()) {
            Entry::Occupied(_) => m.error("exists"),
            Entry::Vacant(place) => {
                place.insert(m.content().to_vec());
                m.ok("stored")
            }
        }
    }

    pub(crate) fn update(&self, m: &Message) -> Result<Message, TooLong> {
        match self.contents.lock().unwrap().get_mut(m.uri()) {
            Some(content) => {
                *content = m.content().to_vec();
                m.ok("stored")
            }
            None => m.not_found(),
        }
    }

    pub(crate) fn delete(&self, m: &Message) -> Result<Message, TooLong> {
        match self.contents.lock().unwrap().remove(m.uri()) {
            Some(_) => m.ok("deleted"),
            None => m.not_found(),
        }
    }
}
