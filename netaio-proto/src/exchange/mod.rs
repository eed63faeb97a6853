//! What an endpoint does with messages, whatever carries them.
//!
//! A [`Connection`](crate::Connection) puts it between a stream's two ends, a
//! [`Node`](crate::Node) between one socket and many. This file is the way of a
//! message out; `receive` is the way in. Both apply layers by the same two
//! functions, match replies by the same table and route by the same router.

mod plain;
mod receive;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::ops::Range;
use core::sync::atomic::AtomicBool;
use core::time::Duration;

use bytes::Bytes;

use crate::action::{CloseReason, Hint, ReplyToken};
use crate::config::{EndpointConfig, Keepalive, Role};
use crate::counters::Counters;
use crate::error::{PluginError, SendError, TooLong};
use crate::in_flight::{InFlight, Released, Reply, ReplyTo, Turn};
use crate::limits::Limits;
use crate::plugin::{Context, Layers, Peer, seal_both};
use crate::random::Random;
use crate::request::{Correlation, OuterUse, Request};
use crate::requests::{NewRequest, RequestId, Requests};
use crate::router::Router;
use crate::sealed::Sealing;
use crate::time::Instant;
use crate::wire::auth_fields::AuthFields;
use crate::wire::header::Header;
use crate::wire::message::{Message, header_of};
use crate::wire::message_type::MessageType;

/// What carries frames to and fro, as far as messages have to know.
pub(crate) trait Carrier {
    /// Whether frames are datagrams: they may come from anybody, get lost, and
    /// arrive twice or in another order.
    const DATAGRAMS: bool;

    /// Takes a frame on its way; gives its place among all bytes, or datagrams,
    /// that were ever taken.
    fn push(
        &mut self,
        now: Instant,
        to: SocketAddr,
        frame: Carried<'_>,
    ) -> Result<Range<u64>, SendError>;

    /// Bytes that wait to be sent.
    fn queued(&self) -> usize;

    /// How many of them are answers, or more.
    fn answers(&self) -> usize {
        self.queued()
    }

    /// Notes where an answer has been put.
    fn note_answer(&mut self, _place: &Range<u64>) {}

    /// Whether as much waits to be sent on all carriers together as may, this
    /// one's part in it included.
    fn is_crowded(&self, limits: &Limits) -> bool;

    /// Whether requests of others are taken in.
    fn is_open(&self) -> bool;

    /// Ends everything, if that can be done; `false` if not.
    fn close(&mut self, reason: CloseReason) -> bool;

    /// Who is at an address, if that is known.
    fn peer(&self, at: SocketAddr) -> Option<Arc<Peer>>;

    /// Notes that a message which passed the endpoint's own layers came from an
    /// address.
    fn note_seen(&mut self, now: Instant, from: SocketAddr);

    /// Keeps an error that says neither what it is about nor who made it.
    fn keep_hint(&mut self, now: Instant, from: SocketAddr, hint: Hint);
}

/// A message with all its layers, ready to be carried.
#[derive(Clone, Debug)]
pub(crate) struct SealedFrame {
    pub(crate) header: Header,
    pub(crate) fields: AuthFields,
    pub(crate) body: Bytes,
}

/// A frame on its way to a carrier.
#[derive(Debug)]
pub(crate) struct Carried<'a> {
    pub(crate) header: Header,
    pub(crate) auth: &'a [u8],
    pub(crate) body: Bytes,
}

impl SealedFrame {
    /// A message with its layers and its id.
    fn new(
        message_type: MessageType,
        fields: AuthFields,
        body: Bytes,
    ) -> Result<Self, SendError> {
        let header = header_of(message_type, fields.packed(), &body)?;
        Ok(Self {
            header,
            fields,
            body,
        })
    }

    fn push<C: Carrier>(
        self,
        carrier: &mut C,
        now: Instant,
        to: SocketAddr,
    ) -> Result<Range<u64>, SendError> {
        let frame = Carried {
            header: self.header,
            auth: self.fields.packed(),
            body: self.body,
        };
        carrier.push(now, to, frame)
    }

    /// The frame in one piece.
    pub(crate) fn to_bytes(&self) -> Bytes {
        join(self.header, self.fields.packed(), &self.body)
    }
}

