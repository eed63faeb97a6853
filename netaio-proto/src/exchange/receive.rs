//! The way in: outer layers, then a request's reply or a route, inner layers,
//! and an action.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use core::net::SocketAddr;

use super::{Carrier, Exchange, Origin, own_reply};
use crate::action::{Action, AuthFailed, CloseReason, Hint, LayerKind, ReplyToken};
use crate::config::Compatibility;
use crate::config::Keepalive;
use crate::decoder::BadFrame;
use crate::error::{AuthError, PluginError, ProtocolError, RequestError};
use crate::in_flight::ReplyTo;
use crate::plugin::{Layers, OpenError};
use crate::request::{Correlation, OuterUse};
use crate::requests::{Match, RequestId, is_unlabelled};
use crate::router::{DefaultRoute, Route, RouteLayers};
use crate::wire::auth_fields::{self, AuthFields};
use crate::wire::frame::Frame;
use crate::wire::message::{ERROR_URI, Envelope, Message};
use crate::wire::message_type::MessageType;

const INVALID: &str = "invalid message";
const NOT_FOUND: &str = "not found";

/// What became of a frame: an action, or nothing that the caller need know.
pub(crate) type Outcome = Option<Action>;

/// A request's id.
type Rid = Option<u64>;

impl Exchange {
    /// Whether a frame is a reply, as far as that can be told before it is
    /// decoded. A custom type is one if it has the id of a request of ours to
    /// where it came from.
    pub(crate) fn is_reply(&self, from: SocketAddr, frame: &Frame<'_>) -> bool {
        let kind = frame.header.message_type;
        kind.is_reply()
            || kind.is_custom()
                && AuthFields::from_packed(frame.auth)
                    .ok()
                    .and_then(|fields| fields.rid())
                    .is_some_and(|rid| self.requests.expects(from, rid, kind))
    }

    /// Takes in a frame.
    #[inline]
    pub(crate) fn receive<C: Carrier>(
        &mut self,
        carrier: &mut C,
        from: Origin,
        frame: &Frame<'_>,
    ) -> Outcome {
        if let Err(error) = frame.verify(&self.config.types) {
            return self.reject_frame(carrier, from, frame, error);
        }
        if C::DATAGRAMS && !frame.is_whole() {
            let error = ProtocolError::Truncated;
            return self.reject_frame(carrier, from, frame, error);
        }
        self.counters.frames_in += 1;
        if !self.config.layers.is_empty() {
            return self.receive_sealed(carrier, from, frame);
        }
        carrier.note_seen(self.now, from.address);
        // Looked for where the frame lies: the message is still on its way to
        // memory.
        let lone = auth_fields::lone_rid(frame.auth).copied();
        let message = Message::from_frame(frame);
        let rid = match lone {
            Some(rid) => Some(u64::from_be_bytes(rid)),
            None => message.fields().rid(),
        };
        self.accept(carrier, from, message, rid, false)
    }

    /// Takes in a frame that is well formed and has the endpoint's own layers.
    #[inline(never)]
    fn receive_sealed<C: Carrier>(
        &mut self,
        carrier: &mut C,
        from: Origin,
        frame: &Frame<'_>,
    ) -> Outcome {
        let mut envelope = Message::from_frame(frame).into_envelope();
        let rid = envelope.fields.rid();
        let peer = carrier.peer(from.address);
        let (config, mut context) = self.context(peer.as_deref());
        let opened = config.layers.open(&mut envelope, &mut context);
        let verified = config.layers.authenticates();
        if let Err(error) = opened {
            return self.outer_failed(carrier, from, envelope, rid, error);
        }
        let Some(message) = envelope.into_message() else {
            return self.rejected(carrier, from, ProtocolError::BadUriLength);
        };
        carrier.note_seen(self.now, from.address);
        self.accept(carrier, from, message, rid, verified)
    }

