//! Which text holds which block of the cache, and which blocks hold a beginning that is known.
//!
//! A full block is known by what was read up to its end: by the block before it and its own sixteen tokens. A
//! hash of both finds it, and both are compared, so that two beginnings with one hash are never mixed up. A
//! block that no text holds any more stays known until it is needed for something else; of those, the one that
//! was let go first is taken first.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;

use crate::kernels::BLOCK_TOKENS;

/// A block's number, below the number of blocks.
pub(super) type BlockId = u32;

/// A known beginning of a text: the last block of it, and which of the contents the block has had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Link {
    pub(super) block: BlockId,
    generation: u64,
}

/// What is before a block: another one, or the beginning of texts of one kind. Texts of different kinds are
/// computed differently from the first token on, or kept apart by whoever brought them, and share nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Before {
    Start { stretched: bool, apart: u64 },
    Block(Link),
}

/// All blocks of one worker.
#[derive(Debug)]
pub(super) struct BlockPool {
    blocks: Vec<Block>,
    /// The blocks that no text holds, by when they were let go.
    free: BTreeMap<u64, BlockId>,
    /// Full blocks by the hash of what they hold.
    known: HashMap<u64, BlockId>,
    hasher: foldhash::fast::RandomState,
    /// Counts upwards for stamps and generations.
    ticks: u64,
    /// Blocks that hold nothing known are let go before all others: their stamps count downwards from the
    /// middle.
    blank_ticks: u64,
}

#[derive(Clone, Debug, Default)]
struct Block {
    /// How many texts hold it.
    holders: u32,
    /// Its key in `free`, while nobody holds it.
    stamp: u64,
    generation: u64,
    content: Option<Content>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Content {
    hash: u64,
    before: Before,
    tokens: [u32; BLOCK_TOKENS],
}

/// Between the stamps of blank blocks and those of known ones.
const MIDDLE: u64 = 1 << 63;

impl BlockPool {
    pub(super) fn new(blocks: usize) -> Self {
        let mut pool = Self {
            blocks: vec![Block::default(); blocks],
            free: BTreeMap::new(),
            known: HashMap::new(),
            hasher: foldhash::fast::RandomState::default(),
            ticks: MIDDLE,
            blank_ticks: MIDDLE,
        };
        (0..blocks).rev().for_each(|block| pool.let_go(block as BlockId));
        pool
    }

    /// How many there are.
    pub(super) fn total(&self) -> usize {
        self.blocks.len()
    }

    /// How many no text holds.
    pub(super) fn free(&self) -> usize {
        self.free.len()
    }

    /// A block for new tokens, held once; what it held is forgotten. `None` when all are held.
    pub(super) fn take(&mut self) -> Option<BlockId> {
        let (_, id) = self.free.pop_first()?;
        self.ticks += 1;
        let block = &mut self.blocks[id as usize];
        (block.holders, block.generation) = (1, self.ticks);
        if let Some(content) = block.content.take() {
            self.known.remove(&content.hash);
        }
        Some(id)
    }

    /// One more text holds the block.
    pub(super) fn hold(&mut self, id: BlockId) {
        let block = &mut self.blocks[id as usize];
        if block.holders == 0 {
            self.free.remove(&block.stamp);
        }
        block.holders += 1;
    }

    /// One text less holds each of these, which are a text's blocks from its first on: the later ones are
    /// needed for something else before the earlier ones.
    pub(super) fn release(&mut self, ids: &[BlockId]) {
        for id in ids.iter().rev() {
            let block = &mut self.blocks[*id as usize];
            block.holders -= 1;
            if block.holders == 0 {
                self.let_go(*id);
            }
        }
    }

    fn let_go(&mut self, id: BlockId) {
        let block = &mut self.blocks[id as usize];
        if block.content.is_some() {
            self.ticks += 1;
            block.stamp = self.ticks;
        } else {
            self.blank_ticks -= 1;
            block.stamp = self.blank_ticks;
        }
        self.free.insert(block.stamp, id);
    }

