//! Bookkeeping: which sections a file of vectors has, how many cases are in
//! each, and what is said about a case. None of it can grow unnoticed.

use std::collections::BTreeSet;

use netaio_tests::vectors::{cases, load};
use serde_json::Value;

/// A list of cases in a file of vectors, as its test knows it.
pub(crate) struct Section {
    /// The key of the list.
    pub(crate) name: &'static str,
    /// How many cases it has.
    pub(crate) count: usize,
    /// Everything that is said about a case, or about some.
    pub(crate) columns: &'static [&'static str],
}

impl Section {
    /// Runs a test on every case, and counts them.
    #[track_caller]
    pub(crate) fn each<'v>(&self, file: &'v Value, mut test: impl FnMut(&'v Value)) {
        let mut ran = 0;
        for case in cases(file, self.name) {
            test(case);
            ran += 1;
        }
        assert_eq!(ran, self.count, "cases of {}", self.name);
    }

    fn columns_of(&self, file: &Value) -> BTreeSet<String> {
        let columns = |case: &Value| case.as_object().map(keys).expect("a case");
        cases(file, self.name).iter().flat_map(columns).collect()
    }
}

/// Reads a file of vectors, which has these sections, the `others` and no more.
#[track_caller]
pub(crate) fn load_with(name: &str, sections: &[Section], others: &[&str]) -> Value {
    let file = load(name);
    let known = sections.iter().map(|section| section.name);
    let known = known.chain(others.iter().copied()).chain(["about"]);
    let present = file.as_object().map(keys).expect("an object");
    assert_eq!(present, owned(known), "keys of {name}");
    for section in sections {
        let known = owned(section.columns.iter().copied());
        let columns = section.columns_of(&file);
        assert_eq!(columns, known, "columns of {name}, {}", section.name);
    }
    file
}

fn keys(object: &serde_json::Map<String, Value>) -> BTreeSet<String> {
    object.keys().cloned().collect()
}

fn owned<'a>(names: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    names.map(str::to_owned).collect()
}
