//! Requests of others that have been dispatched and not yet answered.
//!
//! A peer that sends no request ids tells the replies for one URI apart by
//! their order. On a stream such replies therefore leave in the order of their
//! requests: one that is ready early waits for those before it. Replies to
//! requests with an id leave when they are ready, and so do all datagrams, which
//! keep no order.

use alloc::vec::Vec;
use core::net::SocketAddr;

use smallvec::SmallVec;

use crate::action::ReplyToken;
use crate::plugin::Layers;
use crate::wire::auth_fields::RID_LENGTH;
use crate::wire::message::Message;

/// What a reply has to be sent with.
#[derive(Debug)]
pub(crate) struct ReplyTo {
    /// Who asked.
    pub(crate) address: SocketAddr,
    /// The request's id, to be repeated.
    pub(crate) rid: Option<[u8; RID_LENGTH]>,
    /// The request's URI.
    pub(crate) uri: Uri,
    /// The route's layers.
    pub(crate) layers: Layers,
    /// Without any layers, not even the endpoint's own.
    pub(crate) raw: bool,
    /// Bytes of the message that is answered, which whoever answers it keeps.
    pub(crate) length: usize,
    /// Most bytes of a reply that no handler made, to a source that may not be
    /// who it says it is: as many as came from there.
    pub(crate) room: Option<usize>,
}

/// What is answered.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) message: Message,
    /// Whether the endpoint made it, rather than a handler.
    pub(crate) own: bool,
}

impl Reply {
    /// A reply that the endpoint makes itself.
    pub(crate) fn own(message: Message) -> Self {
        Self { message, own: true }
    }

    /// A reply that a handler made.
    pub(crate) fn made(message: Message) -> Self {
        Self {
            message,
            own: false,
        }
    }
}

/// A URI that is kept while its request is in flight; a short one needs no
/// allocation.
pub(crate) type Uri = SmallVec<[u8; 24]>;

#[derive(Debug)]
struct Entry {
    generation: u32,
    serial: u64,
    to: ReplyTo,
    state: EntryState,
}

#[derive(Debug)]
enum EntryState {
    /// The reply is not known yet.
    Open,
    /// The reply (or that there is none) waits for those before it.
    Held(Option<Reply>),
}

/// All unanswered requests of an endpoint.
#[derive(Debug)]
pub(crate) struct InFlight {
    connection: u64,
    /// Whether replies to requests without an id keep their order.
    in_order: bool,
    slots: Vec<Option<Entry>>,
    free: Vec<u32>,
    generation: u32,
    serial: u64,
    held_bytes: usize,
    /// Bytes of the messages that are in flight.
    bytes: usize,
}

