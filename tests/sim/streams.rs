//! The ends that talk over streams: clients and servers of ours, and a server
//! like Python's.

use std::net::SocketAddr;
use std::time::Duration;

use netaio_proto::sim::{Host, Network, Read, StreamEnd};
use netaio_proto::{
    Backoff, Instant, LagPolicy, Layers, Limits, Message, MessageType, OuterUse,
    Sealer, SendError, Subscriptions,
};
use netaio_tests::python_model::{Handled, PythonModel};

use crate::conversation::{Conversation, Speaker};
use crate::oracle::Channel;
use crate::question::{self, NOWHERE, Plan, Question};
use crate::talk::{Ask, SharedOracle};

/// A client that connects again whenever it has lost its server.
pub(crate) struct Client {
    speaker: Speaker,
    address: SocketAddr,
    server: SocketAddr,
    python: bool,
    backoff: Backoff,
    connect_at: Option<Instant>,
    pub(crate) talk: Option<Conversation>,
}

impl Client {
    pub(crate) fn new(
        speaker: Speaker,
        address: SocketAddr,
        server: SocketAddr,
        python: bool,
    ) -> Self {
        let backoff =
            Backoff::new(Duration::from_millis(50)).cap(Duration::from_secs(2));
        Self {
            speaker,
            address,
            server,
            python,
            backoff,
            connect_at: Some(Instant::EPOCH),
            talk: None,
        }
    }

    pub(crate) fn ask(&mut self, now: Instant, ask: &Ask) -> Option<u64> {
        let inner = ask.question.uri == question::INNER;
        let custom = ask.question.kind.is_custom();
        if self.python && (inner || custom) {
            return None;
        }
        let serial = self.talk.as_mut()?.ask(now, ask);
        if serial.is_some() {
            self.backoff.reset();
        }
        serial
    }

    /// The process dies, and comes back after so long; never, if that is `None`.
    pub(crate) fn crash(&mut self, network: &mut Network, back: Option<Duration>) {
        if let Some(mut talk) = self.talk.take() {
            talk.crash(network);
        }
        self.connect_at = back.map(|after| network.now() + after);
    }

    /// Does not connect again.
    pub(crate) fn retire(&mut self) {
        self.connect_at = None;
        self.backoff = self.backoff.clone().max_retries(Some(0));
    }

    fn connect(&mut self, network: &mut Network) {
        let end = network.connect(self.address, self.server);
        self.address.set_port(self.address.port() + 1);
        let matching = self.speaker.matching(self.python);
        let speaker = &self.speaker;
        let talk = Conversation::new(speaker, network, end, self.server, matching);
        self.talk = Some(talk);
        // Who says nothing is not kept for long.
        self.ask(network.now(), &hello());
    }
}

impl Host for Client {
    fn turn(&mut self, network: &mut Network) -> bool {
        if self.connect_at.is_some_and(|at| at <= network.now()) {
            self.connect_at = None;
            self.connect(network);
            return true;
        }
        let Some(talk) = &mut self.talk else {
            return false;
        };
        let happened = talk.turn(network);
        if talk.closed.is_some() {
            self.talk = None;
            let delay = self.backoff.next_delay(network.random());
            self.connect_at = delay.map(|delay| network.now() + delay);
        }
        happened
    }

    fn wakeup(&self) -> Option<Instant> {
        let talk = self.talk.as_ref().and_then(Conversation::wakeup);
        [self.connect_at, talk].into_iter().flatten().min()
    }
}

/// A server of ours, with subscriptions.
pub(crate) struct Server {
    speaker: Speaker,
    pub(crate) address: SocketAddr,
    pub(crate) talks: Vec<Conversation>,
    subscriptions: Subscriptions<u32>,
    sealer: Sealer,
    /// When it is back, while it is down.
    back_at: Option<Instant>,
}

impl Server {
    pub(crate) fn new(
        speaker: Speaker,
        address: SocketAddr,
        network: &mut Network,
    ) -> Self {
        network.listen(address);
        let sealer = Sealer::new(speaker.config.clone(), network.random().bytes());
        Self {
            subscriptions: Subscriptions::new(&speaker.config.limits),
            speaker,
            address,
            talks: Vec::new(),
            sealer,
            back_at: None,
        }
    }

    pub(crate) fn crash(&mut self, network: &mut Network, back: Duration) {
        for mut talk in std::mem::take(&mut self.talks) {
            talk.crash(network);
        }
        self.subscriptions = Subscriptions::new(&self.speaker.config.limits);
        network.stop_listening(self.address);
        self.back_at = Some(network.now() + back);
    }

