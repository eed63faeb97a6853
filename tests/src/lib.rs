//! What the suites share: vectors, the live Python peers, networks of their own,
//! loud skips.

pub mod namespace;
pub mod python;
pub mod skip;
pub mod vectors;
