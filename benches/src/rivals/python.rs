//! Python netaio 0.0.9, both ends: a process each.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;

/// What is in the environment. All but the library and uvloop are what its
/// plugins are made of.
const PACKAGES: [&str; 4] = [
    "netaio==0.0.9",
    "tapescript==0.7.2",
    "PyNaCl>=1.5",
    "uvloop>=0.21",
];

/// Requests a second over one connection; `None` if there is no Python with
/// netaio and uvloop.
pub(crate) fn rate(
    depth: usize,
    content: usize,
    span: Duration,
    uvloop: bool,
) -> Option<f64> {
    let python = environment()?;
    let start = |words: &[String]| {
        let mut command = Command::new(python);
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/python/ends.py");
        command.arg(path).args(words);
        if uvloop {
            command.arg("--uvloop");
        }
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let child = command.spawn().ok()?;
        Some(Running(child))
    };
    let mut server = start(&["server".to_owned()])?;
    let port = server.line()?;
    let mut client = start(&[
        "client".to_owned(),
        port,
        depth.to_string(),
        content.to_string(),
        span.as_secs_f64().max(0.5).to_string(),
    ])?;
    client.line()?.parse().ok()
}

/// The interpreter of an environment with Python netaio in cargo's target
/// directory, which is made if it is not there.
fn environment() -> Option<&'static PathBuf> {
    static PYTHON: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let made = PYTHON.get_or_init(|| {
        let made = make_environment();
        if let Err(why) = &made {
            eprintln!("Python netaio is left out: {why}");
        }
        made
    });
    made.as_ref().ok()
}

/// Made by the program that does so for the live tests.
fn make_environment() -> Result<PathBuf, String> {
    let here = env!("CARGO_MANIFEST_DIR");
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| format!("{here}/../target").into(), PathBuf::from);
    let target = std::path::absolute(target).map_err(|error| error.to_string())?;
    let output = Command::new("python3")
        .arg(format!("{here}/../tests/interop/peers/environment.py"))
        .arg(target.join("python-netaio-bench"))
        .args(PACKAGES)
        .output()
        .map_err(|error| format!("python3: {error}"))?;
    let said: Value = serde_json::from_slice(&output.stdout)
        .map_err(|_| String::from_utf8_lossy(&output.stderr).into_owned())?;
    match (said["python"].as_str(), said["error"].as_str()) {
        (Some(python), _) => Ok(python.into()),
        (None, why) => Err(why.unwrap_or("no environment was made").to_owned()),
    }
}

struct Running(Child);

impl Running {
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let output = self.0.stdout.take()?;
        BufReader::new(output).read_line(&mut line).ok()?;
        let line = line.trim();
        (!line.is_empty()).then(|| line.to_owned())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
