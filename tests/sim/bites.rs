//! The oracle finds what it is there to find.

use std::panic::catch_unwind;
use std::time::Duration;

use netaio_proto::{CloseReason, Instant, Message, MessageType, RequestError};

use crate::oracle::{Channel, Matching, Oracle};
use crate::question::{self, Plan, Question};
use crate::scenario::{Setup, run};
use crate::streams::Breaks;

const STREAM: Channel = Channel::Stream(1);
const OTHER: Channel = Channel::Stream(2);

fn at(ms: u64) -> Instant {
    Instant::from_micros(ms * 1_000)
}

/// An oracle that knows of two questions for one URI, which have a second.
fn oracle() -> Oracle {
    let mut oracle = Oracle::new(Duration::from_secs(60));
    oracle.authenticated = true;
    for _ in 0..2 {
        oracle.asked(STREAM, question(), Matching::ById, at(1_000));
    }
    oracle
}

fn question() -> Question {
    Question {
        kind: MessageType::REQUEST_URI,
        uri: question::clean(0),
        plan: Plan::Answer,
        filler: 9,
    }
}

fn answer(serial: u64) -> Message {
    question::answer(&question().message(serial))
}

#[test]
fn what_goes_by_the_rules_is_let_pass() {
    let mut oracle = oracle();
    oracle.handled(Some(STREAM), &question().message(1));
    oracle.answered(1, &answer(1), at(10), at(10));
    oracle.timed_out(0, at(1_000), at(1_000));
    oracle.assert_all_ended();
}

#[test]
#[should_panic(expected = "a wrong answer")]
fn the_answer_to_another_question_is_found() {
    oracle().answered(0, &answer(1), at(10), at(10));
}

#[test]
#[should_panic(expected = "a wrong answer")]
fn an_answer_with_one_wrong_byte_is_found() {
    let mut content = answer(0).content().to_vec();
    content[12] ^= 1;
    let wrong = answer(0).respond(content).unwrap();
    oracle().answered(0, &wrong, at(10), at(10));
}

#[test]
#[should_panic(expected = "it ends again")]
fn a_second_end_is_found() {
    let mut oracle = oracle();
    oracle.answered(0, &answer(0), at(10), at(10));
    oracle.timed_out(0, at(1_000), at(1_000));
}

#[test]
#[should_panic(expected = "it ends again")]
fn an_end_after_a_cancellation_is_found() {
    let mut oracle = oracle();
    oracle.cancelled(0, at(10), at(10));
    oracle.answered(0, &answer(0), at(10), at(10));
}

#[test]
#[should_panic(expected = "only")]
fn an_end_after_the_deadline_is_found() {
    oracle().answered(0, &answer(0), at(1_001), at(1_001));
}

#[test]
#[should_panic(expected = "already")]
fn a_timeout_before_the_deadline_is_found() {
    oracle().timed_out(0, at(999), at(999));
}

#[test]
#[should_panic(expected = "without an end")]
fn a_question_without_an_end_is_found() {
    oracle().assert_all_ended();
}

#[test]
#[should_panic(expected = "made-up")]
fn a_message_that_proves_nothing_is_found() {
    let evil = Message::new(MessageType::REQUEST_URI, "a", "evil").unwrap();
    oracle().handled(Some(STREAM), &evil);
}

#[test]
#[should_panic(expected = "on a wrong stream")]
fn a_message_on_a_wrong_stream_is_found() {
    oracle().handled(Some(OTHER), &question().message(0));
}

#[test]
#[should_panic(expected = "handled twice")]
fn a_message_that_is_handled_twice_is_found() {
    let mut oracle = oracle();
    oracle.handled(Some(STREAM), &question().message(0));
    oracle.handled(Some(STREAM), &question().message(0));
}

#[test]
#[should_panic(expected = "said to be unsent")]
fn a_message_that_was_said_to_be_unsent_is_found() {
    let mut oracle = oracle();
    let reason = CloseReason::Eof;
    let error = RequestError::Disconnected {
        sent: false,
        reason,
    };
    oracle.failed(0, &error, at(10));
    oracle.handled(Some(STREAM), &question().message(0));
}

#[test]
#[should_panic(expected = "has not subscribed")]
fn a_notice_to_somebody_else_is_found() {
    let mut oracle = oracle();
    let notice = Message::new(MessageType::NOTIFY_URI, "news", "0 ").unwrap();
    oracle.published(notice.clone(), vec![STREAM]);
    oracle.noticed(OTHER, &notice);
}

/// Of so many scenarios, in how many something was found.
fn found(breaks: Breaks, seeds: std::ops::Range<u64>) -> usize {
    let finds = |seed: &u64| catch_unwind(|| run(*seed, Setup { breaks })).is_err();
    seeds.filter(finds).count()
}

#[test]
fn servers_that_change_or_swap_answers_are_found() {
    // Not all scenarios have streams, and not all of those have much to swap.
    let (content, order) =
        (found(Breaks::Content, 0..20), found(Breaks::Order, 0..20));
    assert!(content >= 10 && order >= 10, "{content} and {order} of 20");
}
