//! Where squares are in a picture, as SD3 is told: a vector for each place of a large square, of which a picture gets
//! the middle.

use candle_core::{Result, Tensor, bail};

/// The vectors of all places.
#[derive(Debug)]
pub(super) struct Places {
    side: usize,
    table: Table,
}

#[derive(Debug)]
enum Table {
    /// One half of a vector tells the column and the other the row, as sines do, and these are the halves: `[side,
    /// width / 2]` each.
    Lines { columns: Vec<f32>, rows: Vec<f32> },
    /// As they are: `[side x side, width]`.
    Whole(Vec<f32>),
}

impl Places {
    /// Of a table `[1, side x side, width]`. The published ones are some hundred megabytes of sines, which are as
    /// well kept as two lines of them.
    pub(super) fn new(table: &Tensor, side: usize) -> Result<Self> {
        let table = table.flatten_all()?.to_vec1::<f32>()?;
        Ok(Self { side, table: lines(&table, side).unwrap_or(Table::Whole(table)) })
    }

    /// Those of a picture of so many squares, `[down x across, width]`, from the middle of all.
    pub(super) fn of(&self, down: usize, across: usize) -> Result<Tensor> {
        let side = self.side;
        if down > side || across > side {
            bail!("a picture of {down} x {across} squares, and there are places for {side} x {side}");
        }
        let (top, left) = ((side - down) / 2, (side - across) / 2);
        let mut places = Vec::new();
        for row in top..top + down {
            for column in left..left + across {
                self.push(row, column, &mut places);
            }
        }
        let width = places.len() / (down * across).max(1);
        Tensor::from_vec(places, (down * across, width), &candle_core::Device::Cpu)
    }

    fn push(&self, row: usize, column: usize, places: &mut Vec<f32>) {
        let line = |lines: &[f32], at: usize| {
            let width = lines.len() / self.side;
            at * width..(at + 1) * width
        };
        match &self.table {
            Table::Lines { columns, rows } => {
                places.extend_from_slice(&columns[line(columns, column)]);
                places.extend_from_slice(&rows[line(rows, row)]);
            }
            Table::Whole(table) => {
                let width = table.len() / (self.side * self.side);
                places.extend_from_slice(&table[(row * self.side + column) * width..][..width]);
            }
        }
    }
}

/// The halves, if every vector is made of them.
fn lines(table: &[f32], side: usize) -> Option<Table> {
    let width = table.len() / (side * side);
    let place =
        |row: usize, column: usize| table[(row * side + column) * width..][..width].split_at(width / 2);
    let columns: Vec<&[f32]> = (0..side).map(|column| place(0, column).0).collect();
    let rows: Vec<&[f32]> = (0..side).map(|row| place(row, 0).1).collect();
    let mut all = (0..side).flat_map(|row| (0..side).map(move |column| (row, column)));
    let split = all.all(|(row, column)| place(row, column) == (columns[column], rows[row]));
    split.then(|| Table::Lines { columns: columns.concat(), rows: rows.concat() })
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn a_picture_gets_the_middle_of_either_table() -> Result<()> {
        // The column, twice the column, the row: an odd width has a shorter first half.
        let sines = |row: usize, column: usize| [column as f32, 2.0 * column as f32, row as f32, 9.0];
        let numbers = |last: f32| {
            let all = (0..5).flat_map(|row| (0..5).flat_map(move |column| sines(row, column)));
            let mut all: Vec<f32> = all.collect();
            *all.last_mut().unwrap() = last;
            Tensor::from_vec(all, (1, 25, 4), &Device::Cpu)
        };
        let (apart, whole) = (Places::new(&numbers(9.0)?, 5)?, Places::new(&numbers(8.0)?, 5)?);
        assert!(matches!(apart.table, Table::Lines { .. }), "{apart:?}");
        assert!(matches!(whole.table, Table::Whole(_)), "{whole:?}");
        for places in [&apart, &whole] {
            let got = places.of(3, 2)?.to_vec2::<f32>()?;
            let expected: Vec<_> =
                (1..4).flat_map(|row| (1..3).map(move |column| sines(row, column))).collect();
            assert_eq!(got, expected);
            assert!(places.of(6, 1).is_err());
        }
        assert_eq!(whole.of(5, 5)?.to_vec2::<f32>()?[24], [4.0, 8.0, 4.0, 8.0]);
        Ok(())
    }
}
