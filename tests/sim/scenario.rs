//! A scenario: who takes part, what they do, and what the network does to it. One
//! seed decides everything.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use netaio_proto::sim::{Faults, Host, Network};
use netaio_proto::{
    Correlation, EndpointConfig, HmacAuthPlugin, Layers, Limits, MessageType, Role,
    Sha256StreamCipherPlugin,
};

use crate::clock::Clock;
use crate::conversation::Speaker;
use crate::nodes::{PythonNode, UdpNode, inject};
use crate::oracle::{Oracle, Tally};
use crate::question::{self, ASK, DIRTY, INNER, KEPT, NOWHERE, Plan, Question};
use crate::streams::{
    Breaks, Client, PythonServer, Server, lag_policy, small_limits,
};
use crate::talk::{Ask, SharedOracle};

/// What all scenarios have in common, and can be changed to see what happens.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Setup {
    /// Something that the oracle should find.
    pub(crate) breaks: Breaks,
}

/// How a scenario went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// What happened on the network, folded.
    pub(crate) hash: u64,
    pub(crate) events: u64,
    pub(crate) tally: Tally,
}

pub(crate) struct Scenario {
    network: Network,
    oracle: SharedOracle,
    ends: Vec<End>,
    authenticated: bool,
    /// Whether some question may have no end but that of its connection.
    roomy: bool,
    /// Whether ends put up with little delay.
    hasty: bool,
    grace: Duration,
}

// There are eight of them at most.
#[allow(clippy::large_enum_variant)]
enum End {
    Client(Client),
    Server(Server),
    Python(PythonServer),
    Node(UdpNode),
    PythonNode(PythonNode),
}

impl End {
    fn host(&mut self) -> &mut dyn Host {
        match self {
            Self::Client(end) => end,
            Self::Server(end) => end,
            Self::Python(end) => end,
            Self::Node(end) => end,
            Self::PythonNode(end) => end,
        }
    }
}

const NEWS: [&str; 2] = ["news/1", "news/2"];

impl Scenario {
    pub(crate) fn new(seed: u64, setup: Setup) -> Self {
        let mut network = Network::new(seed);
        let layers = layers(pick(&mut network, 3));
        let roomy = one_in(&mut network, 2) || one_in(&mut network, 2);
        let graces = [0, 1_000, 5_000, 60_000, 60_000, 60_000];
        let grace = millis(graces[pick(&mut network, 6) as usize]);
        let hasty = one_in(&mut network, 3);
        let oracle = Rc::new(RefCell::new(Oracle::new(grace)));
        let authenticated = layers.auth.is_some();
        oracle.borrow_mut().authenticated = authenticated;
        let mut scenario = Self {
            network,
            oracle,
            ends: Vec::new(),
            authenticated,
            roomy,
            hasty,
            grace,
        };
        let count = 2 + pick(&mut scenario.network, 7) as usize;
        let streams = match pick(&mut scenario.network, 3) {
            0 => count,
            1 if count >= 4 => count / 2,
            1 => count,
            _ => 0,
        };
        scenario.add_streams(streams, &layers, setup);
        scenario.add_nodes(count - streams, &layers);
        scenario
    }

    fn add_streams(&mut self, count: usize, layers: &Layers, setup: Setup) {
        if count == 0 {
            return;
        }
        let servers = 1 + usize::from(count >= 4 && one_in(&mut self.network, 2));
        let mut known = Vec::new();
        for _ in 0..servers {
            let address = self.address(8888);
            let broken = setup.breaks != Breaks::Nothing;
            if one_in(&mut self.network, 3) || broken {
                let (layers, oracle) = (layers.clone(), self.oracle.clone());
                let network = &mut self.network;
                let mut end = PythonServer::new(address, layers, oracle, network);
                end.breaks = setup.breaks;
                self.ends.push(End::Python(end));
                known.push((address, true));
            } else {
                let speaker = self.speaker(Role::Server, layers.clone(), true);
                let end = Server::new(speaker, address, &mut self.network);
                self.ends.push(End::Server(end));
                known.push((address, false));
            }
        }
        for nth in servers..count {
            let nth_server = pick(&mut self.network, known.len() as u64) as usize;
            let (server, python) = known[nth_server];
            // The first client is what the others are measured by.
            let honest = !self.authenticated
                || nth == servers
                || !one_in(&mut self.network, 6);
            let layers = match honest {
                true => layers.clone(),
                false => Layers::new().auth(HmacAuthPlugin::new("a guess")),
            };
            let speaker = self.speaker(Role::Client, layers, honest);
            let address = self.address(40_000);
            let end = Client::new(speaker, address, server, python);
            self.ends.push(End::Client(end));
        }
    }

