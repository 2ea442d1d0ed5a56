//! The table that medians go into.

use std::fmt;

use crate::peers::Peer;
use crate::stats::median;

/// What a program shows in a row.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cell {
    /// A figure.
    Figure(f64),
    /// Why there is none.
    None(&'static str),
}

/// Why there is no figure: it was waited for in vain.
pub(crate) const NEVER: &str = "never";
/// Why there is no figure: the program is no such thing.
pub(crate) const NOT_FOR_IT: &str = "";

impl Cell {
    /// The median of these, or why there are none.
    pub(crate) fn median(values: &mut [f64], why: &'static str) -> Self {
        if values.is_empty() { Self::None(why) } else { Self::Figure(median(values)) }
    }
}

/// A row for each thing that is measured, a column for each program.
#[derive(Debug)]
pub(crate) struct Table {
    names: Vec<String>,
    rows: Vec<(String, Vec<Cell>)>,
}

impl Table {
    pub(crate) fn new(peers: &[Peer]) -> Self {
        Self { names: peers.iter().map(|peer| peer.name.clone()).collect(), rows: Vec::new() }
    }

    /// Adds a row, the programs in the order of the columns; says it at once as well, since a
    /// run takes minutes.
    pub(crate) fn row(&mut self, what: &str, cells: Vec<Cell>) {
        let said: Vec<String> = cells.iter().map(ToString::to_string).collect();
        eprintln!("{what}: {}", said.join(", "));
        self.rows.push((what.to_owned(), cells));
    }

    /// Adds a row that only we have a value for.
    pub(crate) fn ours(&mut self, what: &str, value: f64) {
        self.row(what, vec![Cell::Figure(value)]);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| | {} |", self.names.join(" | "))?;
        writeln!(f, "| --- |{}", " ---: |".repeat(self.names.len()))?;
        for (what, cells) in &self.rows {
            write!(f, "| {what} |")?;
            for index in 0..self.names.len() {
                let cell = cells.get(index).copied().unwrap_or(Cell::None(NOT_FOR_IT));
                match (cell, cells[0]) {
                    (Cell::Figure(value), Cell::Figure(ours)) if index > 0 && ours > 0.0 => {
                        let ratio = value / ours;
                        let digits = if ratio < 0.095 { 2 } else { usize::from(ratio < 9.95) };
                        write!(f, " {cell} ({ratio:.digits$}×) |")?;
                    }
                    (Cell::None(NOT_FOR_IT), _) => f.write_str(" |")?,
                    _ => write!(f, " {cell} |")?,
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::None(why) => f.write_str(why),
            // Three digits that matter.
            Self::Figure(value) => {
                let digits = match value {
                    value if value.fract() == 0.0 || value >= 100.0 => 0,
                    value if value >= 10.0 => 1,
                    value if value >= 1.0 => 2,
                    _ => 3,
                };
                write!(f, "{value:.digits$}")
            }
        }
    }
}
