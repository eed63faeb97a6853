//! What is measured.

mod core;
mod notify;
mod requests;
mod scaling;

use crate::arguments::Arguments;
use crate::load::Threads;
use crate::report::Row;

/// All rows, in the order in which they are told. With several threads a side:
/// those of streams, without goals, which are for one.
pub(crate) fn all(arguments: &Arguments) -> Vec<Row> {
    let mut rows = requests::rows(arguments);
    rows.push(notify::row(arguments));
    if arguments.threads == Threads::ONE {
        rows.extend(scaling::rows(arguments));
        rows.extend(core::rows(arguments));
    } else {
        rows.iter_mut().for_each(|row| row.goals.clear());
    }
    rows
}

/// The name of a row of which so many threads are a part.
fn named(name: &str, threads: Threads) -> String {
    match threads {
        Threads::ONE => name.to_owned(),
        Threads(many) => format!("{name}, {many} threads"),
    }
}
