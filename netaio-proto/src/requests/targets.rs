//! Who is asked for what, and the requests that wait there.

use alloc::vec::Vec;
use core::hash::BuildHasher as _;
use core::net::SocketAddr;

use hashbrown::HashTable;
use smallvec::SmallVec;

use super::slots::List;
use crate::keyed_hash::KeyedHash;

/// The number of a target, as long as something waits there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TargetId(u32);

/// Who is asked for what.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) remote: SocketAddr,
    pub(super) uri: SmallVec<[u8; 24]>,
    hash: u64,
    /// Requests with this target.
    pub(super) waiting: usize,
    /// The same in the order of sending, while that is kept.
    pub(super) list: List,
    /// Those of them that were given up.
    pub(super) abandoned: usize,
    /// A request that was given up swallowed a reply when requests up to this
    /// serial had been sent: it may have been one of theirs.
    pub(super) swallowed: u64,
}

/// All targets. One that has just become empty stays: what is asked next is
/// often the same again, and then nothing is looked up.
#[derive(Debug)]
pub(super) struct Targets {
    places: Vec<Option<Target>>,
    free: Vec<u32>,
    index: HashTable<u32>,
    keyed: KeyedHash,
    last: u32,
}

impl Targets {
    pub(super) fn new(keyed: KeyedHash) -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
            index: HashTable::new(),
            keyed,
            last: 0,
        }
    }

    #[inline]
    pub(super) fn get(&self, id: TargetId) -> Option<&Target> {
        self.at(id.0)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: TargetId) -> Option<&mut Target> {
        self.places.get_mut(id.0 as usize)?.as_mut()
    }

    /// The target, if something waits there.
    pub(super) fn find(&self, remote: SocketAddr, uri: &[u8]) -> Option<TargetId> {
        if self.at(self.last).is_some_and(|last| last.is(remote, uri)) {
            return Some(TargetId(self.last));
        }
        let hash = self.keyed.hash_one((remote, uri));
        let same = |place: &u32| self.at(*place).is_some_and(|t| t.is(remote, uri));
        self.index.find(hash, same).map(|place| TargetId(*place))
    }

    /// The target. If nothing comes to wait there, say so with
    /// [`release`](Self::release).
    #[inline]
    pub(super) fn intern(&mut self, remote: SocketAddr, uri: &[u8]) -> TargetId {
        if let Some(last) = self.at(self.last)
            && last.is(remote, uri)
        {
            return TargetId(self.last);
        }
        self.intern_another(remote, uri)
    }

    fn intern_another(&mut self, remote: SocketAddr, uri: &[u8]) -> TargetId {
        let before = core::mem::replace(&mut self.last, u32::MAX);
        self.release(TargetId(before));
        let found = self.find(remote, uri);
        let id = found.unwrap_or_else(|| self.insert(remote, uri));
        self.last = id.0;
        id
    }

    fn insert(&mut self, remote: SocketAddr, uri: &[u8]) -> TargetId {
        let hash = self.keyed.hash_one((remote, uri));
        let target = Target {
            remote,
            uri: SmallVec::from_slice(uri),
            hash,
            waiting: 0,
            list: List::default(),
            abandoned: 0,
            swallowed: 0,
        };
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            (self.places.len() - 1) as u32
        });
        if let Some(free) = self.places.get_mut(place as usize) {
            *free = Some(target);
        }
        let places = &self.places;
        self.index.insert_unique(hash, place, |place| {
            let target = places.get(*place as usize).and_then(Option::as_ref);
            target.map_or(0, |target| target.hash)
        });
        TargetId(place)
    }

    /// Drops a target where nothing waits any more, unless it is the last one
    /// that was asked for, and small.
    #[inline]
    pub(super) fn release(&mut self, id: TargetId) {
        let large = |target: &Target| target.uri.spilled();
        if id.0 != self.last || self.get(id).is_some_and(large) {
            self.drop_empty(id);
        }
    }

    fn drop_empty(&mut self, TargetId(place): TargetId) {
        let Some(there) = self.places.get_mut(place as usize) else {
            return;
        };
        let Some(target) = there.take_if(|target| target.waiting == 0) else {
            return;
        };
        self.free.push(place);
        let entry = self.index.find_entry(target.hash, |other| *other == place);
        if let Ok(entry) = entry {
            entry.remove();
        }
    }

    /// Gives back all memory, when nothing waits anywhere.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.keyed);
    }

    fn at(&self, place: u32) -> Option<&Target> {
        self.places.get(place as usize)?.as_ref()
    }
}

impl Target {
    #[inline]
    fn is(&self, remote: SocketAddr, uri: &[u8]) -> bool {
        self.uri[..] == *uri && self.remote == remote
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn at(port: u16) -> SocketAddr {
        ([192, 0, 2, 1], port).into()
    }

    #[test]
    fn a_target_is_the_same_as_long_as_it_is_kept() {
        let keyed = KeyedHash::new(&mut Random::from_seed([1; 32]));
        let mut targets = Targets::new(keyed);
        let one = targets.intern(at(1), b"a");
        assert_eq!(targets.intern(at(1), b"a"), one);
        assert_eq!(targets.find(at(1), b"a"), Some(one));
        assert_eq!(targets.find(at(2), b"a"), None);
        assert_eq!(targets.find(at(1), b"b"), None);
    }

    #[test]
    fn of_those_where_nothing_waits_only_the_last_is_kept() {
        let keyed = KeyedHash::new(&mut Random::from_seed([1; 32]));
        let mut targets = Targets::new(keyed);
        for port in 1..=100 {
            let id = targets.intern(at(port), b"a");
            targets.release(id);
        }
        assert_eq!(targets.places.len() - targets.free.len(), 1);
        assert_eq!(targets.index.len(), 1);
        assert_eq!(targets.find(at(99), b"a"), None);
        assert!(targets.find(at(100), b"a").is_some());
    }
}
