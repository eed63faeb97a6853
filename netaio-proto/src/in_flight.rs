//! Requests of others that have been dispatched and not yet answered.
//!
//! A peer that sends no request ids tells the replies for one URI apart by
//! their order. On a stream such replies therefore leave in the order of their
//! requests: one that is ready early waits for those before it. Replies to
//! requests with an id leave when they are ready, and so do all datagrams, which
//! keep no order.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::num::NonZeroU64;

use smallvec::SmallVec;

use crate::action::ReplyToken;
use crate::request::OuterUse;
use crate::router::RouteLayers;
use crate::wire::message::Message;

/// What a reply has to be sent with.
#[derive(Clone, Debug)]
pub(crate) struct ReplyTo {
    /// Who asked.
    pub(crate) address: SocketAddr,
    /// The request's id, to be repeated.
    pub(crate) rid: Option<u64>,
    /// The route's layers.
    pub(crate) layers: RouteLayers,
    /// Without any layers, not even the endpoint's own.
    pub(crate) raw: bool,
    /// Most bytes of a reply that no handler made, to a source that may not be
    /// who it says it is: as many as came from there.
    pub(crate) room: Option<usize>,
}

impl ReplyTo {
    /// Which of the endpoint's own plugins a reply is sealed with.
    pub(crate) fn outer(&self) -> OuterUse {
        match self.raw {
            true => OuterUse::NEITHER,
            false => OuterUse::default(),
        }
    }
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
type Uri = SmallVec<[u8; 24]>;

/// A place for a request. One that is free is kept as it is: most of it is
/// written anew for the next request.
#[derive(Debug)]
struct Entry {
    state: EntryState,
    generation: u32,
    serial: u64,
    to: ReplyTo,
    /// The request's URI.
    uri: Uri,
    /// Bytes of the message that is answered, which whoever answers it keeps.
    length: usize,
}

impl Entry {
    /// A short one's place is used again as it is.
    fn forget_uri(&mut self) {
        if self.uri.spilled() {
            self.uri = Uri::new();
        } else {
            self.uri.clear();
        }
    }
}

#[derive(Debug)]
enum EntryState {
    /// There is no request.
    Free,
    /// The reply is not known yet.
    Open,
    /// The reply (or that there is none) waits for those before it.
    Held(Option<Box<Reply>>),
}

/// All unanswered requests of an endpoint.
#[derive(Debug)]
pub(crate) struct InFlight {
    connection: NonZeroU64,
    /// Whether replies to requests without an id keep their order.
    in_order: bool,
    entries: Vec<Entry>,
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
            connection: NonZeroU64::new(connection).unwrap_or(NonZeroU64::MIN),
            in_order,
            entries: Vec::new(),
            free: Vec::new(),
            generation: 0,
            serial: 0,
            held_bytes: 0,
            bytes: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Bytes of the messages that are in flight.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of replies that wait for others.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Notes a request for a URI, whose message has so many bytes.
    #[inline]
    pub(crate) fn begin(
        &mut self,
        to: ReplyTo,
        uri: &[u8],
        length: usize,
    ) -> ReplyToken {
        self.generation = self.generation.wrapping_add(1);
        self.serial += 1;
        self.bytes += length;
        let (generation, serial) = (self.generation, self.serial);
        let state = EntryState::Open;
        let place = self.free.pop();
        let slot = place.unwrap_or(self.entries.len() as u32);
        match self.entries.get_mut(slot as usize) {
            Some(entry) => {
                entry.state = state;
                entry.generation = generation;
                entry.serial = serial;
                entry.to = to;
                entry.uri.extend_from_slice(uri);
                entry.length = length;
            }
            None => self.entries.push(Entry {
                state,
                generation,
                serial,
                to,
                uri: Uri::from_slice(uri),
                length,
            }),
        }
        ReplyToken::new(self.connection, slot, generation)
    }