    /// Asks one of its clients.
    pub(crate) fn ask(&mut self, now: Instant, nth: u64, ask: &Ask) -> Option<u64> {
        let count = self.talks.len().max(1);
        self.talks.get_mut(nth as usize % count)?.ask(now, ask)
    }

    pub(crate) fn publish(
        &mut self,
        now: Instant,
        key: &'static str,
        filler: usize,
    ) {
        let mut oracle = self.speaker.oracle.borrow_mut();
        let number = oracle.next_notice();
        let content = format!("{number} {}", "n".repeat(filler));
        let notice = Message::new(MessageType::NOTIFY_URI, key, content);
        let notice = notice.expect("it fits");
        let subscribers: Vec<_> =
            self.subscriptions.subscribers(key.as_bytes()).collect();
        let over = subscribers.iter().map(|stream| Channel::Stream(*stream));
        oracle.published(notice.clone(), over.collect());
        let (none, outer) = (Layers::new(), OuterUse::default());
        let sealed = self.sealer.seal(0, notice, &none, outer);
        let sealed = sealed.expect("it fits");
        for talk in &mut self.talks {
            if subscribers.contains(&talk.end.stream()) {
                let local = self.speaker.clock.local(now);
                talk.touched = true;
                let sent = talk.connection.notify(local, &sealed);
                assert!(matches!(sent, Ok(_) | Err(SendError::Closed)), "{sent:?}");
            }
        }
    }

    fn subscribe(&mut self, now: Instant) {
        for talk in &mut self.talks {
            for (_, message, token) in std::mem::take(&mut talk.talk.subscribing) {
                talk.touched = true;
                let stream = talk.end.stream();
                let key = message.uri();
                if message.message_type() == MessageType::SUBSCRIBE_URI {
                    let done = self.subscriptions.subscribe(stream, key);
                    done.expect("there are few");
                } else {
                    self.subscriptions.unsubscribe(stream, key);
                }
                talk.talk
                    .confirm(now, &mut talk.connection, &message, token);
            }
        }
    }
}

impl Host for Server {
    fn turn(&mut self, network: &mut Network) -> bool {
        if let Some(at) = self.back_at {
            if at > network.now() {
                return false;
            }
            self.back_at = None;
            network.listen(self.address);
        }
        let mut happened = false;
        while let Some((end, from)) = network.accept(self.address) {
            happened = true;
            let matching = self.speaker.matching(false);
            let speaker = &self.speaker;
            let talk = Conversation::new(speaker, network, end, from, matching);
            self.talks.push(talk);
        }
        for talk in &mut self.talks {
            happened |= talk.turn(network);
        }
        self.subscribe(network.now());
        let subscriptions = &mut self.subscriptions;
        self.talks.retain(|talk| {
            if talk.closed.is_some() {
                subscriptions.remove_subscriber(talk.end.stream());
            }
            talk.closed.is_none()
        });
        happened
    }

    fn wakeup(&self) -> Option<Instant> {
        let talks = self.talks.iter().filter_map(Conversation::wakeup);
        talks.chain(self.back_at).min()
    }
}

/// A server like Python's.
pub(crate) struct PythonServer {
    pub(crate) address: SocketAddr,
    layers: Layers,
    oracle: SharedOracle,
    talks: Vec<PythonTalk>,
    back_at: Option<Instant>,
    pub(crate) breaks: Breaks,
}

/// What is wrong with a server, to see whether that is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Breaks {
    #[default]
    Nothing,
    /// Answers the second of two questions first.
    Order,
    /// Changes a byte of some answers.
    Content,
}

struct PythonTalk {
    end: StreamEnd,
    model: PythonModel,
    no_more: bool,
    over: bool,
    /// An answer that is held back by a server that breaks the order.
    held: Option<Message>,
}

impl PythonServer {
    pub(crate) fn new(
        address: SocketAddr,
        layers: Layers,
        oracle: SharedOracle,
        network: &mut Network,
    ) -> Self {
        network.listen(address);
        Self {
            address,
            layers,
            oracle,
            talks: Vec::new(),
            back_at: None,
            breaks: Breaks::Nothing,
        }
    }

    pub(crate) fn crash(&mut self, network: &mut Network, back: Duration) {
        for talk in std::mem::take(&mut self.talks) {
            network.reset(talk.end);
        }
        network.stop_listening(self.address);
        self.back_at = Some(network.now() + back);
    }
}

