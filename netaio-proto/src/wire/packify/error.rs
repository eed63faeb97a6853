//! What can be wrong with packed bytes, and with values to be packed.

/// Why bytes are not a packed value. Offsets count from the start of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// The input ends inside a value.
    #[error("packed value is cut off: {missing} more bytes wanted at {offset}")]
    Truncated {
        /// Where the missing part should start.
        offset: usize,
        /// How many bytes are missing at least.
        missing: usize,
    },
    /// The first byte of a value names no known type.
    #[error("unknown packify type {code:#04x} at {offset}")]
    UnknownType {
        /// Where the value starts.
        offset: usize,
        /// The whole first byte.
        code: u8,
    },
    /// An instance of a Python class, which only Python could build.
    #[error("packable of a Python class at {offset}")]
    Packable {
        /// Where the value starts.
        offset: usize,
    },
    /// A type that has a length, but the width of the length is not given.
    #[error("length width missing at {offset}")]
    MissingWidth {
        /// Where the byte is that should give the width.
        offset: usize,
    },
    /// The byte that gives the width of item lengths has other bits set.
    #[error("item width byte {byte:#04x} is invalid at {offset}")]
    InvalidItemWidth {
        /// Where the byte is.
        offset: usize,
        /// The byte.
        byte: u8,
    },
    /// An item of no bytes; even the smallest value takes one.
    #[error("container item of no bytes at {offset}")]
    EmptyItem {
        /// Where the item should be.
        offset: usize,
    },
    /// A dict entry that is not a tuple of a key and a value.
    #[error("dict entry is not a pair at {offset}")]
    InvalidEntry {
        /// Where the entry starts.
        offset: usize,
    },
    /// A dict key or set item that Python cannot hash.
    #[error("dict key or set item cannot be hashed at {offset}")]
    Unhashable {
        /// Where the key, the item or a part of it starts.
        offset: usize,
    },
    /// Text that is not UTF-8.
    #[error("text is not UTF-8 at {offset}")]
    InvalidText {
        /// Where the value starts.
        offset: usize,
    },
    /// A decimal whose text is not a number.
    #[error("invalid decimal text at {offset}")]
    InvalidDecimal {
        /// Where the value starts.
        offset: usize,
    },
    /// Containers are nested deeper than the limit.
    #[error("containers are nested too deeply at {offset}")]
    TooDeep {
        /// Where the first container over the limit starts.
        offset: usize,
    },
    /// The input is longer than the place it is meant for can hold.
    #[error("{size} packed bytes, at most {limit} are allowed")]
    TooLarge {
        /// The size of the input in bytes.
        size: usize,
        /// The greatest size allowed.
        limit: usize,
    },
}

/// Why a value cannot be packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// The packed form, or one length in it, would exceed what is allowed.
    #[error("value of {size} bytes or items, at most {limit} are allowed")]
    TooLarge {
        /// The size in bytes, or the count of items.
        size: usize,
        /// The greatest size or count allowed.
        limit: usize,
    },
    /// Containers are nested more than 255 deep, or, in auth fields, deeper than
    /// what a message may hold.
    #[error("containers are nested too deeply")]
    TooDeep,
    /// A dict key or set item that Python cannot hash: a list, a set, a dict, a
    /// bytearray, a signalling NaN, or a tuple with one of them inside.
    #[error("dict key or set item cannot be hashed")]
    Unhashable,
}
