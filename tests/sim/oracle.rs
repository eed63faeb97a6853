//! Who knows the true answer to everything that is asked, and what must never
//! happen. It panics when it does.
//!
//! What is promised depends on how replies are told apart:
//!
//! - **By ids**: the answer is the true one, always.
//! - **By their order, on a stream** (the asker sends no ids, or the peer, like
//!   Python's, repeats none): the answer is the true one as long as the peer
//!   answers every question, and within the grace. Where it left one unanswered,
//!   a later answer for that URI may have been taken for that one's; and since
//!   Python's errors do not say which question they are about, such an error
//!   may be taken for a neighbour's. After the grace, towards Python, it may be
//!   anybody's. Even then an answer is one that was given
//!   on this stream, to a question of the kind that it may be taken for.
//! - **By address and URI, over datagrams**: the answer is the true one as long as
//!   there was never more than one question at a time, none was given up, and
//!   nothing came twice. Otherwise it is the true answer to some question for
//!   that address and URI.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::AddAssign;
use std::time::Duration;

use netaio_proto::{AuthFields, Instant, Message, MessageType, RequestError};

use crate::question::{self, Plan, Question};

/// What a question goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Channel {
    Stream(u32),
    Datagrams { by: usize, to: SocketAddr },
}

/// How the answers over a channel are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Matching {
    ById,
    InOrder,
    /// In order, and errors do not say what they are about.
    Python,
}

#[derive(Debug)]
struct Asked {
    over: Channel,
    question: Question,
    matching: Matching,
    /// Whether both ends have the right secrets.
    honest: bool,
    /// By the asker's clock.
    deadline: Instant,
    state: State,
    /// When it was given up, by the network's clock.
    given_up: Option<Instant>,
    /// When the answer was given, by the network's clock.
    responded: Option<Instant>,
    handled: u32,
    /// Whether more than one question for its URI was open since it was asked.
    crowded: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Answered,
    TimedOut,
    Cancelled,
    Failed,
    /// Failed, and its bytes had not all been written.
    Unsent,
    /// Its asker crashed.
    Lost,
}

