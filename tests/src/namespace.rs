//! Tests that have a network of their own: a Linux network namespace, in which
//! multicasts reach nobody else, any port is free, and hosts can be added.
//!
//! ```no_run
//! use netaio_tests::namespace::{LOOPBACK, in_namespace};
//!
//! #[test]
//! fn nobody_else_is_here() {
//!     in_namespace(LOOPBACK, || {
//!         std::net::UdpSocket::bind("127.0.0.1:53").expect("is free");
//!     });
//! }
//! ```

use std::any::type_name;
use std::env;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use crate::skip::skip;

/// A script that makes a network of nothing but the loopback interface, which
/// multicasts go to.
pub const LOOPBACK: &str = "
    ip link set lo up
    ip route add 224.0.0.0/4 dev lo src 127.0.0.1";

/// How long a test may take, in its namespace.
const LIMIT: Duration = Duration::from_secs(180);
/// Names the test that runs in its namespace.
const INSIDE: &str = "NETAIO_TEST_IN_NAMESPACE";

/// Runs a test in a network namespace of its own, after a shell script that is to
/// set up its interfaces. To be called by the test itself, as its last act, with
/// a closure: the test is run once more, in a process in that namespace. The
/// namespace is gone when that process is. What the test does before comes twice,
/// the second time with these interfaces.
///
/// A notice is given instead if no namespace can be made here; see
/// [`skip`].
///
/// # Panics
///
/// If the test panics there, or takes longer than three minutes.
pub fn in_namespace<F: FnOnce()>(setup: &str, test: F) {
    let name = test_name(type_name::<F>());
    if env::var(INSIDE).is_ok_and(|inside| inside == name) {
        return test();
    }
    match unshare() {
        Ok(unshare) => run_again(unshare, setup, name),
        Err(why) => skip("a network namespace", why),
    }
}

/// The name that the test harness has for the test which a closure is in.
fn test_name(closure: &str) -> &str {
    let path = closure.split_once("::").map_or(closure, |(_, path)| path);
    path.split_once("::{{closure}}")
        .map_or(path, |(name, _)| name)
}

/// The command that runs another one in a new namespace; or why there is none.
fn unshare() -> Result<&'static [&'static str], &'static str> {
    static FOUND: OnceLock<Result<&'static [&'static str], String>> =
        OnceLock::new();
    const WAYS: [&[&str]; 2] = [
        &["unshare", "--net"],
        // Who is not root is so in a user namespace, where that is allowed.
        &["unshare", "--user", "--map-root-user", "--net"],
    ];

    let found = FOUND.get_or_init(|| {
        let mut reasons = String::new();
        for way in WAYS {
            let tried = Command::new(way[0])
                .args(&way[1..])
                .args(["ip", "link", "set", "lo", "up"])
                .output();
            match tried {
                Ok(output) if output.status.success() => return Ok(way),
                Ok(output) => {
                    let said = String::from_utf8_lossy(&output.stderr);
                    reasons += &format!("{}: {}\n", way.join(" "), said.trim());
                }
                Err(error) => reasons += &format!("{}: {error}\n", way.join(" ")),
            }
        }
        Err(reasons)
    });
    found.as_ref().copied().map_err(String::as_str)
}

fn run_again(unshare: &[&str], setup: &str, name: &str) {
    // The test takes the place of the shell, and that the place of `unshare`.
    let script = format!("{setup}\nexec \"$0\" \"$@\" 2>&1");
    let child = Command::new(unshare[0])
        .args(&unshare[1..])
        .args(["sh", "-ec", &script])
        .arg(env::current_exe().expect("the test's own program"))
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, name)
        // What could be skipped has been by now: nobody would see it there.
        .env("CI", "true")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut process = Ended(child.expect("could be run a moment ago"));
    let output = reader(process.0.stdout.take());
    let errors = reader(process.0.stderr.take());
    let deadline = Instant::now() + LIMIT;
    let status = loop {
        let ended = process.0.try_wait().expect("is a child");
        if ended.is_some() || Instant::now() >= deadline {
            break ended;
        }
        thread::sleep(Duration::from_millis(5));
    };
    drop(process);
    let output = output.join().expect("reads") + &errors.join().expect("reads");
    let passed = status.is_some_and(|status| status.success());
    // A name that no test has runs none.
    let ran = output.contains("1 passed");
    assert!(
        passed && ran,
        "{name}, in its namespace: {status:?}\n{output}"
    );
}

fn reader(stream: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    let mut stream = stream.expect("is piped");
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before an error is there.
        let _ = stream.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// A process that is ended when this is dropped.
#[derive(Debug)]
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // The one error is that it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One end of the cable between two hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plug {
    /// Its IPv4 address. The IPv6 address is `fe80::` with the same last byte.
    pub address: Ipv4Addr,
    /// The index of its interface.
    pub index: u32,
}

