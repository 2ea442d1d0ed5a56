//! Programs that take turns: A B C A B C.

use std::time::{Duration, Instant};

use crate::peers::Peer;
use crate::table::Cell;

/// How long all rounds of one program may take; a slower one has fewer.
const BUDGET: Duration = Duration::from_secs(12);
/// But so many at least.
const FEWEST: usize = 3;
/// Rounds whose figures are left out.
const WARM_UP: usize = 5;

/// Measures each peer so often, in turns; for each figure the cells of a row. What a measurement
/// says instead of figures is why there are none, and it is not tried again.
pub(crate) fn take_turns<const FIGURES: usize>(
    peers: &[Peer],
    times: usize,
    mut measure: impl FnMut(&Peer) -> Result<[f64; FIGURES], &'static str>,
) -> [Vec<Cell>; FIGURES] {
    let mut columns: Vec<Column<FIGURES>> = peers.iter().map(|_| Column::new()).collect();
    let warm_up = WARM_UP.min(times / 4);
    for round in 0..warm_up + times {
        for (peer, column) in peers.iter().zip(&mut columns) {
            if column.is_full() {
                continue;
            }
            let begun = Instant::now();
            let measured = measure(peer);
            column.took += begun.elapsed();
            match measured {
                Err(why) => column.why = Some(why),
                // The warm-up of one that is slow is a figure, or it would have too few.
                Ok(values) if round >= warm_up || begun.elapsed() > BUDGET / 100 => {
                    column.values.push(values);
                }
                Ok(_) => {}
            }
        }
    }
    std::array::from_fn(|figure| columns.iter().map(|column| column.cell(figure)).collect())
}

struct Column<const FIGURES: usize> {
    values: Vec<[f64; FIGURES]>,
    took: Duration,
    why: Option<&'static str>,
}

impl<const FIGURES: usize> Column<FIGURES> {
    fn new() -> Self {
        Self { values: Vec::new(), took: Duration::ZERO, why: None }
    }

    fn is_full(&self) -> bool {
        self.why.is_some() || self.took > BUDGET && self.values.len() >= FEWEST
    }

    fn cell(&self, figure: usize) -> Cell {
        if let Some(why) = self.why {
            return Cell::None(why);
        }
        let mut values: Vec<f64> = self.values.iter().map(|all| all[figure]).collect();
        Cell::median(&mut values, "")
    }
}