    /// Whether the reply to a request may leave now.
    #[inline]
    pub(crate) fn turn(&self, token: &ReplyToken) -> Turn {
        match self.entry(token) {
            Some(entry) if !self.is_next(entry) => Turn::Later,
            Some(entry) => Turn::Now(entry.to.clone()),
            None => Turn::Stale,
        }
    }

    /// Keeps the reply to a request, or that there is none, until it is its turn.
    pub(crate) fn hold(&mut self, token: &ReplyToken, reply: Option<Reply>) {
        if let Some(entry) = self.entries.get_mut(token.slot() as usize) {
            self.held_bytes += reply.as_ref().map_or(0, length);
            entry.state = EntryState::Held(reply.map(Box::new));
        }
    }

    /// Ends a request. Gives the next whose reply may leave, if it waited for
    /// this one's; that has to be ended as well.
    #[inline]
    pub(crate) fn end(&mut self, slot: u32) -> Option<Released> {
        let entry = self.entries.get_mut(slot as usize)?;
        entry.state = EntryState::Free;
        entry.to.layers = RouteLayers::default();
        self.bytes -= entry.length;
        self.free.push(slot);
        if !self.in_order || entry.to.rid.is_some() {
            entry.forget_uri();
            return None;
        }
        let uri = core::mem::take(&mut entry.uri);
        let slot = self.next_held(&uri)?;
        let entry = self.entries.get_mut(slot as usize)?;
        let held = core::mem::replace(&mut entry.state, EntryState::Open);
        let EntryState::Held(reply) = held else {
            return None;
        };
        self.held_bytes -= reply.as_deref().map_or(0, length);
        Some(Released {
            slot,
            to: entry.to.clone(),
            reply: reply.map(|reply| *reply),
        })
    }

    /// The URI of the request that this token answers.
    pub(crate) fn uri(&self, token: &ReplyToken) -> Option<&[u8]> {
        self.entry(token).map(|entry| &entry.uri[..])
    }

    /// The URI of the request in this place.
    pub(crate) fn uri_of(&self, slot: u32) -> &[u8] {
        let entry = self.entries.get(slot as usize);
        entry.map_or(&[], |entry| &entry.uri)
    }

    #[inline]
    fn entry(&self, token: &ReplyToken) -> Option<&Entry> {
        let entry = self.entries.get(token.slot() as usize)?;
        let fits = token.connection == self.connection
            && token.generation() == entry.generation
            && matches!(entry.state, EntryState::Open);
        fits.then_some(entry)
    }

    /// Forgets all: the connection is over.
    pub(crate) fn clear(&mut self) {
        self.entries = Vec::new();
        self.free = Vec::new();
        self.held_bytes = 0;
        self.bytes = 0;
        // Tokens given out before must not fit what may come.
        let next = self.connection.checked_add(1);
        self.connection = next.unwrap_or(NonZeroU64::MIN);
    }

    /// Gives back memory if nothing is in flight.
    pub(crate) fn release(&mut self) {
        if self.len() == 0 {
            self.entries = Vec::new();
            self.free = Vec::new();
        }
    }

    /// Whether no request before this one still keeps its URI's turn.
    #[inline]
    fn is_next(&self, entry: &Entry) -> bool {
        !self.in_order
            || entry.to.rid.is_some()
            || !self
                .uncorrelated(&entry.uri)
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
        let entries = self.entries.iter().enumerate();
        entries.filter(move |(_, entry)| {
            entry.to.rid.is_none()
                && !matches!(entry.state, EntryState::Free)
                && entry.uri[..] == *uri
        })
    }
}

/// Whether a reply may leave.
#[derive(Debug)]
pub(crate) enum Turn {
    /// It may, and then its request [ends](InFlight::end).
    Now(ReplyTo),
    /// It waits for others: [hold](InFlight::hold) it.
    Later,
    /// The token is of no use any more.
    Stale,
}

/// A reply that waited for another, and may leave now.
#[derive(Debug)]
pub(crate) struct Released {
    pub(crate) slot: u32,
    pub(crate) to: ReplyTo,
    pub(crate) reply: Option<Reply>,
}

fn length(reply: &Reply) -> usize {
    reply.message.body().len()
}
