//! Measuring the rows, and saying what came of it.

use std::io::{IsTerminal as _, Write as _};

use serde_json::{Value, json};

use crate::arguments::Arguments;

/// One line of work, and whoever does it.
pub(crate) struct Row {
    pub(crate) name: String,
    /// What is counted.
    pub(crate) unit: &'static str,
    /// Ours first.
    pub(crate) subjects: Vec<Subject>,
    /// What ours is to reach beside whom.
    pub(crate) goals: Vec<Goal>,
}

/// Whoever does the work.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    /// Measures once: how many a second. `None` if it cannot run here.
    pub(crate) measure: Box<dyn FnMut() -> Option<f64>>,
}

/// Ours is to do at least so many times as much as another.
#[derive(Clone)]
pub(crate) struct Goal {
    beside: &'static str,
    at_least: f64,
    /// Why it cannot be told on this machine whether it is reached.
    elsewhere: Option<String>,
}

impl Row {
    pub(crate) fn new(name: impl Into<String>, unit: &'static str) -> Self {
        Self {
            name: name.into(),
            unit,
            subjects: Vec::new(),
            goals: Vec::new(),
        }
    }

    pub(crate) fn subject(
        mut self,
        name: &'static str,
        mut measure: impl FnMut() -> f64 + 'static,
    ) -> Self {
        let measure = Box::new(move || Some(measure()));
        self.subjects.push(Subject { name, measure });
        self
    }

    /// One that may not be able to run.
    pub(crate) fn guest(
        mut self,
        name: &'static str,
        measure: impl FnMut() -> Option<f64> + 'static,
    ) -> Self {
        let measure = Box::new(measure);
        self.subjects.push(Subject { name, measure });
        self
    }

    pub(crate) fn goal(mut self, beside: &'static str, at_least: f64) -> Self {
        self.goals.push(Goal {
            beside,
            at_least,
            elsewhere: None,
        });
        self
    }

    /// A goal that is one on other machines than this, and why.
    pub(crate) fn goal_elsewhere(
        mut self,
        beside: &'static str,
        at_least: f64,
        why: String,
    ) -> Self {
        self.goals.push(Goal {
            beside,
            at_least,
            elsewhere: Some(why),
        });
        self
    }
}

/// What a row came to.
pub(crate) struct Measured {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) results: Vec<Measurement>,
}

/// What one subject came to.
pub(crate) struct Measurement {
    pub(crate) name: &'static str,
    /// How many a second.
    pub(crate) rate: Spread,
    /// How many times as many ours did, in the same round.
    pub(crate) ratio: Option<Spread>,
    goal: Option<Goal>,
    /// The rate of each round; `None` where it could not run.
    rounds: Vec<Option<f64>>,
}

impl Measurement {
    /// Whether its goal was met, if it has one and that can be told.
    fn is_met(&self) -> Option<bool> {
        let goal = self.goal.as_ref()?;
        let ratio = self.ratio.filter(|_| goal.elsewhere.is_none())?;
        Some(ratio.median >= goal.at_least)
    }

    /// What is to be said of its goal.
    fn verdict(&self) -> Option<String> {
        let goal = self.goal.as_ref()?;
        let said = match (&goal.elsewhere, self.is_met()) {
            (Some(why), _) => why,
            (None, Some(true)) => "met",
            (None, Some(false)) => "missed",
            (None, None) => "not measured",
        };
        Some(format!("{:.2}, {said}", goal.at_least))
    }
}

/// The same measured several times.
#[derive(Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let half = values.len() / 2;
        let median = match values.len() % 2 {
            0 => (values[half - 1] + values[half]) / 2.0,
            _ => values[half],
        };
        Some(Self {
            median,
            least,
            most,
        })
    }
}

