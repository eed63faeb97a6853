//! One running Python program, as the tests hold it.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{OPERATION_LIMIT, STOP_LIMIT};

/// A running Python program: JSON lines in, JSON lines (events) out.
#[derive(Debug)]
pub struct Process {
    command: String,
    child: Mutex<Child>,
    input: Mutex<Input>,
    output: Arc<Output>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Input {
    /// `None`: closed.
    lines: Option<Sender<String>>,
    sent: usize,
}

#[derive(Debug, Default)]
struct Output {
    said: Mutex<Said>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Said {
    events: Vec<Value>,
    unread: VecDeque<Value>,
    /// Standard error, and what was not JSON of standard output.
    errors: String,
    /// How many of the two streams have ended.
    ended: usize,
}

impl Process {
    pub(super) fn start(
        interpreter: impl AsRef<Path>,
        program: &'static str,
        args: &[String],
    ) -> std::io::Result<Self> {
        let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/peers");
        let mut child = Command::new(interpreter.as_ref())
            // No byte code beside the sources.
            .arg("-B")
            .arg(peers.join(program))
            .args(args)
            .env_remove("PYTHONHOME")
            .env_remove("PYTHONPATH")
            .env("PYTHONUTF8", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (lines, queue) = mpsc::channel();
        let output = Arc::new(Output::default());
        let stdin = child.stdin.take().expect("is piped");
        let stdout = child.stdout.take().expect("is piped");
        let stderr = child.stderr.take().expect("is piped");
        let (events, errors) = (Arc::clone(&output), Arc::clone(&output));
        let threads = vec![
            thread::spawn(move || write_lines(stdin, &queue)),
            thread::spawn(move || read_lines(stdout, &events, Said::event)),
            thread::spawn(move || read_lines(stderr, &errors, Said::error)),
        ];
        Ok(Self {
            command: format!("{program} {}", args.join(" ")),
            child: Mutex::new(child),
            input: Mutex::new(Input {
                lines: Some(lines),
                sent: 0,
            }),
            output,
            threads: Mutex::new(threads),
        })
    }

    /// The next event that was not given out yet; `None` if there is none
    /// before the time is over or the program has ended.
    #[must_use]
    pub fn next_event(&self, timeout: Duration) -> Option<Value> {
        self.take(|_| true, timeout)
    }

    /// Waits for an event. Those that do not match stay for later calls, so
    /// that the order of unrelated events does not matter.
    ///
    /// # Panics
    ///
    /// If there is none before the time is over or the program has ended.
    #[track_caller]
    pub fn wait_for(
        &self,
        matches: impl Fn(&Value) -> bool,
        timeout: Duration,
    ) -> Value {
        let event = self.take(matches, timeout);
        event.unwrap_or_else(|| {
            panic!("No such event in {timeout:?}.\n{}", self.story())
        })
    }

    /// All events so far, also those that were given out.
    #[must_use]
    pub fn events(&self) -> Vec<Value> {
        self.output.lock().events.clone()
    }

    /// Writes one JSON line to it, without waiting for anything.
    ///
    /// # Panics
    ///
    /// If its input is closed.
    #[track_caller]
    pub fn send(&self, line: &Value) {
        self.begin(line);
    }

    /// Whether it has not ended yet.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.exit_status().is_none()
    }

    /// Asks it to end, by closing its input, and waits. Kills it after 5
    /// seconds. Returns whether it ended by itself, with success.
    pub fn stop(&self) -> bool {
        self.close_input();
        self.wait_for_end(STOP_LIMIT);
        let status = self.exit_status();
        self.kill();
        status.is_some_and(|status| status.success())
    }

    /// Kills it (SIGKILL), if it still runs. Its events stay.
    pub fn kill(&self) {
        self.close_input();
        let mut child = lock(&self.child);
        // The one error is that it has ended already.
        let _ = child.kill();
        let _ = child.wait();
        drop(child);
        // They end with the pipes.
        for thread in lock(&self.threads).drain(..) {
            let _ = thread.join();
        }
    }

