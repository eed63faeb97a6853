//! The way in: frame, outer layers, then a request's reply or a route, inner
//! layers, and an action.

use alloc::string::String;
use alloc::sync::Arc;

use bytes::Buf as _;

use super::{Connection, State, own_reply};
use crate::action::{Action, AuthFailed, CloseReason, LayerKind};
use crate::config::Compatibility;
use crate::decoder::BadFrame;
use crate::error::{AuthError, PluginError, ProtocolError, RequestError};
use crate::plugin::{Layers, OpenError};
use crate::request::{Correlation, OuterUse};
use crate::requests::{Match, RequestId};
use crate::router::{DefaultRoute, Route};
use crate::wire::auth_fields::{AuthFields, RID_LENGTH};
use crate::wire::frame::Frame;
use crate::wire::message::{ERROR_URI, Envelope, Message};
use crate::wire::message_type::MessageType;

const INVALID: &str = "invalid message";
const NOT_FOUND: &str = "not found";

/// What became of a frame: an action, or nothing that the caller need know.
type Outcome = Option<Action>;

impl Connection {
    /// The next thing that happened, if any. Decodes the next frame when it is
    /// asked to: a caller that stops asking stops the parsing, and then
    /// [`wants_read`](Self::wants_read) goes false. New actions can come after
    /// any call that takes a time, and after replies and cancellations.
    #[must_use]
    pub fn poll_action(&mut self) -> Option<Action> {
        loop {
            if let Some(action) = self.actions.pop_front() {
                return Some(action);
            }
            if self.is_closing() {
                return self.poll_closing();
            }
            if let Some(outcome) = self.decode_next() {
                match outcome {
                    Some(action) => return Some(action),
                    None => continue,
                }
            }
            if let Some(action) = self.poll_end() {
                return Some(action);
            }
            if !self.is_closing() {
                return None;
            }
        }
    }

    /// Takes the next frame in, if one is there and may be taken.
    fn decode_next(&mut self) -> Option<Outcome> {
        let kind = self.decoder.header()?.message_type;
        // A custom type may be a reply as well: its id will tell.
        let awaited = kind.is_custom() && self.requests.live() > 0;
        if self.state != State::Open && !kind.is_reply() && !awaited {
            // Shutting down: it comes too late to be accepted.
            return self.decoder.skip_frame().then(|| {
                self.restart_frame_timer();
                None
            });
        }
        if self.state == State::Open && self.holds_up() {
            return None;
        }
        let frame = self.decoder.next_frame(&self.config.types)?;
        self.restart_frame_timer();
        Some(match frame {
            Ok(envelope) => {
                self.counters.frames_in += 1;
                self.receive(envelope)
            }
            Err(bad) => self.reject_frame(kind, bad),
        })
    }

    /// Whether a whole frame is there that is no reply and has to wait: as many
    /// requests are in flight, or as many bytes wait to be written, as the
    /// limits allow. A part of a frame does not wait: the peer must be able to
    /// complete it in time.
    pub(super) fn holds_up(&self) -> bool {
        self.is_full()
            && self
                .decoder
                .peek()
                .is_some_and(|frame| !self.is_reply(&frame))
    }

    /// Whether as many requests are in flight, or as many bytes wait to be
    /// written, as the limits allow.
    fn is_full(&self) -> bool {
        let limits = &self.config.limits;
        self.in_flight.len() >= limits.max_in_flight
            || self.queued() >= limits.outgoing_high_water
    }

    /// Whether a frame is a reply, as far as that can be told before it is
    /// decoded. A custom type is one if it has the id of a request of ours.
    fn is_reply(&self, frame: &Frame<'_>) -> bool {
        let kind = frame.header.message_type;
        kind.is_reply()
            || kind.is_custom()
                && AuthFields::from_packed(frame.auth)
                    .ok()
                    .and_then(|fields| fields.rid())
                    .is_some_and(|rid| {
                        self.requests.expects(u64::from_be_bytes(rid), kind)
                    })
    }

    /// Ends a connection whose peer sends no more, or that is shutting down,
    /// when there is nothing left to do.
    fn poll_end(&mut self) -> Option<Action> {
        if let Some(eof) = self.eof
            && self.state == State::Open
            && !self.decoder.has_frame()
        {
            let reason = match self.decoder.buffered() {
                0 => CloseReason::Eof,
                _ => CloseReason::UnexpectedEof,
            };
            self.frame_timer = None;
            self.state = State::Draining {
                reason,
                until: eof + self.config.limits.drain_timeout,
                replies: false,
            };
        }
        let State::Draining {
            reason, replies, ..
        } = &self.state
        else {
            return None;
        };
        let (reason, replies) = (reason.clone(), *replies);
        if self.eof.is_some() || !replies {
            // No reply can come any more.
            let written = self.written();
            if let Some((request, sent)) = self.requests.pop_failed(written) {
                let error = RequestError::Disconnected { sent, reason };
                return Some(Action::Failed { request, error });
            }
        }
        let written = self.outgoing.remaining() == 0 && self.taken == 0;
        let idle = self.in_flight.len() == 0 && self.requests.live() == 0;
        if written && idle {
            self.begin_closing(reason);
        }
        None
    }

