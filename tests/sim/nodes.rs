//! The ends that talk by datagrams: nodes of ours, one like Python's, and
//! somebody who sends what nobody asked for.

use std::net::SocketAddr;
use std::time::Duration;

use netaio_proto::sim::{Host, Network};
use netaio_proto::{
    Action, Datagram, HmacAuthPlugin, Instant, Layers, Message, MessageType, Node,
    OuterUse,
};
use netaio_tests::python_model::{Handled, PythonModel};

use crate::conversation::Speaker;
use crate::oracle::Channel;
use crate::question;
use crate::streams::python_handler;
use crate::talk::{Ask, SharedOracle, Talk};

/// A node of ours.
pub(crate) struct UdpNode {
    speaker: Speaker,
    pub(crate) address: SocketAddr,
    pub(crate) node: Node,
    pub(crate) talk: Talk,
    back_at: Option<Instant>,
}

impl UdpNode {
    pub(crate) fn new(
        speaker: Speaker,
        address: SocketAddr,
        network: &mut Network,
    ) -> Self {
        network.bind(address);
        Self {
            node: new_node(&speaker, network),
            talk: new_talk(&speaker),
            speaker,
            address,
            back_at: None,
        }
    }

    pub(crate) fn ask(
        &mut self,
        now: Instant,
        (to, python): (SocketAddr, bool),
        ask: &Ask,
    ) -> Option<u64> {
        let inner = ask.question.uri == question::INNER;
        let custom = ask.question.kind.is_custom();
        if self.back_at.is_some() || python && (inner || custom) {
            return None;
        }
        let matching = self.speaker.matching(python);
        let by = self.speaker.who;
        let over = (Channel::Datagrams { by, to }, to);
        self.talk.ask(now, &mut self.node, over, matching, ask)
    }

    pub(crate) fn publish(&mut self, now: Instant, key: &'static str) {
        if self.back_at.is_some() {
            return;
        }
        let mut oracle = self.speaker.oracle.borrow_mut();
        let number = oracle.next_notice();
        let content = format!("{number} by datagram");
        let notice = Message::new(MessageType::NOTIFY_URI, key, content);
        let notice = notice.expect("it fits");
        let subscriptions = self.node.subscriptions();
        let to = subscriptions.subscribers(key.as_bytes());
        let over = to.map(|to| Channel::Datagrams { by: usize::MAX, to });
        oracle.published(notice.clone(), over.collect());
        let local = self.speaker.clock.local(now);
        let (layers, outer) = (Layers::new(), OuterUse::default());
        let key = key.as_bytes();
        let sent = self.node.notify(local, key, notice, &layers, outer);
        sent.expect("there is room");
    }

    pub(crate) fn crash(&mut self, network: &mut Network, back: Duration) {
        self.talk.crash(network.now());
        network.unbind(self.address);
        self.back_at = Some(network.now() + back);
    }

    /// Ends the node: what it still waits for fails.
    pub(crate) fn close(&mut self, network: &mut Network) {
        self.node.close(self.speaker.clock.local(network.now()));
    }

    #[track_caller]
    pub(crate) fn assert_empty(&self) {
        let held = self.talk.kept.len() + self.talk.answers_due();
        let left = (
            self.node.pending(),
            self.node.queued(),
            self.node.in_flight(),
        );
        assert_eq!(left, (0, 0, held), "{:?}", self.node);
        assert_eq!(self.node.poll_timeout(), None);
    }

    fn subscribe(&mut self, now: Instant) {
        for (from, message, token) in std::mem::take(&mut self.talk.subscribing) {
            let key = message.uri();
            if message.message_type() == MessageType::SUBSCRIBE_URI {
                let done = self.node.subscribe(key, from);
                done.expect("there are few");
            } else {
                self.node.unsubscribe(key, from);
            }
            self.talk.confirm(now, &mut self.node, &message, token);
        }
    }
}

fn new_node(speaker: &Speaker, network: &mut Network) -> Node {
    let (config, router) = (speaker.config.clone(), speaker.router.clone());
    let local = speaker.clock.local(network.now());
    let seed = network.random().bytes();
    let mut node = Node::new(config, router, seed, local);
    node.set_unix_time(network.random().next_u64());
    node
}

fn new_talk(speaker: &Speaker) -> Talk {
    let oracle = speaker.oracle.clone();
    Talk::new(oracle, speaker.clock)
}

