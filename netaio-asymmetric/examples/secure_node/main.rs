//! Nodes of a group whose members have a key each: only members are heard, each
//! only as itself, and what is for one of them nobody else can read.
//!
//! ```text
//! cargo run -p netaio-asymmetric --example secure_node
//! cargo run -p netaio-asymmetric --example secure_node -- serve 40001
//! cargo run -p netaio-asymmetric --example secure_node -- ask 40001
//! ```
//!
//! Without arguments, two members meet in one process, and a stranger is refused.
//! With `serve` and `ask` they are two processes, either of which may be the
//! Python program `tests/interop/peers/secure_node.py` with the same arguments.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use netaio_asymmetric::tapescript::SigningKey;

mod member;

use member::Member;

/// Seeds that everybody knows, so that the Python program has them too. Yours
/// come from `getrandom` and stay where they are.
const ADA: [u8; 32] = [0xa; 32];
const BOB: [u8; 32] = [0xb; 32];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let members = [ADA, BOB].map(|seed| SigningKey::from_seed(&seed).public_key());
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", port] => {
            let bob = Member::new("Bob", &BOB, &members, port.parse()?)?;
            println!("Bob is at {}; Ctrl-C ends", bob.start().await?);
            tokio::signal::ctrl_c().await?;
            bob.node.stop().await;
        }
        ["ask", port] => {
            let ada = Member::new("Ada", &ADA, &members, 0)?;
            ada.start().await?;
            let other = SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse()?));
            talk(&ada, other).await?;
            ada.node.stop().await;
        }
        _ => {
            let ada = Member::new("Ada", &ADA, &members, 0)?;
            let bob = Member::new("Bob", &BOB, &members, 0)?;
            ada.start().await?;
            let other = bob.start().await?;
            talk(&ada, other).await?;
            refuse(&members, other).await?;
            ada.node.stop().await;
            bob.node.stop().await;
        }
    }
    Ok(())
}

async fn talk(ada: &Member, other: SocketAddr) -> Result<(), Box<dyn Error>> {
    println!("Ada has met {}", ada.meet(other).await?);
    let answer = ada.tell(other, "where the key is").await?;
    println!("Ada is told: {answer}");
    Ok(())
}

/// Somebody who knows who the members are, and is none.
async fn refuse(
    members: &[[u8; 32]],
    other: SocketAddr,
) -> Result<(), Box<dyn Error>> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    let eve = Member::new("Eve", &seed, members, 0)?;
    eve.start().await?;
    let met = tokio::time::timeout(Duration::from_secs(1), eve.meet(other));
    match met.await {
        Ok(met) => println!("Eve has met {}!", met?),
        Err(_) => println!("Eve has met nobody"),
    }
    eve.node.stop().await;
    Ok(())
}