impl InFlight {
    /// `connection` tells the tokens of one connection from those of others.
    pub(crate) fn new(connection: u64, in_order: bool) -> Self {
        Self {
            connection,
            in_order,
            slots: Vec::new(),
            free: Vec::new(),
            generation: 0,
            serial: 0,
            held_bytes: 0,
            bytes: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Bytes of the messages that are in flight.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of replies that wait for others.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    pub(crate) fn begin(&mut self, to: ReplyTo) -> ReplyToken {
        self.generation = self.generation.wrapping_add(1);
        self.serial += 1;
        self.bytes += to.length;
        let entry = Entry {
            generation: self.generation,
            serial: self.serial,
            to,
            state: EntryState::Open,
        };
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            (self.slots.len() - 1) as u32
        });
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = Some(entry);
        }
        ReplyToken {
            connection: self.connection,
            slot,
            generation: self.generation,
        }
    }

    /// Notes the reply to a request, or that there is none; `false` if the
    /// token is stale. Then take what may leave with
    /// [`take_ready`](Self::take_ready).
    #[must_use]
    pub(crate) fn finish(
        &mut self,
        token: &ReplyToken,
        reply: Option<Reply>,
    ) -> bool {
        if token.connection != self.connection {
            return false;
        }
        let entry = self.slots.get_mut(token.slot as usize);
        match entry.and_then(Option::as_mut) {
            Some(entry) if entry.generation == token.generation => {
                self.held_bytes += reply.as_ref().map_or(0, length);
                entry.state = EntryState::Held(reply);
                true
            }
            _ => false,
        }
    }

    /// The next reply that may leave, starting with the one in `slot` that was
    /// just finished, and then those for the same URI that waited for it.
    pub(crate) fn take_ready(
        &mut self,
        cursor: &mut Cursor,
    ) -> Option<(ReplyTo, Option<Reply>)> {
        let slot = match cursor {
            Cursor::Finished(slot) => {
                let slot = *slot;
                let entry = self.slots.get(slot as usize)?.as_ref()?;
                if !self.is_next(entry) {
                    *cursor = Cursor::Done;
                    return None;
                }
                slot
            }
            Cursor::After(uri) => self.next_held(uri)?,
            Cursor::Done => return None,
        };
        let entry = self.slots.get_mut(slot as usize)?.take()?;
        self.free.push(slot);
        *cursor = if self.keeps_order(&entry) {
            Cursor::After(entry.to.uri.clone())
        } else {
            Cursor::Done
        };
        let EntryState::Held(reply) = entry.state else {
            return None;
        };
        self.held_bytes -= reply.as_ref().map_or(0, length);
        self.bytes -= entry.to.length;
        Some((entry.to, reply))
    }

    /// The URI of the request that this token answers.
    pub(crate) fn uri(&self, token: &ReplyToken) -> Option<&[u8]> {
        let entry = self.slots.get(token.slot as usize)?.as_ref()?;
        let fits = token.connection == self.connection
            && token.generation == entry.generation;
        fits.then_some(&entry.to.uri[..])
    }

    /// Forgets all: the connection is over.
    pub(crate) fn clear(&mut self) {
        self.slots = Vec::new();
        self.free = Vec::new();
        self.held_bytes = 0;
        self.bytes = 0;
        // Tokens given out before must not fit what may come.
        self.connection = self.connection.wrapping_add(1);
    }

    /// Gives back memory if nothing is in flight.
    pub(crate) fn release(&mut self) {
        if self.len() == 0 {
            self.slots = Vec::new();
            self.free = Vec::new();
        }
    }

    fn keeps_order(&self, entry: &Entry) -> bool {
        self.in_order && entry.to.rid.is_none()
    }

    /// Whether no request before this one still keeps its URI's turn.
    fn is_next(&self, entry: &Entry) -> bool {
        !self.keeps_order(entry)
            || !self
                .uncorrelated(&entry.to.uri)
                .any(|(_, other)| other.serial < entry.serial)
    }

    /// The first request for a URI, if its reply is there.
    fn next_held(&self, uri: &[u8]) -> Option<u32> {
        let (slot, entry) = self
            .uncorrelated(uri)
            .min_by_key(|(_, entry)| entry.serial)?;
        matches!(entry.state, EntryState::Held(_)).then_some(slot as u32)
    }

    fn uncorrelated<'a>(
        &'a self,
        uri: &'a [u8],
    ) -> impl Iterator<Item = (usize, &'a Entry)> {
        let entries = self.slots.iter().enumerate();
        entries
            .filter_map(|(slot, entry)| Some((slot, entry.as_ref()?)))
            .filter(move |(_, entry)| {
                entry.to.rid.is_none() && entry.to.uri[..] == *uri
            })
    }
}

/// Where [`InFlight::take_ready`] is.
#[derive(Debug)]
pub(crate) enum Cursor {
    /// At the request that was just finished.
    Finished(u32),
    /// At those for the same URI that may have waited for it.
    After(Uri),
    /// At the end.
    Done,
}

fn length(reply: &Reply) -> usize {
    reply.message.body().len()
}
