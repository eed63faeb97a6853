//! Replies of a Python server that come after their requests were given up. It
//! repeats no request ids: only the order tells its replies apart.

use std::time::Duration;

use crate::runtime::{CloseReason, RequestError};
use netaio_tests::python::environment;

use super::ends::{Connected, LONG, at_once, eventually};

const SHORT: Duration = Duration::from_millis(200);

#[tokio::test(flavor = "multi_thread")]
async fn a_late_reply_is_not_given_to_a_request_that_waits_for_its_own() {
    let Some(python) = environment() else { return };
    let ends = Connected::start(python, &[]).await;
    for round in 0..3 {
        let slow = ends.client.request("slow").content("0.5;late");
        let error = at_once(slow.timeout(SHORT)).await.unwrap_err();
        assert!(error.is_timeout(), "{error}");
        assert_eq!(ends.link.counters().late_replies, round);

        let next = ends.client.request("slow").content("0;next");
        assert_eq!(at_once(next).await.unwrap().content(), b"slow 0;next");
        assert_eq!(ends.link.counters().late_replies, round + 1);
    }
    ends.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_reply_is_not_kept_for_a_request_that_comes_after_it() {
    let Some(python) = environment() else { return };
    let ends = Connected::start(python, &[]).await;
    let slow = ends.client.request("slow").content("0.5;late");
    let error = at_once(slow.timeout(SHORT)).await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    let came = || ends.link.counters().late_replies == 1;
    eventually("the late reply comes", came).await;

    let next = ends.client.request("slow").content("0;next");
    assert_eq!(at_once(next).await.unwrap().content(), b"slow 0;next");
    // Nor for whoever receives what nobody asked for.
    let nothing = tokio::time::timeout(SHORT, ends.client.receive_once()).await;
    assert!(nothing.is_err(), "{nothing:?}");
    ends.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reply_to_a_dropped_request_is_nobodys() {
    let Some(python) = environment() else { return };
    let ends = Connected::start(python, &[]).await;
    let slow = ends.client.request("slow").content("0.3;dropped");
    let slow = tokio::spawn(slow.into_future());
    ends.server.wait_for(|e| e["handler"] == "slow", LONG);
    assert_eq!(ends.link.pending(), 1);
    slow.abort();
    assert!(slow.await.unwrap_err().is_cancelled());
    assert_eq!(ends.link.pending(), 0);

    let next = ends.client.request("slow").content("0;next");
    assert_eq!(at_once(next).await.unwrap().content(), b"slow 0;next");
    assert_eq!(ends.link.counters().late_replies, 1);
    ends.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_silence_for_one_uri_ends_a_connection_that_is_out_of_step() {
    let Some(python) = environment() else { return };
    let ends = Connected::start(python, &[]).await;
    // From a reply without an id the client knows how this server answers.
    assert!(at_once(ends.client.request("echo")).await.is_ok());
    for _ in 0..2 {
        let request = ends.client.request("never").timeout(SHORT);
        let error = at_once(request).await.unwrap_err();
        assert!(error.is_timeout(), "{error}");
    }
    let closed = || ends.link.is_closed();
    eventually("the connection is over", closed).await;
    assert_eq!(ends.link.close_reason(), Some(CloseReason::OutOfStep));
    let error = at_once(ends.client.request("echo")).await.unwrap_err();
    assert_eq!(error, RequestError::NotConnected);

    let link = ends.client.connect().await.expect("a connection");
    assert!(at_once(link.request("echo")).await.is_ok());
}