impl Host for UdpNode {
    fn turn(&mut self, network: &mut Network) -> bool {
        let now = network.now();
        if let Some(at) = self.back_at {
            if at > now {
                return false;
            }
            self.back_at = None;
            self.node = new_node(&self.speaker, network);
            network.bind(self.address);
        }
        let local = self.speaker.clock.local(now);
        let closed = self.node.is_closed();
        let mut happened = network.carry_node(self.address, local, &mut self.node);
        happened |= self.talk.work(now, &mut self.node);
        let over = Channel::Datagrams {
            by: usize::MAX,
            to: self.address,
        };
        while let Some(action) = self.node.poll_action() {
            happened = true;
            match self.talk.act(now, &mut self.node, over, action) {
                Some(Action::Closed { .. }) => {
                    assert!(self.node.is_closed());
                    assert_eq!(self.node.poll_timeout(), None);
                    self.talk.assert_none_open();
                    self.talk.kept.clear();
                }
                Some(
                    Action::Unrouted { reply: None, .. } | Action::Rejected { .. },
                )
                | None => {}
                Some(other) => panic!("{other:?}"),
            }
        }
        self.subscribe(now);
        let notes = std::mem::take(&mut self.talk.notes);
        if !notes.is_empty() {
            network.note(&notes);
        }
        assert!(!closed || self.node.pending() == 0);
        let next = self.node.poll_timeout();
        let passed = !happened && next.is_some_and(|at| at <= local);
        assert!(!passed, "a deadline stays at {next:?} though handled");
        happened
    }

    fn wakeup(&self) -> Option<Instant> {
        if self.back_at.is_some() {
            return self.back_at;
        }
        let timeout = self.node.poll_timeout();
        let timeout = timeout.map(|at| self.speaker.clock.when(at));
        [timeout, self.talk.wakeup()].into_iter().flatten().min()
    }
}

/// A node like Python's: its handlers cannot take their time.
pub(crate) struct PythonNode {
    pub(crate) address: SocketAddr,
    layers: Layers,
    oracle: SharedOracle,
}

impl PythonNode {
    pub(crate) fn new(
        address: SocketAddr,
        layers: Layers,
        oracle: SharedOracle,
        network: &mut Network,
    ) -> Self {
        network.bind(address);
        Self {
            address,
            layers,
            oracle,
        }
    }
}

impl Host for PythonNode {
    fn turn(&mut self, network: &mut Network) -> bool {
        let mut happened = false;
        let now = network.now();
        while let Some((from, bytes)) = network.receive(self.address) {
            happened = true;
            // Every datagram by itself.
            let seed = network.random().bytes();
            let mut model = PythonModel::new(self.layers.clone(), seed);
            model.receive(&bytes);
            let oracle = &self.oracle;
            model.work(now, |message| {
                if message.message_type().is_reply() {
                    return Handled::Nothing;
                }
                oracle.borrow_mut().handled(None, message);
                oracle.borrow_mut().responded(message.content(), now);
                match python_handler(message) {
                    Handled::Later(_, answer) => Handled::Answer(answer),
                    handled => handled,
                }
            });
            if !model.outgoing.is_empty() {
                let bytes = model.outgoing.freeze();
                network.send(self.address, &Datagram { to: from, bytes });
            }
        }
        happened
    }

    fn wakeup(&self) -> Option<Instant> {
        None
    }
}

/// Sends what nobody asked for, in anybody's name.
pub(crate) fn inject(
    network: &mut Network,
    addresses: &[SocketAddr],
    authenticated: bool,
) {
    let mut pick = |count: usize| network.random().below(count as u64) as usize;
    let (from, to) = (
        addresses[pick(addresses.len())],
        addresses[pick(addresses.len())],
    );
    let what = pick(4);
    let kinds = MessageType::STANDARD;
    let kind = kinds[pick(kinds.len())];
    let evil = |kind, uri: &str| {
        let message = Message::new(kind, uri, "evil").expect("it is short");
        message.encode().expect("it is short")
    };
    let bytes = match what {
        0 => {
            let mut junk = vec![0; network.random().below(80) as usize];
            network.random().fill(&mut junk);
            junk
        }
        // Whoever has no secrets believes what it is told.
        1 if authenticated => evil(kind, "a"),
        2 if authenticated => {
            let layers = Layers::new().auth(HmacAuthPlugin::new("a guess"));
            let message = Message::new(kind, "a", "evil").expect("it is short");
            let seed = network.random().bytes();
            let mut model = PythonModel::new(layers, seed);
            model.say(&message);
            model.outgoing.to_vec()
        }
        _ => evil(MessageType::REQUEST_URI, "a"),
    };
    let bytes = bytes.into();
    network.send(from, &Datagram { to, bytes });
}
