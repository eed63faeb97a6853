//! Python netaio 0.0.9, both ends: a process each.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

/// Requests a second over one connection; `None` if there is no Python with
/// netaio, or without uvloop if that is asked for.
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

/// The interpreter with Python netaio: that of the live tests, which make it.
fn environment() -> Option<&'static PathBuf> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = PYTHON.get_or_init(|| {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
            || concat!(env!("CARGO_MANIFEST_DIR"), "/../target").into(),
            PathBuf::from,
        );
        let found = std::fs::read_dir(target).ok()?.flatten().find_map(|entry| {
            let name = entry.file_name();
            let ours = name.to_string_lossy().starts_with("python-netaio");
            let python = entry.path().join("bin/python");
            (ours && python.exists()).then_some(python)
        });
        if found.is_none() {
            eprintln!(
                "Python netaio is left out: its environment is not there yet. \
                 `cargo test -p netaio-tests --test interop` makes it."
            );
        }
        found
    });
    found.as_ref()
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
