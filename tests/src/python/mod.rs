//! Python netaio 0.0.9 as the other end of a live test: its virtual environment
//! and the programs of `interop/peers` (see the README there).
//!
//! Every call blocks, for a bounded time, and needs no async runtime. An async
//! test whose own end runs on the same thread calls from a blocking thread
//! (`spawn_blocking`), or the two wait for each other. Every process ends with
//! the value that started it.
//!
//! ```no_run
//! use netaio_tests::python::{self, PyClient, PyServer};
//! use serde_json::json;
//!
//! let Some(python) = python::environment() else { return };
//! let server = PyServer::start(python, &["--hmac", "secret"]);
//! let operations = json!([
//!     {"op": "connect"},
//!     {"op": "request", "uri": "echo", "content": "hello",
//!      "expect": {"type": "RESPOND_URI", "content": "hello"}},
//! ]);
//! PyClient::run(python, server.port, &["--hmac", "secret"], operations)
//!     .assert_passed();
//! ```

mod process;

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::skip::skip;

pub use process::Process;

/// What is in the environment: the library, and what its plugins with key pairs
/// are made of.
const PACKAGES: [&str; 3] = ["netaio==0.0.9", "tapescript==0.7.2", "PyNaCl>=1.5"];
/// How long a whole script, a single operation or a command may take.
const OPERATION_LIMIT: Duration = Duration::from_secs(60);
/// How long a program may take to listen. Interpreters are slow to start on a
/// busy machine.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long a program may take to end by itself.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// How long making the environment may take, waiting for another process that
/// makes it included.
const INSTALL_LIMIT: Duration = Duration::from_secs(600);
/// How often a program is started whose port turns out to be taken.
const START_ATTEMPTS: usize = 5;

/// A virtual environment with Python netaio 0.0.9.
#[derive(Clone, Debug)]
pub struct Environment {
    interpreter: PathBuf,
}

/// The virtual environment of the live tests, in cargo's target directory. The
/// first call makes it, which takes some seconds and an index of Python
/// packages.
///
/// `None`, after a notice that shows in the output of `cargo test`, if there is
/// no Python or the installation fails: the calling test is to return.
///
/// # Panics
///
/// Instead of that notice, if the environment variable `CI` is `true`.
#[must_use]
pub fn environment() -> Option<&'static Environment> {
    static ENVIRONMENT: OnceLock<Result<Environment, String>> = OnceLock::new();

    match ENVIRONMENT.get_or_init(make_environment) {
        Ok(environment) => Some(environment),
        Err(why) => {
            skip("Python netaio 0.0.9", why);
            None
        }
    }
}

impl Environment {
    /// The interpreter, to run a program of one's own.
    #[must_use]
    pub fn interpreter(&self) -> &Path {
        &self.interpreter
    }
}

fn make_environment() -> Result<Environment, String> {
    if !cfg!(unix) {
        return Err("The Python programs need a Unix system.".to_owned());
    }
    let folder = target_directory().join("python-netaio-0.0.9");
    let mut args = vec![folder.display().to_string()];
    args.extend(PACKAGES.map(str::to_owned));
    for name in ["python3", "python"] {
        let installer = match Process::start(name, "environment.py", &args) {
            Ok(installer) => installer,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) => return Err(format!("{name} does not start: {e}")),
        };
        let Some(report) = installer.next_event(INSTALL_LIMIT) else {
            return Err(format!("No environment was made.\n{}", installer.story()));
        };
        return match report["python"].as_str() {
            Some(path) => Ok(Environment {
                interpreter: PathBuf::from(path),
            }),
            None => Err(format!(
                "Its installation failed.\n{}",
                report["error"].as_str().unwrap_or_default()
            )),
        };
    }
    Err("There is no python3 and no python on the PATH.".to_owned())
}

