//! Many nodes on a simulated network. One seed decides everything.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use netaio_proto::sim::{self, Faults};
use netaio_proto::{
    Action, Datagram, DefaultRoute, EndpointConfig, HandlerId, Instant, Layers,
    LossReason, MessageType, Node, Peer, PeerEvent, PeerManagement, Router,
};

use crate::server::refusal;

/// Where multicasts go.
pub(crate) const GROUP: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(224, 0, 0, 1)), 8888);

/// How often peers advertise themselves here.
pub(crate) const INTERVAL: Duration = Duration::from_secs(20);

/// All nodes, and what is between them.
pub(crate) struct Network {
    pub(crate) members: Vec<Member>,
    /// Every datagram that was sent: when, by which member, and which.
    pub(crate) sent: Vec<(Instant, usize, Datagram)>,
    between: sim::Network,
}

/// A node, and what became of it.
pub(crate) struct Member {
    pub(crate) node: Node,
    pub(crate) address: SocketAddr,
    /// Whether it runs. One that has crashed neither sends nor receives.
    pub(crate) up: bool,
    /// What it was told and has not been looked at.
    pub(crate) actions: Vec<Action>,
}

impl Network {
    pub(crate) fn new(seed: u8, faults: Faults) -> Self {
        let mut between = sim::Network::new(seed.into());
        between.set_faults(faults);
        Self {
            members: Vec::new(),
            sent: Vec::new(),
            between,
        }
    }

    pub(crate) fn now(&self) -> Instant {
        self.between.now()
    }

    pub(crate) fn set_faults(&mut self, faults: Faults) {
        self.between.set_faults(faults);
    }

    /// So many nodes that begin to manage peers one after the other, all within
    /// an interval. How much each says of itself differs.
    pub(crate) fn managed(seed: u8, count: usize, faults: Faults) -> Self {
        let mut network = Self::new(seed, faults);
        let pause = INTERVAL / count as u32;
        for _ in 0..count {
            network.run_for(pause);
            network.join_managed();
        }
        network
    }

    /// Adds a node that manages peers, and gives its number.
    pub(crate) fn join_managed(&mut self) -> usize {
        let n = self.members.len();
        let peer = Peer::new(format!("peer {n:02}"), vec![b'.'; n * 7 % 40]);
        let member = self.join(EndpointConfig {
            local_peer: Some(Arc::new(peer)),
            ..EndpointConfig::default()
        });
        self.manage(member);
        member
    }

    /// Adds a node that echoes requests, and gives its number.
    pub(crate) fn join(&mut self, config: EndpointConfig) -> usize {
        let count = self.members.len();
        let address = address(count);
        self.between.bind(address);
        self.between.join(address, GROUP);
        let seed = self.between.random().bytes();
        let router = Arc::new(echo_route());
        let mut node = Node::new(Arc::new(config), router, seed, self.now());
        node.set_group(Some(GROUP));
        node.set_own_addresses([address]);
        self.members.push(Member {
            node,
            address,
            up: true,
            actions: Vec::new(),
        });
        count
    }

    pub(crate) fn manage(&mut self, member: usize) {
        let management = PeerManagement::new("app")
            .every(INTERVAL)
            .timeout(INTERVAL * 3);
        let now = self.now();
        let node = &mut self.members[member].node;
        node.manage_peers(now, management).expect("it has an id");
    }

    /// Lets this much time pass.
    pub(crate) fn run_for(&mut self, span: Duration) {
        let end = self.now() + span;
        self.run_until(end, |_| false);
        self.between.advance_to(end);
    }

    /// Lets time pass up to `end`, or until `done` holds; gives when that was.
    pub(crate) fn run_until(
        &mut self,
        end: Instant,
        done: impl Fn(&Self) -> bool,
    ) -> Option<Instant> {
        (0..self.members.len()).for_each(|member| self.flush(member));
        while !done(self) {
            let next = self.next_wakeup().filter(|next| *next <= end)?;
            self.between.advance_to(next);
            self.deliver();
            self.time_out();
        }
        Some(self.now())
    }

