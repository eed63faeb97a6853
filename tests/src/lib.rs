//! What the suites share: vectors, the live Python peers, loud skips.

pub mod python;
pub mod skip;
pub mod vectors;
