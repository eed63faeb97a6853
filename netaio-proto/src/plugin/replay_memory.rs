//! Which messages have been here: within a window of time, and a bound.

use alloc::collections::{BTreeMap, BTreeSet};
use core::fmt;
use core::time::Duration;

use super::sha256;
use crate::error::AuthError;

/// Bytes that stand for a nonce.
const KEY_LENGTH: usize = 16;

type Key = [u8; KEY_LENGTH];

/// Remembers which messages have come or were made, by when they were made and
/// a nonce, and refuses those that it may have seen before.
///
/// Only what was made within a window around now is accepted, so nothing needs
/// to be remembered for longer. At its capacity, whole seconds are forgotten,
/// those first that are farthest from now; whatever is or claims to be of a
/// second that was forgotten is refused from then on. So it never says that a
/// message is new if it is not, whatever the load, and whichever way the clock
/// is set. It is a plain structure without a lock or a clock; a
/// `ReplayGuard` puts it around a plugin.
///
/// One entry takes up to 48 bytes: about 6 MiB at the default capacity.
///
/// ```
/// use netaio_proto::{AuthError, ReplayMemory};
///
/// let mut memory = ReplayMemory::new();
/// let (now, made) = (1_800_000_000, 1_799_999_990);
/// assert_eq!(memory.accept(now, made, b"nonce"), Ok(()));
/// assert_eq!(memory.accept(now, made, b"nonce"), Err(AuthError::Replayed));
/// let much_later = now + 51;
/// let age = 61;
/// assert_eq!(
///     memory.accept(much_later, made, b"nonce"),
///     Err(AuthError::OutsideWindow { age })
/// );
/// ```
#[derive(Clone)]
pub struct ReplayMemory {
    max_age: u64,
    max_ahead: u64,
    capacity: usize,
    seconds: BTreeMap<u64, BTreeMap<Key, Maker>>,
    /// Entries of all seconds.
    length: usize,
    /// Everything before this second is refused.
    floor: u64,
    /// Later seconds that are refused as well.
    forgotten: BTreeSet<u64>,
    refusals: Refusals,
}

/// Who made a message.
#[derive(Clone, Copy)]
enum Maker {
    We,
    Others,
}

/// How many messages a [`ReplayMemory`] has refused, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusals {
    /// Had come before.
    pub replayed: u64,
    /// Were made by this endpoint itself.
    pub reflected: u64,
    /// Were made too long ago, or say that they will be made.
    pub outside_window: u64,
    /// Were of a second that had been forgotten, or for which there was no
    /// room. If this grows, the capacity is too small for the load.
    pub forgotten: u64,
}

impl ReplayMemory {
    /// A memory of 131,072 messages that accepts what was made up to 60 seconds
    /// ago, or will have been in up to 60 seconds by a clock that is ahead.
    pub fn new() -> Self {
        Self {
            max_age: 60,
            max_ahead: 60,
            capacity: 131_072,
            seconds: BTreeMap::new(),
            length: 0,
            floor: 0,
            forgotten: BTreeSet::new(),
            refusals: Refusals::default(),
        }
    }