impl Carried<'_> {
    /// The frame in one piece.
    pub(crate) fn to_bytes(&self) -> Bytes {
        join(self.header, self.auth, &self.body)
    }
}

fn join(header: Header, auth: &[u8], body: &[u8]) -> Bytes {
    let mut bytes = Vec::with_capacity(header.frame_length());
    bytes.extend_from_slice(&header.encode());
    bytes.extend_from_slice(auth);
    bytes.extend_from_slice(body);
    bytes.into()
}

/// Where a frame came from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    /// Most bytes that may be sent back before it is sure that what sent the
    /// frame is at this address; `None` if that is sure.
    pub(crate) room: Option<usize>,
}

/// The state of an endpoint's messages.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) config: Arc<EndpointConfig>,
    pub(crate) router: Arc<Router>,
    pub(crate) random: Random,
    pub(crate) now: Instant,
    pub(crate) unix_time: u64,
    pub(crate) requests: Requests,
    pub(crate) in_flight: InFlight,
    pub(crate) counters: Counters,
    /// The request for a sign of life that waits for its answer.
    probe: Option<RequestId>,
    /// Whether the peer sends ids with its own requests.
    asked_with_ids: bool,
    errors: ErrorWindow,
}

impl Exchange {
    pub(crate) fn new(
        config: Arc<EndpointConfig>,
        router: Arc<Router>,
        requests: Requests,
        in_flight: InFlight,
        random: Random,
        now: Instant,
    ) -> Self {
        Self {
            config,
            router,
            random,
            now,
            unix_time: 0,
            requests,
            in_flight,
            counters: Counters::default(),
            probe: None,
            asked_with_ids: false,
            errors: ErrorWindow::default(),
        }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.config.limits
    }

