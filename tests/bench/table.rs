//! The table that medians go into.

use std::fmt;

/// A row for each thing that is measured, a column for each program.
#[derive(Debug)]
pub(crate) struct Table {
    names: Vec<String>,
    rows: Vec<(String, Vec<Option<f64>>)>,
}

impl Table {
    pub(crate) fn new(names: &[&str]) -> Self {
        Self { names: names.iter().map(|name| (*name).to_owned()).collect(), rows: Vec::new() }
    }

    /// Adds a row, the programs in the order of the columns; says it at once as well, since a
    /// run takes minutes.
    pub(crate) fn row(&mut self, what: &str, values: Vec<Option<f64>>) {
        eprintln!("{what}: {values:.3?}");
        self.rows.push((what.to_owned(), values));
    }

    /// Adds a row that only we have a value for.
    pub(crate) fn ours(&mut self, what: &str, value: f64) {
        self.row(what, vec![Some(value)]);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| | {} |", self.names.join(" | "))?;
        writeln!(f, "| --- |{}", " ---: |".repeat(self.names.len()))?;
        for (what, values) in &self.rows {
            write!(f, "| {what} |")?;
            for index in 0..self.names.len() {
                match (values.get(index).copied().flatten(), values[0]) {
                    (None, _) => f.write_str(" |")?,
                    (Some(value), Some(ours)) if index > 0 && ours > 0.0 => {
                        write!(f, " {} ({:.1}×) |", Short(value), value / ours)?;
                    }
                    (Some(value), _) => write!(f, " {} |", Short(value))?,
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// Three digits that matter.
struct Short(f64);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = match self.0 {
            value if value.fract() == 0.0 || value >= 100.0 => 0,
            value if value >= 10.0 => 1,
            value if value >= 1.0 => 2,
            _ => 3,
        };
        write!(f, "{:.digits$}", self.0)
    }
}