/// Cargo's target directory.
fn target_directory() -> PathBuf {
    let set = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    // A relative one is relative to wherever cargo was called.
    if let Some(directory) = set.filter(|directory| directory.is_absolute()) {
        return directory;
    }
    // Cargo tags the directory; that covers --target-dir and its configuration.
    let test = std::env::current_exe().unwrap_or_default();
    match test.ancestors().find(|a| a.join("CACHEDIR.TAG").is_file()) {
        Some(directory) => directory.to_owned(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
    }
}

/// Runs tapescript byte code, `run_scripts.py`: a job as that takes it, and its
/// results.
///
/// # Panics
///
/// If there are none within a minute.
#[track_caller]
#[must_use]
pub fn run_scripts(environment: &Environment, job: &Value) -> Vec<Value> {
    let process = environment.start("run_scripts.py", &[]);
    process.send(job);
    let is_result = |event: &Value| event.get("results").is_some();
    let event = process.wait_for(is_result, OPERATION_LIMIT);
    assert!(process.stop(), "{}", process.story());
    event["results"].as_array().cloned().unwrap_or_default()
}

/// The example `secure_node` in Python, `secure_node.py`: its mode, and a port.
///
/// # Panics
///
/// If it does not start.
#[track_caller]
#[must_use]
pub fn secure_node(environment: &Environment, mode: &str, port: u16) -> Process {
    let args = [mode.to_owned(), port.to_string()];
    environment.start("secure_node.py", &args)
}

/// A TCP server, `py_server.py`.
#[derive(Debug)]
pub struct PyServer {
    /// The port it listens on.
    pub port: u16,
    address: SocketAddr,
    process: Process,
    environment: Environment,
    args: Vec<String>,
}

impl PyServer {
    /// Starts a server with these options and waits until it listens. Its port
    /// is a free one, unless `args` has a `--port`.
    ///
    /// # Panics
    ///
    /// If it does not listen within 30 seconds.
    #[track_caller]
    #[must_use]
    pub fn start(environment: &Environment, args: &[&str]) -> Self {
        let args: Vec<String> = strings(&["--stdin"], args);
        let (process, address) = listen(environment, "py_server.py", &args);
        let environment = environment.clone();
        Self {
            port: address.port(),
            address,
            process,
            environment,
            args,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Gives it a command, such as `{"cmd": "broadcast", "uri": "u"}`, and
    /// returns its answer, an event `done`. To end it, use `stop()`.
    ///
    /// # Panics
    ///
    /// If it answers with an event `error`, or not within a minute.
    #[track_caller]
    pub fn command(&self, command: &Value) -> Value {
        self.process.send(command);
        let answers = |e: &Value| e["event"] == "done" || e["event"] == "error";
        let answer = self.process.wait_for(answers, OPERATION_LIMIT);
        assert!(answer["event"] == "done", "{command} gave {answer}");
        answer
    }

    /// Kills it, if it still runs, and starts it again on this port with the
    /// same options. What the killed one had said is gone.
    ///
    /// # Panics
    ///
    /// As [`start`](Self::start) does.
    #[track_caller]
    pub fn restart_on(&mut self, port: u16) {
        self.process.kill();
        let mut args = self.args.clone();
        // The last one counts.
        args.extend(["--port".to_owned(), port.to_string()]);
        let (process, address) = listen(&self.environment, "py_server.py", &args);
        (self.process, self.address, self.port) = (process, address, port);
    }
}

impl Deref for PyServer {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

/// A TCP client, `py_client.py`, that is given its operations one by one.
#[derive(Debug)]
pub struct PyClient {
    process: Process,
}

impl PyClient {
    /// Runs a client with these options through all the operations, a JSON
    /// array, and gathers what it says. It is stopped after a minute.
    #[track_caller]
    pub fn run(
        environment: &Environment,
        port: u16,
        args: &[&str],
        operations: Value,
    ) -> ClientReport {
        let count = operations.as_array().expect("an array of operations").len();
        let limit = OPERATION_LIMIT.as_secs().to_string();
        // On its standard input: a command line may not hold a large frame.
        let defaults = ["--script", "-", "--exit-after", &limit];
        let process = Self::process(environment, port, &defaults, args);
        process.send(&operations);
        process.close_input();
        process.wait_for_end(OPERATION_LIMIT + STOP_LIMIT);
        process.kill();
        ClientReport::of(&process, count)
    }

    /// Starts a client with these options. It does not connect by itself.
    #[track_caller]
    #[must_use]
    pub fn spawn(environment: &Environment, port: u16, args: &[&str]) -> Self {
        Self {
            process: Self::process(environment, port, &[], args),
        }
    }

    /// Performs one operation, a JSON object, and returns its result.
    ///
    /// # Panics
    ///
    /// If the result is not what the operation's `expect` says, or if there is
    /// none within a minute.
    #[track_caller]
    pub fn do_op(&self, operation: Value) -> Value {
        let i = self.begin_op(operation);
        self.result(i)
    }

    /// Begins one operation and returns its number, for
    /// [`result`](Self::result). Operations are performed one after the
    /// other.
    #[track_caller]
    pub fn begin_op(&self, operation: Value) -> usize {
        self.process.begin_op(&operation)
    }

    /// Waits for the result of the operation of this number, which can be had
    /// once.
    ///
    /// # Panics
    ///
    /// As [`do_op`](Self::do_op) does.
    #[track_caller]
    pub fn result(&self, i: usize) -> Value {
        self.process.result(i)
    }

    /// Ends the client and returns the report of all its operations.
    pub fn finish(self) -> ClientReport {
        self.process.stop();
        ClientReport::of(&self.process, self.process.sent())
    }

    #[track_caller]
    fn process(
        environment: &Environment,
        port: u16,
        defaults: &[&str],
        args: &[&str],
    ) -> Process {
        let mut args = strings(defaults, args);
        args.extend(["--port".to_owned(), port.to_string()]);
        environment.start("py_client.py", &args)
    }
}

impl Deref for PyClient {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

/// What a client did.
#[derive(Debug)]
#[must_use = "a report may be one of failures"]
pub struct ClientReport {
    operations: usize,
    events: Vec<Value>,
    story: String,
}

impl ClientReport {
    fn of(process: &Process, operations: usize) -> Self {
        let story = process.story();
        Self {
            operations,
            events: process.events(),
            story,
        }
    }

    /// The result of operation number `i`, from 0.
    ///
    /// # Panics
    ///
    /// If the client did not come that far.
    #[track_caller]
    #[must_use]
    pub fn line(&self, i: usize) -> &Value {
        self.find(i)
            .unwrap_or_else(|| panic!("No line {i}.\n{}", self.story))
    }

    /// Everything the client said, results of operations included.
    #[must_use]
    pub fn events(&self) -> &[Value] {
        &self.events
    }

    /// Checks that every operation ended as its `expect` says or, without one,
    /// without an error, and that the client ended by itself.
    ///
    /// # Panics
    ///
    /// With the offending lines, if that is not so.
    #[track_caller]
    pub fn assert_passed(&self) {
        let mut offences = String::new();
        for i in 0..self.operations {
            match self.find(i) {
                Some(line) if passed(line) => {}
                Some(line) => _ = writeln!(offences, "{line}"),
                None => _ = writeln!(offences, "operation {i}: no line"),
            }
        }
        match self.events.iter().find(|event| event["event"] == "end") {
            Some(end) if end["failed"] == 0 => {}
            Some(end) => _ = writeln!(offences, "{end}"),
            None => offences.push_str("the client did not end by itself\n"),
        }
        assert!(offences.is_empty(), "{offences}\n{}", self.story);
    }

    fn find(&self, i: usize) -> Option<&Value> {
        self.events.iter().find(|event| event["i"] == i)
    }
}

/// Whether an operation, and those within it, ended as expected.
fn passed(result: &Value) -> bool {
    let itself = match result.get("pass") {
        Some(pass) => pass == true,
        None => result["ok"] == true,
    };
    let within = result.get("results").and_then(Value::as_array);
    itself && within.is_none_or(|results| results.iter().all(passed))
}

/// A UDP node, `py_node.py`, that serves and is given operations one by one.
#[derive(Debug)]
pub struct PyNode {
    /// The port it is bound to.
    pub port: u16,
    address: SocketAddr,
    process: Process,
}

impl PyNode {
    /// Starts a node with these options and waits until it is bound. Its port
    /// is a free one, unless `args` has a `--port`.
    ///
    /// # Panics
    ///
    /// If it is not bound within 30 seconds.
    #[track_caller]
    #[must_use]
    pub fn start(environment: &Environment, args: &[&str]) -> Self {
        let args = strings(&["--stdin"], args);
        let (process, address) = listen(environment, "py_node.py", &args);
        Self {
            port: address.port(),
            address,
            process,
        }
    }

    /// Where it is bound; the loopback address if it is bound to all.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Performs one operation, a JSON object with the target's `port` where it
    /// has one, and returns its result.
    ///
    /// # Panics
    ///
    /// If the result is not what the operation's `expect` says, or if there is
    /// none within a minute.
    #[track_caller]
    pub fn do_op(&self, operation: Value) -> Value {
        let i = self.begin_op(operation);
        self.result(i)
    }

    /// Begins one operation and returns its number, for
    /// [`result`](Self::result). Operations are performed one after the
    /// other.
    #[track_caller]
    pub fn begin_op(&self, operation: Value) -> usize {
        self.process.begin_op(&operation)
    }

    /// Waits for the result of the operation of this number, which can be had
    /// once.
    ///
    /// # Panics
    ///
    /// As [`do_op`](Self::do_op) does.
    #[track_caller]
    pub fn result(&self, i: usize) -> Value {
        self.process.result(i)
    }
}

impl Deref for PyNode {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl Environment {
    #[track_caller]
    fn start(&self, program: &'static str, args: &[String]) -> Process {
        Process::start(&self.interpreter, program, args)
            .unwrap_or_else(|e| panic!("{program} does not start: {e}"))
    }
}

fn strings(first: &[&str], then: &[&str]) -> Vec<String> {
    first.iter().chain(then).map(|&s| s.to_owned()).collect()
}

/// Starts a program and waits until it listens.
#[track_caller]
fn listen(
    environment: &Environment,
    program: &'static str,
    args: &[String],
) -> (Process, SocketAddr) {
    let starts = |e: &Value| e["event"] == "listening" || e["event"] == "failed";
    let mut attempt = 1;
    loop {
        let process = environment.start(program, args);
        let event = process.take(starts, START_LIMIT).unwrap_or_default();
        if event["event"] == "listening" {
            let host = event["host"].as_str().and_then(|host| host.parse().ok());
            let host = host.filter(|host: &IpAddr| !host.is_unspecified());
            let port = event["port"].as_u64().and_then(|p| u16::try_from(p).ok());
            let host = host.unwrap_or(Ipv4Addr::LOCALHOST.into());
            return (process, (host, port.expect("a port")).into());
        }
        // It looks for a free port and binds it in two steps; a test beside
        // this one may have taken it in between.
        process.kill();
        let story = process.story();
        let taken = story.to_lowercase().contains("address already in use");
        assert!(taken && attempt < START_ATTEMPTS, "No listener.\n{story}");
        thread::sleep(Duration::from_millis(20));
        attempt += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::process::Command;

    use serde_json::json;

    use super::*;

    const LAYERS: [&str; 6] = [
        "--hmac",
        "secret",
        "--cipher",
        "key",
        "--inner-hmac",
        "admin",
    ];
    const SOON: Duration = Duration::from_secs(10);

    #[test]
    fn a_client_and_a_server_understand_each_other() {
        let Some(python) = environment() else { return };
        let server = PyServer::start(python, &LAYERS);
        let operations = json!([
            {"op": "connect"},
            {"op": "request", "uri": "echo", "content": "hello",
             "expect": {"type": "RESPOND_URI", "content": "hello"}},
            {"op": "request", "uri": "echo", "content_fill": ["61", 60000],
             "expect": {"type": "RESPOND_URI", "content_len": 60000}},
            {"op": "create", "uri": "k", "content": "v", "inner": true,
             "expect": {"type": "OK"}},
            {"op": "request", "uri": "never", "timeout": 0.2,
             "expect": {"error": "TimeoutError"}},
            {"op": "close"},
        ]);
        let report = PyClient::run(python, server.port, &LAYERS, operations);
        report.assert_passed();
        assert_eq!(report.line(1)["uri"], "echo");
        let stored = server.wait_for(|e| e["handler"] == "create", SOON);
        assert_eq!(stored["uri"], "k");
        assert!(server.stop());
        assert_eq!(server.events().last().unwrap()["event"], "stopped");
    }

    #[test]
    fn a_report_fails_for_an_unmet_expectation_an_error_and_a_crash() {
        let Some(python) = environment() else { return };
        let server = PyServer::start(python, &[]);
        let connect = json!({"op": "connect"});
        let sleep = json!({"op": "sleep", "seconds": 30});
        let unmet = json!({"op": "request", "uri": "echo", "content": "a",
                           "expect": {"content": "b"}});
        let error = json!({"op": "request", "uri": "never", "timeout": 0.1});
        let nested = json!({"op": "parallel", "ops": [unmet]});
        for (operation, args) in [
            (&unmet, &[] as &[&str]),
            (&error, &[]),
            (&nested, &[]),
            (&connect, &["--no-such-option"]),
            (&sleep, &["--exit-after", "0.3"]),
        ] {
            let operations = json!([connect, operation]);
            let report = PyClient::run(python, server.port, args, operations);
            let checked = catch_unwind(AssertUnwindSafe(|| report.assert_passed()));
            assert!(checked.is_err(), "{operation} {args:?} {}", report.story);
        }
    }

    #[test]
    fn operations_and_commands_can_be_interleaved() {
        let Some(python) = environment() else { return };
        let mut server = PyServer::start(python, &["--quiet"]);
        let client = PyClient::spawn(python, server.port, &[]);
        client.do_op(json!({"op": "connect"}));
        // The server accepts after the client has connected: an answer tells.
        client.do_op(json!({"op": "request", "uri": "echo",
                            "expect": {"type": "RESPOND_URI"}}));
        let done = server.command(&json!({"cmd": "broadcast", "uri": "b"}));
        assert_eq!(done["cmd"], "broadcast");
        client.do_op(json!({"op": "wait_notify", "expect": {"uri": "b"}}));

        let i = client.begin_op(json!({"op": "request", "uri": "slow",
                                       "content": "30", "timeout": 0.3}));
        server.kill();
        assert!(!server.is_running());
        assert_eq!(client.result(i)["error"], "TimeoutError");

        server.restart_on(server.port);
        client.do_op(json!({"op": "connect"}));
        client.do_op(json!({"op": "request", "uri": "echo", "content": "back",
                            "expect": {"content": "back"}}));
        let report = client.finish();
        assert_eq!(report.line(i)["ok"], false);
        assert_eq!(report.events().last().unwrap()["failed"], 0);
    }

    #[test]
    fn two_nodes_understand_each_other() {
        let Some(python) = environment() else { return };
        let server = PyNode::start(python, &LAYERS);
        let client = PyNode::start(python, &LAYERS);
        client.do_op(json!({"op": "request", "uri": "echo", "content": "hello",
                            "port": server.port,
                            "expect": {"content": "hello"}}));
        let seen = server.wait_for(|e| e["handler"] == "echo", SOON);
        assert_eq!(seen["peer"][1], client.port);
        assert!(client.stop());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_dropped_process_leaves_no_zombie() {
        let Some(python) = environment() else { return };
        let server = PyServer::start(python, &[]);
        let entry = format!("/proc/{}", server.id());
        assert!(Path::new(&entry).exists());
        drop(server);
        assert!(!Path::new(&entry).exists());
    }

    /// Runs a test of this module in a process of its own, without a PATH.
    fn run_without_python(ci: &str) -> (bool, String) {
        let module = module_path!().split_once("::").unwrap().1;
        let test = format!("{module}::a_client_and_a_server_understand_each_other");
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &test])
            .env("PATH", "")
            .env("CI", ci)
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(text.contains("running 1 test"), "{text}");
        (output.status.success(), text)
    }

    #[test]
    fn a_skipped_test_says_so_and_fails_in_ci() {
        let (passed, text) = run_without_python("");
        assert!(passed, "{text}");
        assert!(text.contains("SKIPPED: python::tests::a_client"), "{text}");
        assert!(text.contains("no python3"), "{text}");

        let (passed, text) = run_without_python("true");
        assert!(!passed, "{text}");
        assert!(text.contains("CI must not skip it"), "{text}");
    }
}