/// What a Python server's handlers do.
pub(crate) fn python_handler(message: &Message) -> Handled {
    let error = |text: &[u8], kind| {
        let error = Message::make_error(text, None, Some(kind));
        Handled::Answer(error.expect("it is short"))
    };
    if message.uri() == NOWHERE.as_bytes() {
        let reply = Message::make_not_found(None, None);
        return Handled::Answer(reply.expect("it is short"));
    }
    match question::read(message.content()) {
        None | Some((_, Plan::Skip | Plan::Keep)) => Handled::Nothing,
        Some((_, Plan::Answer)) => Handled::Answer(question::answer(message)),
        Some((_, Plan::After(delay))) => {
            Handled::Later(delay, question::answer(message))
        }
        Some((serial, Plan::Fail)) => {
            error(&question::failure(serial), MessageType::ERROR)
        }
    }
}

impl Host for PythonServer {
    fn turn(&mut self, network: &mut Network) -> bool {
        let now = network.now();
        if let Some(at) = self.back_at {
            if at > now {
                return false;
            }
            self.back_at = None;
            network.listen(self.address);
        }
        let mut happened = false;
        while let Some((end, _)) = network.accept(self.address) {
            happened = true;
            let seed = network.random().bytes();
            self.talks.push(PythonTalk {
                end,
                model: PythonModel::new(self.layers.clone(), seed),
                no_more: false,
                over: false,
                held: None,
            });
        }
        let (oracle, breaks) = (&self.oracle, self.breaks);
        for talk in &mut self.talks {
            happened |= talk.turn(network, oracle, breaks);
        }
        self.talks.retain(|talk| !talk.over);
        happened
    }

    fn wakeup(&self) -> Option<Instant> {
        let talks = self.talks.iter().filter_map(|talk| talk.model.wakeup());
        talks.chain(self.back_at).min()
    }
}

impl PythonTalk {
    fn turn(
        &mut self,
        network: &mut Network,
        oracle: &SharedOracle,
        breaks: Breaks,
    ) -> bool {
        let now = network.now();
        let mut happened = false;
        loop {
            match network.read(self.end) {
                Read::Bytes(bytes) => self.model.receive(&bytes),
                Read::Nothing => break,
                Read::End => self.no_more = true,
                Read::Reset => {
                    self.over = true;
                    return true;
                }
            }
            happened = true;
        }
        let over = Channel::Stream(self.end.stream());
        let held = &mut self.held;
        happened |= self.model.work(now, |message| {
            oracle.borrow_mut().handled(Some(over), message);
            oracle.borrow_mut().responded(message.content(), now);
            let handled = python_handler(message);
            match (breaks, handled) {
                (Breaks::Order, Handled::Answer(answer)) => {
                    match held.replace(answer) {
                        Some(earlier) => Handled::Answer(earlier),
                        None => Handled::Nothing,
                    }
                }
                (Breaks::Content, Handled::Answer(answer)) => {
                    let mut content = answer.content().to_vec();
                    if let Some(last) = content.last_mut() {
                        *last ^= 1;
                    }
                    let kind = answer.message_type();
                    let wrong = Message::new(kind, answer.uri(), content);
                    Handled::Answer(wrong.expect("it fits"))
                }
                (_, handled) => handled,
            }
        });
        while network.write(self.end, &mut self.model.outgoing) > 0 {
            happened = true;
        }
        let done = self.no_more && self.model.wakeup().is_none();
        if self.model.closed || done && self.model.outgoing.is_empty() {
            self.over = true;
            network.close(self.end);
            happened = true;
        }
        happened
    }
}

/// What a client says first.
fn hello() -> Ask {
    Ask {
        question: Question {
            kind: MessageType::REQUEST_URI,
            uri: question::clean(0),
            plan: Plan::Answer,
            filler: 0,
        },
        timeout: Duration::from_secs(8),
        cancel: None,
    }
}

/// Bounds so small that they are met.
pub(crate) fn small_limits() -> Limits {
    Limits {
        max_pending: 12,
        max_in_flight: 3,
        outgoing_high_water: 2_000,
        max_outgoing: 20_000,
        max_notices: 2_000,
        ..Limits::default()
    }
}

/// One of the ways in which those who are slow are treated.
pub(crate) fn lag_policy(nth: u64) -> LagPolicy {
    match nth % 3 {
        0 => LagPolicy::DropOldest,
        1 => LagPolicy::DropNewest,
        _ => LagPolicy::Disconnect,
    }
}