    fn receive(&mut self, mut envelope: Envelope) -> Outcome {
        let rid = envelope.fields.rid();
        if !self.config.layers.is_empty() {
            let config = Arc::clone(&self.config);
            let opened = config.layers.open(&mut envelope, &mut self.context());
            if let Err(error) = opened {
                return self.outer_failed(envelope, rid, error);
            }
        }
        let verified = self.config.layers.auth.is_some();
        let Some(message) = envelope.into_message() else {
            return self.rejected(ProtocolError::BadUriLength);
        };
        self.accept(message, rid, verified)
    }

    /// A message that passed the outer layers, or was let past them.
    fn accept(
        &mut self,
        message: Message,
        rid: Option<[u8; RID_LENGTH]>,
        verified: bool,
    ) -> Outcome {
        // Without ids of our own, one in a reply is somebody else's.
        let own = self.config.correlation == Correlation::RequestIds;
        let id = rid.map(u64::from_be_bytes).filter(|_| own);
        let kind = message.message_type();
        match self.requests.find(self.now, kind, message.uri(), id) {
            Match::Request(request) => self.deliver(request, message, verified),
            Match::Late => {
                self.counters.late_replies += 1;
                None
            }
            Match::None if self.state != State::Open && !kind.is_reply() => None,
            Match::None => self.route(message, rid),
        }
    }

    // --- replies to our requests ---

    fn deliver(
        &mut self,
        request: RequestId,
        message: Message,
        verified: bool,
    ) -> Outcome {
        let inner = self.requests.get(request)?.layers.clone();
        let message = if inner.is_empty() {
            message
        } else {
            let mut envelope = message.into_envelope();
            let opened = inner.open(&mut envelope, &mut self.context());
            let kind = envelope.message_type;
            match opened {
                Ok(()) => match envelope.into_message() {
                    Some(message) => message,
                    None => return self.rejected(ProtocolError::BadUriLength),
                },
                // A refusal by the endpoint itself, not by the handler that
                // shares the inner layers.
                Err(error) if kind.is_error() && lacks_a_field(&error) => {
                    let message = envelope.into_message()?;
                    return self.refuse(request, message, verified);
                }
                Err(OpenError::Auth(error)) => {
                    return self.reply_unauthentic(envelope, error);
                }
                Err(OpenError::Cipher(error)) => {
                    return self.rejected(ProtocolError::Undecryptable(error));
                }
            }
        };
        self.requests.complete(request);
        self.counters.replies += 1;
        Some(Action::Reply { request, message })
    }

    /// Ends a request with a refusal that lacks some of the layers that its
    /// reply should have.
    fn refuse(
        &mut self,
        request: RequestId,
        message: Message,
        verified: bool,
    ) -> Outcome {
        self.requests.complete(request);
        self.counters.replies += 1;
        let text: String = message.text().into();
        let error = match message.message_type() {
            MessageType::AUTH_ERROR => RequestError::Unauthorized { verified, text },
            message_type => RequestError::Refused {
                message_type,
                verified,
                text,
            },
        };
        Some(Action::Failed { request, error })
    }

    /// A message that could be a reply to a request with inner layers, but did
    /// not pass their check. The request goes on waiting.
    fn reply_unauthentic(
        &mut self,
        envelope: Envelope,
        error: AuthError,
    ) -> Outcome {
        if self.count_auth_failure() {
            return None;
        }
        Some(Action::AuthFailed(AuthFailed {
            message: envelope.into_message()?,
            from: self.remote,
            layer: LayerKind::Inner,
            error,
            reply: None,
            default_reply: None,
        }))
    }

    // --- messages that fail the outer layers ---

