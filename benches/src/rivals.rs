//! What else a user could pick.

pub(crate) mod python;
pub(crate) mod tarpc;
pub(crate) mod zeromq;
