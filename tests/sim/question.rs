//! What is asked in a scenario, and what the true answer is. A question says
//! itself what its handler is to do, so handlers know nothing else.

use std::time::Duration;

use netaio_proto::{
    HandlerId, HmacAuthPlugin, Layers, Message, MessageType, MessageTypes, Request,
    Router, Sha256StreamCipherPlugin,
};

/// A type of question that an application made up, and that of its answer.
pub(crate) const ASK: MessageType = MessageType::from_code(40);
pub(crate) const TELL: MessageType = MessageType::from_code(41);

/// Those of which some may be left unanswered.
pub(crate) const DIRTY: &str = "dirty";
/// Those of which some are never answered, while their handlers run on.
pub(crate) const KEPT: &str = "kept";
/// With inner layers.
pub(crate) const INNER: &str = "inner";
/// Without a handler.
pub(crate) const NOWHERE: &str = "nowhere";
const CLEAN: [&str; 3] = ["a", "b", "c"];

/// What a handler does about a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    Answer,
    After(Duration),
    Fail,
    /// Leaves it unanswered.
    Skip,
    /// Never comes to an end.
    Keep,
}

#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) kind: MessageType,
    pub(crate) uri: &'static str,
    pub(crate) plan: Plan,
    /// Bytes that say nothing.
    pub(crate) filler: usize,
}

impl Question {
    /// What is asked under this number.
    pub(crate) fn message(&self, serial: u64) -> Message {
        let (code, ms) = match self.plan {
            Plan::Answer => ("answer", 0),
            Plan::After(delay) => ("after", delay.as_millis()),
            Plan::Fail => ("fail", 0),
            Plan::Skip => ("skip", 0),
            Plan::Keep => ("keep", 0),
        };
        let mut content = format!("{serial} {code} {ms} ").into_bytes();
        let filler = (0..self.filler).map(|n| (n as u64 * 7 + serial) as u8);
        content.extend(filler);
        Message::new(self.kind, self.uri, content).expect("it fits")
    }

    pub(crate) fn request(&self, serial: u64, timeout: Duration) -> Request {
        let request = Request::new(self.message(serial)).timeout(timeout);
        let request = match self.kind {
            ASK => request.accept(TELL),
            _ => request,
        };
        match self.uri {
            INNER => request.layers(inner()),
            _ => request,
        }
    }

    /// Whether this is the answer to this question under this number.
    pub(crate) fn is_answered_by(&self, serial: u64, reply: &Message) -> bool {
        use MessageType as T;
        let kind = reply.message_type();
        if self.uri == NOWHERE {
            return kind == T::NOT_FOUND;
        }
        match self.plan {
            Plan::Skip | Plan::Keep => false,
            Plan::Fail => kind == T::ERROR && reply.content() == failure(serial),
            Plan::Answer | Plan::After(_) => {
                let asked = self.message(serial);
                kind == answer_type(self.kind)
                    && reply.uri() == asked.uri()
                    && reply.content() == answer_content(&asked)
            }
        }
    }

    /// Whether a peer like Python's answers with an error that does not say
    /// which question it is about.
    pub(crate) fn is_answered_unlabelled(&self) -> bool {
        self.uri == NOWHERE || self.plan == Plan::Fail
    }
}

/// The number and the plan that a question's content begins with.
pub(crate) fn read(content: &[u8]) -> Option<(u64, Plan)> {
    let mut words = content.splitn(4, |byte| *byte == b' ');
    let mut word = || std::str::from_utf8(words.next()?).ok();
    let serial = word()?.parse().ok()?;
    let code = word()?;
    let ms = word()?.parse().ok()?;
    let plan = match code {
        "answer" => Plan::Answer,
        "after" => Plan::After(Duration::from_millis(ms)),
        "fail" => Plan::Fail,
        "skip" => Plan::Skip,
        "keep" => Plan::Keep,
        _ => return None,
    };
    Some((serial, plan))
}

/// What a handler that answers says.
pub(crate) fn answer(asked: &Message) -> Message {
    let kind = answer_type(asked.message_type());
    Message::new(kind, asked.uri(), answer_content(asked)).expect("it fits")
}

/// What a handler that fails says.
pub(crate) fn failure(serial: u64) -> Vec<u8> {
    format!("{serial} broke").into_bytes()
}

fn answer_content(asked: &Message) -> Vec<u8> {
    [b"answer to ", asked.content()].concat()
}

fn answer_type(asked: MessageType) -> MessageType {
    use MessageType as T;
    match asked {
        T::REQUEST_URI => T::RESPOND_URI,
        T::SUBSCRIBE_URI => T::CONFIRM_SUBSCRIBE,
        T::UNSUBSCRIBE_URI => T::CONFIRM_UNSUBSCRIBE,
        ASK => TELL,
        _ => T::OK,
    }
}

/// The types that all ends know.
pub(crate) fn types() -> MessageTypes {
    let mut types = MessageTypes::default();
    types.register("ASK", ASK.code()).expect("it is free");
    types.register("TELL", TELL.code()).expect("it is free");
    types
}

/// The routes that all ends have. One handler does everything.
pub(crate) fn routes() -> Router {
    use MessageType as T;
    let mut router = Router::new();
    for kind in [T::REQUEST_URI, T::CREATE_URI, T::DELETE_URI, ASK] {
        for uri in CLEAN.into_iter().chain([DIRTY, KEPT]) {
            router.insert((kind, uri), HandlerId(1), Layers::new());
        }
    }
    router.insert((T::REQUEST_URI, INNER), HandlerId(1), inner());
    for kind in [T::SUBSCRIBE_URI, T::UNSUBSCRIBE_URI, T::NOTIFY_URI] {
        router.insert(kind, HandlerId(2), Layers::new());
    }
    router
}

fn inner() -> Layers {
    let cipher = Sha256StreamCipherPlugin::new("inner key")
        .iv_field("iv2")
        .encrypt_uri(false);
    let auth = HmacAuthPlugin::new("inner secret").hmac_field("hmac2");
    Layers::new().auth(auth).cipher(cipher)
}

/// One of the URIs whose questions are all answered, unless they fail.
pub(crate) fn clean(nth: u64) -> &'static str {
    CLEAN[nth as usize % CLEAN.len()]
}
