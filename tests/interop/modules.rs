//! The live tests: the same on every runtime.

mod boxes;
mod endpoints;
mod ends;
mod errors;
mod garbage;
mod keepalive;
mod late_replies;
mod layers;
mod multicast;
mod node_ends;
mod node_peers;
mod pubsub;
mod python_node;
mod race;
mod reconnect;
mod replays;
mod rust_client;
mod rust_node;
mod rust_server;
mod rust_server_layers;
mod setups;
mod stream_peers;
mod subscriptions;
mod tapescript;