    fn outer_failed(
        &mut self,
        envelope: Envelope,
        rid: Option<[u8; RID_LENGTH]>,
        error: OpenError,
    ) -> Outcome {
        let id = rid.map(u64::from_be_bytes);
        match self.find_unsealed(&envelope, id) {
            Some((Match::Request(request), message)) => {
                return self.deliver(request, message, false);
            }
            Some(_) => {
                self.counters.late_replies += 1;
                return None;
            }
            None => {}
        }
        let kind = envelope.message_type;
        let refusal = matches!(kind, MessageType::AUTH_ERROR | MessageType::ERROR);
        if refusal && lacks_a_field(&error) {
            match self.requests.find_unverified(self.now, id) {
                Match::Request(request) => {
                    let message = envelope.into_message()?;
                    return self.refuse(request, message, false);
                }
                Match::Late => {
                    self.counters.late_replies += 1;
                    return None;
                }
                Match::None => {}
            }
        }
        match error {
            OpenError::Auth(error) => {
                self.unauthentic(envelope, rid, error, LayerKind::Outer)
            }
            OpenError::Cipher(error) => self.undecryptable(envelope, rid, error),
        }
    }

    /// The request that this message answers without one of the endpoint's own
    /// plugins, as it was sent without it.
    fn find_unsealed(
        &mut self,
        envelope: &Envelope,
        rid: Option<u64>,
    ) -> Option<(Match, Message)> {
        if self.requests.unsealed() == 0 {
            return None;
        }
        let all = OuterUse::default();
        let own = Arc::clone(&self.config);
        let ways = [
            OuterUse { auth: false, ..all },
            OuterUse {
                cipher: false,
                ..all
            },
            OuterUse {
                auth: false,
                cipher: false,
            },
        ];
        ways.into_iter().find_map(|way| {
            let mut attempt = envelope.clone();
            let layers = way.of(&own.layers);
            layers.open(&mut attempt, &mut self.context()).ok()?;
            let message = attempt.into_message()?;
            let kind = message.message_type();
            let uri = message.uri();
            match self.requests.find_unsealed(self.now, kind, uri, rid, way) {
                Match::None => None,
                found => Some((found, message)),
            }
        })
    }

    /// A message that did not pass an auth plugin, and is no refusal of a
    /// request of ours.
    fn unauthentic(
        &mut self,
        envelope: Envelope,
        rid: Option<[u8; RID_LENGTH]>,
        error: AuthError,
        layer: LayerKind,
    ) -> Outcome {
        if self.count_auth_failure() {
            return None;
        }
        self.auth_failed(envelope.into_message()?, rid, error, layer, None)
    }

    fn auth_failed(
        &mut self,
        message: Message,
        rid: Option<[u8; RID_LENGTH]>,
        error: AuthError,
        layer: LayerKind,
        route: Option<&Route>,
    ) -> Outcome {
        let kind = message.message_type();
        let name = self.config.types.name(kind).unwrap_or_default();
        let answerable = !kind.is_reply() && !name.contains("ERROR");
        let layers = route.map_or(&self.config.layers, Route::layers);
        let text = layers
            .auth
            .as_ref()
            .map_or("auth failed", |p| p.error_text());
        let uri = self.own_uri(&message, ERROR_URI);
        let default_reply = own_reply(MessageType::AUTH_ERROR, uri, text)
            .ok()
            .filter(|_| answerable);
        let reply =
            answerable.then(|| self.token(message.uri(), rid, Layers::new(), true));
        Some(Action::AuthFailed(AuthFailed {
            message,
            from: self.remote,
            layer,
            error,
            reply,
            default_reply,
        }))
    }

    fn undecryptable(
        &mut self,
        envelope: Envelope,
        rid: Option<[u8; RID_LENGTH]>,
        error: PluginError,
    ) -> Outcome {
        let hardened = self.config.compatibility == Compatibility::Hardened;
        if hardened
            && !envelope.message_type.is_reply()
            && let Some(message) = envelope.into_message()
        {
            let token = self.token(message.uri(), rid, Layers::new(), true);
            let uri = self.own_uri(&message, ERROR_URI);
            let text = "undecryptable message";
            match own_reply(MessageType::ERROR, uri, text) {
                Ok(reply) => self.reply_now(token, reply),
                Err(_) => self.no_reply(token),
            }
        }
        self.rejected(ProtocolError::Undecryptable(error))
    }

    // --- messages for a handler ---

