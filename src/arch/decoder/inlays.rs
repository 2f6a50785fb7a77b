//! Vectors that go into texts where no token's do: what pictures were made into.
//!
//! Each row has an id above the vocabulary's, so that whoever plans, caches and reads again texts knows ids only:
//! the same picture has the same ids while it is kept, and a text that begins alike is known to. Rows are kept
//! while a text holds them, and as long as there is room, the longest unused going first.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

/// What the rows were made of: a digest that nobody can make another thing have.
pub(crate) type InlayKey = [u8; 32];

/// Rows of one picture. Whoever holds it keeps them where they are.
#[derive(Debug)]
pub(crate) struct Inlay {
    /// The id of each row, above all tokens'.
    pub(crate) ids: Range<u32>,
    /// What they look like together, for whoever made them.
    pub(crate) shape: [usize; 2],
    /// `[rows, hidden]`
    rows: Vec<f32>,
}

/// The rows that one worker keeps.
#[derive(Debug)]
pub(crate) struct Inlays {
    /// Ids that may be handed out.
    ids: Range<u32>,
    hidden: usize,
    /// How many rows there is room for.
    room: usize,
    kept: usize,
    next: u32,
    epoch: u64,
    /// By their first ids.
    by_id: BTreeMap<u32, (Arc<Inlay>, InlayKey, u64)>,
    known: HashMap<InlayKey, u32>,
    /// Counts uses.
    ticks: u64,
    puts: u64,
}

impl Inlays {
    /// Room for `room` rows of `hidden` numbers, in texts of a vocabulary of `vocabulary` tokens.
    pub(crate) fn new(vocabulary: usize, hidden: usize, room: usize) -> Self {
        let first = u32::try_from(vocabulary).unwrap_or(u32::MAX);
        Self::within(first..u32::MAX, hidden, room)
    }

    fn within(ids: Range<u32>, hidden: usize, room: usize) -> Self {
        let (by_id, known) = (BTreeMap::new(), HashMap::new());
        Self { next: ids.start, ids, hidden, room, kept: 0, epoch: 0, by_id, known, ticks: 0, puts: 0 }
    }

    /// How often ids were handed out anew: texts of different epochs may mean different rows by one id.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The rows of this key, if they are kept.
    pub(crate) fn find(&mut self, key: &InlayKey) -> Option<Arc<Inlay>> {
        let (inlay, _, used) = self.by_id.get_mut(self.known.get(key)?)?;
        self.ticks += 1;
        *used = self.ticks;
        Some(inlay.clone())
    }

    /// How many pictures' rows were ever put here.
    pub(crate) fn taken_in(&self) -> u64 {
        self.puts
    }

    /// Keeps `rows`, `[rows, hidden]`. `None`, for now, if what texts hold leaves no room.
    pub(crate) fn put(&mut self, key: InlayKey, shape: [usize; 2], rows: &[f32]) -> Option<Arc<Inlay>> {
        let count = rows.len() / self.hidden.max(1);
        self.make_room(count)?;
        let ids = self.free_ids(u32::try_from(count).ok()?)?;
        self.ticks += 1;
        self.puts += 1;
        self.kept += count;
        let inlay = Arc::new(Inlay { ids: ids.clone(), shape, rows: rows.to_vec() });
        self.known.insert(key, ids.start);
        self.by_id.insert(ids.start, (inlay.clone(), key, self.ticks));
        Some(inlay)
    }

    /// The numbers of a row that a text holds.
    pub(super) fn row(&self, id: u32) -> Option<&[f32]> {
        let (first, (inlay, ..)) = self.by_id.range(..=id).next_back()?;
        inlay.rows.chunks_exact(self.hidden.max(1)).nth((id - first) as usize)
    }

    /// Lets rows go that no text holds, until so many more fit.
    fn make_room(&mut self, count: usize) -> Option<()> {
        let unused = self.by_id.values().filter(|(inlay, ..)| Arc::strong_count(inlay) == 1);
        let unused: usize = unused.map(|(inlay, ..)| inlay.ids.len()).sum();
        if self.kept - unused + count > self.room {
            // Nothing is let go for nothing.
            return None;
        }
        while self.kept + count > self.room {
            let unused = self.by_id.iter().filter(|(_, (inlay, ..))| Arc::strong_count(inlay) == 1);
            let first = unused.min_by_key(|(_, (.., used))| *used).map(|(first, _)| *first)?;
            self.forget(first);
        }
        Some(())
    }

