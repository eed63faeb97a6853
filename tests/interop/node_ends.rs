//! A node of ours and a Python node, side by side on the loopback interface.

use std::net::{Ipv4Addr, SocketAddr};

use crate::runtime::{IncomingDatagram, Layers, Own, UdpNode};
use netaio_driver::NodeBuilder;
use netaio_tests::python::{Environment, PyNode};
use serde_json::Value;

use super::endpoints::add_endpoints;
use super::ends::{eventually, soon};
use super::setups::Setup;

/// Two nodes with the same endpoints.
pub(crate) struct Nodes {
    pub(crate) python: PyNode,
    pub(crate) node: UdpNode,
    pub(crate) address: SocketAddr,
}

impl Nodes {
    /// Both without plugins.
    pub(crate) async fn start(python: &Environment) -> Self {
        Self::with(python, &[], Layers::new(), |node| node).await
    }

    /// Both set up in the same way.
    pub(crate) async fn set_up(python: &Environment, setup: &Setup) -> Self {
        let Setup {
            args, outer, inner, ..
        } = setup;
        let layers = outer.clone();
        Self::with(python, args, inner.clone(), |n| n.layers(layers)).await
    }

    /// A Python node with these options; and one of ours with these settings,
    /// whose protected endpoints have these layers.
    pub(crate) async fn with(
        python: &Environment,
        args: &[&str],
        inner: Layers,
        set: impl FnOnce(NodeBuilder<Own>) -> NodeBuilder<Own>,
    ) -> Self {
        let node = UdpNode::builder().interface(Ipv4Addr::LOCALHOST).port(0);
        let node = set(node.no_multicast()).build();
        add_endpoints!(node, IncomingDatagram, inner);
        Self {
            python: PyNode::start(python, args),
            address: node.start().await.expect("a free port"),
            node,
        }
    }

    /// Has the Python node perform an operation on ours, as far as it has a
    /// target; gives the result, which is as the operation expects.
    pub(crate) fn python_does(&self, mut operation: Value) -> Value {
        operation["port"] = self.address.port().into();
        self.python.do_op(operation)
    }

    /// Ends both, and checks that they are well and that nothing is left of what
    /// was done.
    pub(crate) async fn end(self) {
        let idle = || self.node.in_flight() == 0;
        eventually("all handlers have ended", idle).await;
        assert_eq!(self.node.pending(), 0);
        soon(self.node.stop()).await;
        assert_eq!(self.node.local_addr(), None);
        assert!(self.python.stop(), "{}", self.python.story());
    }
}