/// Measures all subjects of a row in turn, as many rounds as are asked for, every
/// other one in reverse, and prints the result. `None` if nobody is wanted.
pub(crate) fn measure(row: Row, arguments: &Arguments) -> Option<Measured> {
    let Row {
        name,
        unit,
        mut subjects,
        goals,
    } = row;
    let ours = subjects.first()?.name;
    subjects.retain(|subject| arguments.wants_who(subject.name));
    if subjects.is_empty() {
        return None;
    }
    let mut rates: Vec<Vec<Option<f64>>> = vec![Vec::new(); subjects.len()];
    for round in 0..arguments.rounds {
        print_progress(&name, round, arguments.rounds);
        let mut turn: Vec<_> = subjects.iter_mut().zip(&mut rates).collect();
        if round % 2 == 1 {
            turn.reverse();
        }
        for (subject, rates) in turn {
            rates.push((subject.measure)());
        }
    }
    print_progress("", 0, 0);
    // Nobody is compared with ours if that is left out.
    let is_there = subjects.first().is_some_and(|first| first.name == ours);
    let ours = if is_there {
        rates[0].clone()
    } else {
        Vec::new()
    };
    let results = subjects.iter().zip(rates).filter_map(|(subject, rounds)| {
        let pairs = ours.iter().zip(&rounds);
        let ratios = pairs.filter_map(|(ours, its)| Some((*ours)? / (*its)?));
        let goal = goals.iter().find(|goal| goal.beside == subject.name);
        Some(Measurement {
            name: subject.name,
            rate: Spread::of(rounds.iter().flatten().copied())?,
            ratio: Spread::of(ratios),
            goal: goal.cloned(),
            rounds,
        })
    });
    let measured = Measured {
        name,
        unit,
        results: results.collect(),
    };
    print(&measured);
    Some(measured)
}

/// Says how far it is to somebody who watches; a file is not to have it.
fn print_progress(name: &str, round: usize, rounds: usize) {
    let mut stderr = std::io::stderr();
    if !stderr.is_terminal() {
        return;
    }
    let text = match rounds {
        0 => String::new(),
        _ => format!("{name}: round {} of {rounds}", round + 1),
    };
    eprint!("\r{text:<72}\r");
    let _ = stderr.flush();
}

fn print(row: &Measured) {
    println!("\n{} ({})\n", row.name, row.unit);
    println!("| who | median | least to most | netaio beside it | goal |");
    println!("|---|---|---|---|---|");
    for result in &row.results {
        let goal = result.verdict().unwrap_or_default();
        let rate = result.rate;
        println!(
            "| {} | {} | {} to {} | {} | {goal} |",
            result.name,
            grouped(rate.median),
            grouped(rate.least),
            grouped(rate.most),
            result.ratio.map_or_else(String::new, told),
        );
    }
}

/// A ratio, and between what it was.
fn told(ratio: Spread) -> String {
    let Spread {
        median,
        least,
        most,
    } = ratio;
    format!("{median:.2} ({least:.2} to {most:.2})")
}

/// A whole number with its digits in groups of three.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Says which goals were met.
pub(crate) fn summary(rows: &[Measured]) {
    let mut lines = rows.iter().flat_map(|row| {
        row.results.iter().filter_map(|result| {
            let (ratio, goal) = (told(result.ratio?), result.verdict()?);
            let (work, beside) = (&row.name, result.name);
            Some(format!("| {work} | {beside} | {ratio} | {goal} |"))
        })
    });
    let Some(first) = lines.next() else {
        return;
    };
    println!("\n| work | beside | measured | goal |");
    println!("|---|---|---|---|");
    println!("{first}");
    for line in lines {
        println!("{line}");
    }
}

/// Everything, for programs.
pub(crate) fn json(rows: &[Measured], arguments: &Arguments) -> String {
    let spread = |spread: Spread| {
        json!({
            "median": spread.median,
            "least": spread.least,
            "most": spread.most,
        })
    };
    let result = |result: &Measurement| {
        json!({
            "who": result.name,
            "rate": spread(result.rate),
            "ratio": result.ratio.map(spread),
            "goal": result.goal.as_ref().map(|goal| goal.at_least),
            "met": result.is_met(),
            "rounds": result.rounds,
        })
    };
    let row = |row: &Measured| {
        let results: Vec<Value> = row.results.iter().map(result).collect();
        json!({"work": row.name, "unit": row.unit, "results": results})
    };
    let all = json!({
        "cores": std::thread::available_parallelism().map_or(1, usize::from),
        "threads": arguments.threads.0,
        "rounds": arguments.rounds,
        "span_ms": arguments.span.as_millis() as u64,
        "rows": rows.iter().map(row).collect::<Vec<Value>>(),
    });
    format!("{all:#}\n")
}
