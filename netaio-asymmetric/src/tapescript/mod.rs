//! Authentication by scripts, compatible with Python netaio's
//! `TapescriptAuthPlugin` and with tapescript 0.7.2.
//!
//! A *lock* is a small program that says who may speak: one key, two of three,
//! a key until some day. A *witness* is the program that a sender adds to a
//! message to open the lock; mostly it pushes signatures. The receiver runs the
//! witness and then the lock on one stack, and the message passes if nothing
//! failed and one item is left, the byte `ff`.
//!
//! - [`lock`] and [`witness`] make the usual ones, as byte code. There is no
//!   compiler here; peers exchange byte code only.
//! - [`TapescriptAuthPlugin`] puts them into messages.
//! - [`Machine`] runs them. A witness comes from whoever wants to be let in and
//!   is run before that has been decided, so all that a run can cost is bounded:
//!   see [`ScriptLimits`].
//!
//! # Where this machine differs from tapescript 0.7.2
//!
//! Where it matters, in that it refuses what Python would go on with:
//!
//! - A run that costs more than its [`ScriptLimits`] fails, and no `TRY_EXCEPT`
//!   catches that. Python lets 26 bytes of byte code run for seconds.
//! - `RETURN` in the witness leaves no mark that would end the lock early.
//!   [`Machine::sticky_return`] brings it back.
//! - `RANDOM` fails, and no `TRY_EXCEPT` catches that either. There are no
//!   contracts, no signature extensions and no template plugins.
//!
//! And in one place the other way round: after a failure, `TRY_EXCEPT` leaves
//! our words for it under the cache key `E`, not the name and text of a Python
//! exception. Only a script that looks at the text can tell.

mod certificate;
mod ed25519;
mod error;
mod fields;
mod key;
mod limits;
pub mod lock;
mod machine;
mod opcode;
mod plugin;
mod script;
pub mod witness;

pub use certificate::Certificate;
pub use error::ScriptError;
pub use fields::{Inputs, SigFields, SigFlags};
pub use key::SigningKey;
pub use limits::ScriptLimits;
pub use machine::Machine;
pub use opcode::Opcode;
pub use plugin::TapescriptAuthPlugin;
pub use script::Script;
