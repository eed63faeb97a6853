//! What is signed, and what else a script can see of the outside.

use alloc::vec::Vec;

/// Which fields a signature leaves out: bit 0 the first, bit 7 the eighth.
///
/// A lock has the flags that it allows, a signature those that it uses. netaio
/// has three fields: the body section, the nonce and the timestamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SigFlags(pub u8);

impl SigFlags {
    /// Leaves nothing out: all fields that there are must be signed.
    pub const ALL_SIGNED: Self = Self(0);

    /// Whether this leaves out a field, counted from 0.
    pub const fn leaves_out(self, field: usize) -> bool {
        field < 8 && self.0 & (1 << field) != 0
    }

    /// Whether this leaves out nothing but what `allowed` leaves out.
    pub const fn is_within(self, allowed: Self) -> bool {
        self.0 & !allowed.0 == 0
    }
}

/// The fields that signatures are about, up to eight; any may be absent.
#[derive(Clone, Copy, Debug, Default)]
pub struct SigFields<'a>([Option<&'a [u8]>; 8]);

impl<'a> SigFields<'a> {
    /// The fields of a netaio message: body section, nonce and timestamp.
    pub const fn of_message(body: &'a [u8], nonce: &'a [u8], ts: &'a [u8]) -> Self {
        let rest = None;
        Self([
            Some(body),
            Some(nonce),
            Some(ts),
            rest,
            rest,
            rest,
            rest,
            rest,
        ])
    }

    /// Any fields; the first is the one that tapescript calls `sigfield1`.
    pub const fn new(fields: [Option<&'a [u8]>; 8]) -> Self {
        Self(fields)
    }

    /// The field with this place, counted from 0.
    pub fn get(&self, field: usize) -> Option<&'a [u8]> {
        self.0.get(field).copied().flatten()
    }

    /// What a signature with these flags signs: the fields, one after the other,
    /// with nothing between them.
    pub fn message(&self, flags: SigFlags) -> Vec<u8> {
        let parts = self.signed(flags);
        parts.fold(Vec::new(), |mut message, part| {
            message.extend_from_slice(part);
            message
        })
    }

    /// How many bytes [`message`](Self::message) would have.
    pub fn message_len(&self, flags: SigFlags) -> usize {
        let lengths = self.signed(flags).map(<[u8]>::len);
        lengths.fold(0, usize::saturating_add)
    }

    fn signed(&self, flags: SigFlags) -> impl Iterator<Item = &'a [u8]> {
        let fields = self.0.into_iter().enumerate();
        fields
            .filter(move |(place, _)| !flags.leaves_out(*place))
            .filter_map(|(_, field)| field)
    }
}

/// What a run can see of the outside.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inputs<'a> {
    /// What signatures are about.
    pub fields: SigFields<'a>,
    /// The time that the scripts are told, in seconds since 1970. In a plugin it
    /// is the receiver's clock, not what the sender claims.
    pub timestamp: u64,
    /// The clock, in seconds since 1970.
    pub now: u64,
}
