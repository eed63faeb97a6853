//! Measuring the rows, and saying what came of it.

use std::io::Write as _;

use serde_json::{Value, json};

use crate::arguments::Arguments;

/// One line of work, and whoever does it.
pub(crate) struct Row {
    pub(crate) name: &'static str,
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
#[derive(Clone, Copy)]
pub(crate) struct Goal {
    pub(crate) beside: &'static str,
    pub(crate) at_least: f64,
}

impl Row {
    pub(crate) fn new(name: &'static str, unit: &'static str) -> Self {
        Self {
            name,
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
        self.goals.push(Goal { beside, at_least });
        self
    }
}

/// What a row came to.
pub(crate) struct Measured {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) results: Vec<Measurement>,
}

/// What one subject came to.
pub(crate) struct Measurement {
    pub(crate) name: &'static str,
    /// The median, how many a second.
    pub(crate) rate: f64,
    /// Ours beside it: the median of all rounds, and their spread.
    pub(crate) ratio: f64,
    pub(crate) spread: f64,
    pub(crate) goal: Option<f64>,
}

/// Measures all subjects of a row in turn, as many rounds as are asked for, and
/// prints the result.
pub(crate) fn measure(row: Row, arguments: &Arguments) -> Measured {
    let Row {
        name,
        unit,
        mut subjects,
        goals,
    } = row;
    let mut rates: Vec<Vec<f64>> = vec![Vec::new(); subjects.len()];
    for round in 0..arguments.rounds {
        print_progress(name, round, arguments.rounds);
        for (subject, rates) in subjects.iter_mut().zip(&mut rates) {
            rates.extend((subject.measure)());
        }
    }
    print_progress("", 0, 0);
    let ours = rates.first().cloned().unwrap_or_default();
    let results = subjects.iter().zip(&rates).filter_map(|(subject, rates)| {
        let mut ratios: Vec<f64> = ours
            .iter()
            .zip(rates)
            .map(|(ours, its)| ours / its)
            .collect();
        ratios.sort_by(f64::total_cmp);
        let goal = goals.iter().find(|goal| goal.beside == subject.name);
        Some(Measurement {
            name: subject.name,
            rate: median(rates)?,
            ratio: median(&ratios)?,
            spread: ratios.last()? - ratios.first()?,
            goal: goal.map(|goal| goal.at_least),
        })
    });
    let measured = Measured {
        name,
        unit,
        results: results.collect(),
    };
    print(&measured);
    measured
}

fn print_progress(name: &str, round: usize, rounds: usize) {
    let text = match rounds {
        0 => String::new(),
        _ => format!("{name}: round {} of {rounds}", round + 1),
    };
    eprint!("\r{text:<72}\r");
    let _ = std::io::stderr().flush();
}

fn print(row: &Measured) {
    println!("\n{} ({})\n", row.name, row.unit);
    println!("| who | median | netaio beside it | spread | goal |");
    println!("|---|---|---|---|---|");
    for result in &row.results {
        let goal = match result.goal {
            None => String::new(),
            Some(goal) if result.ratio >= goal => format!("{goal:.2}, met"),
            Some(goal) => format!("{goal:.2}, missed"),
        };
        println!(
            "| {} | {} | {:.2} | {:.2} | {goal} |",
            result.name,
            grouped(result.rate),
            result.ratio,
            result.spread,
        );
    }
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
    println!("\n| work | beside | goal | measured |");
    println!("|---|---|---|---|");
    for row in rows {
        for result in &row.results {
            if let Some(goal) = result.goal {
                let missed = if result.ratio < goal { ", missed" } else { "" };
                println!(
                    "| {} | {} | {goal:.2} | {:.2}{missed} |",
                    row.name, result.name, result.ratio
                );
            }
        }
    }
}

/// Everything, for programs.
pub(crate) fn json(rows: &[Measured]) -> String {
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            let results: Vec<Value> = row
                .results
                .iter()
                .map(|result| {
                    json!({
                        "who": result.name,
                        "rate": result.rate,
                        "ratio": result.ratio,
                        "spread": result.spread,
                        "goal": result.goal,
                    })
                })
                .collect();
            json!({"work": row.name, "unit": row.unit, "results": results})
        })
        .collect();
    format!("{:#}\n", Value::from(rows))
}

fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