/// This host's end.
pub const HERE: Plug = Plug {
    address: Ipv4Addr::new(192, 0, 2, 1),
    index: 101,
};
/// The other host's.
pub const THERE: Plug = Plug {
    address: Ipv4Addr::new(192, 0, 2, 2),
    index: 102,
};

impl Plug {
    fn set_up(self) {
        let Self { address, .. } = self;
        let last = address.octets()[3];
        shell(&format!(
            "ip link set lo up
            ip link set cable addrgenmode none
            ip addr add {address}/24 dev cable
            if [ -e /proc/net/if_inet6 ]; then
                ip addr add fe80::{last}/64 dev cable nodad
            fi
            ip link set cable up
            ip route add default dev cable"
        ));
    }
}

/// Another host: a second namespace, with a cable to the one that the test runs
/// in. It is gone when this is dropped, or the test ends in any other way.
#[derive(Debug)]
pub struct OtherHost {
    _holder: Ended,
    namespace: File,
}

impl OtherHost {
    /// Adds it. For tests that are run by [`in_namespace`].
    ///
    /// # Panics
    ///
    /// If it cannot be made.
    #[must_use]
    pub fn connected() -> Self {
        // It ends with its input, which this process has the only end of.
        let holder = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo ready; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut holder = Ended(holder.expect("unshare"));
        let mut line = String::new();
        let mut output = BufReader::new(holder.0.stdout.take().expect("is piped"));
        output.read_line(&mut line).expect("a line");
        assert_eq!(line, "ready\n");
        let id = holder.0.id();
        let namespace = File::open(format!("/proc/{id}/ns/net")).expect("is there");
        shell(&format!(
            "ip link add name cable index {} type veth \
             peer name cable index {} netns {id}",
            HERE.index, THERE.index
        ));
        let host = Self {
            _holder: holder,
            namespace,
        };
        HERE.set_up();
        host.run(|| THERE.set_up());
        host
    }

    /// Does something on that host: sockets that it opens and programs that it
    /// starts stay there. It has a thread of its own.
    ///
    /// # Panics
    ///
    /// If the action does.
    pub fn run<T: Send>(&self, action: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let there = scope.spawn(|| {
                enter(&self.namespace);
                action()
            });
            there.join().expect("what was done there panicked")
        })
    }
}

/// Moves the calling thread.
#[cfg(target_os = "linux")]
fn enter(namespace: &File) {
    use std::os::fd::AsFd as _;

    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

    let kind = Some(LinkNameSpaceType::Network);
    move_into_link_name_space(namespace.as_fd(), kind).expect("may be entered");
}

#[cfg(not(target_os = "linux"))]
fn enter(_: &File) {
    unreachable!("there are no namespaces on this system");
}

fn shell(script: &str) {
    let output = Command::new("sh")
        .args(["-ec", script])
        .output()
        .expect("sh");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}\n{said}");
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::panic::catch_unwind;

    use super::*;

    /// Any port will do in a namespace.
    const PORT: u16 = 40_000;

    #[test]
    fn a_namespace_has_interfaces_of_its_own() {
        in_namespace("ip link add name a-new-one type veth", || {
            let output = Command::new("ip").args(["-o", "link"]).output().unwrap();
            let links = String::from_utf8(output.stdout).unwrap();
            // A pair, and the loopback interface.
            assert_eq!(links.lines().count(), 3, "{links}");
            assert!(links.contains(": a-new-one@"), "{links}");
        });
    }

    #[test]
    fn a_multicast_on_the_loopback_interface_comes_back() {
        in_namespace(LOOPBACK, || {
            let group = Ipv4Addr::new(224, 0, 0, 1);
            let socket = UdpSocket::bind(("0.0.0.0", PORT)).unwrap();
            socket
                .join_multicast_v4(&group, &Ipv4Addr::UNSPECIFIED)
                .unwrap();
            socket.send_to(b"a", (group, PORT)).unwrap();
            assert_eq!(socket.recv(&mut [0; 2]).unwrap(), 1);
        });
    }

    #[test]
    fn two_hosts_reach_each_other_by_their_addresses() {
        in_namespace("", || {
            let host = OtherHost::connected();
            let there = host.run(|| UdpSocket::bind((THERE.address, PORT)).unwrap());
            let here = UdpSocket::bind((HERE.address, PORT)).unwrap();
            here.send_to(b"a", (THERE.address, PORT)).unwrap();
            let (length, from) = there.recv_from(&mut [0; 2]).unwrap();
            assert_eq!((length, from), (1, (HERE.address, PORT).into()));
        });
    }

    #[test]
    fn a_test_that_fails_in_its_namespace_fails() {
        let failed = catch_unwind(|| {
            in_namespace(LOOPBACK, || panic!("as it should"));
        });
        let inside = env::var(INSIDE).is_ok();
        match failed {
            Ok(()) => assert!(!inside && unshare().is_err(), "it was skipped"),
            Err(panic) if inside => std::panic::resume_unwind(panic),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().expect("a text");
                assert!(text.contains("as it should"), "{text}");
            }
        }
    }
}
