//! Where requests are kept: places with small numbers, and lists of them.

use alloc::vec::Vec;

use super::Pending;

/// The requests of a table, each in a place that is used again.
#[derive(Debug, Default)]
pub(super) struct Slots {
    places: Vec<Option<Pending>>,
    free: Vec<u32>,
}

impl Slots {
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Places that there are, those included that are free.
    pub(super) fn places(&self) -> usize {
        self.places.len()
    }

    #[inline]
    pub(super) fn get(&self, slot: u32) -> Option<&Pending> {
        self.places.get(slot as usize)?.as_ref()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Pending> {
        self.places.get_mut(slot as usize)?.as_mut()
    }

    /// The place of the next request that is put in.
    #[inline]
    pub(super) fn next(&self) -> u32 {
        let free = self.free.last().copied();
        free.unwrap_or(self.places.len() as u32)
    }

    #[inline]
    pub(super) fn insert(&mut self, pending: Pending) -> u32 {
        let slot = self.next();
        self.free.pop();
        match self.places.get_mut(slot as usize) {
            Some(place) => *place = Some(pending),
            None => self.places.push(Some(pending)),
        }
        slot
    }

    /// All of them, by the numbers of their places.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Pending)> {
        let places = (0..).zip(&self.places);
        places.filter_map(|(slot, place)| Some((slot, place.as_ref()?)))
    }

    /// Drops what is in a place.
    pub(super) fn remove(&mut self, slot: u32) {
        if let Some(place) = self.places.get_mut(slot as usize)
            && place.is_some()
        {
            *place = None;
            self.free.push(slot);
        }
    }

    /// Gives back the memory of a crowd that has gone; tells whether it had any.
    pub(super) fn release(&mut self) -> bool {
        const WORTH_IT: usize = 1024;
        let gone = self.len() == 0 && self.places.capacity() > WORTH_IT;
        if gone {
            *self = Self::default();
        }
        gone
    }
}

/// A place in a doubly linked list whose nodes live in slots.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Links {
    previous: Option<Slot>,
    pub(super) next: Option<Slot>,
}

/// The number of a slot, so that none at all needs no room of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot(NonMax);

type NonMax = core::num::NonZeroU32;

impl Slot {
    pub(super) fn new(slot: u32) -> Option<Self> {
        NonMax::new(!slot).map(Self)
    }

    pub(super) fn get(self) -> u32 {
        !self.0.get()
    }
}

/// A list of requests, which finds its links in them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct List {
    pub(super) head: Option<Slot>,
    pub(super) tail: Option<Slot>,
}

impl List {
    #[inline]
    pub(super) fn append(
        &mut self,
        slots: &mut Slots,
        slot: u32,
        links: impl Fn(&mut Pending) -> &mut Links,
    ) {
        let slot = Slot::new(slot);
        let previous = core::mem::replace(&mut self.tail, slot);
        match previous.and_then(|tail| slots.get_mut(tail.get())) {
            Some(tail) => links(tail).next = slot,
            None => self.head = slot,
        }
        if let Some(pending) = slot.and_then(|slot| slots.get_mut(slot.get())) {
            *links(pending) = Links {
                previous,
                next: None,
            };
        }
    }

    #[inline]
    pub(super) fn unlink(
        &mut self,
        slots: &mut Slots,
        slot: u32,
        links: impl Fn(&mut Pending) -> &mut Links,
    ) {
        let Some(pending) = slots.get_mut(slot) else {
            return;
        };
        let removed = core::mem::take(links(pending));
        match removed.previous.and_then(|slot| slots.get_mut(slot.get())) {
            Some(previous) => links(previous).next = removed.next,
            None => self.head = removed.next,
        }
        match removed.next.and_then(|slot| slots.get_mut(slot.get())) {
            Some(next) => links(next).previous = removed.previous,
            None => self.tail = removed.previous,
        }
    }
}
