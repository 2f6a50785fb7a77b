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
    /// When its ids were handed out.
    epoch: u64,
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
    /// How often ids were handed out anew: texts of different epochs may mean different rows by one id.
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

    /// The epoch that the ids of all of these are of, if it is this one. Within it, no id of theirs means other rows.
    pub(crate) fn epoch_of(&self, held: &[Arc<Inlay>]) -> Option<u64> {
        held.iter().all(|inlay| inlay.epoch == self.epoch).then_some(self.epoch)
    }

    /// How many rows are held by someone.
    pub(crate) fn held(&self) -> usize {
        let held = self.by_id.values().filter(|(inlay, ..)| Arc::strong_count(inlay) > 1);
        held.map(|(inlay, ..)| inlay.ids.len()).sum()
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

    /// Keeps `rows`, `[rows, hidden]`.
    ///
    /// # Errors
    ///
    /// The rows themselves, for now, if what texts hold leaves no room.
    pub(crate) fn put(
        &mut self,
        key: InlayKey,
        shape: [usize; 2],
        rows: Vec<f32>,
    ) -> Result<Arc<Inlay>, Vec<f32>> {
        let count = rows.len() / self.hidden.max(1);
        let Some(ids) = self.ids_in_room(count) else { return Err(rows) };
        self.ticks += 1;
        self.puts += 1;
        self.kept += count;
        let inlay = Arc::new(Inlay { ids: ids.clone(), shape, epoch: self.epoch, rows });
        self.known.insert(key, ids.start);
        self.by_id.insert(ids.start, (inlay.clone(), key, self.ticks));
        Ok(inlay)
    }

    fn ids_in_room(&mut self, count: usize) -> Option<Range<u32>> {
        self.make_room(count)?;
        self.free_ids(u32::try_from(count).ok()?)
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
        let first = inlays.put(key(1), [1, 2], vec![1.0, 2.0, 3.0, 4.0]).unwrap();
        assert_eq!((first.ids.clone(), first.shape), (100..102, [1, 2]));
        assert_eq!(inlays.row(101), Some(&[3.0, 4.0][..]));
        assert_eq!((inlays.row(99), inlays.row(102)), (None, None));
        drop(first);
        drop(inlays.put(key(2), [1, 2], vec![5.0; 4]).unwrap());
        assert!(inlays.find(&key(1)).is_some(), "and used last from now on");
        drop(inlays.put(key(3), [1, 1], vec![6.0; 2]).unwrap());
        assert!(inlays.find(&key(2)).is_none());
        assert_eq!(inlays.find(&key(1)).unwrap().ids, 100..102);
        assert_eq!(inlays.find(&key(3)).unwrap().ids, 104..105, "no id is used twice");
    }

    #[test]
    fn what_a_text_holds_stays() {
        let mut inlays = Inlays::new(10, 1, 3);
        let held = inlays.put(key(1), [0, 0], vec![1.0, 2.0]).unwrap();
        assert!(inlays.put(key(2), [0, 0], vec![1.0, 2.0]).is_err());
        assert_eq!(inlays.taken_in(), 1);
        drop(held);
        assert!(inlays.put(key(2), [0, 0], vec![1.0, 2.0]).is_ok());
        assert!(inlays.find(&key(1)).is_none());
    }

    #[test]
    fn ids_are_handed_out_anew_but_for_those_in_use() {
        let mut inlays = Inlays::within(10..16, 1, 100);
        let held = inlays.put(key(1), [0, 0], vec![1.0, 2.0]).unwrap();
        drop(inlays.put(key(2), [0, 0], vec![3.0, 4.0]).unwrap());
        assert_eq!(inlays.epoch, 0);
        let third = inlays.put(key(3), [0, 0], vec![5.0, 6.0, 7.0]).unwrap();
        assert_eq!((third.ids.clone(), inlays.epoch), (12..15, 1));
        assert_eq!((inlays.row(10), inlays.row(12)), (Some(&[1.0][..]), Some(&[5.0][..])));
        assert!(inlays.find(&key(1)).is_none(), "a text of this epoch never learns ids of the last");
        assert!(inlays.put(key(4), [0, 0], vec![1.0, 2.0]).is_err(), "every id is in use");
        drop((held, third));
        assert_eq!(inlays.put(key(1), [0, 0], vec![8.0, 9.0]).unwrap().ids, 10..12);
        assert_eq!(inlays.row(10), Some(&[8.0][..]));
    }

    #[test]
    fn a_text_that_holds_ids_of_two_epochs_is_of_none() {
        let mut inlays = Inlays::within(10..16, 1, 5);
        drop(inlays.put(key(1), [0, 0], vec![1.0; 3]).unwrap());
        let early = inlays.put(key(2), [0, 0], vec![2.0; 2]).unwrap();
        assert_eq!((early.ids.clone(), inlays.epoch_of(std::slice::from_ref(&early))), (13..15, Some(0)));
        let late = inlays.put(key(3), [0, 0], vec![3.0; 2]).unwrap();
        assert_eq!((late.ids.clone(), inlays.held()), (10..12, 4));
        assert_eq!(inlays.epoch_of(&[early.clone(), late.clone()]), None);
        assert_eq!(inlays.epoch_of(std::slice::from_ref(&early)), None);
        assert_eq!(inlays.epoch_of(std::slice::from_ref(&late)), Some(1));
        drop(early);
        let again = inlays.put(key(4), [0, 0], vec![4.0; 3]).unwrap();
        assert_eq!((again.ids.clone(), inlays.epoch_of(&[late, again])), (12..15, Some(1)));
        assert_eq!(inlays.row(13), Some(&[4.0][..]), "in this epoch it means something else");
    }
}