    fn route(&mut self, message: Message, rid: Option<[u8; RID_LENGTH]>) -> Outcome {
        // An ephemeral route may be taken by another connection in between;
        // then the next best one is looked for.
        let route = loop {
            match self.router.route(&message, self.remote).cloned() {
                Some(route) if !route.claim() => continue,
                route => break route,
            }
        };
        let Some(route) = route else {
            return self.no_route(message, rid);
        };
        if route.layers().is_empty() {
            return self.dispatch(&route, message, rid);
        }
        let mut envelope = message.into_envelope();
        let opened = route.layers().open(&mut envelope, &mut self.context());
        match opened {
            Ok(()) => match envelope.into_message() {
                Some(message) => self.dispatch(&route, message, rid),
                None => {
                    route.unclaim();
                    self.rejected(ProtocolError::BadUriLength)
                }
            },
            Err(OpenError::Auth(error)) => {
                route.unclaim();
                if self.count_auth_failure() {
                    return None;
                }
                let message = envelope.into_message()?;
                self.auth_failed(message, rid, error, LayerKind::Inner, Some(&route))
            }
            Err(OpenError::Cipher(error)) => {
                route.unclaim();
                self.undecryptable(envelope, rid, error)
            }
        }
    }

    fn dispatch(
        &mut self,
        route: &Route,
        message: Message,
        rid: Option<[u8; RID_LENGTH]>,
    ) -> Outcome {
        self.counters.dispatched += 1;
        let answerable = !message.message_type().is_reply();
        let reply = answerable
            .then(|| self.token(message.uri(), rid, route.layers().clone(), false));
        Some(Action::Dispatch {
            handler: route.handler(),
            message,
            from: self.remote,
            reply,
        })
    }

    fn no_route(
        &mut self,
        message: Message,
        rid: Option<[u8; RID_LENGTH]>,
    ) -> Outcome {
        self.counters.unrouted += 1;
        let python = self.config.compatibility == Compatibility::Python;
        // Answers are taken in even when all is full, so they are not all
        // answered, even if Python would.
        let is_reply = message.message_type().is_reply();
        let answerable = !is_reply || python && !self.is_full();
        let from = self.remote;
        let default = self.router.default_route();
        let reply =
            answerable.then(|| self.token(message.uri(), rid, Layers::new(), false));
        match (default, reply) {
            (DefaultRoute::NotFound, Some(token)) => {
                let uri = self.own_uri(&message, "");
                match own_reply(MessageType::NOT_FOUND, uri, NOT_FOUND) {
                    Ok(not_found) => self.reply_now(token, not_found),
                    Err(_) => self.no_reply(token),
                }
                None
            }
            (DefaultRoute::Handler(handler), reply) => Some(Action::Dispatch {
                handler,
                message,
                from,
                reply,
            }),
            (_, reply) => Some(Action::Unrouted {
                message,
                from,
                reply,
            }),
        }
    }

    /// The URI of a reply that the endpoint makes itself: the request's, or
    /// what Python netaio puts there.
    fn own_uri<'a>(&self, request: &'a Message, python: &'a str) -> &'a [u8] {
        match self.config.compatibility {
            Compatibility::Hardened => request.uri(),
            Compatibility::Python => python.as_bytes(),
        }
    }

    // --- what cannot be used ---

    fn reject_frame(&mut self, kind: MessageType, bad: BadFrame) -> Outcome {
        let BadFrame {
            error,
            message,
            fields,
        } = bad;
        let damaged = matches!(error, ProtocolError::BadChecksum { .. });
        let python = self.config.compatibility == Compatibility::Python;
        if python && !damaged {
            self.counters.rejected += 1;
            self.begin_closing(CloseReason::Malformed(error));
            return None;
        }
        let rid = fields.rid();
        if !kind.is_reply() || python {
            let uri = match &message {
                Some(message) => self.own_uri(message, ERROR_URI),
                None => ERROR_URI.as_bytes(),
            };
            let token = self.token(uri, rid, Layers::new(), false);
            match own_reply(MessageType::ERROR, uri, INVALID) {
                Ok(reply) => self.reply_now(token, reply),
                Err(_) => self.no_reply(token),
            }
        }
        self.rejected(error)
    }

    fn rejected(&mut self, error: ProtocolError) -> Outcome {
        self.counters.rejected += 1;
        self.count_error();
        Some(Action::Rejected { error })
    }

    fn count_auth_failure(&mut self) -> bool {
        self.counters.auth_failures += 1;
        self.count_error()
    }

    /// Counts a bad message; `true` if it was one too many and the connection
    /// is being closed.
    fn count_error(&mut self) -> bool {
        let limit = self.config.limits.max_errors_per_minute;
        let too_many = self.errors.count(self.now, limit);
        if too_many {
            self.begin_closing(CloseReason::TooManyErrors);
        }
        too_many
    }
}

/// Whether a plugin found nothing of its own in a message, rather than
/// something wrong.
fn lacks_a_field(error: &OpenError) -> bool {
    matches!(
        error,
        OpenError::Auth(AuthError::MissingField { .. })
            | OpenError::Cipher(PluginError::MissingField { .. })
    )
}
