//! Messages that no request and no handler took, until somebody does.

use std::collections::VecDeque;

use netaio_proto::Message;

/// Most messages that are kept.
const MOST_MESSAGES: usize = 1024;
/// Most bytes of them.
const MOST_BYTES: usize = 1024 * 1024;

/// A bounded queue: when it is full, the oldest message goes.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    messages: VecDeque<Message>,
    bytes: usize,
    dropped: u64,
}

impl Inbox {
    pub(crate) fn push(&mut self, message: Message) {
        self.bytes += message.length();
        self.messages.push_back(message);
        while self.messages.len() > MOST_MESSAGES || self.bytes > MOST_BYTES {
            if self.pop().is_none() {
                break;
            }
            self.count_dropped();
        }
    }

    /// Counts a message that was dropped.
    pub(crate) fn count_dropped(&mut self) {
        self.dropped += 1;
    }

    pub(crate) fn pop(&mut self) -> Option<Message> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.length();
        if self.messages.is_empty() {
            self.messages = VecDeque::new();
        }
        Some(message)
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use netaio_proto::MessageType;

    use super::*;

    fn message(uri: &str, length: usize) -> Message {
        Message::new(MessageType::OK, uri, vec![0; length]).unwrap()
    }

    #[test]
    fn a_full_inbox_drops_its_oldest_and_counts_it() {
        let mut inbox = Inbox::default();
        for n in 0..MOST_MESSAGES + 2 {
            inbox.push(message(&n.to_string(), 0));
        }
        assert_eq!(inbox.dropped(), 2);
        assert_eq!(inbox.pop().unwrap().uri(), b"2");
    }

    #[test]
    fn large_messages_are_bounded_by_their_bytes() {
        let mut inbox = Inbox::default();
        for _ in 0..20 {
            inbox.push(message("large", 60_000));
        }
        assert_eq!(inbox.dropped(), 3);
        assert!(inbox.bytes <= MOST_BYTES);
    }
}
