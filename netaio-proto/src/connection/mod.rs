//! One stream, seen from either end, as a state machine.
//!
//! This file is what a caller sees: bytes and time in, bytes, actions and
//! deadlines out, and the way of a message out. The way in is `receive`; what
//! time does is `timers`.

mod receive;
mod timers;

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;

use bytes::Buf as _;

use self::timers::{ErrorWindow, FrameTimer, WriteTimer};
use crate::action::{Action, CloseReason, ReplyToken};
use crate::config::{ConnectionConfig, Role};
use crate::counters::Counters;
use crate::decoder::FrameDecoder;
use crate::error::{PluginError, RequestError, SendError, TooLong};
use crate::in_flight::{Cursor, InFlight, ReplyTo};
use crate::outgoing::Outgoing;
use crate::plugin::{Context, Layers, Peer};
use crate::random::Random;
use crate::request::{Correlation, OuterUse, Request};
use crate::requests::{NewRequest, RequestId, Requests};
use crate::router::Router;
use crate::time::Instant;
use crate::wire::auth_fields::{AuthFields, RID_LENGTH};
use crate::wire::header::Header;
use crate::wire::message::{Message, header_of};
use crate::wire::message_type::MessageType;

/// One stream, seen from either end.
///
/// Feed it what the socket brings and what the clock says; write what it has
/// to write; do what its actions ask for. Calls may come in any order, and
/// forgetting one only delays. It never blocks, never reads a clock, and every
/// call does work that its input and the limits bound.
///
/// A loop around it is: [`poll_action`](Self::poll_action) until `None`; write
/// [`outgoing`](Self::outgoing); wait for the socket or
/// [`poll_timeout`](Self::poll_timeout), reading only if
/// [`wants_read`](Self::wants_read). The crate's page has one that runs.
pub struct Connection {
    config: Arc<ConnectionConfig>,
    router: Arc<Router>,
    remote: SocketAddr,
    peer: Option<Arc<Peer>>,
    random: Random,
    now: Instant,
    unix_time: u64,
    decoder: FrameDecoder,
    outgoing: Outgoing,
    /// Bytes that were ever put into `outgoing`.
    enqueued: u64,
    /// Bytes that were taken with `take_outgoing` and are not yet written.
    taken: usize,
    requests: Requests,
    in_flight: InFlight,
    actions: VecDeque<Action>,
    state: State,
    /// Since when the peer sends no more.
    eof: Option<Instant>,
    last_activity: Instant,
    /// What had been written when activity was last looked for.
    idle_mark: u64,
    frame_timer: Option<FrameTimer>,
    write_timer: Option<WriteTimer>,
    errors: ErrorWindow,
    counters: Counters,
}

#[derive(Clone, Debug, PartialEq)]
enum State {
    Open,
    /// No new requests are taken; what was accepted is still answered.
    Draining {
        reason: CloseReason,
        until: Instant,
        /// Whether replies to requests of ours are still waited for.
        replies: bool,
    },
    /// Pending requests are being reported.
    Closing(CloseReason),
    Closed,
}

impl Connection {
    /// A connection that begins now. `seed` decides all its randomness: give
    /// each connection secret, fresh bytes; a test may give a constant.
    pub fn new(
        config: Arc<ConnectionConfig>,
        router: Arc<Router>,
        remote: SocketAddr,
        seed: [u8; 32],
        now: Instant,
    ) -> Self {
        let mut random = Random::from_seed(seed);
        let grace = config.limits.late_reply_grace;
        let requests = Requests::new(grace, &mut random);
        let frame_timer =
            (config.role == Role::Server).then(|| FrameTimer::first(now));
        Self {
            in_flight: InFlight::new(random.next_u64()),
            requests,
            random,
            config,
            router,
            remote,
            peer: None,
            now,
            unix_time: 0,
            decoder: FrameDecoder::new(),
            outgoing: Outgoing::new(),
            enqueued: 0,
            taken: 0,
            actions: VecDeque::new(),
            state: State::Open,
            eof: None,
            last_activity: now,
            idle_mark: 0,
            frame_timer,
            write_timer: None,
            errors: ErrorWindow::default(),
            counters: Counters::default(),
        }
    }

