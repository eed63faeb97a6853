//! The other end, in a process of its own.

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Resource, Signal};

use crate::end;

/// A process that is an [`end`], and does as it is told. It is killed when this
/// is dropped. Whatever waits for its answers blocks.
pub(crate) struct OtherEnd {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl OtherEnd {
    /// Starts it with what `end` is told.
    pub(crate) fn start(told: &str) -> Self {
        let mut child = Command::new(env::current_exe().expect("this program"))
            .args(["--exact", end::TEST, "--ignored", "--nocapture"])
            .env(end::TOLD, told)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program runs");
        let input = child.stdin.take().expect("is piped");
        let output = BufReader::new(child.stdout.take().expect("is piped"));
        Self {
            child,
            input,
            output,
        }
    }

    /// A server, and the address that it listens on.
    pub(crate) fn server(runtime: &str, options: &str) -> (Self, SocketAddr) {
        Self::server_at(runtime, SocketAddr::from(([127, 0, 0, 1], 0)), options)
    }

    /// A server that listens on an address.
    pub(crate) fn server_at(
        runtime: &str,
        address: SocketAddr,
        options: &str,
    ) -> (Self, SocketAddr) {
        let mut server =
            Self::start(format!("server {runtime} {address} {options}").trim());
        let address = server.line().parse().expect("an address");
        (server, address)
    }

    /// The next line that it says.
    pub(crate) fn line(&mut self) -> String {
        loop {
            let mut line = String::new();
            let count = self.output.read_line(&mut line).expect("a line");
            assert!(count > 0, "the other end has ended");
            // The test harness has a lot to say before.
            if let Some((_, said)) = line.split_once(end::SAID) {
                return said.trim_end().to_owned();
            }
        }
    }

    /// What it says to a command.
    pub(crate) fn ask(&mut self, command: &str) -> String {
        writeln!(self.input, "{command}").expect("it reads");
        self.line()
    }

    /// The number that it says to a command.
    pub(crate) fn number(&mut self, command: &str) -> usize {
        self.ask(command).parse().expect("a number")
    }

    /// Bytes of its memory that are resident.
    pub(crate) fn memory(&self) -> u64 {
        let path = format!("/proc/{}/statm", self.child.id());
        let pages = fs::read_to_string(path).expect("it lives");
        let resident = pages.split(' ').nth(1).expect("the second field");
        let pages: u64 = resident.parse().expect("a number");
        pages * rustix::param::page_size() as u64
    }

    /// The time for which it has kept processors busy.
    pub(crate) fn processor_time(&self) -> Duration {
        let path = format!("/proc/{}/stat", self.child.id());
        let stat = fs::read_to_string(path).expect("it lives");
        // The second field, a name in parentheses, may contain anything.
        let (_, fields) = stat.rsplit_once(')').expect("a name");
        let fields: Vec<_> = fields.split_whitespace().collect();
        let ticks =
            |field: usize| -> u64 { fields[field].parse().expect("a number") };
        let ticks = ticks(11) + ticks(12);
        Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
    }

    /// Stops it: its sockets stay, and nobody is behind them.
    pub(crate) fn stop(&self) {
        self.signal(Signal::STOP);
        // Its threads stop one after the other.
        while !self.threads_are(b'T') {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn threads_are(&self, state: u8) -> bool {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id()));
        threads.expect("it lives").all(|thread| {
            let path = thread.expect("a thread").path().join("stat");
            // One that has ended meanwhile does nothing either.
            fs::read_to_string(path).map_or(true, |stat| {
                let (_, fields) = stat.rsplit_once(')').expect("a name");
                fields.as_bytes().get(1) == Some(&state)
            })
        })
    }

    /// Lets it go on after a stop.
    pub(crate) fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let id = Pid::from_child(&self.child);
        rustix::process::kill_process(id, signal).expect("it lives");
    }

    /// Kills it, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it lives");
        self.child.wait().expect("is a child");
    }
}

impl Drop for OtherEnd {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lets this process have as many files open as its user may.
pub(crate) fn allow_files(count: u64) {
    let mut limit = rustix::process::getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    limit.current = Some(count.min(most));
    rustix::process::setrlimit(Resource::Nofile, limit).expect("a limit below");
}

/// An address that is free, and which no connection gets by itself. Whoever
/// connects to a port of those that the system gives out, again and again while
/// nobody listens there, will at some time be given that port, and be connected
/// with itself.
pub(crate) fn lasting_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % 100) as u16 * 80;
    loop {
        let port = 20_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 8_000;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}
