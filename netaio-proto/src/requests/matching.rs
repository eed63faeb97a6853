//! Which request a reply belongs to.

use core::net::SocketAddr;

use super::pending::Pending;
use super::slots::Slot;
use super::{Answers, Arrival, RequestId, Requests};
use crate::request::OuterUse;
use crate::time::Instant;
use crate::wire::message::ERROR_URI;
use crate::wire::message_type::MessageType;

/// Where a message belongs that may be a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Match {
    /// It answers this request.
    Request(RequestId),
    /// It answers a request that was given up, or none that is known.
    Late,
    /// It is no reply to a request.
    None,
}

/// Requests that one reply looks at, at most.
const SEARCHED: usize = 64;

impl Requests {
    /// The request that a reply of this type with this id, from a stream, ends
    /// without further ado: somebody waits for it, and it has no layers of its
    /// own.
    #[inline]
    pub(crate) fn find_plain(
        &self,
        message_type: MessageType,
        rid: u64,
    ) -> Option<RequestId> {
        let (slot, pending) = self.slot_with(rid)?;
        let plain = !pending.abandoned
            && pending.special.is_none()
            && pending.accepts(message_type);
        let serial = pending.serial;
        plain.then_some(RequestId { slot, serial })
    }

    /// Finds the request that an authentic message answers. Changes nothing
    /// about a live one: that is for `complete`, once the inner checks passed.
    pub(crate) fn find(
        &mut self,
        now: Instant,
        from: SocketAddr,
        message_type: MessageType,
        uri: &[u8],
        rid: Option<u64>,
    ) -> Match {
        if !message_type.is_reply() && !message_type.is_custom() {
            return Match::None;
        }
        if let Some(rid) = rid {
            return self.find_by_rid(from, message_type, rid);
        }
        match self.oldest(from, message_type, uri) {
            Some(slot) => self.take_turn(now, slot),
            None => Match::None,
        }
    }

    /// Finds the request that a refusal answers which proves nothing: by its
    /// id, else, on a stream, the oldest.
    pub(crate) fn find_unverified(
        &mut self,
        now: Instant,
        from: SocketAddr,
        rid: Option<u64>,
    ) -> Match {
        let slot = match rid {
            Some(rid) => self.slot_of(from, rid),
            None if self.arrival == Arrival::Datagrams => None,
            None if now < self.unplaced_until => return Match::Late,
            None => self.oldest_unanswered(),
        };
        slot.map_or(Match::None, |slot| self.take_place(slot, rid.is_some()))
    }

    /// The request with this id, if that was sent to `from`: who else answers
    /// it has only overheard it.
    fn slot_of(&self, from: SocketAddr, rid: u64) -> Option<u32> {
        let (slot, pending) = self.slot_with(rid)?;
        if self.arrival != Arrival::Datagrams {
            return Some(slot);
        }
        let asked = self.targets.get(pending.target)?.remote;
        (asked == from).then_some(slot)
    }

    /// The request with this id.
    #[inline]
    pub(super) fn slot_with(&self, rid: u64) -> Option<(u32, &Pending)> {
        self.rids.slots(rid, self.slots.places()).find_map(|slot| {
            let pending = self.slots.get(slot)?;
            (pending.rid == Some(rid)).then_some((slot, pending))
        })
    }

    /// Whether a message of this type with this id would be taken for a reply.
    pub(crate) fn expects(
        &self,
        from: SocketAddr,
        rid: u64,
        message_type: MessageType,
    ) -> bool {
        let slot = self.slot_of(from, rid);
        slot.and_then(|slot| self.slots.get(slot))
            .is_some_and(|p| p.abandoned || p.accepts(message_type))
    }

    /// Whether a message of this type, which answers no request, is likely to be
    /// a late answer: a request of ours has named its type.
    pub(crate) fn is_answer_type(&self, message_type: MessageType) -> bool {
        self.answer_types.contains(message_type)
    }