    fn open<C: Carrier>(
        &mut self,
        carrier: &C,
        from: Origin,
        layers: &Layers,
        envelope: &mut Envelope,
    ) -> Result<(), OpenError> {
        let peer = carrier.peer(from.address);
        let (_, mut context) = self.context(peer.as_deref());
        layers.open(envelope, &mut context)
    }

    /// A message that passed the outer layers, or was let past them.
    #[inline]
    fn accept<C: Carrier>(
        &mut self,
        carrier: &mut C,
        from: Origin,
        message: Message,
        rid: Rid,
        verified: bool,
    ) -> Outcome {
        // Without ids of our own, one in a reply is somebody else's.
        let own = self.config.correlation == Correlation::RequestIds;
        let id = rid.filter(|_| own);
        let kind = message.message_type();
        let uri = message.uri();
        // A node that sends none is not meant by an answer with one. On a stream
        // it may have been passed on by a peer that knows nothing of ids.
        let foreign = C::DATAGRAMS && !own && rid.is_some();
        let found = match foreign {
            true => Match::None,
            false => self.requests.find(self.now, from.address, kind, uri, id),
        };
        match found {
            Match::Request(request) => {
                self.deliver(carrier, from, request, message, verified)
            }
            Match::Late => {
                self.counters.late_replies += 1;
                None
            }
            Match::None if !carrier.is_open() && !kind.is_reply() => None,
            Match::None => {
                self.asked_with_ids |= id.is_some() && !kind.is_reply();
                if C::DATAGRAMS && is_unlabelled(kind, uri) {
                    self.keep_hint(carrier, from, &message);
                }
                self.route(carrier, from, message, rid)
            }
        }
    }

    /// Keeps an error that does not say which request it is about.
    fn keep_hint<C: Carrier>(
        &mut self,
        carrier: &mut C,
        from: Origin,
        message: &Message,
    ) {
        if self.requests.live() > 0 {
            let hint = Hint {
                message_type: message.message_type(),
                text: message.text().into(),
            };
            carrier.keep_hint(self.now, from.address, hint);
        }
    }

    // --- replies to our requests ---

    fn deliver<C: Carrier>(
        &mut self,
        carrier: &mut C,
        from: Origin,
        request: RequestId,
        message: Message,
        verified: bool,
    ) -> Outcome {
        let inner = self.requests.layers(request)?;
        if inner.is_empty() {
            return self.replied(request, message);
        }
        let mut envelope = message.into_envelope();
        let opened = self.open(carrier, from, &inner, &mut envelope);
        let kind = envelope.message_type;
        match opened {
            Ok(()) => match envelope.into_message() {
                Some(message) => self.replied(request, message),
                None => self.rejected(carrier, from, ProtocolError::BadUriLength),
            },
            // A refusal by the endpoint itself, not by the handler that shares
            // the inner layers.
            Err(error) if kind.is_error() && lacks_a_field(&error) => {
                let message = envelope.into_message()?;
                self.refuse(request, message, verified)
            }
            Err(OpenError::Auth(error)) => {
                self.reply_unauthentic(carrier, from, envelope, error)
            }
            Err(OpenError::Cipher(error)) => {
                let error = ProtocolError::Undecryptable(error);
                self.rejected(carrier, from, error)
            }
        }
    }