    // --- in ---

    /// Takes in a copy of bytes that the socket brought.
    pub fn handle_input(&mut self, now: Instant, bytes: &[u8]) {
        self.decoder.push(bytes);
        self.note_input(now, bytes.len());
    }

    /// Room to read into without a copy; then tell how much came with
    /// [`handle_received`](Self::handle_received). Never empty.
    pub fn recv_buffer(&mut self) -> &mut [u8] {
        self.decoder.recv_buffer()
    }

    /// Notes that `count` bytes of the receive buffer were filled.
    pub fn handle_received(&mut self, now: Instant, count: usize) {
        self.decoder.received(count);
        self.note_input(now, count);
    }

    /// Notes that the peer will send no more. What came before is still worked
    /// through and answered; requests of ours that are then unanswered fail.
    pub fn handle_eof(&mut self, now: Instant) {
        self.advance(now);
        self.eof.get_or_insert(self.now);
    }

    /// Notes what time it is on the wall, in seconds since 1970. Plugins put
    /// it into what they send; tell it whenever it has changed.
    pub fn set_unix_time(&mut self, seconds: u64) {
        self.unix_time = seconds;
    }

    /// Replaces the routes, for messages that are decoded from now on.
    pub fn set_router(&mut self, router: Arc<Router>) {
        self.router = router;
    }

    /// Says who is at the other end, for plugins that want to know.
    pub fn set_peer(&mut self, peer: Option<Arc<Peer>>) {
        self.peer = peer;
    }

    // --- ask ---

