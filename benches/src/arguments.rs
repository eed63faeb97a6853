//! What the command line asks for.

use std::time::Duration;

use crate::apart::Kind;
use crate::load::Threads;

/// What is measured, how often and how long.
#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) rounds: usize,
    /// How long one measurement takes.
    pub(crate) span: Duration,
    /// Of each side, for streams.
    pub(crate) threads: Threads,
    /// Small sizes: only to see that everything runs.
    pub(crate) quick: bool,
    pub(crate) what: What,
    /// Parts of the names of the rows that are wanted; none: all.
    only: Vec<String>,
    /// Parts of the names of rows that are not.
    without: Vec<String>,
    /// The names of the subjects that are wanted; none: all.
    who: Vec<String>,
    pub(crate) json: Option<String>,
    pub(crate) svg: Option<String>,
}

/// The rows, or one of the things that are no rows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    Rows,
    Publish,
    Witness,
    /// Only a server, for another process of this program.
    Serve(Kind),
    /// How it is used.
    Help,
}

/// What `--help` prints.
pub(crate) const HELP: &str = "\
Measures netaio beside bare sockets and beside what else there is.

netaio-bench [publish | witness] [OPTIONS]

  publish         one subscriber of many that stops reading
  witness         tapescript's signatures
  --only TEXT     rows whose names have this in them; may be repeated
  --without TEXT  no rows whose names have this in them; may be repeated
  --who NAME      leaves out all others; may be repeated
  --rounds N      how often each is measured (7)
  --span MS       how long one measurement takes (700)
  --threads N     multi-thread runtimes, and rows of streams only
  --quick         once and briefly: does it run at all
  --json FILE     writes the results down
  --svg FILE      draws them

tarpc, tonic and zeromq are beside it if it is built with --features rivals.";

impl Arguments {
    pub(crate) fn parse(
        mut words: impl Iterator<Item = String>,
    ) -> Result<Self, String> {
        let mut parsed = Self {
            rounds: 7,
            span: Duration::from_millis(700),
            threads: Threads::ONE,
            quick: false,
            what: What::Rows,
            only: Vec::new(),
            without: Vec::new(),
            who: Vec::new(),
            json: None,
            svg: None,
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            let number = |text: String| text.parse::<u64>().map_err(|_| text);
            match &*word {
                "-h" | "--help" => parsed.what = What::Help,
                "publish" => parsed.what = What::Publish,
                "witness" => parsed.what = What::Witness,
                "serve" => {
                    let kind = value()?;
                    let kind = Kind::parse(&kind).ok_or(kind)?;
                    parsed.what = What::Serve(kind);
                }
                "--quick" => {
                    parsed.quick = true;
                    parsed.rounds = 1;
                    parsed.span = Duration::from_millis(100);
                }
                "--rounds" => parsed.rounds = number(value()?)?.max(1) as usize,
                "--span" => parsed.span = Duration::from_millis(number(value()?)?),
                "--threads" => {
                    parsed.threads = Threads(number(value()?)?.max(1) as usize);
                }
                "--only" => parsed.only.push(value()?),
                "--without" => parsed.without.push(value()?),
                "--who" => parsed.who.push(value()?),
                "--json" => parsed.json = Some(value()?),
                "--svg" => parsed.svg = Some(value()?),
                other => return Err(format!("what is {other}? See --help")),
            }
        }
        Ok(parsed)
    }

    /// Whether a row is wanted.
    pub(crate) fn wants(&self, row: &str) -> bool {
        let has = |part: &String| row.contains(&**part);
        let wanted = self.only.is_empty() || self.only.iter().any(has);
        wanted && !self.without.iter().any(has)
    }

    /// Whether a subject is wanted, so that it can be profiled alone.
    pub(crate) fn wants_who(&self, subject: &str) -> bool {
        self.who.is_empty() || self.who.iter().any(|name| name == subject)
    }
}