    /// Notes the time. It never goes back.
    #[inline]
    pub(crate) fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
        self.requests.date(self.now);
    }

    /// Sends a request, and notes it.
    pub(crate) fn request<C: Carrier>(
        &mut self,
        carrier: &mut C,
        to: SocketAddr,
        request: Request,
    ) -> Result<RequestId, SendError> {
        let outcome = self.request_undated(carrier, to, request);
        self.requests.date(self.now);
        outcome
    }

    /// Sends a request, and notes it. Its time begins with the next
    /// [`advance`](Self::advance).
    #[inline(always)]
    pub(crate) fn request_undated<C: Carrier>(
        &mut self,
        carrier: &mut C,
        to: SocketAddr,
        request: Request,
    ) -> Result<RequestId, SendError> {
        let limit = self.limits().max_pending;
        if self.requests.len() >= limit {
            return Err(SendError::TooManyPending { limit });
        }
        let rid = match self.config.correlation {
            Correlation::RequestIds => {
                Some(self.requests.fresh_rid(&mut self.random))
            }
            Correlation::Off => None,
        };
        let Request {
            message,
            timeout,
            outer,
            mut special,
        } = request;
        let message_type = message.message_type();
        let target = self.requests.target(to, message.uri());
        let none = Layers::new();
        let sealed = special.as_mut().and_then(|special| special.sealed.take());
        let sent = match (sealed, &special) {
            (Some(sealed), _) => {
                let neither = OuterUse::NEITHER;
                self.push(carrier, to, sealed, &none, neither, rid)
            }
            (None, special) => {
                let inner = special.as_ref().map_or(&none, |s| &s.layers);
                self.push(carrier, to, message, inner, outer, rid)
            }
        };
        let place = match sent {
            Ok(place) => place,
            Err(error) => {
                self.requests.forget(target);
                return Err(error);
            }
        };
        self.counters.requests += 1;
        let new = NewRequest {
            rid,
            message_type,
            target,
            special,
            outer,
            timeout,
            place,
        };
        Ok(self.requests.insert(new))
    }

    /// Asks the other end for a sign of life. `false` if the answer could be
    /// taken for another request's, or might never come, or if asking would cost
    /// as much work as the endpoint's own layer makes it.
    pub(crate) fn probe<C: Carrier>(
        &mut self,
        carrier: &mut C,
        to: SocketAddr,
        patience: Duration,
    ) -> bool {
        let exact = self.requests.are_answered_by_id() || self.asked_with_ids;
        // Whoever looks at the clock must not be kept busy.
        let cheap = !self.config.layers.is_costly(MessageType::REQUEST_URI);
        let fits = cheap
            && match self.config.role {
                Role::Client => exact || self.requests.len() == 0,
                Role::Server => exact,
            };
        if self.probe.is_some() {
            return true;
        }
        let asked = Message::new(MessageType::REQUEST_URI, Keepalive::URI, "")
            .ok()
            .filter(|_| fits)
            .and_then(|message| {
                let request = Request::new(message).timeout(patience);
                self.request(carrier, to, request).ok()
            });
        self.counters.probes += u64::from(asked.is_some());
        self.probe = asked;
        self.probe.is_some()
    }

    /// Whether it was the request for a sign of life that has ended.
    pub(crate) fn ends_probe(&mut self, request: RequestId) -> bool {
        self.probe.take_if(|probe| *probe == request).is_some()
    }

    /// Does not ask for a sign of life any longer.
    pub(crate) fn forget_probe(&mut self) {
        if let Some(probe) = self.probe.take() {
            self.requests.cancel(self.now, probe);
        }
    }

    /// Requests of the caller's that wait for a reply.
    pub(crate) fn pending(&self) -> usize {
        self.requests.live() - usize::from(self.probe.is_some())
    }

    /// Takes out a request whose reply cannot come any more; tells whether it
    /// had been written.
    pub(crate) fn pop_failed(&mut self, written: u64) -> Option<(RequestId, bool)> {
        loop {
            let failed = self.requests.pop_failed(written)?;
            if !self.ends_probe(failed.0) {
                return Some(failed);
            }
        }
    }

    /// Seals a message and hands it to the carrier.
    #[inline]
    pub(crate) fn push<C: Carrier>(
        &mut self,
        carrier: &mut C,
        to: SocketAddr,
        message: Message,
        inner: &Layers,
        outer: OuterUse,
        rid: Option<u64>,
    ) -> Result<Range<u64>, SendError> {
        let plain = inner.is_empty() && self.config.layers.is_empty();
        let place = if plain && let Some(section) = message.fields().usual(rid) {
            let header = header_of(message.message_type(), &section, message.body());
            let frame = Carried {
                header: header?,
                auth: &section,
                body: message.into_body(),
            };
            carrier.push(self.now, to, frame)?
        } else {
            self.push_sealed(carrier, to, message, inner, outer, rid)?
        };
        self.counters.frames_out += 1;
        Ok(place)
    }

    /// Seals a message for a peer, with some of the endpoint's own plugins.
    pub(crate) fn seal(
        &mut self,
        message: Message,
        inner: &Layers,
        outer: OuterUse,
        rid: Option<u64>,
        peer: Option<&Peer>,
    ) -> Result<SealedFrame, SendError> {
        let (config, mut context) = self.context(peer);
        let outer = outer.of(&config.layers);
        seal(message, inner, &outer, rid, &mut context)
    }

    /// What seals a message for a peer apart from here.
    pub(crate) fn sealing(&mut self, peer: Option<Arc<Peer>>) -> Sealing {
        let config = Arc::clone(&self.config);
        Sealing::new(config, self.unix_time, self.random.bytes(), peer)
    }

    /// Whether sealing a message of this type takes long.
    pub(crate) fn is_costly(
        &self,
        message_type: MessageType,
        inner: &Layers,
        outer: OuterUse,
    ) -> bool {
        inner.is_costly(message_type)
            || outer.auth && self.config.layers.is_costly(message_type)
    }

    /// The configuration, and what its plugins are given besides the message.
    fn context<'a>(
        &'a mut self,
        peer: Option<&'a Peer>,
    ) -> (&'a EndpointConfig, Context<'a>) {
        let context = Context {
            unix_time: self.unix_time,
            random: &mut self.random,
            local_peer: self.config.local_peer.as_deref(),
            peer,
        };
        (&self.config, context)
    }

    /// Notes how a dispatched message is answered, and sends what may leave.
    #[inline]
    pub(crate) fn conclude<C: Carrier>(
        &mut self,
        carrier: &mut C,
        token: &ReplyToken,
        reply: Option<Reply>,
    ) -> Result<(), SendError> {
        let to = match self.in_flight.turn(token) {
            Turn::Now(to) => to,
            Turn::Later => {
                self.in_flight.hold(token, reply);
                return Ok(());
            }
            Turn::Stale => return Err(SendError::StaleToken),
        };
        let slot = token.slot();
        if let Some(reply) = reply
            && let Err(error) = self.push_reply(carrier, slot, &to, reply)
        {
            self.end(carrier, slot);
            return Err(error);
        }
        self.end(carrier, slot);
        Ok(())
    }

    /// Ends a request of others, and sends replies that waited for its own.
    #[inline]
    fn end<C: Carrier>(&mut self, carrier: &mut C, slot: u32) {
        let mut next = self.in_flight.end(slot);
        while let Some(Released { slot, to, reply }) = next {
            if let Some(reply) = reply {
                // Whoever made it has been told that it was taken.
                let _ = self.push_reply(carrier, slot, &to, reply);
            }
            next = self.in_flight.end(slot);
        }
    }

    #[inline(never)]
    fn push_sealed<C: Carrier>(
        &mut self,
        carrier: &mut C,
        to: SocketAddr,
        message: Message,
        inner: &Layers,
        outer: OuterUse,
        rid: Option<u64>,
    ) -> Result<Range<u64>, SendError> {
        let peer = carrier.peer(to);
        let frame = self.seal(message, inner, outer, rid, peer.as_deref())?;
        frame.push(carrier, self.now, to)
    }

    #[inline]
    fn push_reply<C: Carrier>(
        &mut self,
        carrier: &mut C,
        slot: u32,
        to: &ReplyTo,
        reply: Reply,
    ) -> Result<(), SendError> {
        let inner = to.layers.get();
        let room = to.room.filter(|_| reply.own || to.raw);
        let sent = match room {
            None => {
                let outer = to.outer();
                let message = reply.message;
                match self.push(carrier, to.address, message, inner, outer, to.rid) {
                    Ok(place) => {
                        carrier.note_answer(&place);
                        return Ok(());
                    }
                    Err(error) => Err(error),
                }
            }
            Some(room) => self.push_within(carrier, room, to, reply.message, inner),
        };
        if sent.is_err() {
            self.push_sorry(carrier, slot, to);
        }
        sent
    }

    /// Tells whoever asked that the reply cannot be sent, since it must not wait
    /// for it.
    #[cold]
    fn push_sorry<C: Carrier>(&mut self, carrier: &mut C, slot: u32, to: &ReplyTo) {
        let text = "the reply cannot be sent";
        let uri = self.in_flight.uri_of(slot);
        if let Ok(sorry) = own_reply(MessageType::ERROR, uri, text) {
            // Without the route's layers: those may be what failed. If not even
            // that can be sealed, nothing more can be said.
            let none = Layers::new();
            let room = to.room.unwrap_or(usize::MAX);
            let _ = self.push_within(carrier, room, to, sorry, &none);
        }
    }

    /// Sends a reply that has at most `room` bytes, without its text if need be,
    /// or not at all.
    fn push_within<C: Carrier>(
        &mut self,
        carrier: &mut C,
        room: usize,
        to: &ReplyTo,
        reply: Message,
        inner: &Layers,
    ) -> Result<(), SendError> {
        let peer = carrier.peer(to.address);
        let kind = reply.message_type();
        let brief = kind.is_error().then(|| Message::new(kind, reply.uri(), ""));
        let brief = brief.and_then(Result::ok);
        for reply in [Some(reply), brief].into_iter().flatten() {
            let frame =
                self.seal(reply, inner, to.outer(), to.rid, peer.as_deref())?;
            if frame.header.frame_length() <= room {
                let place = frame.push(carrier, self.now, to.address)?;
                carrier.note_answer(&place);
                self.counters.frames_out += 1;
                return Ok(());
            }
        }
        self.counters.withheld += 1;
        Ok(())
    }

    /// Sends a reply that this endpoint makes by itself, in its turn.
    fn reply_now<C: Carrier>(
        &mut self,
        carrier: &mut C,
        token: ReplyToken,
        reply: Result<Message, TooLong>,
    ) {
        let reply = reply.ok().map(Reply::own);
        // The token was made a moment ago, and a reply that cannot be sealed
        // has been replaced by an error.
        let _ = self.conclude(carrier, &token, reply);
    }

    /// Answers a message that was dispatched with `ERROR`, its own URI and this
    /// text, or its beginning if it is too long.
    pub(crate) fn reply_error<C: Carrier>(
        &mut self,
        carrier: &mut C,
        token: &ReplyToken,
        text: &str,
    ) -> Result<(), SendError> {
        let uri = self.in_flight.uri(token).unwrap_or_default();
        let most = text.len().min(LONGEST_ERROR_TEXT);
        let end = (0..=most).rfind(|at| text.is_char_boundary(*at));
        let text = &text[..end.unwrap_or(0)];
        let reply = own_reply(MessageType::ERROR, uri, text);
        let unmade = reply.as_ref().err().copied();
        let concluded = self.conclude(carrier, token, reply.ok().map(Reply::own));
        match unmade {
            Some(error) => Err(error.into()),
            None => concluded,
        }
    }

    /// Whether as many requests are in flight, or as many bytes of answers
    /// wait to be sent, as the limits allow.
    pub(crate) fn is_full<C: Carrier>(&self, carrier: &C) -> bool {
        let limits = self.limits();
        self.is_busy()
            || carrier.answers() + self.in_flight.held_bytes()
                >= limits.outgoing_high_water
            || carrier.is_crowded(limits)
    }

    /// Whether as many requests are in flight as the limits allow.
    pub(crate) fn is_busy(&self) -> bool {
        let limits = self.limits();
        self.in_flight.len() >= limits.max_in_flight
            || self.in_flight.bytes() >= limits.max_in_flight_bytes
    }

    /// Ends everything, if the carrier can be closed.
    pub(crate) fn close<C: Carrier>(
        &mut self,
        carrier: &mut C,
        reason: CloseReason,
    ) {
        if carrier.close(reason) {
            self.in_flight.clear();
        }
    }
}

