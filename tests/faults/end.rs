//! What this program does when it is started as one end of a test.
//!
//! It is told what to be by an environment variable, takes commands from its
//! input, a line each, and ends with that. What it says comes after a mark.

use std::env;
use std::io::BufRead as _;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use netaio_driver::{Incoming, Limits, MessageType, TcpServer};

use crate::ends;
use crate::process::allow_files;
use crate::runtimes::{Flavour, TestRuntime};
use crate::waiting::off_thread;

/// The name of the test that is none.
pub(crate) const TEST: &str = "end::does_as_it_is_told";
/// The environment variable that says what to be:
///
/// - `server RUNTIME ADDRESS [OPTION=NUMBER]..`: a server at an address. Options
///   are the files that may be open, and `header`, `frame`, the timeouts of its
///   limits in milliseconds. Tells its address; to `connections` how many there
///   are, and to `received` how many bytes came.
/// - `clients RUNTIME ADDRESS COUNT`: clients that ask once and then rest. Tells
///   their number, once all are connected.
pub(crate) const TOLD: &str = "NETAIO_TEST_END";
/// What a line begins with that is for whoever started this.
pub(crate) const SAID: &str = "--> ";

/// Nobody needs an end for longer.
const LIMIT: Duration = Duration::from_secs(600);

#[test]
#[ignore = "it is the other end of the others, and ends at once without them"]
fn does_as_it_is_told() {
    let Ok(told) = env::var(TOLD) else {
        return;
    };
    std::thread::spawn(|| {
        std::thread::sleep(LIMIT);
        std::process::exit(1);
    });
    let words: Vec<_> = told.split(' ').collect();
    match words[1] {
        "tokio" => run::<netaio_tokio::Tokio>(&words),
        "smol" => run::<netaio_asyncstd::smol::Smol>(&words),
        other => panic!("{other} is no runtime"),
    }
    std::process::exit(0);
}

fn run<R: TestRuntime>(words: &[&str]) {
    let address = words[2].parse().expect("an address");
    R::block_on(Flavour::Threads, async {
        match words[0] {
            "server" => server(R::new(), address, &words[3..]).await,
            "clients" => {
                let count = words[3].parse().expect("a number");
                clients(R::new(), address, count).await;
            }
            other => panic!("{other} is no end"),
        }
    });
}

fn say(what: impl std::fmt::Display) {
    println!("{SAID}{what}");
}

/// Does what the input says, until it ends.
async fn obey(mut answer: impl FnMut(&str) -> String + Send + 'static) {
    off_thread(move || {
        for command in std::io::stdin().lock().lines() {
            say(answer(&command.expect("a line")));
        }
    })
    .await;
}

async fn server<R: TestRuntime>(runtime: R, address: SocketAddr, options: &[&str]) {
    let mut limits = Limits::default();
    let mut files = 20_000;
    limits.max_connections_per_address = 20_000;
    for option in options {
        let (name, number) = option.split_once('=').expect("an option");
        let number = number.parse().expect("a number");
        let span = Some(Duration::from_millis(number));
        match name {
            "files" => files = number,
            "header" => limits.header_timeout = span,
            "frame" => limits.frame_timeout = span,
            other => panic!("{other} is no option"),
        }
    }
    allow_files(files);
    let server = TcpServer::builder_on(runtime).limits(limits).build();
    let server = ends::with_echo(server);
    server.on((MessageType::REQUEST_URI, "large"), |m: Incoming<R>| {
        m.respond([7; 60_000])
    });
    say(server
        .listen(address.to_string())
        .await
        .expect("a free port"));
    obey(move |command| match command {
        "connections" => server.links().len().to_string(),
        "received" => server.counters().bytes_in.to_string(),
        other => panic!("{other} is no command"),
    })
    .await;
}

async fn clients<R: TestRuntime>(runtime: R, address: SocketAddr, count: usize) {
    const AT_A_TIME: usize = 50;
    allow_files(20_000);
    let client = |_| {
        let runtime = runtime.clone();
        async move {
            let (client, _) = ends::connected(&runtime, address).await;
            client
                .request("echo")
                .content("hello")
                .await
                .expect("a reply");
            client
        }
    };
    let clients: Vec<_> = futures_util::stream::iter(0..count)
        .map(client)
        .buffer_unordered(AT_A_TIME)
        .collect()
        .await;
    say(clients.len());
    obey(|other| panic!("{other} is no command")).await;
}
