//! What else a user could pick.

pub(crate) mod python;
#[cfg(feature = "rivals")]
pub(crate) mod tarpc;
#[cfg(feature = "rivals")]
pub(crate) mod tonic;
#[cfg(feature = "rivals")]
pub(crate) mod zeromq;
