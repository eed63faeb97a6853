//! The way in, as far as the stream: one frame after the other, as long as
//! there is room for what it asks.

use super::{Connection, State};
use crate::action::{Action, CloseReason};
use crate::error::RequestError;
use crate::exchange::{Origin, Outcome};

impl Connection {
    /// The next thing that happened, if any. Decodes the next frame when it is
    /// asked to: a caller that stops asking stops the parsing, and then
    /// [`wants_read`](Self::wants_read) goes false. New actions can come after
    /// any call that takes a time, and after replies and cancellations.
    #[must_use]
    pub fn poll_action(&mut self) -> Option<Action> {
        self.note_queued();
        loop {
            if let Some(action) = self.actions.pop_front() {
                return Some(action);
            }
            if self.is_closing() {
                return self.poll_closing();
            }
            if let Some(outcome) = self.decode_next() {
                match outcome {
                    Some(action) => return Some(action),
                    None => continue,
                }
            }
            if let Some(action) = self.poll_end() {
                return Some(action);
            }
            if !self.is_closing() {
                return None;
            }
        }
    }

    /// Takes the next frame in, if one is there and may be taken.
    #[inline]
    fn decode_next(&mut self) -> Option<Outcome> {
        let kind = self.decoder.header()?.message_type;
        // A custom type may be a reply as well: its id will tell.
        let awaited = kind.is_custom() && self.exchange.requests.live() > 0;
        if self.stream.state != State::Open && !kind.is_reply() && !awaited {
            // Shutting down: it comes too late to be accepted.
            return self.decoder.skip_frame().then(|| {
                self.restart_frame_timer();
                None
            });
        }
        if self.stream.state == State::Open && self.holds_up() {
            self.held_up.get_or_insert(self.exchange.now);
            return None;
        }
        self.held_up = None;
        let frame = self.decoder.next_frame(&self.exchange.config.types)?;
        self.restart_frame_timer();
        let from = Origin {
            address: self.stream.remote,
            room: None,
        };
        let Self {
            exchange, stream, ..
        } = self;
        Some(match frame {
            Ok(message) => {
                exchange.counters.frames_in += 1;
                exchange.receive(stream, from, message)
            }
            Err(bad) => exchange.reject_frame(stream, from, kind, bad),
        })
    }

    /// Whether a whole frame is there that is no reply and has to wait: as many
    /// requests are in flight, or as many bytes wait to be written, as the
    /// limits allow. A part of a frame does not wait: the peer must be able to
    /// complete it in time.
    pub(super) fn holds_up(&self) -> bool {
        self.exchange.is_full(&self.stream)
            && self.decoder.peek().is_some_and(|frame| {
                !self.exchange.is_reply(self.stream.remote, &frame)
            })
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
