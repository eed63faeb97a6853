//! One stream, seen from either end, as a state machine.
//!
//! This file is what a caller sees: bytes and time in, bytes, actions and
//! deadlines out, and the way of a message out. The way in is `receive`; what
//! time does is `timers`.

mod keepalive;
mod receive;
mod stream;
mod timers;

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;

use bytes::Buf as _;

use self::keepalive::KeepaliveTimer;
use self::stream::{Lagging, Stream};
use self::timers::FrameTimer;
use crate::action::{Action, CloseReason, ReplyToken};
use crate::address::canonical;
use crate::config::{EndpointConfig, Role};
use crate::counters::Counters;
use crate::decoder::FrameDecoder;
use crate::error::{RequestError, SendError};
use crate::exchange::{Carrier as _, Exchange};
use crate::in_flight::{InFlight, Reply};
use crate::outgoing::Outgoing;
use crate::plugin::{Layers, Peer};
use crate::random::Random;
use crate::request::{OuterUse, Request};
use crate::requests::{Arrival, RequestId, Requests};
use crate::router::Router;
use crate::sealed::{Sealed, Sealing};
use crate::time::Instant;
use crate::wire::header::Header;
use crate::wire::message::Message;
use crate::wire::message_type::MessageType;

/// One stream, seen from either end.
///
/// Feed it what the socket brings and what the clock says; write what it has
/// to write; do what its actions ask for. Calls may come in any order, and
/// forgetting one only delays. It never blocks, never reads a clock, and every
/// call does work that its input and the limits bound.
///
/// A loop around it is: [`handle_timeout`](Self::handle_timeout);
/// [`poll_action`](Self::poll_action) until `None`; write
/// [`outgoing`](Self::outgoing); wait for the socket or
/// [`poll_timeout`](Self::poll_timeout), reading only if
/// [`wants_read`](Self::wants_read). The crate's page has one that runs.
pub struct Connection {
    exchange: Exchange,
    stream: Stream,
    decoder: FrameDecoder,
    actions: VecDeque<Action>,
    /// Since when the peer sends no more.
    eof: Option<Instant>,
    last_activity: Instant,
    /// What had been written when activity was last looked for.
    idle_mark: u64,
    frame_timer: Option<FrameTimer>,
    keepalive_timer: KeepaliveTimer,
    /// Since when a request of the peer waits that cannot be taken in.
    held_up: Option<Instant>,
    /// Whether requests that had not been sent have been taken back, since they
    /// cannot be answered any more.
    withdrawn: bool,
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
        config: Arc<EndpointConfig>,
        router: Arc<Router>,
        remote: SocketAddr,
        seed: [u8; 32],
        now: Instant,
    ) -> Self {
        let mut random = Random::from_seed(seed);
        let grace = config.limits.late_reply_grace;
        let requests = Requests::new(Arrival::InOrder { grace }, &mut random);
        let in_flight = InFlight::new(random.next_u64(), true);
        let frame_timer =
            (config.role == Role::Server).then(|| FrameTimer::first(now));
        let total = Arc::clone(&config.outgoing_total);
        Self {
            exchange: Exchange::new(
                config, router, requests, in_flight, random, now,
            ),
            stream: Stream::new(canonical(remote), total),
            decoder: FrameDecoder::new(),
            actions: VecDeque::new(),
            eof: None,
            last_activity: now,
            idle_mark: 0,
            frame_timer,
            keepalive_timer: KeepaliveTimer::new(now),
            held_up: None,
            withdrawn: false,
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
        self.exchange.advance(now);
        self.eof.get_or_insert(self.exchange.now);
    }

    /// Notes what time it is. Every call that takes a time does so as well. What is
    /// due is done by [`handle_timeout`](Self::handle_timeout) alone.
    pub fn advance(&mut self, now: Instant) {
        self.exchange.advance(now);
    }

    /// Notes what time it is on the wall, in seconds since 1970. Plugins put
    /// it into what they send; tell it whenever it has changed.
    pub fn set_unix_time(&mut self, seconds: u64) {
        self.exchange.unix_time = seconds;
    }

    /// Replaces the routes, for messages that are decoded from now on.
    pub fn set_router(&mut self, router: Arc<Router>) {
        self.exchange.router = router;
    }

    /// Says who is at the other end, for plugins that want to know.
    pub fn set_peer(&mut self, peer: Option<Arc<Peer>>) {
        self.stream.peer = peer;
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
        self.exchange.advance(now);
        let outcome = self.request_undated(request);
        // Its time begins now.
        self.exchange.advance(now);
        outcome
    }

    /// Sends a request as [`request`](Self::request) does, but its time begins
    /// when this connection is next told what time it is: for a caller that will
    /// soon do so, and sends many without looking at the clock for each. Until then
    /// it has no deadline, and [`poll_timeout`](Self::poll_timeout) knows of none.
    ///
    /// # Errors
    ///
    /// [`SendError`]; nothing was sent and nothing is pending.
    #[inline(always)]
    pub fn request_undated(
        &mut self,
        request: Request,
    ) -> Result<RequestId, SendError> {
        self.can_send()?;
        let to = self.stream.remote;
        let outcome = self.exchange.request_undated(&mut self.stream, to, request);
        self.note_queued();
        outcome
    }

    /// Gives up a request: no action will report it. `false` if it has ended
    /// already.
    pub fn cancel(&mut self, now: Instant, id: RequestId) -> bool {
        self.exchange.advance(now);
        self.exchange.requests.cancel(self.exchange.now, id)
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
        self.exchange.advance(now);
        self.can_send()?;
        let to = self.stream.remote;
        let outcome =
            self.exchange
                .push(&mut self.stream, to, message, with, outer, None);
        self.note_queued();
        outcome.map(drop)
    }

    /// Sends a message that was [sealed](crate::Sealer) for many. It takes its
    /// turn behind what else is to be written, and never more memory than
    /// `Limits::max_notices`: if the peer takes too little, notices are dropped,
    /// or the connection is closed, as `Limits::lag_policy` says. Gives how many
    /// were dropped, this one included.
    ///
    /// # Errors
    ///
    /// [`SendError::Closed`] if the connection is closed, or closes now.
    pub fn notify(
        &mut self,
        now: Instant,
        message: &Sealed,
    ) -> Result<u64, SendError> {
        self.exchange.advance(now);
        if self.stream.state != State::Open {
            return Err(SendError::Closed);
        }
        let limits = &self.exchange.config.limits;
        match self.stream.push_notice(message.bytes(), limits) {
            Ok(lost) => {
                self.exchange.counters.frames_out += 1;
                self.exchange.counters.lagged += lost;
                Ok(lost)
            }
            Err(Lagging) => {
                self.exchange.counters.lagged += 1;
                self.begin_closing(CloseReason::Lagging);
                Err(SendError::Closed)
            }
        }
    }

    /// Seals a message for this connection alone, as
    /// [`notify`](Self::notify) sends it: for layers whose work depends on who
    /// receives it.
    ///
    /// # Errors
    ///
    /// [`SendError`] if it cannot be sealed.
    pub fn seal(
        &mut self,
        message: Message,
        with: &Layers,
        outer: OuterUse,
    ) -> Result<Sealed, SendError> {
        let peer = self.stream.peer.clone();
        let frame =
            self.exchange
                .seal(message, with, outer, None, peer.as_deref())?;
        Ok(Sealed::new(&frame))
    }

    /// What seals a message for this connection apart from it.
    pub fn sealing(&mut self) -> Sealing {
        self.exchange.sealing(self.stream.peer.clone())
    }

    /// Whether sealing a message of this type with these layers takes long, and
    /// is better done [apart](Self::sealing).
    pub fn is_costly(
        &self,
        message_type: MessageType,
        inner: &Layers,
        outer: OuterUse,
    ) -> bool {
        self.exchange.is_costly(message_type, inner, outer)
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
        self.exchange.advance(now);
        self.conclude(&token, Some(Reply::made(reply)))
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
        self.exchange.advance(now);
        if self.is_closing() {
            return Err(SendError::Closed);
        }
        self.exchange.reply_error(&mut self.stream, &token, text)
    }

    /// Leaves a message that was dispatched unanswered.
    pub fn no_reply(&mut self, token: ReplyToken) {
        // A stale token has nothing to leave unanswered.
        let _ = self.conclude(&token, None);
    }

    fn conclude(
        &mut self,
        token: &ReplyToken,
        reply: Option<Reply>,
    ) -> Result<(), SendError> {
        if self.is_closing() {
            return Err(SendError::Closed);
        }
        // The result is made when it is given: kept meanwhile, it would be copied.
        match self.exchange.conclude(&mut self.stream, token, reply) {
            Ok(()) => {
                self.note_queued();
                Ok(())
            }
            Err(error) => {
                self.note_queued();
                Err(error)
            }
        }
    }

    /// Counts what waits to be written in what waits on all connections.
    #[inline]
    fn note_queued(&mut self) {
        let queued = self.queued();
        self.stream.share.update(queued);
    }

    /// Ends the connection at once. What waits to be written is dropped.
    pub fn close(&mut self, now: Instant, reason: CloseReason) {
        self.exchange.advance(now);
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
        self.stream.admit_notices(self.exchange.now);
        &mut self.stream.outgoing
    }

    /// Takes what waits to be written into `empty`, to be written where this
    /// connection need not be at hand. Tell how much was written with
    /// [`handle_written`](Self::handle_written). Does nothing if `empty` is
    /// not.
    pub fn take_outgoing(&mut self, empty: &mut Outgoing) {
        self.stream.admit_notices(self.exchange.now);
        if empty.is_empty() && !self.stream.outgoing.is_empty() {
            self.stream.taken += self.stream.outgoing.remaining();
            core::mem::swap(empty, &mut self.stream.outgoing);
        }
    }

    /// Notes that `count` bytes of what was taken have been written.
    pub fn handle_written(&mut self, now: Instant, count: usize) {
        self.exchange.advance(now);
        self.stream.taken = self.stream.taken.saturating_sub(count);
        if count > 0 {
            self.last_activity = self.exchange.now;
            self.idle_mark = self.stream.written();
            self.stream.rearm_write_timer(self.exchange.now);
            self.note_queued();
        }
    }

    /// Whether something waits to be written that was not taken. Notices count even
    /// while there is no room for them in what would be taken.
    pub fn has_outgoing(&self) -> bool {
        self.stream.has_outgoing()
    }

    /// Whether a message could be put into the queue now.
    ///
    /// # Errors
    ///
    /// [`SendError::Closed`] or [`SendError::OutgoingFull`] if not.
    #[inline]
    pub fn can_send(&self) -> Result<(), SendError> {
        if self.stream.state != State::Open {
            return Err(SendError::Closed);
        }
        let limits = &self.exchange.config.limits;
        let limit = limits.max_outgoing;
        if self.queued() >= limit {
            return Err(SendError::OutgoingFull { limit });
        }
        if self.stream.is_crowded(limits) {
            let limit = limits.max_outgoing_total;
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
    /// as many are unanswered as the limits allow. Replies to requests of ours are
    /// read in any case, unless such a request of the peer came before them: a peer
    /// that sends them may be waiting for that itself.
    #[inline]
    pub fn wants_read(&self) -> bool {
        let open = matches!(self.stream.state, State::Open | State::Draining { .. });
        open && self.eof.is_none()
            && self.decoder.buffered() < Header::MAX_FRAME
            && !self.holds_up()
    }

    /// Whether it is worth polling for an action. May be `true` when there is none,
    /// never `false` when there is one; from the end of the input on it is always
    /// `true`, so go on until `poll_action` gives `None`, not until this is `false`.
    /// What is in a decoder that was
    /// [taken](Self::take_decoder) does not count.
    #[inline]
    pub fn may_have_action(&self) -> bool {
        self.stream.state != State::Open
            || self.eof.is_some()
            || !self.actions.is_empty()
            || self.decoder.has_frame()
                && (self.held_up.is_none() || !self.holds_up())
    }

    /// About how many messages came and wait to be polled: as many as there would
    /// be if all of them were as long as the next. For a caller that shares out
    /// its work.
    pub fn frames_waiting(&self) -> usize {
        self.decoder.frames()
    }

    /// Bytes that wait to be written, replies included that wait for others.
    /// Notices are counted [apart](Self::notices).
    #[inline]
    pub fn queued(&self) -> usize {
        self.stream.queued() + self.exchange.in_flight.held_bytes()
    }

    /// How many of them are answers, which `Limits::outgoing_high_water` is about;
    /// a few that have just been written may still count.
    #[inline]
    pub fn queued_answers(&self) -> usize {
        self.stream.answers() + self.exchange.in_flight.held_bytes()
    }

    /// Memory of notices that wait to be written, in bytes; see
    /// [`notify`](Self::notify).
    pub fn notices(&self) -> usize {
        self.stream.notice_bytes()
    }

    /// Requests of ours that wait for a reply.
    pub fn pending(&self) -> usize {
        self.exchange.pending()
    }

    /// Requests of ours that were given up and keep their place for a late
    /// reply; see `Limits::late_reply_grace`.
    pub fn given_up(&self) -> usize {
        self.exchange.requests.len() - self.exchange.requests.live()
    }

    /// Requests of the peer that are not yet answered.
    pub fn in_flight(&self) -> usize {
        self.exchange.in_flight.len()
    }

    /// Whether the last action has been given: the connection is over.
    pub fn is_closed(&self) -> bool {
        self.stream.state == State::Closed
    }

    /// Whether no more can be sent.
    #[inline]
    pub fn is_closing(&self) -> bool {
        self.stream.is_closing()
    }

    /// Why the connection is coming to its end, while what was accepted is still
    /// answered; `None` before that, and once it is closing or over.
    pub fn ending(&self) -> Option<&CloseReason> {
        match &self.stream.state {
            State::Draining { reason, .. } => Some(reason),
            State::Open | State::Closing(_) | State::Closed => None,
        }
    }

    /// The other end.
    pub fn remote(&self) -> SocketAddr {
        self.stream.remote
    }

    /// What has been done so far.
    pub fn counters(&self) -> Counters {
        Counters {
            bytes_out: self.stream.written(),
            ..self.exchange.counters
        }
    }

    /// Gives back the memory of buffers that are empty. Call it before a wait
    /// that may be long: an idle connection then holds no buffers.
    pub fn release_buffers(&mut self) {
        self.decoder.release();
        self.stream.outgoing.release();
        self.exchange.in_flight.release();
        self.exchange.requests.release();
        if self.actions.is_empty() {
            self.actions = VecDeque::new();
        }
    }

    // --- the end ---

    fn drain(
        &mut self,
        now: Instant,
        reason: CloseReason,
        within: Duration,
        replies: bool,
    ) {
        self.exchange.advance(now);
        if matches!(self.stream.state, State::Open | State::Draining { .. }) {
            self.exchange.forget_probe();
            self.stream.state = State::Draining {
                reason,
                until: self.exchange.now + within,
                replies,
            };
        }
    }

    fn begin_closing(&mut self, reason: CloseReason) {
        self.exchange.close(&mut self.stream, reason);
    }

    /// Reports one pending request of a connection that is over, or at last
    /// the end itself.
    fn poll_closing(&mut self) -> Option<Action> {
        let State::Closing(reason) = &self.stream.state else {
            return None;
        };
        let reason = reason.clone();
        let written = self.stream.written();
        if let Some((request, sent)) = self.exchange.pop_failed(written) {
            let error = RequestError::Disconnected { sent, reason };
            return Some(Action::Failed { request, error });
        }
        self.stream.state = State::Closed;
        Some(Action::Closed { reason })
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("role", &self.exchange.config.role)
            .field("remote", &self.stream.remote)
            .field("state", &self.stream.state)
            .field("pending", &self.exchange.requests.len())
            .field("in_flight", &self.exchange.in_flight.len())
            .field("queued", &self.queued())
            .field("buffered", &self.decoder.buffered())
            .finish_non_exhaustive()
    }
}