    fn add_nodes(&mut self, count: usize, layers: &Layers) {
        for nth in 0..count {
            let address = self.address(8888);
            if nth > 0 && one_in(&mut self.network, 4) {
                let (layers, oracle) = (layers.clone(), self.oracle.clone());
                let network = &mut self.network;
                let end = PythonNode::new(address, layers, oracle, network);
                self.ends.push(End::PythonNode(end));
            } else {
                let speaker = self.speaker(Role::Client, layers.clone(), true);
                let end = UdpNode::new(speaker, address, &mut self.network);
                self.ends.push(End::Node(end));
            }
        }
    }

    /// Where the next end is.
    fn address(&self, port: u16) -> SocketAddr {
        let ip = Ipv4Addr::new(10, 0, 0, self.ends.len() as u8 + 1);
        SocketAddr::new(IpAddr::V4(ip), port)
    }

    fn speaker(&mut self, role: Role, layers: Layers, honest: bool) -> Speaker {
        let network = &mut self.network;
        let correlation = match one_in(network, 3) {
            true => Correlation::Off,
            false => Correlation::RequestIds,
        };
        let limits = match self.roomy {
            true => Limits::default(),
            false => small_limits(),
        };
        let mut limits = Limits {
            lag_policy: lag_policy(network.random().next_u64()),
            late_reply_grace: self.grace,
            ..limits
        };
        if self.hasty {
            let mut span = || millis(500 + pick(network, 3_000));
            limits.header_timeout = Some(span());
            limits.frame_timeout = Some(span());
            limits.write_timeout = Some(span());
            limits.drain_timeout = span();
        }
        let config = EndpointConfig {
            role,
            layers,
            types: question::types(),
            limits,
            correlation,
            ..EndpointConfig::default()
        };
        let rate = match one_in(network, 3) {
            true => 900 + pick(network, 201),
            false => 1000,
        };
        Speaker {
            who: self.ends.len(),
            config: Arc::new(config),
            router: Arc::new(question::routes()),
            clock: Clock {
                start: pick(network, 1 << 40),
                rate,
            },
            honest,
            oracle: self.oracle.clone(),
        }
    }

    // --- what happens ---

    /// Runs it to its end.
    pub(crate) fn run(mut self) -> Outcome {
        let steps = 20 + pick(&mut self.network, 60);
        self.change_faults();
        for _ in 0..steps {
            let pause = pick(&mut self.network, 1_000_000);
            self.run_for(Duration::from_micros(pause));
            self.act();
        }
        self.calm_down();
        // All timeouts, and all that partitions held up.
        self.run_for(Duration::from_secs(50));
        self.oracle.borrow().assert_all_ended();
        // The grace, by the slowest clock.
        self.run_for(Duration::from_secs(70));
        self.assert_empty();
        self.ask_everybody();
        self.shut_down();
        Outcome {
            hash: self.network.trace_hash(),
            events: self.network.trace_count(),
            tally: self.oracle.borrow().tally,
        }
    }

    fn run_for(&mut self, span: Duration) {
        let end = self.network.now() + span;
        let mut hosts: Vec<_> = self.ends.iter_mut().map(End::host).collect();
        self.network.run_until(end, &mut hosts);
    }

