//! The example `secure_node`, with its counterpart in Python.

#[path = "../../netaio-asymmetric/examples/secure_node/member.rs"]
mod member;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use member::Member;
use netaio_asymmetric::tapescript::SigningKey;
use netaio_tests::python::{environment, secure_node};

/// The seeds of the example.
const ADA: [u8; 32] = [0xa; 32];
const BOB: [u8; 32] = [0xb; 32];

const LONG: Duration = Duration::from_secs(30);

fn members() -> [[u8; 32]; 2] {
    [ADA, BOB].map(|seed| SigningKey::from_seed(&seed).public_key())
}

fn free_port() -> u16 {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    socket.local_addr().expect("it is bound").port()
}

async fn soon<F: Future>(future: F) -> F::Output {
    let output = tokio::time::timeout(LONG, future).await;
    output.expect("this should not take so long")
}

#[tokio::test(flavor = "multi_thread")]
async fn our_member_tells_pythons_a_secret() {
    let Some(python) = environment() else { return };
    let port = free_port();
    let bob = secure_node(python, "serve", port);
    bob.wait_for(|event| event["event"] == "listening", LONG);
    let other = SocketAddr::from((Ipv4Addr::LOCALHOST, port));

    let ada = Member::new("Ada", &ADA, &members(), 0).expect("a member");
    soon(ada.start()).await.expect("a free port");
    assert_eq!(soon(ada.meet(other)).await.expect("a member"), "Bob");
    let answer = soon(ada.tell(other, "a secret")).await;
    assert_eq!(answer.expect("an answer"), "Bob knows a secret");
    let told = bob.wait_for(|event| event["event"] == "told", LONG);
    assert_eq!(told["content"], "a secret");

    // Somebody with the keys of both, and none of their seeds.
    let eve = Member::new("Ada", &[0xe; 32], &members(), 0).expect("a node");
    soon(eve.start()).await.expect("a free port");
    let met = tokio::time::timeout(Duration::from_millis(300), eve.meet(other));
    assert!(met.await.is_err());
    soon(eve.node.stop()).await;
    soon(ada.node.stop()).await;
    assert!(bob.stop(), "{}", bob.story());
}

#[tokio::test(flavor = "multi_thread")]
async fn pythons_member_tells_ours_a_secret() {
    let Some(python) = environment() else { return };
    let bob = Member::new("Bob", &BOB, &members(), 0).expect("a member");
    let address = soon(bob.start()).await.expect("a free port");
    let ada = secure_node(python, "ask", address.port());
    let answer = ada.wait_for(|event| event["event"] == "answer", LONG);
    assert_eq!(answer["content"], "Bob knows a secret");
    assert_eq!(ada.events()[0]["id"], "Bob");
    soon(bob.node.stop()).await;
    assert!(ada.stop(), "{}", ada.story());
}
