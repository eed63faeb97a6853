//! What is measured.

mod core;
mod notify;
mod requests;

use crate::arguments::Arguments;
use crate::report::Row;

/// All rows, in the order in which they are told.
pub(crate) fn all(arguments: &Arguments) -> Vec<Row> {
    let mut rows = requests::rows(arguments);
    rows.push(notify::row(arguments));
    rows.extend(core::rows(arguments));
    rows
}