    fn change_faults(&mut self) {
        let network = &mut self.network;
        let longest = |network: &mut Network| match pick(network, 12) {
            0 => 5,
            1 | 2 => 30,
            3..6 => 150,
            6..9 => 700,
            _ => 64 * 1024,
        };
        let rough = one_in(network, 2);
        let percent = |network: &mut Network, most: u64| match rough {
            true => pick(network, most + 1) as u8,
            false => 0,
        };
        let faults = Faults {
            delay: Duration::from_micros(pick(network, 100_000)),
            jitter: match one_in(network, 2) {
                true => Duration::from_micros(pick(network, 300_000)),
                false => Duration::ZERO,
            },
            lost: percent(network, 40),
            duplicated: percent(network, 30),
            reordered: percent(network, 30),
            cut: percent(network, 10),
            longest_write: longest(network),
            longest_read: longest(network),
            window: match one_in(network, 4) {
                true => 10 + pick(network, 1_000) as u32,
                false => 64 * 1024,
            },
        };
        network.set_faults(faults);
        let mut oracle = self.oracle.borrow_mut();
        oracle.duplicates |= faults.duplicated > 0;
        oracle.cuts |= faults.cut > 0;
    }

    /// One end does something, or something is done to it.
    fn act(&mut self) {
        let nth = pick(&mut self.network, self.ends.len() as u64) as usize;
        match pick(&mut self.network, 100) {
            0..4 => self.change_faults(),
            4..8 => self.partition(nth),
            8..11 => self.heal(),
            11..15 => self.crash(nth),
            15..19 => self.pause_reading(nth),
            19..21 => self.half_close(nth),
            21..24 => self.hang_up(nth),
            24..27 => self.set_clock(nth),
            27..33 => self.publish(),
            33..36 => self.inject(),
            36..46 => self.subscribe(nth),
            _ => {
                let count = 1 + pick(&mut self.network, 6);
                for _ in 0..count {
                    let ask = self.any_question();
                    self.ask(nth, &ask);
                }
            }
        }
        // What was asked just now leaves at once.
        self.run_for(Duration::ZERO);
    }

    fn any_question(&mut self) -> Ask {
        let roomy = self.roomy;
        let network = &mut self.network;
        let clean = question::clean(network.random().next_u64());
        let after = |network: &mut Network| Plan::After(millis(pick(network, 1500)));
        let (uri, plan) = match pick(network, 12) {
            0..3 => (clean, Plan::Answer),
            3..6 => (clean, after(network)),
            6 => (clean, Plan::Fail),
            7 => (NOWHERE, Plan::Answer),
            8 => (INNER, after(network)),
            9 if roomy => (KEPT, Plan::Keep),
            10 => (DIRTY, Plan::Skip),
            _ => (DIRTY, after(network)),
        };
        let kind = match pick(network, 8) {
            _ if uri == INNER => MessageType::REQUEST_URI,
            0 => MessageType::CREATE_URI,
            1 => MessageType::DELETE_URI,
            2 => ASK,
            _ => MessageType::REQUEST_URI,
        };
        let filler = match pick(network, 40) {
            0 => pick(network, 6_000),
            1..8 => pick(network, 200),
            _ => pick(network, 20),
        };
        let question = Question {
            kind,
            uri,
            plan,
            filler: filler as usize,
        };
        let timeout = millis(50 + pick(network, 8_000));
        let cancel = one_in(network, 6).then(|| millis(pick(network, 3_000)));
        Ask {
            question,
            timeout,
            cancel,
        }
    }

    /// Lets one end ask another; gives the question's number if that was done.
    fn ask(&mut self, nth: usize, ask: &Ask) -> Option<u64> {
        let now = self.network.now();
        let other = self.network.random().next_u64();
        let to = self.node_besides(nth, other);
        match &mut self.ends[nth] {
            End::Client(end) => end.ask(now, ask),
            End::Server(end) => end.ask(now, other, ask),
            End::Node(end) => end.ask(now, to?, ask),
            End::Python(_) | End::PythonNode(_) => None,
        }
    }

    /// Another node, and whether it is like Python's.
    fn node_besides(&self, nth: usize, pick: u64) -> Option<(SocketAddr, bool)> {
        let others = self.ends.iter().enumerate().filter(|(n, _)| *n != nth);
        let others: Vec<_> = others
            .filter_map(|(_, end)| match end {
                End::Node(end) => Some((end.address, false)),
                End::PythonNode(end) => Some((end.address, true)),
                _ => None,
            })
            .collect();
        others.get(pick as usize % others.len().max(1)).copied()
    }