    /// Ends a request with its reply.
    #[inline]
    fn replied(&mut self, request: RequestId, message: Message) -> Outcome {
        self.requests.complete(request);
        if self.ends_probe(request) {
            return None;
        }
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
        if self.ends_probe(request) {
            return None;
        }
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
    fn reply_unauthentic<C: Carrier>(
        &mut self,
        carrier: &mut C,
        from: Origin,
        envelope: Envelope,
        error: AuthError,
    ) -> Outcome {
        if self.count_auth_failure(carrier) {
            return None;
        }
        Some(Action::AuthFailed(Box::new(AuthFailed {
            message: envelope.into_message()?,
            from: from.address,
            layer: LayerKind::Inner,
            error,
            reply: None,
            default_reply: None,
        })))
    }

    // --- messages that fail the outer layers ---

    #[cold]
    fn outer_failed<C: Carrier>(
        &mut self,
        carrier: &mut C,
        from: Origin,
        envelope: Envelope,
        rid: Rid,
        error: OpenError,
    ) -> Outcome {
        let id = rid;
        match self.find_unsealed(carrier, from, &envelope, id, &error) {
            Some((Match::Request(request), message)) => {
                return self.deliver(carrier, from, request, message, false);
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
            match self.requests.find_unverified(self.now, from.address, id) {
                Match::Request(request) => {
                    let message = envelope.into_message()?;
                    return self.refuse(request, message, false);
                }
                Match::Late => {
                    self.counters.late_replies += 1;
                    return None;
                }
                Match::None if C::DATAGRAMS && self.requests.live() > 0 => {
                    let message = envelope.into_message()?;
                    self.keep_hint(carrier, from, &message);
                    return None;
                }
                Match::None => {}
            }
        }
        match error {
            OpenError::Auth(error) => {
                if self.count_auth_failure(carrier) {
                    return None;
                }
                let message = envelope.into_message()?;
                self.auth_failed(from, message, rid, error, None)
            }
            OpenError::Cipher(error) => {
                self.undecryptable(carrier, from, envelope, rid, error)
            }
        }
    }

    /// The request that this message answers without one of the endpoint's own
    /// plugins, as it was sent without it.
    fn find_unsealed<C: Carrier>(
        &mut self,
        carrier: &C,
        from: Origin,
        envelope: &Envelope,
        rid: Option<u64>,
        error: &OpenError,
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
        // The auth plugin has been asked, and what it said holds: it may have
        // taken note of this message, and would not let it pass again.
        let passed = !matches!(error, OpenError::Auth(_));
        let ways = ways.into_iter().filter(|way| passed || !way.auth);
        ways.into_iter().find_map(|way| {
            let mut attempt = envelope.clone();
            let layers = OuterUse { auth: false, ..way }.of(&own.layers);
            self.open(carrier, from, &layers, &mut attempt).ok()?;
            let message = attempt.into_message()?;
            let kind = message.message_type();
            let uri = message.uri();
            let address = from.address;
            match self
                .requests
                .find_unsealed(self.now, address, kind, uri, rid, way)
            {
                Match::None => None,
                found => Some((found, message)),
            }
        })
    }

    /// A message that did not pass an auth plugin: the endpoint's own, or a
    /// route's.
    fn auth_failed(
        &mut self,
        from: Origin,
        message: Message,
        rid: Rid,
        error: AuthError,
        route: Option<&Route>,
    ) -> Outcome {
        let kind = message.message_type();
        let name = self.config.types.name(kind).unwrap_or_default();
        let asks = !kind.is_reply() && !name.contains("ERROR");
        // What came first is answered. A second answer in the clear would end
        // the request of whoever sent a datagram that the network has doubled.
        let again = matches!(error, AuthError::Replayed | AuthError::Reflected);
        let answerable = asks && !again;
        let (layer, layers) = match route {
            Some(route) => (LayerKind::Inner, route.layers()),
            None => (LayerKind::Outer, &self.config.layers),
        };
        let text = layers
            .auth
            .as_ref()
            .map_or("auth failed", |p| p.error_text());
        let uri = self.own_uri(&message, ERROR_URI);
        let default_reply = own_reply(MessageType::AUTH_ERROR, uri, text)
            .ok()
            .filter(|_| answerable);
        let reply = answerable.then(|| self.raw_token(from, message.uri(), rid));
        Some(Action::AuthFailed(Box::new(AuthFailed {
            message,
            from: from.address,
            layer,
            error,
            reply,
            default_reply,
        })))
    }

    fn undecryptable<C: Carrier>(
        &mut self,
        carrier: &mut C,
        from: Origin,
        envelope: Envelope,
        rid: Rid,
        error: PluginError,
    ) -> Outcome {
        let rejected =
            self.rejected(carrier, from, ProtocolError::Undecryptable(error));
        let hardened = self.config.compatibility == Compatibility::Hardened;
        if hardened
            && rejected.is_some()
            && !envelope.message_type.is_reply()
            && let Some(message) = envelope.into_message()
        {
            let token = self.raw_token(from, message.uri(), rid);
            let uri = self.own_uri(&message, ERROR_URI);
            let text = "undecryptable message";
            let reply = own_reply(MessageType::ERROR, uri, text);
            self.reply_now(carrier, token, reply);
        }
        rejected
    }

    // --- messages for a handler ---

    #[inline]
    fn route<C: Carrier>(
        &mut self,
        carrier: &mut C,
        from: Origin,
        message: Message,
        rid: Rid,
    ) -> Outcome {
        if !C::DATAGRAMS && is_probe(&message) {
            let none = RouteLayers::default();
            let token = self.token(from, message.uri(), 0, rid, none, false);
            let reply = own_reply(MessageType::RESPOND_URI, message.uri(), "");
            self.reply_now(carrier, token, reply);
            return None;
        }
        // An ephemeral route may be taken by another connection in between;
        // then the next best one is looked for.
        let route = loop {
            match self.router.route(&message, from.address).cloned() {
                Some(route) if !route.claim() => continue,
                route => break route,
            }
        };
        let Some(route) = route else {
            return self.no_route(carrier, from, message, rid);
        };
        if route.layers().is_empty() {
            return self.dispatch(from, &route, message, rid);
        }
        let mut envelope = message.into_envelope();
        let opened = self.open(carrier, from, route.layers(), &mut envelope);
        match opened {
            Ok(()) => match envelope.into_message() {
                Some(message) => self.dispatch(from, &route, message, rid),
                None => {
                    route.unclaim();
                    self.rejected(carrier, from, ProtocolError::BadUriLength)
                }
            },
            Err(OpenError::Auth(error)) => {
                route.unclaim();
                if self.count_auth_failure(carrier) {
                    return None;
                }
                let message = envelope.into_message()?;
                self.auth_failed(from, message, rid, error, Some(&route))
            }
            Err(OpenError::Cipher(error)) => {
                route.unclaim();
                self.undecryptable(carrier, from, envelope, rid, error)
            }
        }
    }

    #[inline]
    fn dispatch(
        &mut self,
        from: Origin,
        route: &Route,
        message: Message,
        rid: Rid,
    ) -> Outcome {
        self.counters.dispatched += 1;
        // Who has passed a check of either layer is who it says it is.
        let authentic = route.layers().authenticates();
        let answerable = !message.message_type().is_reply();
        let (uri, length) = (message.uri(), message.length());
        let reply = answerable.then(|| {
            let layers = route.shared_layers();
            self.token(from, uri, length, rid, layers, authentic)
        });
        Some(Action::Dispatch {
            handler: route.handler(),
            message,
            from: from.address,
            reply,
        })
    }

    #[cold]
    fn no_route<C: Carrier>(
        &mut self,
        carrier: &mut C,
        from: Origin,
        message: Message,
        rid: Rid,
    ) -> Outcome {
        self.counters.unrouted += 1;
        let python = self.config.compatibility == Compatibility::Python;
        // Answers are taken in even when all is full, so they are not all
        // answered, even if Python would.
        // A custom type may be an answer as well. If it comes late, nobody asks
        // for it any more, and it must not be answered all the same.
        let kind = message.message_type();
        let is_reply = kind.is_reply() || self.requests.is_answer_type(kind);
        let answerable = !is_reply || python && !self.is_full(carrier);
        let default = self.router.default_route();
        let none = RouteLayers::default();
        let (uri, length) = (message.uri(), message.length());
        let reply =
            answerable.then(|| self.token(from, uri, length, rid, none, false));
        match (default, reply) {
            (DefaultRoute::NotFound, Some(token)) => {
                let python = if C::DATAGRAMS { ERROR_URI } else { "" };
                let uri = self.own_uri(&message, python);
                let reply = own_reply(MessageType::NOT_FOUND, uri, NOT_FOUND);
                self.reply_now(carrier, token, reply);
                None
            }
            (DefaultRoute::Handler(handler), reply) => Some(Action::Dispatch {
                handler,
                message,
                from: from.address,
                reply,
            }),
            (_, reply) => Some(Action::Unrouted {
                message,
                from: from.address,
                reply,
            }),
        }
    }

    /// The means to answer a message of this length with these inner layers.
    /// `authentic`: it has passed the check of an inner auth plugin.
    #[inline]
    pub(super) fn token(
        &mut self,
        from: Origin,
        uri: &[u8],
        length: usize,
        rid: Rid,
        layers: RouteLayers,
        authentic: bool,
    ) -> ReplyToken {
        let authentic = authentic || self.config.layers.authenticates();
        let to = ReplyTo {
            address: from.address,
            rid,
            layers,
            raw: false,
            room: from.room.filter(|_| !authentic),
        };
        self.in_flight.begin(to, uri, length)
    }

    /// The means to answer a message that may be anybody's, without any layers.
    fn raw_token(&mut self, from: Origin, uri: &[u8], rid: Rid) -> ReplyToken {
        let to = ReplyTo {
            address: from.address,
            rid,
            layers: RouteLayers::default(),
            raw: true,
            room: from.room,
        };
        self.in_flight.begin(to, uri, 0)
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

    /// Takes in a frame that is not well formed.
    #[cold]
    fn reject_frame<C: Carrier>(
        &mut self,
        carrier: &mut C,
        from: Origin,
        frame: &Frame<'_>,
        error: ProtocolError,
    ) -> Outcome {
        let kind = frame.header.message_type;
        let BadFrame {
            error,
            message,
            fields,
        } = BadFrame::new(frame, error);
        let damaged = matches!(error, ProtocolError::BadChecksum { .. });
        let python = self.config.compatibility == Compatibility::Python;
        if python && !damaged {
            self.counters.rejected += 1;
            self.close(carrier, CloseReason::Malformed(error));
            return None;
        }
        let rid = fields.rid();
        let rejected = self.rejected(carrier, from, error);
        if rejected.is_some() && (!kind.is_reply() || python) {
            let uri = match &message {
                Some(message) => self.own_uri(message, ERROR_URI),
                None => ERROR_URI.as_bytes(),
            };
            let token = if C::DATAGRAMS {
                self.raw_token(from, uri, rid)
            } else {
                self.token(from, uri, 0, rid, RouteLayers::default(), false)
            };
            let reply = own_reply(MessageType::ERROR, uri, INVALID);
            self.reply_now(carrier, token, reply);
        }
        rejected
    }

    /// Counts a frame that cannot be used. `None` once there are too many to
    /// speak of.
    pub(crate) fn rejected<C: Carrier>(
        &mut self,
        carrier: &mut C,
        from: Origin,
        error: ProtocolError,
    ) -> Outcome {
        self.counters.rejected += 1;
        let from = from.address;
        let too_many = self.count_error(carrier);
        (!too_many).then_some(Action::Rejected { from, error })
    }

    /// Counts a message that is not authentic; `true` if there are too many to
    /// speak of.
    fn count_auth_failure<C: Carrier>(&mut self, carrier: &mut C) -> bool {
        self.counters.auth_failures += 1;
        self.count_error(carrier)
    }

    /// Counts a bad message; `true` if it was one too many. What can be closed
    /// is closed then.
    fn count_error<C: Carrier>(&mut self, carrier: &mut C) -> bool {
        let limit = self.limits().max_errors_per_minute;
        let too_many = self.errors.count(self.now, limit);
        if too_many {
            self.close(carrier, CloseReason::TooManyErrors);
        }
        too_many
    }
}

/// Whether a message asks for no more than a sign of life.
pub(super) fn is_probe(message: &Message) -> bool {
    message.uri() == Keepalive::URI.as_bytes()
        && message.message_type() == MessageType::REQUEST_URI
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