    /// All there is to tell about it when something went wrong.
    #[must_use]
    pub fn story(&self) -> String {
        let status = match self.exit_status() {
            Some(status) => status.to_string(),
            None => "running".to_owned(),
        };
        let said = self.output.lock();
        let mut story = format!("--- {} ({status})\n", self.command);
        for event in &said.events {
            _ = writeln!(story, "{event}");
        }
        story + &said.errors + "---"
    }

    #[track_caller]
    pub(super) fn begin_op(&self, operation: &Value) -> usize {
        // An array would be several operations, and the numbers would be wrong.
        assert!(operation.is_object(), "not an operation: {operation}");
        self.begin(operation)
    }

    #[track_caller]
    pub(super) fn result(&self, i: usize) -> Value {
        let result = self.wait_for(|event| event["i"] == i, OPERATION_LIMIT);
        let met = result.get("pass").is_none_or(|pass| pass == true);
        assert!(met, "{result}\n{}", self.story());
        result
    }

    /// Writes a line and returns its number.
    #[track_caller]
    pub(super) fn begin(&self, line: &Value) -> usize {
        let mut input = lock(&self.input);
        let queue = input.lines.as_ref();
        let sent = queue.is_some_and(|q| q.send(format!("{line}\n")).is_ok());
        if !sent {
            drop(input);
            panic!("Nobody reads {line}.\n{}", self.story());
        }
        input.sent += 1;
        input.sent - 1
    }

    pub(super) fn sent(&self) -> usize {
        lock(&self.input).sent
    }

    pub(super) fn close_input(&self) {
        lock(&self.input).lines = None;
    }

    /// The system's number for it.
    #[cfg(all(test, target_os = "linux"))]
    pub(super) fn id(&self) -> u32 {
        lock(&self.child).id()
    }

    pub(super) fn exit_status(&self) -> Option<ExitStatus> {
        lock(&self.child).try_wait().ok().flatten()
    }

    pub(super) fn wait_for_end(&self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        let said = self.output.lock();
        let going = |said: &mut Said| !said.has_ended();
        drop(self.output.changed.wait_timeout_while(said, timeout, going));
        // Its streams end a moment before it does.
        while self.is_running() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
        }
    }

    pub(super) fn take(
        &self,
        matches: impl Fn(&Value) -> bool,
        timeout: Duration,
    ) -> Option<Value> {
        let deadline = Instant::now() + timeout;
        let mut said = self.output.lock();
        loop {
            if let Some(found) = said.unread.iter().position(&matches) {
                return said.unread.remove(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || said.has_ended() {
                return None;
            }
            let waited = self.output.changed.wait_timeout(said, left);
            said = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.story());
        }
        self.kill();
    }
}

impl Output {
    fn lock(&self) -> MutexGuard<'_, Said> {
        lock(&self.said)
    }
}

impl Said {
    fn event(&mut self, line: &[u8]) {
        match serde_json::from_slice::<Value>(line) {
            Ok(event) => {
                self.events.push(event.clone());
                self.unread.push_back(event);
            }
            Err(_) => self.error(line),
        }
    }

    fn error(&mut self, line: &[u8]) {
        self.errors.push_str(&String::from_utf8_lossy(line));
    }

    fn has_ended(&self) -> bool {
        self.ended == 2
    }
}

fn read_lines(stream: impl Read, output: &Output, add: fn(&mut Said, &[u8])) {
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    while stream
        .read_until(b'\n', &mut line)
        .is_ok_and(|length| length > 0)
    {
        add(&mut output.lock(), &line);
        output.changed.notify_all();
        line.clear();
    }
    output.lock().ended += 1;
    output.changed.notify_all();
}

/// On a thread of its own, because a program that does not read its input would
/// block the test without a limit.
fn write_lines(mut stdin: ChildStdin, queue: &Receiver<String>) {
    for line in queue {
        if stdin.write_all(line.as_bytes()).is_err() {
            return;
        }
    }
}

/// A poisoned lock is the trace of a panic that is being reported elsewhere;
/// the data is whole, and processes must be ended all the same.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
