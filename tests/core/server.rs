//! A server of ours with a handful of handlers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use netaio_proto::{
    Action, AuthFailed, Connection, EndpointConfig, HandlerId, HmacAuthPlugin,
    Instant, Layers, Message, MessageType, ReplyToken, Role, Router,
    Sha256StreamCipherPlugin,
};

/// Where the client is, as the server sees it.
pub(crate) const CLIENT: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 7)),
    40_000,
);

/// The other end of a [`Pair`](crate::pair::Pair).
pub(crate) trait Server {
    fn receive(&mut self, now: Instant, bytes: &[u8]);
    /// Does what there is to do; `false` if there was nothing.
    fn work(&mut self, now: Instant) -> bool;
    fn outgoing(&mut self) -> &mut dyn Buf;
    fn wants_read(&self) -> bool;
    fn wakeup(&self) -> Option<Instant>;
}

/// Answers with the content that came.
pub(crate) const ECHO: HandlerId = HandlerId(1);
/// The same, so many milliseconds later as the content's first word says.
pub(crate) const SLOW: HandlerId = HandlerId(2);
/// Keeps the token for ever.
pub(crate) const NEVER: HandlerId = HandlerId(3);
/// Fails.
pub(crate) const ERROR: HandlerId = HandlerId(4);
/// Leaves the message unanswered.
pub(crate) const SILENT: HandlerId = HandlerId(5);
/// Answers with the type whose code is the content.
pub(crate) const TYPED: HandlerId = HandlerId(6);

/// A connection and its handlers.
pub(crate) struct OurServer {
    pub(crate) connection: Connection,
    /// Who was given what, in order.
    pub(crate) handled: Vec<(HandlerId, Message)>,
    /// What else there was to act on.
    pub(crate) actions: Vec<Action>,
    /// Answers that are not yet due.
    waiting: BTreeMap<(Instant, usize), (ReplyToken, Message)>,
    pub(crate) never: Vec<ReplyToken>,
}

impl OurServer {
    pub(crate) fn new(config: EndpointConfig, router: Router) -> Self {
        Self {
            connection: server(config, router),
            handled: Vec::new(),
            actions: Vec::new(),
            waiting: BTreeMap::new(),
            never: Vec::new(),
        }
    }

    /// Without layers of its own, with the usual handlers.
    pub(crate) fn plain() -> Self {
        Self::new(EndpointConfig::default(), routes())
    }

    fn act(&mut self, now: Instant, action: Action) {
        match action {
            Action::Dispatch {
                handler,
                message,
                reply: Some(token),
                ..
            } => {
                self.handled.push((handler, message.clone()));
                self.handle(now, handler, &message, token);
            }
            Action::AuthFailed(failed) if failed.reply.is_some() => {
                let (token, refusal) = refusal(*failed);
                self.reply(now, token, refusal);
            }
            other => self.actions.push(other),
        }
    }

    fn handle(
        &mut self,
        now: Instant,
        handler: HandlerId,
        message: &Message,
        token: ReplyToken,
    ) {
        let echo = message.respond(message.content()).expect("it came");
        match handler {
            ECHO => self.reply(now, token, echo),
            SLOW => {
                let due = now + delay(message);
                let serial = self.handled.len();
                self.waiting.insert((due, serial), (token, echo));
            }
            NEVER => self.never.push(token),
            ERROR => {
                let sent = self.connection.reply_error(now, token, "it broke");
                sent.expect("it can be sent");
            }
            SILENT => self.connection.no_reply(token),
            TYPED => {
                let code = message.text().parse().expect("a code");
                let reply = echo.with_type(MessageType::from_code(code));
                self.reply(now, token, reply);
            }
            other => panic!("no handler {other:?}"),
        }
    }

    fn reply(&mut self, now: Instant, token: ReplyToken, reply: Message) {
        let sent = self.connection.reply(now, token, reply);
        let over = self.connection.is_closing();
        assert!(over || sent.is_ok(), "{sent:?}");
    }
}

impl Server for OurServer {
    fn receive(&mut self, now: Instant, bytes: &[u8]) {
        self.connection.handle_input(now, bytes);
    }

    fn work(&mut self, now: Instant) -> bool {
        if self.connection.poll_timeout().is_some_and(|at| at <= now) {
            self.connection.handle_timeout(now);
        }
        let mut worked = false;
        while let Some(action) = self.connection.poll_action() {
            worked = true;
            self.act(now, action);
        }
        while let Some(first) = self.waiting.first_entry()
            && first.key().0 <= now
        {
            worked = true;
            let (token, reply) = first.remove();
            self.reply(now, token, reply);
        }
        worked
    }

    fn outgoing(&mut self) -> &mut dyn Buf {
        self.connection.outgoing()
    }

    fn wants_read(&self) -> bool {
        self.connection.wants_read()
    }

    fn wakeup(&self) -> Option<Instant> {
        let due = self.waiting.keys().map(|(due, _)| *due).next();
        [due, self.connection.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }
}

/// A server's connection that was accepted just now.
pub(crate) fn server(config: EndpointConfig, router: Router) -> Connection {
    let role = Role::Server;
    let config = Arc::new(EndpointConfig { role, ..config });
    Connection::new(config, Arc::new(router), CLIENT, [2; 32], Instant::EPOCH)
}

/// The handlers above under their names, and echoes of the changing types.
pub(crate) fn routes() -> Router {
    use MessageType as T;
    let mut router = Router::new();
    let named = [
        ("echo", ECHO),
        ("slow", SLOW),
        ("never", NEVER),
        ("error", ERROR),
        ("silent", SILENT),
        ("typed", TYPED),
    ];
    for (name, handler) in named {
        router.insert((T::REQUEST_URI, name), handler, Layers::new());
    }
    router
}

/// As long as the first word of a message's content says, in milliseconds.
pub(crate) fn delay(message: &Message) -> Duration {
    let text = message.text();
    let first = text.split(' ').next().unwrap_or_default();
    Duration::from_millis(first.parse().expect("milliseconds"))
}

/// An endpoint's own layers.
pub(crate) fn outer() -> Layers {
    Layers::new()
        .auth(HmacAuthPlugin::new("outer secret"))
        .cipher(Sha256StreamCipherPlugin::new("outer key"))
}

/// A route's layers: other fields than the outer ones, and a URI to route by.
pub(crate) fn inner() -> Layers {
    inner_with("inner secret")
}

pub(crate) fn inner_with(secret: &str) -> Layers {
    let cipher = Sha256StreamCipherPlugin::new("inner key")
        .iv_field("iv2")
        .encrypt_uri(false);
    Layers::new()
        .auth(HmacAuthPlugin::new(secret).hmac_field("hmac2"))
        .cipher(cipher)
}

/// How a message that failed authentication is usually answered.
pub(crate) fn refusal(failed: AuthFailed) -> (ReplyToken, Message) {
    let token = failed.reply.expect("it can be answered");
    (token, failed.default_reply.expect("there is an answer"))
}