    /// The same, accepting messages that are at most this old, in whole seconds:
    /// what they may take to arrive, and a clock be behind. At most an hour.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = age.as_secs().min(HOUR);
        self
    }

    /// The same, accepting messages of at most this far in the future, in whole
    /// seconds: what a clock may be ahead. At most an hour.
    #[must_use]
    pub fn max_ahead(mut self, ahead: Duration) -> Self {
        self.max_ahead = ahead.as_secs().min(HOUR);
        self
    }

    /// The same, with room for this many messages, received and made. Give it
    /// more than pass in a few seconds: the window is as short as the room.
    #[must_use]
    pub fn capacity(mut self, messages: usize) -> Self {
        self.capacity = messages;
        self
    }

    /// The same, refusing what was made before this time, in seconds since 1970.
    /// What an earlier run of the program has received is not remembered; give
    /// the time of the start if none of it may be accepted again, at the cost of
    /// refusing peers whose clocks are behind for as long as they are.
    #[must_use]
    pub fn not_before(mut self, unix_time: u64) -> Self {
        self.floor = self.floor.max(unix_time);
        self
    }

    /// Takes a message in that is authentic, and remembers it. `now` is the time
    /// in seconds since 1970, `made` the lower 32 bits of that when the message
    /// was made, so that it is accepted beyond 2106. Both `made` and the nonce
    /// must be covered by what authenticates the message.
    ///
    /// # Errors
    ///
    /// [`AuthError`] if it has been here before, was made here, or may have
    /// been; or if it is outside of the window.
    pub fn accept(
        &mut self,
        now: u64,
        made: u32,
        nonce: &[u8],
    ) -> Result<(), AuthError> {
        let second = self.check_time(now, made)?;
        let key = key(nonce);
        self.expire(now);
        if second < self.floor || self.forgotten.contains(&second) {
            self.refusals.forgotten += 1;
            return Err(AuthError::Forgotten);
        }
        match self.find(second, &key) {
            Some(Maker::Others) => {
                self.refusals.replayed += 1;
                return Err(AuthError::Replayed);
            }
            Some(Maker::We) => {
                self.refusals.reflected += 1;
                return Err(AuthError::Reflected);
            }
            None => {}
        }
        if !self.make_room(now, second) {
            self.refusals.forgotten += 1;
            return Err(AuthError::Forgotten);
        }
        self.insert(second, key, Maker::Others);
        Ok(())
    }

    /// Whether a message is within the window; cheap, and remembers nothing. Gives
    /// when it was made, in seconds since 1970.
    ///
    /// # Errors
    ///
    /// [`AuthError::OutsideWindow`] if it is not.
    pub fn check_time(&mut self, now: u64, made: u32) -> Result<u64, AuthError> {
        let ahead = ahead(now, made);
        let age = -i64::from(ahead);
        let within = if ahead > 0 {
            u64::from(ahead.unsigned_abs()) <= self.max_ahead
        } else {
            u64::from(ahead.unsigned_abs()) <= self.max_age
        };
        match now.checked_add_signed(i64::from(ahead)) {
            Some(second) if within => Ok(second),
            _ => {
                self.refusals.outside_window += 1;
                Err(AuthError::OutsideWindow { age })
            }
        }
    }

    /// Remembers a message that is about to be sent, to know it when somebody
    /// sends it back. `false` if it is further in the future than messages may
    /// be; then it is not remembered, and should not be sent.
    pub fn note_own(&mut self, now: u64, made: u32, nonce: &[u8]) -> bool {
        let ahead = i64::from(ahead(now, made));
        if u64::try_from(ahead).is_ok_and(|ahead| ahead > self.max_ahead) {
            return false;
        }
        self.expire(now);
        let second = now.saturating_add_signed(ahead);
        if second < self.floor || self.forgotten.contains(&second) {
            return true;
        }
        let key = key(nonce);
        if self.find(second, &key).is_none() {
            if self.make_room(now, second) {
                self.insert(second, key, Maker::We);
            } else {
                self.forget(now, second);
            }
        }
        true
    }

    /// Whether a message has been here before, or was made here, as far as that
    /// is remembered.
    pub fn contains(&self, now: u64, made: u32, nonce: &[u8]) -> bool {
        now.checked_add_signed(i64::from(ahead(now, made)))
            .is_some_and(|second| self.find(second, &key(nonce)).is_some())
    }

    /// How many messages are remembered.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// How many messages have been refused, and why.
    pub fn refusals(&self) -> Refusals {
        self.refusals
    }

    fn find(&self, second: u64, key: &Key) -> Option<Maker> {
        self.seconds.get(&second)?.get(key).copied()
    }

    fn insert(&mut self, second: u64, key: Key, maker: Maker) {
        self.seconds.entry(second).or_default().insert(key, maker);
        self.length += 1;
    }

    /// Drops what would be refused for its age. The clock may be set back
    /// later: what was dropped stays refused.
    fn expire(&mut self, now: u64) {
        let oldest = now.saturating_sub(self.max_age);
        let live = self.seconds.range(..oldest).next_back();
        let forgotten = self.forgotten.range(..oldest).next_back();
        let last = live.map(|(second, _)| second).max(forgotten);
        if let Some(last) = last {
            self.forget_until(*last);
        }
    }

    /// Makes room for one more message of a second; `false` if that is no nearer
    /// to now than what would have to be forgotten for it.
    fn make_room(&mut self, now: u64, second: u64) -> bool {
        let rank = |second: u64| (second.abs_diff(now), second > now);
        while self.length >= self.capacity {
            let mut ends = self.seconds.keys();
            let ends = [ends.next(), ends.next_back()].into_iter().flatten();
            match ends.copied().max_by_key(|second| rank(*second)) {
                Some(farthest) if rank(farthest) > rank(second) => {
                    self.forget(now, farthest);
                }
                _ => return false,
            }
        }
        true
    }

    /// Forgets the messages of a second, and refuses all that are of it.
    fn forget(&mut self, now: u64, second: u64) {
        let first = self.seconds.keys().next();
        let oldest = second <= now && first.is_none_or(|first| *first >= second);
        // Only a clock that was set back more than once leaves so many.
        let too_many = self.forgotten.len() as u64 > 2 * self.max_ahead;
        if oldest || too_many {
            return self.forget_until(second);
        }
        if let Some(messages) = self.seconds.remove(&second) {
            self.length -= messages.len();
        }
        self.forgotten.insert(second);
    }

    /// Forgets the messages of a second and of all before it.
    fn forget_until(&mut self, last: u64) {
        let floor = last.saturating_add(1);
        while let Some(first) = self.seconds.first_entry()
            && *first.key() < floor
        {
            self.length -= first.remove().len();
        }
        self.forgotten = self.forgotten.split_off(&floor);
        self.floor = self.floor.max(floor);
    }
}

const HOUR: u64 = 3600;

/// How many seconds after now a time is, of which the lower bits are known.
fn ahead(now: u64, made: u32) -> i32 {
    made.wrapping_sub(now as u32) as i32
}

/// A nonce as it is remembered. Those of the usual length stand for themselves.
fn key(nonce: &[u8]) -> Key {
    nonce.try_into().unwrap_or_else(|_| {
        let hash = sha256(&[nonce]);
        let mut key = [0; KEY_LENGTH];
        for (to, from) in key.iter_mut().zip(hash) {
            *to = from;
        }
        key
    })
}

impl Default for ReplayMemory {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ReplayMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayMemory")
            .field("max_age", &self.max_age)
            .field("max_ahead", &self.max_ahead)
            .field("capacity", &self.capacity)
            .field("length", &self.length)
            .field("refusals", &self.refusals)
            .finish_non_exhaustive()
    }
}