macro_rules! tally {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What became of the questions of scenarios.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub(crate) struct Tally {
            $($(#[$doc])* pub(crate) $name: u64,)*
        }

        impl AddAssign for Tally {
            fn add_assign(&mut self, other: Self) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

tally! {
    asked,
    answered,
    timed_out,
    cancelled,
    failed,
    lost,
    notices,
    /// Answers that were somebody else's, where that is allowed.
    mistaken,
}

pub(crate) struct Oracle {
    asked: Vec<Asked>,
    by_channel: BTreeMap<Channel, Vec<u64>>,
    /// Those at one end of which somebody has the wrong secrets.
    dishonest: BTreeSet<Channel>,
    grace: Duration,
    /// Whether datagrams may come twice, and cut short.
    pub(crate) duplicates: bool,
    pub(crate) cuts: bool,
    /// Whether messages prove who sent them.
    pub(crate) authenticated: bool,
    /// Notices, by their number: what was published, and to whom.
    notices: Vec<Notice>,
    received: BTreeMap<(Channel, u64), u32>,
    pub(crate) tally: Tally,
}

struct Notice {
    message: Message,
    to: Vec<Channel>,
}

/// A node that has crashed and is back does not know that a custom type is an
/// answer. It answers a late one with `NOT_FOUND`, without an id if that had none.
fn is_answer_to_an_answer(asked: &Asked, reply: &Message) -> bool {
    matches!(asked.over, Channel::Datagrams { .. })
        && reply.message_type() == MessageType::NOT_FOUND
        && reply.fields().get_bytes(AuthFields::RID).is_none()
}

/// How late a timer may be, in microseconds: a clock that is faster than the
/// network's goes on by two at a time.
const ROUNDING: u64 = 2;
/// How long an answer may be on its way at most.
const UNDER_WAY: Duration = Duration::from_secs(40);

impl Oracle {
    pub(crate) fn new(grace: Duration) -> Self {
        Self {
            asked: Vec::new(),
            by_channel: BTreeMap::new(),
            dishonest: BTreeSet::new(),
            grace,
            duplicates: false,
            cuts: false,
            authenticated: false,
            notices: Vec::new(),
            received: BTreeMap::new(),
            tally: Tally::default(),
        }
    }

    // --- questions ---

    /// At one end of this somebody has the wrong secrets.
    pub(crate) fn distrust(&mut self, over: Channel) {
        self.dishonest.insert(over);
    }

    /// The number that the next question will have.
    pub(crate) fn next(&self) -> u64 {
        self.asked.len() as u64
    }

    /// Notes a question that was sent under the next number.
    pub(crate) fn asked(
        &mut self,
        over: Channel,
        question: Question,
        matching: Matching,
        deadline: Instant,
    ) {
        let honest = !self.dishonest.contains(&over);
        let uri = question.uri;
        let mut crowded = false;
        let numbers = self.by_channel.entry(over).or_default();
        for serial in numbers.iter() {
            let other = &mut self.asked[*serial as usize];
            if other.state == State::Open && other.question.uri == uri {
                other.crowded = true;
                crowded = true;
            }
        }
        numbers.push(self.asked.len() as u64);
        self.tally.asked += 1;
        self.asked.push(Asked {
            over,
            question,
            matching,
            honest,
            deadline,
            state: State::Open,
            given_up: None,
            responded: None,
            handled: 0,
            crowded,
        });
    }

    /// A handler is given a message.
    #[track_caller]
    pub(crate) fn handled(&mut self, over: Option<Channel>, message: &Message) {
        let read = question::read(message.content());
        let asked = read.and_then(|(serial, _)| {
            Some((serial, self.asked.get_mut(serial as usize)?))
        });
        let Some((serial, asked)) = asked else {
            assert!(!self.authenticated, "a handler got made-up {message:?}");
            return;
        };
        let true_one = asked.question.message(serial);
        let same = message.message_type() == true_one.message_type()
            && message.body() == true_one.body();
        assert!(same, "a handler got {message:?} for {asked:?}");
        let proven = asked.honest || !self.authenticated;
        assert!(proven, "a handler got what proves nothing: {asked:?}");
        asked.handled += 1;
        if let Channel::Stream(_) = asked.over {
            assert_eq!(Some(asked.over), over, "on a wrong stream: {asked:?}");
            assert_eq!(asked.handled, 1, "handled twice: {asked:?}");
        }
        let once = self.duplicates || asked.handled == 1;
        assert!(once, "handled twice: {asked:?}");
        assert_ne!(asked.state, State::Unsent, "it was said to be unsent");
    }

    /// A handler's answer to a question leaves.
    pub(crate) fn responded(&mut self, content: &[u8], now: Instant) {
        let asked = question::read(content)
            .and_then(|(serial, _)| self.asked.get_mut(serial as usize));
        if let Some(asked) = asked {
            asked.responded.get_or_insert(now);
        }
    }

    // --- answers ---

    /// A question was answered. Times are by the asker's clock and by the
    /// network's.
    #[track_caller]
    pub(crate) fn answered(
        &mut self,
        serial: u64,
        reply: &Message,
        local: Instant,
        now: Instant,
    ) {
        self.tally.answered += 1;
        self.end(serial, State::Answered, local);
        let asked = &self.asked[serial as usize];
        if asked.question.is_answered_by(serial, reply) {
            assert!(asked.honest, "an answer without the secret: {asked:?}");
            return;
        }
        if self.is_refusal_of_a_cut(asked, reply)
            || is_answer_to_an_answer(asked, reply)
            || self.may_be_mistaken(serial, reply, now)
        {
            self.tally.mistaken += 1;
            return;
        }
        let among = self.by_channel[&asked.over].iter();
        let among = among.map(|n| format!("\n{n}: {:?}", self.asked[*n as usize]));
        let among: String = among.collect();
        panic!("a wrong answer at {now:?}: {reply:?} to {serial} among {among}");
    }

    /// Of a question that was cut short, only its id may have come.
    fn is_refusal_of_a_cut(&self, asked: &Asked, reply: &Message) -> bool {
        let text = reply.content();
        self.cuts
            && matches!(asked.over, Channel::Datagrams { .. })
            && reply.message_type() == MessageType::ERROR
            && (text == b"invalid message" || text.is_empty())
    }

    fn may_be_mistaken(&self, serial: u64, reply: &Message, now: Instant) -> bool {
        let asked = &self.asked[serial as usize];
        if asked.matching == Matching::ById {
            return false;
        }
        let others = || {
            let numbers = self.by_channel[&asked.over].iter();
            numbers.map(|n| (*n, &self.asked[*n as usize]))
        };
        // Whose answer is it, then?
        let givers = others().filter(|(n, o)| o.question.is_answered_by(*n, reply));
        match asked.over {
            Channel::Stream(_) => {
                let python = asked.matching == Matching::Python;
                let skipped = |o: &Asked| {
                    let never = matches!(o.question.plan, Plan::Skip | Plan::Keep);
                    never || self.has_expired(o, now)
                };
                let vague =
                    |o: &Asked| python && o.question.is_answered_unlabelled();
                let alike = |o: &Asked| o.question.uri == asked.question.uri;
                // An error that another one took leaves its own without.
                let unsettled = others().any(|(_, o)| skipped(o))
                    && others().any(|(_, o)| alike(o) && vague(o))
                    || others().any(|(_, o)| alike(o) && skipped(o))
                    // A late one that is waited for no more passes for that of a
                    // later question: then those before it seem to be done with,
                    // and an error of theirs hits anybody.
                    || python && others().any(|(_, o)| self.has_expired(o, now));
                let of_its_uri = reply.uri() == asked.question.uri.as_bytes();
                let mut givers = givers.filter(|(_, o)| {
                    alike(o) && of_its_uri || vague(o) && !of_its_uri
                });
                unsettled && givers.next().is_some()
            }
            Channel::Datagrams { .. } => {
                let alike = |o: &Asked| o.question.uri == asked.question.uri;
                let unclear = self.duplicates
                    || asked.crowded
                    || others().any(|(_, o)| alike(o) && o.given_up.is_some());
                unclear && givers.filter(|(_, o)| alike(o)).count() > 0
            }
        }
    }

    /// Whether its answer may have come when its place was no longer kept.
    fn has_expired(&self, asked: &Asked, now: Instant) -> bool {
        // By the fastest clock that an asker has.
        let grace = self.grace * 10 / 11;
        let Some(until) = asked.given_up.map(|at| at + grace) else {
            return false;
        };
        let late = asked.responded.is_none_or(|at| at + UNDER_WAY > until);
        until <= now && late
    }

    #[track_caller]
    pub(crate) fn timed_out(&mut self, serial: u64, local: Instant, now: Instant) {
        self.tally.timed_out += 1;
        self.end(serial, State::TimedOut, local);
        let asked = &mut self.asked[serial as usize];
        assert!(local >= asked.deadline, "at {local:?} already: {asked:?}");
        asked.given_up = Some(now);
    }

    #[track_caller]
    pub(crate) fn failed(
        &mut self,
        serial: u64,
        error: &RequestError,
        local: Instant,
    ) {
        self.tally.failed += 1;
        let unsent = matches!(error, RequestError::Disconnected { sent: false, .. });
        let state = if unsent { State::Unsent } else { State::Failed };
        self.end(serial, state, local);
        let asked = &self.asked[serial as usize];
        assert!(
            !unsent || asked.handled == 0,
            "said to be unsent: {asked:?}"
        );
        let fair = match error {
            RequestError::Disconnected { .. } => {
                matches!(asked.over, Channel::Stream(_))
            }
            RequestError::Unauthorized { .. } => !asked.honest,
            RequestError::Refused { text, .. } => {
                let invalid = text == "invalid message" || text.is_empty();
                let over = matches!(asked.over, Channel::Datagrams { .. });
                over && self.cuts && invalid
            }
            _ => false,
        };
        assert!(fair, "{error:?} for {asked:?}");
    }

    #[track_caller]
    pub(crate) fn cancelled(&mut self, serial: u64, local: Instant, now: Instant) {
        self.tally.cancelled += 1;
        self.end(serial, State::Cancelled, local);
        self.asked[serial as usize].given_up = Some(now);
    }

    /// Its asker has crashed, or was closed with its node.
    pub(crate) fn lost(&mut self, serial: u64, now: Instant) {
        self.tally.lost += 1;
        let asked = &mut self.asked[serial as usize];
        assert_eq!(asked.state, State::Open, "{asked:?}");
        asked.state = State::Lost;
        asked.given_up = Some(now);
    }

    #[track_caller]
    fn end(&mut self, serial: u64, state: State, local: Instant) {
        let asked = &mut self.asked[serial as usize];
        assert_eq!(
            asked.state,
            State::Open,
            "it ends again, {state:?}: {asked:?}"
        );
        asked.state = state;
        let latest = asked.deadline + Duration::from_micros(ROUNDING);
        assert!(local <= latest, "at {local:?} only: {asked:?}");
    }

    // --- notices ---

    /// Notes what is published to whom, and gives its number.
    pub(crate) fn published(&mut self, message: Message, to: Vec<Channel>) {
        self.notices.push(Notice { message, to });
    }

    /// The number of the next notice.
    pub(crate) fn next_notice(&self) -> u64 {
        self.notices.len() as u64
    }

    #[track_caller]
    pub(crate) fn noticed(&mut self, by: Channel, message: &Message) {
        let number = std::str::from_utf8(message.content()).ok();
        let number = number.and_then(|text| text.split(' ').next()?.parse().ok());
        let notice = number.and_then(|n: u64| self.notices.get(n as usize));
        let Some((number, notice)) = number.zip(notice) else {
            assert!(!self.authenticated, "made-up notice {message:?}");
            return;
        };
        assert_eq!(message.body(), notice.message.body(), "notice {number}");
        assert!(
            notice.to.contains(&by),
            "{by:?} has not subscribed: {message:?}"
        );
        self.tally.notices += 1;
        let count = self.received.entry((by, number)).or_default();
        *count += 1;
        let once = matches!(by, Channel::Datagrams { .. }) && self.duplicates;
        assert!(once || *count == 1, "{number} came twice");
        if let Channel::Stream(_) = by {
            let later = (by, number + 1)..=(by, u64::MAX);
            let order = self.received.range(later).next().is_none();
            assert!(order, "{number} came late");
        }
    }

    // --- the end ---

    /// Everything has come to an end.
    #[track_caller]
    pub(crate) fn assert_all_ended(&self) {
        let open = self.asked.iter().find(|asked| asked.state == State::Open);
        assert!(open.is_none(), "without an end: {open:?}");
    }

    /// This question was answered, if whoever asked and was asked has the right
    /// secrets.
    #[track_caller]
    pub(crate) fn assert_answered(&self, serial: u64) {
        let asked = &self.asked[serial as usize];
        let answered = asked.state == State::Answered;
        assert!(answered || !asked.honest, "{serial}, {asked:?}");
    }
}