    fn subscribe(&mut self, nth: usize) {
        let network = &mut self.network;
        let kind = match one_in(network, 3) {
            true => MessageType::UNSUBSCRIBE_URI,
            false => MessageType::SUBSCRIBE_URI,
        };
        let question = Question {
            kind,
            uri: NEWS[pick(network, 2) as usize],
            plan: Plan::Answer,
            filler: 0,
        };
        // A server does not subscribe to its clients.
        if !matches!(self.ends[nth], End::Server(_)) {
            let ask = plain(question);
            self.ask(nth, &ask);
        }
    }

    /// All servers and nodes publish something.
    fn publish(&mut self) {
        let key = NEWS[pick(&mut self.network, 2) as usize];
        let count = 1 + pick(&mut self.network, 8);
        let now = self.network.now();
        for _ in 0..count {
            let filler = pick(&mut self.network, 300) as usize;
            for end in &mut self.ends {
                match end {
                    End::Server(end) => end.publish(now, key, filler),
                    End::Node(end) => end.publish(now, key),
                    _ => {}
                }
            }
        }
    }

    fn inject(&mut self) {
        let nodes = self.ends.iter().filter_map(|end| match end {
            End::Node(end) => Some(end.address),
            End::PythonNode(end) => Some(end.address),
            _ => None,
        });
        let nodes: Vec<_> = nodes.collect();
        if !nodes.is_empty() {
            inject(&mut self.network, &nodes, self.authenticated);
        }
    }

    fn crash(&mut self, nth: usize) {
        let network = &mut self.network;
        let back = millis(pick(network, 5_000));
        match &mut self.ends[nth] {
            End::Client(end) => end.crash(network, Some(back)),
            End::Server(end) => end.crash(network, back),
            End::Python(end) => end.crash(network, back),
            End::Node(end) => end.crash(network, back),
            End::PythonNode(_) => {}
        }
    }

    fn partition(&mut self, nth: usize) {
        let other = pick(&mut self.network, self.ends.len() as u64) as u8;
        let ip = |nth: u8| IpAddr::V4(Ipv4Addr::new(10, 0, 0, nth + 1));
        let (from, to) = (ip(nth as u8), ip(other));
        self.network.block(from, to);
        if one_in(&mut self.network, 3) {
            self.network.block(to, from);
        }
    }

    fn heal(&mut self) {
        for from in 0..8 {
            for to in 0..8 {
                let ip = |nth: u8| IpAddr::V4(Ipv4Addr::new(10, 0, 0, nth + 1));
                self.network.unblock(ip(from), ip(to));
            }
        }
    }

    fn pause_reading(&mut self, nth: usize) {
        let network = &mut self.network;
        let until = network.now() + millis(pick(network, 10_000));
        match &mut self.ends[nth] {
            End::Client(end) => {
                if let Some(talk) = &end.talk {
                    network.pause_reading(talk.end, until);
                }
            }
            End::Server(end) => {
                for talk in &end.talks {
                    network.pause_reading(talk.end, until);
                }
            }
            _ => {}
        }
    }

    /// Half of a stream ends although neither connection has meant it to.
    fn half_close(&mut self, nth: usize) {
        let network = &mut self.network;
        if let End::Client(end) = &self.ends[nth]
            && let Some(talk) = &end.talk
        {
            network.finish(talk.end);
        }
    }

    fn hang_up(&mut self, nth: usize) {
        let now = self.network.now();
        let within = millis(pick(&mut self.network, 4_000));
        let finish = one_in(&mut self.network, 2);
        let talk = match &mut self.ends[nth] {
            End::Client(end) => end.talk.as_mut(),
            End::Server(end) => end.talks.first_mut(),
            _ => None,
        };
        match talk {
            Some(talk) if finish => talk.finish(now, within),
            Some(talk) => talk.shutdown(now, within),
            None => {}
        }
    }

