//! Live tests against Python netaio 0.0.9: our client with its server, and its
//! client with ours. They need a Python interpreter; see `peers/README.md`.
//!
//! Every test runs on several threads: what a test does with a Python program
//! blocks the test's own thread, and nothing else.

mod endpoints;
mod ends;
mod errors;
mod garbage;
mod late_replies;
mod layers;
mod multicast;
mod node_ends;
mod node_peers;
mod pubsub;
mod python_node;
mod race;
mod reconnect;
mod rust_client;
mod rust_node;
mod rust_server;
mod rust_server_layers;
mod setups;
mod stream_peers;
mod subscriptions;
