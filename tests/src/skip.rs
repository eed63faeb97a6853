//! Tests that cannot run here say so, where it is seen.
//!
//! For what this machine lacks (a Python interpreter, a network namespace), not
//! for tests that fail.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Reports that the calling test is skipped: `what` it needed, and `why` that
/// is missing.
///
/// The first notice of a reason is a box of several lines, the next ones are a
/// line each. They go past the output capture of `cargo test`, which hides what
/// a passing test prints; a test that passed because it was skipped must not
/// look like one that ran.
///
/// # Panics
///
/// If the environment variable `CI` is `true`: there, everything has to run.
pub fn skip(what: &str, why: &str) {
    static REPORTED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

    // The test harness names the thread of a test after it.
    let thread = thread::current();
    let test = thread.name().unwrap_or("(a thread without a name)");
    if std::env::var("CI").is_ok_and(|ci| ci == "true") {
        panic!("{test} needs {what}, and CI must not skip it.\n{why}");
    }
    let mut reported = REPORTED.lock().unwrap_or_else(PoisonError::into_inner);
    let notice = if reported.insert(why.to_owned()) {
        boxed(&format!("SKIPPED: {test}\nIt needs {what}.\n{why}"))
    } else {
        format!("SKIPPED: {test}: it needs {what} (see above)\n")
    };
    // Only the print macros are captured, the stream itself is not. Nothing
    // better is left to do if even that cannot be written to.
    let _ = std::io::stderr().lock().write_all(notice.as_bytes());
}

fn boxed(text: &str) -> String {
    let rule = "*".repeat(80);
    let mut notice = format!("\n{rule}\n");
    for line in text.lines() {
        notice.push_str("* ");
        notice.push_str(line);
        notice.push('\n');
    }
    notice + &rule + "\n"
}
