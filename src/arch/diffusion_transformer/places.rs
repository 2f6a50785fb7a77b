//! Where squares are in a picture, as SD3 is told: a vector for each place of a large square, of which a picture gets
//! the middle.

use candle_core::{Device, Result, Tensor, bail};

/// The vectors of all places.
#[derive(Debug)]
pub(super) struct Places {
    side: usize,
    table: Table,
}

#[derive(Debug)]
enum Table {
    /// One half of a vector tells the column and the other the row, as sines do, and these are the halves, `width /
    /// 2` numbers for each column and each row.
    Lines { columns: Vec<f32>, rows: Vec<f32>, half: usize },
    /// As they are: `[side x side, width]`.
    Whole(Tensor),
}

impl Places {
    /// Of a table `[1, side x side, width]`, of an even width. The published ones are some hundred megabytes of
    /// sines, which are as well kept as two lines of them.
    pub(super) fn new(table: &Tensor, side: usize) -> Result<Self> {
        let table = table.squeeze(0)?;
        let lines = lines(&table, side)?;
        Ok(Self { side, table: lines.unwrap_or(Table::Whole(table)) })
    }

    /// Those of a picture of so many squares, `[down x across, width]`, from the middle of all.
    pub(super) fn of(&self, down: usize, across: usize) -> Result<Tensor> {
        let side = self.side;
        if down > side || across > side {
            bail!("a picture of {down} x {across} squares, and there are places for {side} x {side}");
        }
        let (top, left) = ((side - down) / 2, (side - across) / 2);
        match &self.table {
            Table::Lines { columns, rows, half } => {
                let mut places = Vec::with_capacity(down * across * 2 * half);
                for row in rows[top * half..].chunks_exact(*half).take(down) {
                    for column in columns[left * half..].chunks_exact(*half).take(across) {
                        places.extend_from_slice(column);
                        places.extend_from_slice(row);
                    }
                }
                Tensor::from_vec(places, (down * across, 2 * half), &Device::Cpu)
            }
            Table::Whole(table) => {
                let line = |row: usize| table.narrow(0, row * side + left, across);
                Tensor::cat(&(top..top + down).map(line).collect::<Result<Vec<_>>>()?, 0)
            }
        }
    }
}

/// The halves, if every vector of `table`, `[side x side, width]`, is made of them.
fn lines(table: &Tensor, side: usize) -> Result<Option<Table>> {
    let half = table.dim(1)? / 2;
    let (mut columns, mut rows) = (Vec::new(), Vec::new());
    for row in 0..side {
        let line = table.narrow(0, row * side, side)?.flatten_all()?.to_vec1::<f32>()?;
        let places = || line.chunks_exact(2 * half).map(|place| place.split_at(half));
        if row == 0 {
            columns = places().flat_map(|(column, _)| column.to_vec()).collect();
        }
        let own = &line[half..2 * half];
        rows.extend_from_slice(own);
        if !places().zip(columns.chunks_exact(half)).all(|(place, column)| place == (column, own)) {
            return Ok(None);
        }
    }
    Ok(Some(Table::Lines { columns, rows, half }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_gets_the_middle_of_either_table() -> Result<()> {
        let vector = |row: usize, column: usize| [column as f32, 2.0 * column as f32, row as f32, 9.0];
        let table = |last: f32| {
            let all = (0..5).flat_map(|row| (0..5).flat_map(move |column| vector(row, column)));
            let mut all: Vec<f32> = all.collect();
            all[99] = last;
            Tensor::from_vec(all, (1, 25, 4), &Device::Cpu)
        };
        // What is the same everywhere goes with either half; what differs in one place, with none.
        let (apart, whole) = (Places::new(&table(9.0)?, 5)?, Places::new(&table(8.0)?, 5)?);
        assert!(matches!(apart.table, Table::Lines { .. }), "{apart:?}");
        assert!(matches!(whole.table, Table::Whole(_)), "{whole:?}");
        for places in [&apart, &whole] {
            let expected: Vec<_> =
                (1..4).flat_map(|row| (1..3).map(move |column| vector(row, column).to_vec())).collect();
            assert_eq!(places.of(3, 2)?.to_vec2::<f32>()?, expected);
            assert!(places.of(6, 1).is_err());
        }
        assert_eq!(whole.of(5, 5)?.to_vec2::<f32>()?[24], [4.0, 8.0, 4.0, 8.0]);
        Ok(())
    }
}
