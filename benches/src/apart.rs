//! Servers on async-io, in a process of their own: there is one reactor of
//! async-io in each process, which one thread at a time turns. Both ends in one
//! process would wake each other wherever a socket becomes ready.

use std::io::{self, BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use crate::load::{Server, Threads};
use crate::{servers, sockets};

/// A server that can be started in a process of its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Netaio,
    Bare,
}

impl Kind {
    /// The word of the command line for it.
    fn word(self) -> &'static str {
        match self {
            Self::Netaio => "netaio-asyncstd",
            Self::Bare => "async-io",
        }
    }

    pub(crate) fn parse(word: &str) -> Option<Self> {
        let mut all = [Self::Netaio, Self::Bare].into_iter();
        all.find(|kind| kind.word() == word)
    }

    fn start(self, threads: Threads) -> Server {
        match self {
            Self::Netaio => servers::smol_tcp(threads),
            Self::Bare => sockets::async_io::server(threads),
        }
    }
}

/// What such a process does: serves until its input ends.
pub(crate) fn serve(kind: Kind, threads: Threads) {
    let server = kind.start(threads);
    println!("{}", server.address);
    // An error is an end as well.
    let _ = io::stdin().read_to_end(&mut Vec::new());
}

/// A server in a process of its own, until it is dropped.
pub(crate) struct Apart {
    pub(crate) address: SocketAddr,
    process: Child,
}

impl Apart {
    pub(crate) fn start(kind: Kind, threads: Threads) -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut process = Command::new(program)
            .args(["serve", kind.word(), "--threads"])
            .arg(threads.0.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program");
        let output = process.stdout.take().expect("a pipe");
        let mut address = String::new();
        let said = BufReader::new(output).read_line(&mut address);
        said.expect("it says its address");
        Self {
            address: address.trim().parse().expect("it listens"),
            process,
        }
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        // It has ended, whatever it says.
        let _ = self.process.wait();
    }
}