    /// A datagram of somebody who is no member, delivered at once.
    pub(crate) fn inject(&mut self, from: SocketAddr, to: usize, bytes: &[u8]) {
        let now = self.now();
        self.members[to].node.handle_datagram(now, from, bytes);
        self.flush(to);
    }

    /// Sends what a member has to send, and does what it asks for.
    pub(crate) fn flush(&mut self, member: usize) {
        let now = self.now();
        let who = &mut self.members[member];
        while let Some(action) = who.node.poll_action() {
            match action {
                Action::Dispatch {
                    message,
                    reply: Some(token),
                    ..
                } => {
                    let answer = message.respond(message.content());
                    let answer = answer.expect("it came");
                    who.node.reply(now, token, answer).expect("it is open");
                }
                Action::Unrouted {
                    reply: Some(token), ..
                } => who.node.no_reply(token),
                Action::AuthFailed(failed) if failed.reply.is_some() => {
                    let (token, refusal) = refusal(*failed);
                    who.node.reply(now, token, refusal).expect("it is open");
                }
                other => who.actions.push(other),
            }
        }
        while let Some(datagram) = who.node.poll_datagram() {
            self.between.send(who.address, &datagram);
            self.sent.push((now, member, datagram));
        }
    }

    fn deliver(&mut self) {
        for to in 0..self.members.len() {
            let Member { address, up, .. } = self.members[to];
            while let Some((from, bytes)) = self.between.receive(address) {
                if up {
                    self.inject(from, to, &bytes);
                }
            }
        }
    }

    fn time_out(&mut self) {
        let now = self.now();
        for member in 0..self.members.len() {
            let who = &mut self.members[member];
            let due = who.node.poll_timeout().is_some_and(|at| at <= now);
            if who.up && due {
                who.node.handle_timeout(now);
                let next = who.node.poll_timeout();
                assert!(
                    next.is_none_or(|at| at > now),
                    "a deadline stays at {next:?} though handled"
                );
                self.flush(member);
            }
        }
    }

    fn next_wakeup(&self) -> Option<Instant> {
        let up = self.members.iter().filter(|member| member.up);
        let timeouts = up.filter_map(|member| member.node.poll_timeout());
        timeouts.chain(self.between.next_event()).min()
    }

    // --- what is known ---

    /// Whether each running member knows exactly the other running ones.
    pub(crate) fn all_know_each_other(&self) -> bool {
        let up: Vec<_> = self.members.iter().filter(|m| m.up).collect();
        up.iter().all(|member| {
            let peers = member.node.peers();
            let others = up.iter().filter(|other| other.address != member.address);
            peers.len() == up.len() - 1 && { others }
                .all(|other| peers.at(other.address).is_some())
        })
    }

    /// The peers that a member has lost, and why, since this was last asked.
    pub(crate) fn lost_by(
        &mut self,
        member: usize,
    ) -> Vec<(SocketAddr, LossReason)> {
        let actions = self.members[member].actions.drain(..);
        let lost = actions.filter_map(|action| match action {
            Action::Peer(PeerEvent::Lost { peer, reason }) => {
                Some((peer.addresses[0], reason))
            }
            _ => None,
        });
        lost.collect()
    }

    /// When a member sent its advertisements.
    pub(crate) fn advertised(&self, member: usize) -> Vec<Instant> {
        let own = self.sent.iter().filter(|(_, by, _)| *by == member);
        let advertisements =
            own.filter(|(.., d)| d.bytes[0] == MessageType::ADVERTISE_PEER.code());
        advertisements.map(|(at, ..)| *at).collect()
    }
}

/// Where a member is.
pub(crate) fn address(member: usize) -> SocketAddr {
    let member = u16::try_from(member).expect("few members");
    let [high, low] = member.to_be_bytes();
    SocketAddr::new(Ipv4Addr::new(10, 0, high, low).into(), 8888)
}

/// An echo, and silence about all else.
fn echo_route() -> Router {
    let mut router = Router::new();
    let echo = (MessageType::REQUEST_URI, "echo");
    router.insert(echo, HandlerId(1), Layers::new());
    router.set_default_route(DefaultRoute::Unrouted);
    router
}

/// A network that only takes its time.
pub(crate) fn calm() -> Faults {
    Faults {
        delay: Duration::from_millis(2),
        ..Faults::default()
    }
}
