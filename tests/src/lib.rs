//! What the suites share: vectors, the live Python peers and a model of them,
//! networks of their own, loud skips.

pub mod namespace;
pub mod python;
pub mod python_model;
pub mod skip;
pub mod vectors;
