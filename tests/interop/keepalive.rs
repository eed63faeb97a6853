//! Python's ends give signs of life without knowing it.

use std::time::Duration;

use crate::runtime::{Keepalive, MessageType};
use netaio_tests::python::environment;
use serde_json::json;

use super::ends::{Connected, OUTER, Served, at_once, eventually, outer};

const OFTEN: Duration = Duration::from_millis(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_python_server_answers_that_it_does_not_know_the_uri() {
    let Some(python) = environment() else { return };
    for (args, layers) in [(&[][..], None), (&OUTER[..], Some(outer()))] {
        let ends = Connected::with(python, args, |client| {
            let client = client.keepalive(Keepalive::new(OFTEN).misses(500));
            match layers {
                Some(layers) => client.layers(layers),
                None => client,
            }
        })
        .await;
        let asked = || ends.link.counters().probes >= 5;
        eventually("it has asked several times", asked).await;
        // Errors that do not say what they are about still find their request.
        let unknown = at_once(ends.client.request("nothing such")).await;
        assert_eq!(unknown.unwrap().message_type(), MessageType::NOT_FOUND);
        assert_eq!(ends.link.counters().replies, 1);
        assert_eq!(ends.link.dropped(), 0);
        ends.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_client_is_not_asked_since_it_could_not_answer() {
    let Some(python) = environment() else { return };
    let keepalive = Keepalive::new(OFTEN);
    let served =
        Served::with(Default::default(), |server| server.keepalive(keepalive));
    let served = served.await;
    let operations = json!([
        {"op": "connect"},
        {"op": "request", "uri": "echo", "content": "a", "expect": {"type": "RESPOND_URI"}},
        {"op": "sleep", "seconds": 0.5},
        {"op": "request", "uri": "echo", "content": "b", "expect": {"type": "RESPOND_URI"}},
    ]);
    served.run(python, &[], operations);
    assert_eq!(served.server.counters().probes, 0);
    served.end().await;
}