/// The way out: inner cipher, inner auth, outer cipher, outer auth.
pub(crate) fn seal(
    message: Message,
    inner: &Layers,
    outer: &Layers,
    rid: Option<u64>,
    context: &mut Context<'_>,
) -> Result<SealedFrame, SendError> {
    if inner.is_empty() && outer.is_empty() {
        let (message_type, mut fields, body) = message.into_parts();
        give_id(&mut fields, rid)?;
        return SealedFrame::new(message_type, fields, body);
    }
    let mut envelope = message.into_envelope();
    // Nearly always it is the first field, which is quickly set.
    give_id(&mut envelope.fields, rid)?;
    let never = AtomicBool::new(false);
    seal_both(inner, outer, &never, &mut envelope, context)?;
    // Whatever the plugins have done to the fields, a reply finds its request.
    give_id(&mut envelope.fields, rid)?;
    let body = envelope.body.freeze();
    SealedFrame::new(envelope.message_type, envelope.fields, body)
}

/// Sets the id that a message is to have, unless it has it. One that came with a
/// message which is passed on means nothing here.
fn give_id(fields: &mut AuthFields, rid: Option<u64>) -> Result<(), PluginError> {
    if fields.rid() == rid {
        return Ok(());
    }
    match rid {
        Some(rid) => fields.set_rid(rid),
        None => {
            fields.remove(AuthFields::RID);
            Ok(())
        }
    }
    .map_err(|_| PluginError::FieldsTooLong)
}

/// Bytes of the text of an error that are sent: enough to see what it is about.
const LONGEST_ERROR_TEXT: usize = 60_000;

/// A reply that an endpoint makes itself; without the URI if that leaves no
/// room for the text.
fn own_reply(kind: MessageType, uri: &[u8], text: &str) -> Result<Message, TooLong> {
    Message::new(kind, uri, text).or_else(|_| Message::new(kind, "", text))
}

/// Bad messages within the current minute.
#[derive(Clone, Copy, Debug, Default)]
struct ErrorWindow {
    since: Instant,
    count: u32,
}

impl ErrorWindow {
    /// Counts one; `true` if it is one too many.
    fn count(&mut self, now: Instant, limit: u32) -> bool {
        const MINUTE: Duration = Duration::from_secs(60);
        if now.duration_since(self.since) >= MINUTE {
            *self = Self {
                since: now,
                count: 0,
            };
        }
        self.count = self.count.saturating_add(1);
        self.count > limit
    }
}