    /// Finds the request that was sent without these of the endpoint's own
    /// plugins and is answered likewise.
    pub(crate) fn find_unsealed(
        &mut self,
        now: Instant,
        from: SocketAddr,
        message_type: MessageType,
        uri: &[u8],
        rid: Option<u64>,
        outer: OuterUse,
    ) -> Match {
        let slot = match rid {
            Some(rid) => self.slot_of(from, rid),
            None => self.oldest(from, message_type, uri),
        };
        let fits = |pending: &Pending| {
            let accepts = pending.abandoned || pending.accepts(message_type);
            pending.outer == outer && accepts
        };
        match slot.filter(|slot| self.slots.get(*slot).is_some_and(fits)) {
            Some(slot) if rid.is_some() => self.take_place(slot, true),
            Some(slot) => self.take_turn(now, slot),
            None => Match::None,
        }
    }

    fn find_by_rid(
        &mut self,
        from: SocketAddr,
        message_type: MessageType,
        rid: u64,
    ) -> Match {
        let Some(slot) = self.slot_of(from, rid) else {
            // A custom type with a strange id is the peer's own request.
            return if message_type.is_custom() {
                Match::None
            } else {
                Match::Late
            };
        };
        self.note_id();
        match self.slots.get(slot) {
            Some(p) if p.abandoned || p.accepts(message_type) => {
                self.take_place(slot, true)
            }
            _ => Match::None,
        }
    }

    /// A reply without an id has come, which is the turn of the request in
    /// `slot`.
    fn take_turn(&mut self, now: Instant, slot: u32) -> Match {
        self.answers = Answers::InOrder;
        if now < self.unplaced_until {
            return Match::Late;
        }
        self.take_place(slot, false)
    }

    /// The reply to the request in `slot` has come: if that was given up, it
    /// swallows the reply and is gone. An `exact` match by id leaves no doubt
    /// whose reply that was.
    fn take_place(&mut self, slot: u32, exact: bool) -> Match {
        let Some(pending) = self.slots.get(slot) else {
            return Match::None;
        };
        let serial = pending.serial;
        if !pending.abandoned {
            return Match::Request(RequestId { slot, serial });
        }
        let target = pending.target;
        self.note_answered(serial);
        if !exact && let Some(target) = self.targets.get_mut(target) {
            target.swallowed = self.serial;
        }
        self.remove(slot);
        Match::Late
    }

    /// The oldest request that a reply without an id may answer: an error that
    /// does not say what for may answer any, where replies come in order.
    fn oldest(
        &mut self,
        from: SocketAddr,
        message_type: MessageType,
        uri: &[u8],
    ) -> Option<u32> {
        let in_order = self.arrival != Arrival::Datagrams;
        if in_order && is_unlabelled(message_type, uri) {
            self.oldest_unanswered()
        } else {
            self.oldest_with(from, uri, message_type)
        }
    }

    /// The oldest request that the peer has not passed over to answer a later
    /// one; failing that, the oldest of all.
    fn oldest_unanswered(&mut self) -> Option<u32> {
        self.keep_order();
        let mut next = self.all.head;
        for _ in 0..SEARCHED {
            let Some(slot) = next.map(Slot::get) else {
                break;
            };
            let Some(pending) = self.slots.get(slot) else {
                break;
            };
            if pending.serial > self.answered {
                return Some(slot);
            }
            next = pending.in_all.next;
        }
        self.all.head.map(Slot::get)
    }

    pub(super) fn note_answered(&mut self, serial: u64) {
        if self.answers == Answers::InOrder {
            self.answered = self.answered.max(serial);
        }
    }

    /// The oldest request with this target that a reply of this type suits;
    /// failing that, the oldest of all with it, if the type can end it.
    fn oldest_with(
        &mut self,
        from: SocketAddr,
        uri: &[u8],
        message_type: MessageType,
    ) -> Option<u32> {
        self.keep_order();
        let accepts = |pending: &Pending| pending.accepts(message_type);
        let target = self.targets.find(from, uri)?;
        let head = self.targets.get(target)?.list.head?;
        let mut next = Some(head);
        for _ in 0..SEARCHED {
            let Some(slot) = next.map(Slot::get) else {
                break;
            };
            let pending = self.slots.get(slot)?;
            if pending.suits(message_type) {
                return Some(slot);
            }
            next = pending.in_target.next;
        }
        let head = head.get();
        self.slots.get(head).is_some_and(accepts).then_some(head)
    }
}

/// Whether a message is an error that does not say what it is about, as those
/// that Python netaio makes by itself.
pub(crate) fn is_unlabelled(message_type: MessageType, uri: &[u8]) -> bool {
    message_type.is_error() && (uri.is_empty() || uri == ERROR_URI.as_bytes())
}
