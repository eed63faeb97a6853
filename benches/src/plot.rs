//! The rows as a picture: how many a second each did.

use std::fmt::Write as _;

use crate::report::Measured;

const WIDTH: f64 = 720.0;
const LABEL: f64 = 250.0;
const BAR: f64 = 14.0;
const GAP: f64 = 22.0;

/// One bar for each subject, as long as its rate beside the row's greatest.
pub(crate) fn svg(rows: &[Measured]) -> String {
    let mut bars = String::new();
    let mut y = 10.0;
    for row in rows {
        let most = row
            .results
            .iter()
            .map(|r| r.rate.median)
            .fold(1.0, f64::max);
        y += GAP;
        // Writing to a string does not fail.
        let _ = writeln!(
            bars,
            r#"<text x="8" y="{y}" font-weight="bold">{}, {}</text>"#,
            row.name, row.unit
        );
        y += 8.0;
        for result in &row.results {
            let length = (WIDTH - LABEL - 90.0) * result.rate.median / most;
            let ours = result.name.starts_with("netaio");
            let colour = if ours { "#2563eb" } else { "#9ca3af" };
            let text = y + BAR - 3.0;
            let _ = writeln!(
                bars,
                r#"<text x="{}" y="{text}" text-anchor="end">{}</text>
<rect x="{LABEL}" y="{y}" width="{length:.1}" height="{BAR}" fill="{colour}"/>
<text x="{:.1}" y="{text}">{}</text>"#,
                LABEL - 8.0,
                result.name,
                LABEL + length + 6.0,
                short(result.rate.median),
            );
            y += BAR + 4.0;
        }
    }
    let height = y + 16.0;
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}"
  font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" fill="white"/>
{bars}</svg>
"#
    )
}

fn short(rate: f64) -> String {
    match rate {
        rate if rate >= 1e6 => format!("{:.2} M/s", rate / 1e6),
        rate if rate >= 1e3 => format!("{:.0} k/s", rate / 1e3),
        rate => format!("{rate:.0} /s"),
    }
}
