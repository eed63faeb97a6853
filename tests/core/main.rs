//! The core under a clock of our own: two ends in one process, nobody sleeps.
//!
//! [`pair`] joins a client to a [`server::Server`]: ours, or a model of Python
//! netaio's. [`network`] joins nodes. Every test is decided by its seeds.

mod datagrams;
mod frames;
mod network;
mod pair;
mod python_server;
mod server;

mod amplification;
mod audiences;
mod bombs;
mod boxes;
mod determinism;
mod discovery;
mod ending;
mod flooding;
mod keepalive;
mod late_replies;
mod layers;
mod limits;
mod malformed;
mod node_bounds;
mod nodes;
mod noise;
mod notices;
mod peers;
mod replays;
mod replies;
mod requests;
mod routes;
mod short_ways;
mod splits;
mod wall_clock;
mod work;
