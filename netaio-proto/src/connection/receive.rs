//! The way in, as far as the stream: one frame after the other, as long as
//! there is room for what it asks.

use super::{Connection, State};
use crate::action::{Action, CloseReason, ReplyToken};
use crate::error::RequestError;
use crate::exchange::Origin;
use crate::requests::RequestId;
use crate::router::HandlerId;
use crate::wire::message::Message;

/// What there is to take in.
enum Input {
    /// Nothing, or nothing that there is room for.
    None,
    /// A frame.
    Frame,
    /// A frame that has been passed over.
    TooLate,
}

impl Connection {
    /// The next thing that happened, if any. Decodes the next frame when it is
    /// asked to: a caller that stops asking stops the parsing, and then
    /// [`wants_read`](Self::wants_read) goes false. New actions can come after
    /// any call that takes a time, and after replies and cancellations.
    #[must_use]
    #[inline(always)]
    pub fn poll_action(&mut self) -> Option<Action> {
        // Written where it stays: actions are large.
        let mut action = None;
        self.poll_into(&mut action);
        action
    }

    #[inline(never)]
    fn poll_into(&mut self, action: &mut Option<Action>) {
        self.note_queued();
        while self.step(action) {}
    }

    /// Gives `each` the replies to requests of ours that are next, `most` of them
    /// at most, and makes no actions of them: the short way for a caller that
    /// waits for many. Stops at anything else that there is to say, be it another
    /// message or a reply that has to be looked at more closely:
    /// [`poll_action`](Self::poll_action) gives that. Tells how many they were.
    #[inline]
    pub fn poll_replies(
        &mut self,
        most: usize,
        mut each: impl FnMut(RequestId, Message),
    ) -> usize {
        let mut count = 0;
        while count < most && self.may_have_reply() {
            let Some(frame) = self.decoder.peek() else {
                break;
            };
            let Some(request) = self.exchange.plain_reply(&frame) else {
                break;
            };
            let message = self.exchange.take_plain_reply(request, &frame);
            self.decoder.skip_frame();
            self.restart_frame_timer();
            count += 1;
            each(request, message);
        }
        count
    }

    /// Gives `each` the messages for handlers that are next, `most` of them at most,
    /// and makes no actions of them: what [`poll_replies`](Self::poll_replies) is
    /// for replies. Tells how many they were.
    #[inline]
    pub fn poll_dispatches(
        &mut self,
        most: usize,
        mut each: impl FnMut(HandlerId, Message, ReplyToken),
    ) -> usize {
        let from = Origin {
            address: self.stream.remote,
            room: None,
        };
        let mut count = 0;
        while count < most
            && self.actions.is_empty()
            && self.stream.state == State::Open
            && !self.exchange.is_full(&self.stream)
        {
            let Some(frame) = self.decoder.peek() else {
                break;
            };
            let taken = self.exchange.take_plain_request(from, &frame);
            let Some((handler, message, reply)) = taken else {
                break;
            };
            self.held_up = None;
            self.decoder.skip_frame();
            self.restart_frame_timer();
            count += 1;
            each(handler, message, reply);
        }
        count
    }

    #[inline]
    fn may_have_reply(&self) -> bool {
        self.exchange.requests.live() > 0
            && self.stream.state == State::Open
            && self.actions.is_empty()
    }

    /// Looks for an action in one place after the other. `false` if there is one,
    /// or none can come now.
    #[inline]
    fn step(&mut self, action: &mut Option<Action>) -> bool {
        if self.actions.is_empty() && !self.is_closing() {
            match self.next_input() {
                Input::Frame => {
                    self.take_frame(action);
                    return action.is_none();
                }
                Input::TooLate => return true,
                Input::None => {}
            }
        }
        self.step_without_input(action)
    }

    /// Apart from the way of a frame, which is short and taken often.
    #[inline(never)]
    fn step_without_input(&mut self, action: &mut Option<Action>) -> bool {
        if let Some(ready) = self.actions.pop_front() {
            *action = Some(ready);
            return false;
        }
        if self.is_closing() {
            *action = self.poll_closing();
            return false;
        }
        *action = self.poll_end();
        action.is_none() && self.is_closing()
    }

    /// Whether there is a frame that may be taken in.
    #[inline]
    fn next_input(&mut self) -> Input {
        let Some(header) = self.decoder.header() else {
            return Input::None;
        };
        if !self.decoder.has_frame() {
            return Input::None;
        }
        let kind = header.message_type;
        if self.stream.state == State::Open {
            if !kind.is_reply() && self.holds_up() {
                self.held_up.get_or_insert(self.exchange.now);
                return Input::None;
            }
        } else {
            // A custom type may be a reply as well: its id will tell.
            let awaited = kind.is_custom() && self.exchange.requests.live() > 0;
            if !kind.is_reply() && !awaited {
                // Shutting down: it comes too late to be accepted.
                self.held_up = None;
                self.decoder.skip_frame();
                self.restart_frame_timer();
                return Input::TooLate;
            }
        }
        self.held_up = None;
        Input::Frame
    }

    /// Takes in the frame that is next.
    #[inline]
    fn take_frame(&mut self, action: &mut Option<Action>) {
        let from = Origin {
            address: self.stream.remote,
            room: None,
        };
        if let Some(frame) = self.decoder.peek() {
            *action = self.exchange.receive(&mut self.stream, from, &frame);
        }
        self.decoder.skip_frame();
        self.restart_frame_timer();
    }

    /// Whether a whole frame is there that is no reply and has to wait: as many
    /// requests are in flight, or as many bytes wait to be written, as the
    /// limits allow. A part of a frame does not wait: the peer must be able to
    /// complete it in time.
    #[inline]
    pub(super) fn holds_up(&self) -> bool {
        self.decoder.has_frame()
            && self.exchange.is_full(&self.stream)
            && self.next_is_no_reply()
    }

    #[cold]
    fn next_is_no_reply(&self) -> bool {
        let remote = self.stream.remote;
        let frame = self.decoder.peek();
        frame.is_some_and(|frame| !self.exchange.is_reply(remote, &frame))
    }

    /// Ends a connection whose peer sends no more, or that is shutting down,
    /// when there is nothing left to do.
    fn poll_end(&mut self) -> Option<Action> {
        if let Some(eof) = self.eof
            && self.stream.state == State::Open
            && !self.decoder.has_frame()
        {
            let reason = match self.decoder.buffered() {
                0 => CloseReason::Eof,
                _ => CloseReason::UnexpectedEof,
            };
            self.frame_timer = None;
            self.stream.state = State::Draining {
                reason,
                until: eof + self.exchange.config.limits.drain_timeout,
                replies: false,
            };
        }
        let State::Draining {
            reason, replies, ..
        } = &self.stream.state
        else {
            return None;
        };
        let (reason, replies) = (reason.clone(), *replies);
        if self.eof.is_some() || !replies {
            // No reply can come any more. What is said not to have been sent is
            // not sent, though the rest is.
            if !core::mem::replace(&mut self.withdrawn, true) {
                let left = self.stream.left();
                let places = self.exchange.requests.withdraw(left);
                if !places.is_empty() {
                    self.stream.withdraw(&places);
                }
            }
            let begun = self.stream.enqueued;
            if let Some((request, sent)) = self.exchange.pop_failed(begun) {
                let error = RequestError::Disconnected { sent, reason };
                return Some(Action::Failed { request, error });
            }
        }
        let written = self.stream.is_empty();
        let idle =
            self.exchange.in_flight.len() == 0 && self.exchange.pending() == 0;
        if written && idle {
            self.begin_closing(reason);
        }
        None
    }
}