    /// The known block that holds `tokens` after `before`. Nobody holds it the more for it.
    pub(super) fn find(&self, before: Before, tokens: &[u32; BLOCK_TOKENS]) -> Option<Link> {
        let id = *self.known.get(&self.hash(before, tokens))?;
        let block = &self.blocks[id as usize];
        let content = block.content.as_ref()?;
        let same = content.before == before && content.tokens == *tokens;
        same.then_some(Link { block: id, generation: block.generation })
    }

    /// Says that the held block `id` now holds `tokens` after `before`. What comes after them is to be told
    /// apart by the link that is returned: that of the block which is known for this already, if there is one.
    pub(super) fn learn(&mut self, id: BlockId, before: Before, tokens: &[u32; BLOCK_TOKENS]) -> Link {
        if let Some(known) = self.find(before, tokens) {
            return known;
        }
        let hash = self.hash(before, tokens);
        if let Some(other) = self.known.insert(hash, id) {
            // Another content with the same hash: the newer one is known from now on.
            self.blocks[other as usize].content = None;
        }
        let block = &mut self.blocks[id as usize];
        block.content = Some(Content { hash, before, tokens: *tokens });
        Link { block: id, generation: block.generation }
    }

    /// Lets the key of `hash` stand for the content; seeded anew for each pool, so that nobody can prepare
    /// texts that collide.
    fn hash(&self, before: Before, tokens: &[u32; BLOCK_TOKENS]) -> u64 {
        self.hasher.hash_one((before, tokens))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Before = Before::Start { stretched: false, apart: 0 };

    fn tokens(n: u32) -> [u32; BLOCK_TOKENS] {
        [n; BLOCK_TOKENS]
    }

    #[test]
    fn a_block_let_go_is_known_until_it_is_needed() {
        let mut pool = BlockPool::new(2);
        let id = pool.take().unwrap();
        let link = pool.learn(id, START, &tokens(7));
        pool.release(&[id]);
        assert_eq!((pool.free(), pool.find(START, &tokens(7))), (2, Some(link)));
        // The other one holds nothing and goes first.
        let other = pool.take().unwrap();
        assert_ne!(other, id);
        assert!(pool.find(START, &tokens(7)).is_some());
        assert_eq!(pool.take(), Some(id));
        assert_eq!((pool.find(START, &tokens(7)), pool.take()), (None, None));
    }

    #[test]
    fn the_same_tokens_elsewhere_are_something_else() {
        let mut pool = BlockPool::new(4);
        let (a, b) = (pool.take().unwrap(), pool.take().unwrap());
        let first = pool.learn(a, START, &tokens(1));
        let second = pool.learn(b, Before::Block(first), &tokens(1));
        assert_ne!(first, second);
        assert_eq!(pool.find(Before::Block(first), &tokens(1)), Some(second));
        assert_eq!(pool.find(Before::Block(second), &tokens(1)), None);
        for (stretched, apart) in [(true, 0), (false, 1)] {
            assert_eq!(pool.find(Before::Start { stretched, apart }, &tokens(1)), None);
        }
        // A new content of the first block: what came after the old one does not follow the new one.
        pool.release(&[a]);
        let others: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
        assert!(others.contains(&a));
        let again = pool.learn(a, START, &tokens(1));
        assert_ne!(again, first);
        assert_eq!(pool.find(Before::Block(again), &tokens(1)), None);
    }

    #[test]
    fn what_is_known_twice_has_one_link() {
        let mut pool = BlockPool::new(3);
        let (a, b) = (pool.take().unwrap(), pool.take().unwrap());
        let first = pool.learn(a, START, &tokens(1));
        assert_eq!(pool.learn(b, START, &tokens(1)), first);
        pool.release(&[a]);
        pool.hold(a);
        assert_eq!(pool.free(), 1);
        pool.release(&[a, b]);
        assert_eq!(pool.free(), 3);
    }

    #[test]
    fn later_blocks_of_a_text_go_before_earlier_ones() {
        let mut pool = BlockPool::new(3);
        let ids: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
        let mut before = START;
        for id in &ids {
            before = Before::Block(pool.learn(*id, before, &tokens(5)));
        }
        pool.release(&ids);
        assert_eq!(pool.take(), Some(ids[2]));
        assert_eq!(pool.take(), Some(ids[1]));
    }
}