    /// Sends a request. Its end is reported by exactly one action, unless
    /// [`cancel`](Self::cancel) comes first.
    ///
    /// # Errors
    ///
    /// [`SendError`]; nothing was sent and nothing is pending.
    pub fn request(
        &mut self,
        now: Instant,
        request: Request,
    ) -> Result<RequestId, SendError> {
        self.advance(now);
        self.can_send()?;
        let limit = self.config.limits.max_pending;
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
            layers,
            outer,
            accepts,
        } = request;
        let message_type = message.message_type();
        let uri = self.requests.intern(message.uri());
        let bytes = rid.map(u64::to_be_bytes);
        self.seal_and_push(message, &layers, outer, bytes)?;
        self.counters.requests += 1;
        let new = NewRequest {
            rid,
            message_type,
            uri,
            layers,
            outer,
            accepts,
            timeout,
            end: self.enqueued,
        };
        Ok(self.requests.insert(self.now, new))
    }

    /// Gives up a request: no action will report it. `false` if it has ended
    /// already.
    pub fn cancel(&mut self, now: Instant, id: RequestId) -> bool {
        self.advance(now);
        self.requests.cancel(self.now, id)
    }

    /// Sends a message that expects no reply, with these inner layers.
    ///
    /// # Errors
    ///
    /// [`SendError`]; nothing was sent.
    pub fn send(
        &mut self,
        now: Instant,
        message: Message,
        with: &Layers,
    ) -> Result<(), SendError> {
        self.send_with(now, message, with, OuterUse::default())
    }

    /// Sends a message that expects no reply, with these inner layers and some
    /// of the endpoint's own plugins.
    ///
    /// # Errors
    ///
    /// [`SendError`]; nothing was sent.
    pub fn send_with(
        &mut self,
        now: Instant,
        message: Message,
        with: &Layers,
        outer: OuterUse,
    ) -> Result<(), SendError> {
        self.advance(now);
        self.can_send()?;
        self.seal_and_push(message, with, outer, None)
    }

    /// Answers a message that was dispatched, with its route's layers.
    ///
    /// # Errors
    ///
    /// [`SendError::StaleToken`] if the token is not of this connection. If the
    /// reply cannot be sealed, the peer gets an `ERROR` in its place.
    pub fn reply(
        &mut self,
        now: Instant,
        token: ReplyToken,
        reply: Message,
    ) -> Result<(), SendError> {
        self.advance(now);
        self.conclude(&token, Some(reply))
    }

    /// Answers a message that was dispatched with `ERROR`, its own URI and this
    /// text: what a caller says when its handler has failed.
    ///
    /// # Errors
    ///
    /// [`SendError`], as for [`reply`](Self::reply).
    pub fn reply_error(
        &mut self,
        now: Instant,
        token: ReplyToken,
        text: &str,
    ) -> Result<(), SendError> {
        let uri = self.in_flight.uri(&token).unwrap_or_default();
        match own_reply(MessageType::ERROR, uri, text) {
            Ok(reply) => self.reply(now, token, reply),
            Err(error) => {
                self.no_reply(token);
                Err(error.into())
            }
        }
    }

    /// Leaves a message that was dispatched unanswered.
    pub fn no_reply(&mut self, token: ReplyToken) {
        // A stale token has nothing to leave unanswered.
        let _ = self.conclude(&token, None);
    }

    /// Ends the connection at once. What waits to be written is dropped.
    pub fn close(&mut self, now: Instant, reason: CloseReason) {
        self.advance(now);
        self.begin_closing(reason);
    }

    /// Ends the connection gracefully: takes no more requests, answers those
    /// that were accepted, waits for replies to those of ours, writes all, and
    /// then closes; at the latest after `within`.
    pub fn shutdown(&mut self, now: Instant, within: Duration) {
        self.drain(now, CloseReason::Shutdown, within, true);
    }

    /// Ends the connection as [`shutdown`](Self::shutdown) does, but without
    /// waiting for replies: requests of ours fail at once.
    pub fn finish(&mut self, now: Instant, within: Duration) {
        self.drain(now, CloseReason::Local, within, false);
    }

    // --- out ---

    /// What waits to be written.
    pub fn outgoing(&mut self) -> &mut Outgoing {
        &mut self.outgoing
    }

    /// Takes what waits to be written into `empty`, to be written where this
    /// connection need not be at hand. Tell how much was written with
    /// [`handle_written`](Self::handle_written). Does nothing if `empty` is
    /// not.
    pub fn take_outgoing(&mut self, empty: &mut Outgoing) {
        if empty.is_empty() && !self.outgoing.is_empty() {
            self.taken += self.outgoing.remaining();
            core::mem::swap(empty, &mut self.outgoing);
        }
    }

    /// Notes that `count` bytes of what was taken have been written.
    pub fn handle_written(&mut self, now: Instant, count: usize) {
        self.advance(now);
        self.taken = self.taken.saturating_sub(count);
        if count > 0 {
            self.last_activity = self.now;
            self.idle_mark = self.written();
            self.rearm_write_timer();
        }
    }

    /// Whether a message could be put into the queue now.
    ///
    /// # Errors
    ///
    /// [`SendError::Closed`] or [`SendError::OutgoingFull`] if not.
    pub fn can_send(&self) -> Result<(), SendError> {
        if self.state != State::Open {
            return Err(SendError::Closed);
        }
        let limit = self.config.limits.max_outgoing;
        if self.queued() >= limit {
            return Err(SendError::OutgoingFull { limit });
        }
        Ok(())
    }

    /// Takes the decoder, to read into where this connection need not be at
    /// hand. Until it is given back with
    /// [`return_decoder`](Self::return_decoder), give no other input.
    pub fn take_decoder(&mut self) -> FrameDecoder {
        core::mem::take(&mut self.decoder)
    }

    /// Gives back the decoder, of whose receive buffer `count` bytes were
    /// filled.
    pub fn return_decoder(
        &mut self,
        now: Instant,
        decoder: FrameDecoder,
        count: usize,
    ) {
        self.decoder = decoder;
        self.handle_received(now, count);
    }

    /// Whether to read from the peer now. `false` while a request of its waits
    /// to be taken in because it does not take what we have for it, or because
    /// as many are unanswered as the limits allow; and while actions wait to be
    /// polled. Replies to requests of ours are read in any case, unless such a
    /// request of the peer came before them: a peer that sends them may be
    /// waiting for that itself.
    pub fn wants_read(&self) -> bool {
        let open = matches!(self.state, State::Open | State::Draining { .. });
        open && self.eof.is_none()
            && self.decoder.buffered() < Header::MAX_FRAME
            && !self.holds_up()
    }

    /// Bytes that wait to be written, replies included that wait for others.
    pub fn queued(&self) -> usize {
        self.outgoing.remaining() + self.taken + self.in_flight.held_bytes()
    }

    /// Requests of ours that wait for a reply.
    pub fn pending(&self) -> usize {
        self.requests.live()
    }

    /// Requests of ours that were given up and keep their place for a late
    /// reply; see `Limits::late_reply_grace`.
    pub fn given_up(&self) -> usize {
        self.requests.len() - self.requests.live()
    }

    /// Requests of the peer that are not yet answered.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether the last action has been given: the connection is over.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Whether no more can be sent.
    pub fn is_closing(&self) -> bool {
        matches!(self.state, State::Closing(_) | State::Closed)
    }

    /// The other end.
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// What has been done so far.
    pub fn counters(&self) -> Counters {
        Counters {
            bytes_out: self.written(),
            ..self.counters
        }
    }

    /// Gives back the memory of buffers that are empty. Call it before a wait
    /// that may be long: an idle connection then holds no buffers.
    pub fn release_buffers(&mut self) {
        self.decoder.release();
        self.outgoing.release();
        self.in_flight.release();
        if self.actions.is_empty() {
            self.actions = VecDeque::new();
        }
    }

    // --- the way out ---

    /// Inner cipher, inner auth, outer cipher, outer auth, and into the queue.
    fn seal_and_push(
        &mut self,
        message: Message,
        inner: &Layers,
        outer: OuterUse,
        rid: Option<[u8; RID_LENGTH]>,
    ) -> Result<(), SendError> {
        let outer = outer.of(&self.config.layers);
        let (message_type, mut fields, body) =
            if inner.is_empty() && outer.is_empty() {
                message.into_parts()
            } else {
                let mut envelope = message.into_envelope();
                let mut context = self.context();
                inner.seal(&mut envelope, &mut context)?;
                outer.seal(&mut envelope, &mut context)?;
                let body = envelope.body.freeze();
                (envelope.message_type, envelope.fields, body)
            };
        match rid {
            Some(rid) => fields
                .set_rid(rid)
                .map_err(|_| PluginError::FieldsTooLong)?,
            // One that came with a message which is passed on means nothing
            // here.
            None if fields.rid().is_some() => {
                fields.remove(AuthFields::RID);
            }
            None => {}
        }
        let header = header_of(message_type, &fields, &body)?;
        self.outgoing
            .push([&header.encode(), fields.packed()], body);
        self.enqueued += header.frame_length() as u64;
        self.counters.frames_out += 1;
        if self.write_timer.is_none() {
            self.rearm_write_timer();
        }
        Ok(())
    }

    fn context(&mut self) -> Context<'_> {
        Context {
            unix_time: self.unix_time,
            random: &mut self.random,
            local_peer: self.config.local_peer.as_deref(),
            peer: self.peer.as_deref(),
        }
    }

    /// Notes how a dispatched message is answered, and sends what may leave.
    fn conclude(
        &mut self,
        token: &ReplyToken,
        reply: Option<Message>,
    ) -> Result<(), SendError> {
        if self.is_closing() {
            return Err(SendError::Closed);
        }
        if !self.in_flight.finish(token, reply) {
            return Err(SendError::StaleToken);
        }
        let mut outcome = Ok(());
        let mut cursor = Cursor::Finished(token.slot);
        let mut own = true;
        while let Some((to, reply)) = self.in_flight.take_ready(&mut cursor) {
            if let Some(reply) = reply {
                let sent = self.push_reply(&to, reply);
                if own {
                    outcome = sent;
                }
            }
            own = false;
        }
        outcome
    }

    fn push_reply(&mut self, to: &ReplyTo, reply: Message) -> Result<(), SendError> {
        let outer = OuterUse {
            auth: !to.raw,
            cipher: !to.raw,
        };
        let sent = self.seal_and_push(reply, &to.layers, outer, to.rid);
        if sent.is_err() {
            // Whoever asked must not wait for a reply that cannot be sent.
            let text = "the reply cannot be sent";
            if let Ok(sorry) = own_reply(MessageType::ERROR, &to.uri, text) {
                // Without the route's layers: those may be what failed. If not
                // even that can be sealed, nothing more can be said.
                let _ = self.seal_and_push(sorry, &Layers::new(), outer, to.rid);
            }
        }
        sent
    }

    /// Sends a reply that this endpoint makes by itself, in its turn.
    fn reply_now(&mut self, token: ReplyToken, reply: Message) {
        // The token was made a moment ago, and a reply that cannot be sealed
        // has been replaced by an error.
        let _ = self.conclude(&token, Some(reply));
    }

    fn token(
        &mut self,
        uri: &[u8],
        rid: Option<[u8; RID_LENGTH]>,
        layers: Layers,
        raw: bool,
    ) -> ReplyToken {
        self.in_flight.begin(ReplyTo {
            rid,
            uri: uri.into(),
            layers,
            raw,
        })
    }

    // --- the end ---

    /// Bytes that have been handed to the socket.
    fn written(&self) -> u64 {
        let waiting = self.outgoing.remaining() + self.taken;
        self.enqueued.saturating_sub(waiting as u64)
    }

    fn drain(
        &mut self,
        now: Instant,
        reason: CloseReason,
        within: Duration,
        replies: bool,
    ) {
        self.advance(now);
        if matches!(self.state, State::Open | State::Draining { .. }) {
            self.state = State::Draining {
                reason,
                until: self.now + within,
                replies,
            };
        }
    }

    fn begin_closing(&mut self, reason: CloseReason) {
        if !self.is_closing() {
            self.in_flight.clear();
            // What is dropped now has never been put in, as far as telling
            // which requests were sent is concerned.
            self.enqueued -= self.outgoing.remaining() as u64;
            self.outgoing = Outgoing::new();
            self.state = State::Closing(reason);
        }
    }

    /// Reports one pending request of a connection that is over, or at last
    /// the end itself.
    fn poll_closing(&mut self) -> Option<Action> {
        let State::Closing(reason) = &self.state else {
            return None;
        };
        let reason = reason.clone();
        let written = self.written();
        if let Some((request, sent)) = self.requests.pop_failed(written) {
            let error = RequestError::Disconnected { sent, reason };
            return Some(Action::Failed { request, error });
        }
        self.state = State::Closed;
        Some(Action::Closed { reason })
    }
}

/// A reply that an endpoint makes itself; without the URI if that leaves no
/// room for the text.
fn own_reply(kind: MessageType, uri: &[u8], text: &str) -> Result<Message, TooLong> {
    Message::new(kind, uri, text).or_else(|_| Message::new(kind, "", text))
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("role", &self.config.role)
            .field("remote", &self.remote)
            .field("state", &self.state)
            .field("pending", &self.requests.len())
            .field("in_flight", &self.in_flight.len())
            .field("queued", &self.queued())
            .field("buffered", &self.decoder.buffered())
            .finish_non_exhaustive()
    }
}