    /// The wall clock jumps.
    fn set_clock(&mut self, nth: usize) {
        let random = self.network.random();
        let times = [
            0,
            1,
            u64::from(u32::MAX),
            1 << 32,
            u64::MAX,
            random.next_u64(),
        ];
        let time = times[random.below(times.len() as u64) as usize];
        match &mut self.ends[nth] {
            End::Client(end) => {
                if let Some(talk) = &mut end.talk {
                    talk.connection.set_unix_time(time);
                }
            }
            End::Server(end) => {
                for talk in &mut end.talks {
                    talk.connection.set_unix_time(time);
                }
            }
            End::Node(end) => end.node.set_unix_time(time),
            _ => {}
        }
    }

    // --- the end ---

    /// The faults end, and everybody who is down comes back.
    fn calm_down(&mut self) {
        self.heal();
        self.network.set_faults(Faults::default());
    }

    #[track_caller]
    fn assert_empty(&self) {
        for end in &self.ends {
            match end {
                End::Client(end) => {
                    if let Some(talk) = &end.talk {
                        talk.assert_empty();
                        talk.assert_answered();
                    }
                }
                End::Server(end) => {
                    for talk in &end.talks {
                        talk.assert_empty();
                        talk.assert_answered();
                    }
                }
                End::Node(end) => end.assert_empty(),
                End::Python(_) | End::PythonNode(_) => {}
            }
        }
    }

    /// After all that, everybody is answered.
    fn ask_everybody(&mut self) {
        let mut serials = Vec::new();
        for nth in 0..self.ends.len() {
            if let End::Client(end) = &self.ends[nth] {
                assert!(end.talk.is_some(), "it has not come back");
            }
            for uri in 0..3 {
                let ask = plain(Question {
                    kind: MessageType::REQUEST_URI,
                    uri: question::clean(uri),
                    plan: Plan::Answer,
                    filler: 0,
                });
                let serial = self.ask(nth, &ask);
                let alone = match &self.ends[nth] {
                    End::Client(_) => false,
                    End::Server(end) => end.talks.is_empty(),
                    End::Node(_) => self.node_besides(nth, 0).is_none(),
                    End::Python(_) | End::PythonNode(_) => true,
                };
                assert!(serial.is_some() || alone, "{nth} cannot ask");
                serials.extend(serial);
            }
        }
        self.run_for(Duration::from_secs(20));
        let oracle = self.oracle.borrow();
        oracle.assert_all_ended();
        for serial in serials {
            oracle.assert_answered(serial);
        }
    }

    fn shut_down(&mut self) {
        let now = self.network.now();
        for end in &mut self.ends {
            match end {
                End::Client(end) => {
                    end.retire();
                    if let Some(talk) = &mut end.talk {
                        talk.shutdown(now, Duration::from_secs(5));
                    }
                }
                End::Node(end) => end.close(&mut self.network),
                _ => {}
            }
        }
        // Servers wait for what their handlers hold, but not for ever.
        self.run_for(Duration::from_secs(50));
        for end in &self.ends {
            match end {
                End::Client(end) => assert!(end.talk.is_none(), "it goes on"),
                End::Server(end) => assert!(end.talks.is_empty(), "they go on"),
                _ => {}
            }
        }
        assert_eq!(self.network.streams(), 0, "streams are left");
    }
}

/// Asked without hurry.
fn plain(question: Question) -> Ask {
    Ask {
        question,
        timeout: Duration::from_secs(10),
        cancel: None,
    }
}

fn layers(nth: u64) -> Layers {
    let auth = || Layers::new().auth(HmacAuthPlugin::new("outer secret"));
    match nth {
        0 => Layers::new(),
        1 => auth(),
        _ => auth().cipher(Sha256StreamCipherPlugin::new("outer key")),
    }
}

fn pick(network: &mut Network, bound: u64) -> u64 {
    network.random().below(bound)
}

fn one_in(network: &mut Network, count: u64) -> bool {
    pick(network, count) == 0
}

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Runs the scenario of a seed.
pub(crate) fn run(seed: u64, setup: Setup) -> Outcome {
    Scenario::new(seed, setup).run()
}
