//! A request that waits, and what ends it.

use alloc::boxed::Box;
use core::ops::Range;
use core::time::Duration;

use bytes::Bytes;

use super::TargetId;
use super::deadlines::LaneId;
use super::slots::Links;
use super::targets::Target;
use crate::action::TimeoutContext;
use crate::request::{OuterUse, Special};
use crate::time::Instant;
use crate::wire::message_type::MessageType;

/// A request that waits.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) serial: u64,
    pub(super) rid: Option<u64>,
    pub(super) message_type: MessageType,
    pub(super) target: TargetId,
    pub(super) special: Option<Box<Special>>,
    pub(super) outer: OuterUse,
    pub(super) timeout: Duration,
    pub(super) deadline: Instant,
    pub(super) lane: LaneId,
    /// Where the request is in the stream of written bytes.
    pub(super) place: Range<u64>,
    /// Given up: keeps its place to swallow its late reply.
    pub(super) abandoned: bool,
    /// A request for this URI had been given up before this one was sent.
    pub(super) behind: bool,
    pub(super) in_all: Links,
    pub(super) in_target: Links,
}

impl Pending {
    /// Whether a reply of this type, with this request's id, ends it.
    pub(super) fn accepts(&self, reply: MessageType) -> bool {
        use MessageType as T;
        reply.is_error()
            || match reply {
                T::RESPOND_URI | T::OK => true,
                T::CONFIRM_SUBSCRIBE => self.message_type == T::SUBSCRIBE_URI,
                T::CONFIRM_UNSUBSCRIBE => self.message_type == T::UNSUBSCRIBE_URI,
                T::PEER_DISCOVERED => self.message_type == T::ADVERTISE_PEER,
                other => {
                    let special = self.special.as_ref();
                    special.is_some_and(|s| s.accepts.contains(other))
                }
            }
    }

    /// Whether a reply of this type is what Python netaio expects for it.
    pub(super) fn suits(&self, reply: MessageType) -> bool {
        use MessageType as T;
        let asks = self.message_type == T::REQUEST_URI;
        match reply {
            T::RESPOND_URI => asks || self.message_type.is_custom(),
            T::OK => !asks,
            other => self.accepts(other),
        }
    }

    pub(super) fn context(&self, target: &Target) -> TimeoutContext {
        let uri = Bytes::copy_from_slice(&target.uri);
        let custom =
            (MessageType::FIRST_CUSTOM..=u8::MAX).map(MessageType::from_code);
        let standard = MessageType::STANDARD.iter().copied();
        let keys = standard
            .chain(custom)
            .filter(|reply| self.accepts(*reply))
            .map(|reply| (reply, uri.clone()))
            .collect();
        TimeoutContext {
            uri,
            message_type: self.message_type,
            timeout: self.timeout,
            waited: self.special.as_ref().map_or(Duration::ZERO, |s| s.waited),
            server: target.remote,
            keys,
            hint: None,
        }
    }

    /// One of which nothing matters but that it is there.
    #[cfg(test)]
    pub(super) fn sample() -> Self {
        Self {
            serial: 0,
            rid: None,
            message_type: MessageType::REQUEST_URI,
            target: TargetId::default(),
            special: None,
            outer: OuterUse::default(),
            timeout: Duration::ZERO,
            deadline: Instant::EPOCH,
            lane: LaneId::NONE,
            place: super::NEVER,
            abandoned: false,
            behind: false,
            in_all: Links::default(),
            in_target: Links::default(),
        }
    }
}
