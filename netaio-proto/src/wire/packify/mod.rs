//! packify: the self-describing encoding of a message's auth fields.
//!
//! The format is that of the Python package packify 0.4.0. Two ways to read it:
//!
//! * [`Raw`] borrows: it looks into packed bytes in place, without allocating;
//! * [`Value`] owns: [`unpack`] builds the whole tree, [`pack`] writes it.
//!
//! Both walk the bytes with the same code, and both accept exactly what
//! [`check`] accepts.
//!
//! Encoding is canonical: the smallest form of every length and integer, set
//! items and dict entries sorted. Decoding is as lenient as packify 0.4.0: wider
//! lengths than needed, unsorted dicts, and bytes after the end of any value are
//! accepted. Instances of Python classes ("packables") are never accepted.
//!
//! ```
//! use netaio_proto::wire::packify::{Value, pack, unpack};
//!
//! let value = Value::Dict(vec![("ts".into(), 5_u32.into())]);
//! let packed = pack(&value)?;
//! assert_eq!(packed, b"\x4d\x40\x01\x0b\x4c\x40\x02\x04\x02\x43\x02ts\x44\x05");
//! assert_eq!(unpack(&packed)?, value);
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```

mod code;
mod decimal;
mod decode;
mod encode;
mod error;
mod int;
mod key;
mod natural;
mod raw;
mod value;

pub use decimal::{Decimal, ParseDecimalError};
pub use decode::{DecodeLimits, check, unpack, unpack_with};
pub use encode::{pack, pack_into};
pub use error::{PackError, UnpackError};
pub use int::{Int, IntOutOfRange};
pub use raw::{Entries, Items, Raw};
pub use value::{Kind, Value};

pub(crate) use code::{BYTES, DICT, STR, TUPLE, Width};
pub(crate) use encode::{Sink, write_container_header, write_sized};
pub(crate) use raw::Packed;
