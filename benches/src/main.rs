//! Measures netaio beside the floor (a bare socket that moves the same frames
//! and does nothing else) and beside what else a user could pick.
//!
//! ```sh
//! cargo run --release -p netaio-bench                 # everything, some minutes
//! cargo run --release -p netaio-bench -- --only "depth 64"
//! cargo run --release -p netaio-bench -- --quick      # does it run at all
//! cargo run --release -p netaio-bench -- publish      # one slow subscriber
//! cargo run --release -p netaio-bench -- witness      # tapescript's signatures
//! cargo run --release -p netaio-bench --features rivals # beside tarpc, tonic and zeromq
//! ```
//!
//! Each side has a thread, with a current-thread runtime; with `--threads N` it has
//! as many, and the rows of streams are measured.
//!
//! `--rounds N` and `--span MILLISECONDS` say how often and how long each is
//! measured; `--json FILE` and `--svg FILE` write the results down. `--who NAME`
//! leaves out all others, as for a profile of one.
//!
//! All that belongs to one row is measured in turn, round by round, so that what
//! else the machine does hits everybody, every other round in reverse; a ratio is
//! the median of the rounds' ratios. Figures of one run can be compared with each
//! other, and with nothing else.

mod apart;
mod arguments;
mod hashing;
mod load;
mod plot;
mod publish;
mod report;
mod rivals;
mod rows;
mod servers;
mod sockets;
mod witness;

use std::process::ExitCode;

use crate::arguments::{Arguments, What};

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    match arguments.what {
        What::Rows => {}
        What::Publish => {
            publish::run(arguments.rounds.min(3));
            return ExitCode::SUCCESS;
        }
        What::Serve(kind) => {
            apart::serve(kind, arguments.threads);
            return ExitCode::SUCCESS;
        }
        What::Help => {
            println!("{}", arguments::HELP);
            return ExitCode::SUCCESS;
        }
        What::Witness => {
            witness::run(arguments.rounds);
            return ExitCode::SUCCESS;
        }
    }
    let mut measured = Vec::new();
    for row in rows::all(&arguments) {
        if arguments.wants(&row.name) {
            measured.extend(report::measure(row, &arguments));
        }
    }
    report::summary(&measured);
    for (path, content) in [
        (&arguments.json, report::json(&measured, &arguments)),
        (&arguments.svg, plot::svg(&measured)),
    ] {
        if let Some(path) = path
            && let Err(error) = std::fs::write(path, content)
        {
            eprintln!("{path}: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
