//! The short way in, for what is plain of the two kinds that come most often:
//! replies, and messages for handlers. Whatever is not goes the general way, which
//! is `receive`.

use super::receive::is_probe;
use super::{Exchange, Origin};
use crate::action::ReplyToken;
use crate::request::Correlation;
use crate::requests::RequestId;
use crate::router::{HandlerId, RouteLayers};
use crate::wire::auth_fields;
use crate::wire::frame::Frame;
use crate::wire::message::Message;

impl Exchange {
    /// The request that a frame is a reply to, if all that has to be done is to
    /// hand it over: it is the reply of the usual kind, by its id, to a request
    /// without layers. Nothing is changed.
    #[inline]
    pub(crate) fn plain_reply(&self, frame: &Frame<'_>) -> Option<RequestId> {
        let own = self.config.correlation == Correlation::RequestIds;
        if !own || !self.config.layers.is_empty() {
            return None;
        }
        let rid = auth_fields::lone_rid(frame.auth)?;
        let rid = u64::from_be_bytes(*rid);
        let kind = frame.header.message_type;
        let request = self.requests.find_plain(kind, rid)?;
        let plain =
            self.probe != Some(request) && frame.verify(&self.config.types).is_ok();
        plain.then_some(request)
    }

    /// Hands over the plain reply to this request.
    #[inline]
    pub(crate) fn take_plain_reply(
        &mut self,
        request: RequestId,
        frame: &Frame<'_>,
    ) -> Message {
        self.counters.frames_in += 1;
        self.counters.replies += 1;
        self.requests.complete_by_id(request);
        Message::from_frame(frame)
    }

    /// Takes in a frame, if all that has to be done is to hand it to a handler: it
    /// is a request of the usual kind, with an id, and neither it nor its route has
    /// layers. Otherwise nothing is changed.
    #[inline(always)]
    pub(crate) fn take_plain_request(
        &mut self,
        from: Origin,
        frame: &Frame<'_>,
    ) -> Option<(HandlerId, Message, ReplyToken)> {
        let kind = frame.header.message_type;
        if kind.is_reply() || kind.is_custom() || !self.config.layers.is_empty() {
            return None;
        }
        let rid = u64::from_be_bytes(*auth_fields::lone_rid(frame.auth)?);
        frame.verify(&self.config.types).ok()?;
        let message = Message::from_frame(frame);
        let route = self.router.route(&message, from.address)?;
        if route.is_ephemeral() || !route.layers().is_empty() || is_probe(&message) {
            return None;
        }
        let handler = route.handler();
        self.counters.frames_in += 1;
        self.counters.dispatched += 1;
        self.asked_with_ids |= self.config.correlation == Correlation::RequestIds;
        let none = RouteLayers::default();
        let (uri, length) = (message.uri(), message.length());
        let token = self.token(from, uri, length, Some(rid), none, false);
        Some((handler, message, token))
    }
}