    fn forget(&mut self, first: u32) {
        let Some((inlay, key, _)) = self.by_id.remove(&first) else { return };
        self.kept -= inlay.ids.len();
        // Rows of an earlier epoch may be known anew, by other ids.
        if self.known.get(&key) == Some(&first) {
            self.known.remove(&key);
        }
    }

    /// Ids that no text has, and, within an epoch, none has had.
    fn free_ids(&mut self, count: u32) -> Option<Range<u32>> {
        let fits = |from: u32| from.checked_add(count).is_some_and(|end| end <= self.ids.end);
        if !fits(self.next) {
            // What texts still hold keeps its ids, but no new text comes to know them.
            let unused = self.by_id.iter().filter(|(_, (inlay, ..))| Arc::strong_count(inlay) == 1);
            let unused: Vec<u32> = unused.map(|(first, _)| *first).collect();
            unused.into_iter().for_each(|first| self.forget(first));
            self.known.clear();
            (self.next, self.epoch) = (self.ids.start, self.epoch + 1);
        }
        let mut from = self.next;
        for (inlay, ..) in self.by_id.values() {
            if inlay.ids.start < from.saturating_add(count) && from < inlay.ids.end {
                from = inlay.ids.end;
            }
        }
        let end = from.checked_add(count).filter(|end| *end <= self.ids.end);
        self.next = end.unwrap_or(self.ids.end);
        Some(from..end?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> InlayKey {
        [n; 32]
    }

    #[test]
    fn rows_are_found_by_key_and_by_id_while_there_is_room() {
        let mut inlays = Inlays::new(100, 2, 4);
        let first = inlays.put(key(1), [1, 2], &[1.0, 2.0, 3.0, 4.0]).unwrap();
        assert_eq!((first.ids.clone(), first.shape), (100..102, [1, 2]));
        assert_eq!(inlays.row(101), Some(&[3.0, 4.0][..]));
        assert_eq!((inlays.row(99), inlays.row(102)), (None, None));
        drop(first);
        drop(inlays.put(key(2), [1, 2], &[5.0; 4]).unwrap());
        assert!(inlays.find(&key(1)).is_some(), "and used last from now on");
        drop(inlays.put(key(3), [1, 1], &[6.0; 2]).unwrap());
        assert!(inlays.find(&key(2)).is_none());
        assert_eq!(inlays.find(&key(1)).unwrap().ids, 100..102);
        assert_eq!(inlays.find(&key(3)).unwrap().ids, 104..105, "no id is used twice");
    }

    #[test]
    fn what_a_text_holds_stays() {
        let mut inlays = Inlays::new(10, 1, 3);
        let held = inlays.put(key(1), [0, 0], &[1.0, 2.0]).unwrap();
        assert!(inlays.put(key(2), [0, 0], &[1.0, 2.0]).is_none());
        assert_eq!(inlays.taken_in(), 1);
        drop(held);
        assert!(inlays.put(key(2), [0, 0], &[1.0, 2.0]).is_some());
        assert!(inlays.find(&key(1)).is_none());
    }

    #[test]
    fn ids_are_handed_out_anew_but_for_those_in_use() {
        let mut inlays = Inlays::within(10..16, 1, 100);
        let held = inlays.put(key(1), [0, 0], &[1.0, 2.0]).unwrap();
        drop(inlays.put(key(2), [0, 0], &[3.0, 4.0]).unwrap());
        assert_eq!(inlays.epoch(), 0);
        let third = inlays.put(key(3), [0, 0], &[5.0, 6.0, 7.0]).unwrap();
        assert_eq!((third.ids.clone(), inlays.epoch()), (12..15, 1));
        assert_eq!((inlays.row(10), inlays.row(12)), (Some(&[1.0][..]), Some(&[5.0][..])));
        assert!(inlays.find(&key(1)).is_none(), "a text of this epoch never learns ids of the last");
        assert!(inlays.put(key(4), [0, 0], &[1.0, 2.0]).is_none(), "every id is in use");
        drop((held, third));
        assert_eq!(inlays.put(key(1), [0, 0], &[8.0, 9.0]).unwrap().ids, 10..12);
        assert_eq!(inlays.row(10), Some(&[8.0][..]));
    }
}
