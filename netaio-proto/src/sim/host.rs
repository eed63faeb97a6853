//! Ends on a simulated network that run by themselves.

use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;

use super::network::Network;
use super::stream::StreamEnd;
use crate::action::{Action, CloseReason};
use crate::connection::Connection;
use crate::node::Node;
use crate::time::Instant;

/// Something on a simulated network that runs by itself, in turns.
pub trait Host {
    /// Does what there is to do now; `true` if anything was done. It gets
    /// another turn then before time goes on.
    fn turn(&mut self, network: &mut Network) -> bool;

    /// When it wants a turn although nothing has come for it.
    fn wakeup(&self) -> Option<Instant>;
}

impl Network {
    /// Gives all hosts their turns, in their order, until none has anything to
    /// do, then goes to when something happens next, and so on until `end`. A
    /// host whose wake-up stays in the past gets a turn every microsecond.
    pub fn run_until(&mut self, end: Instant, hosts: &mut [&mut dyn Host]) {
        loop {
            while turn_of_all(self, hosts) {}
            let wakeups = hosts.iter().filter_map(|host| host.wakeup());
            let next = wakeups.chain(self.next_event()).min();
            match next {
                Some(next) if next <= end => {
                    let least = self.now() + Duration::from_micros(1);
                    if least > end {
                        return self.advance_to(end);
                    }
                    self.advance_to(next.max(least));
                }
                _ => return self.advance_to(end),
            }
        }
    }
}

fn turn_of_all(network: &mut Network, hosts: &mut [&mut dyn Host]) -> bool {
    let turns = hosts.iter_mut().map(|host| host.turn(network));
    turns.fold(false, |any, one| any | one)
}

/// A [`Connection`] at one end of a simulated stream, and what is to be done
/// about its actions.
pub struct StreamHost<F> {
    /// The connection. Ask it whatever you like between two runs.
    pub connection: Connection,
    end: StreamEnd,
    on_action: F,
}

impl<F: FnMut(Instant, &mut Connection, Action)> StreamHost<F> {
    /// Puts a connection at this end. `on_action` is given each of its actions,
    /// and what time it is.
    pub fn new(end: StreamEnd, connection: Connection, on_action: F) -> Self {
        Self {
            connection,
            end,
            on_action,
        }
    }
}

impl<F: FnMut(Instant, &mut Connection, Action)> Host for StreamHost<F> {
    fn turn(&mut self, network: &mut Network) -> bool {
        let now = network.now();
        let mut happened = network.carry(self.end, now, &mut self.connection);
        while let Some(action) = self.connection.poll_action() {
            happened = true;
            match &action {
                Action::Closed {
                    reason:
                        CloseReason::Eof | CloseReason::Local | CloseReason::Shutdown,
                } => network.close(self.end),
                Action::Closed { .. } => network.reset(self.end),
                _ => {}
            }
            (self.on_action)(now, &mut self.connection, action);
        }
        happened
    }

    fn wakeup(&self) -> Option<Instant> {
        self.connection.poll_timeout()
    }
}

impl<F> fmt::Debug for StreamHost<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamHost")
            .field("connection", &self.connection)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

/// A [`Node`] at an address of a simulated network, and what is to be done about
/// its actions.
pub struct NodeHost<F> {
    /// The node. Ask it whatever you like between two runs.
    pub node: Node,
    at: SocketAddr,
    on_action: F,
}

impl<F: FnMut(Instant, &mut Node, Action)> NodeHost<F> {
    /// Puts a node at this address, which must be bound. `on_action` is given
    /// each of its actions, and what time it is.
    pub fn new(at: SocketAddr, node: Node, on_action: F) -> Self {
        Self {
            node,
            at,
            on_action,
        }
    }
}

impl<F: FnMut(Instant, &mut Node, Action)> Host for NodeHost<F> {
    fn turn(&mut self, network: &mut Network) -> bool {
        let now = network.now();
        let mut happened = network.carry_node(self.at, now, &mut self.node);
        while let Some(action) = self.node.poll_action() {
            happened = true;
            (self.on_action)(now, &mut self.node, action);
        }
        happened
    }

    fn wakeup(&self) -> Option<Instant> {
        self.node.poll_timeout()
    }
}

impl<F> fmt::Debug for NodeHost<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeHost")
            .field("node", &self.node)
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}
