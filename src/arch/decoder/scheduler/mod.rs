//! Which tokens of which texts the next step computes. Decides only: no tensor, no clock.
//!
//! A step takes, in this order:
//!
//! 1. one token of every text that is being continued; where no block is left for it, the youngest text gives
//!    up its blocks and is read again later, from its first token on;
//! 2. parts of texts that are still being read, oldest first, as many tokens as a step may read;
//! 3. texts that wait, in the order they came, while there are blocks for all their tokens. Nobody overtakes,
//!    so nobody starves; a text that gave up its blocks is the first of those that wait.
//!
//! The oldest text never gives way to another, and the blocks are enough for any one text that was admitted: so it
//! ends, and then the next one is the oldest.

mod new_text;

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use super::blocks::{Before, BlockId, BlockPool};
use crate::kernels::BLOCK_TOKENS;
pub(crate) use new_text::{NewText, Place, Places};

/// Names a text, in the order of their coming.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct TextId(u64);

/// What the scheduler may hand out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Blocks of the cache.
    pub(super) blocks: usize,
    /// Tokens of one text, prompt and answer together.
    pub(super) context: usize,
    /// Texts under way at once.
    pub(super) texts: usize,
    /// Tokens read in a step when nothing is being continued.
    pub(super) read_alone: usize,
    /// Tokens read in a step beside those that are being continued, which wait for them, and as many again as
    /// are continued: so the step takes about twice as long as without.
    pub(super) read_beside: usize,
    /// To see so many earlier tokens costs a token as much as everything else: tokens that are read count the
    /// more, the more is before them.
    pub(super) past: usize,
    /// The length beyond which a text is computed differently from its first token on.
    pub(super) stretch: Option<usize>,
}

/// A text that can never be computed within the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the prompt has no tokens")]
    Empty,
    #[error("{prompt} tokens of prompt and up to {answer} of answer are more than the {limit} that {what}")]
    TooLong { prompt: usize, answer: usize, limit: usize, what: &'static str },
}

/// What the next step computes of one text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) text: TextId,
    /// The place of the first token.
    pub(super) position: usize,
    pub(super) tokens: usize,
    /// Whether these are the text's last tokens, so that what comes next can be said.
    pub(super) says: bool,
}

#[derive(Debug)]
struct Text {
    tokens: Vec<u32>,
    /// How many of them are in the cache.
    computed: usize,
    blocks: Vec<BlockId>,
    /// How many blocks, from the first, are known, and what comes before the next one.
    learnt: usize,
    before: Before,
    stretched: bool,
    /// As of [`NewText`], as are the next two.
    apart: u64,
    together: Vec<Range<usize>>,
    places: Option<Places>,
    /// How many tokens were found in the cache when it was first read.
    found: Option<usize>,
    /// Waits until this one has been read: they have their beginnings in common.
    after: Option<TextId>,
}

impl Text {
    fn start(&self) -> Before {
        Before::Start { stretched: self.stretched, apart: self.apart }
    }

    /// The tokens of its `index`-th block, if that is full and computed.
    fn full_block(&self, index: usize, limit: usize) -> Option<&[u32; BLOCK_TOKENS]> {
        let end = (index + 1) * BLOCK_TOKENS;
        if end > limit {
            return None;
        }
        self.tokens[..end].last_chunk()
    }

    /// Whether only its last token is to be computed.
    fn is_read(&self) -> bool {
        self.computed + 1 == self.tokens.len()
    }
}

/// All texts of one worker, and its blocks.
#[derive(Debug)]
pub(super) struct Scheduler {
    limits: Limits,
    blocks: BlockPool,
    texts: BTreeMap<TextId, Text>,
    /// Texts without blocks, in the order they will get some.
    waiting: VecDeque<TextId>,
    /// Texts with blocks, oldest first.
    running: Vec<TextId>,
    next: u64,
}

impl Scheduler {
    pub(super) fn new(limits: Limits) -> Self {
        let blocks = BlockPool::new(limits.blocks);
        let texts = BTreeMap::new();
        Self { limits, blocks, texts, waiting: VecDeque::new(), running: Vec::new(), next: 0 }
    }

    /// Takes in a text that begins with `prompt` and may become `answer` tokens longer. With `after` it waits
    /// until that text has been read.
    pub(super) fn admit(
        &mut self,
        prompt: impl Into<NewText>,
        answer: usize,
        after: Option<TextId>,
    ) -> Result<TextId, Refusal> {
        let NewText { tokens, together, apart, places } = prompt.into();
        self.check(tokens.len(), answer)?;
        let id = TextId(self.next);
        self.next += 1;
        let stretched = self.limits.stretch.is_some_and(|over| tokens.len() > over);
        let text = Text {
            tokens,
            computed: 0,
            blocks: Vec::new(),
            learnt: 0,
            before: Before::Start { stretched, apart },
            stretched,
            apart,
            together,
            places,
            found: None,
            after,
        };
        self.texts.insert(id, text);
        self.waiting.push_back(id);
        Ok(id)
    }

    fn check(&self, prompt: usize, answer: usize) -> Result<(), Refusal> {
        if prompt == 0 {
            return Err(Refusal::Empty);
        }
        let cache = self.limits.blocks.saturating_mul(BLOCK_TOKENS);
        let limits = [(self.limits.context, "the model reads"), (cache, "the worker's cache holds")];
        for (limit, what) in limits {
            if prompt.saturating_add(answer) > limit {
                return Err(Refusal::TooLong { prompt, answer, limit, what });
            }
        }
        Ok(())
    }

    /// What the next step computes; empty when there is nothing to do. The step must be computed and then told
    /// by [`computed`](Self::computed), or all its texts ended.
    pub(super) fn plan(&mut self) -> Vec<Share> {
        let mut shares = Vec::new();
        self.continue_texts(&mut shares);
        let mut left = match shares.len() {
            0 => self.limits.read_alone,
            continued => self.limits.read_beside + continued,
        };
        let reading = self.running.iter().filter(|id| !self.texts[*id].is_read());
        for id in reading.copied().collect::<Vec<_>>() {
            self.read(id, &mut left, &mut shares);
        }
        while left > 0 {
            let Some(id) = self.start_next() else { break };
            self.read(id, &mut left, &mut shares);
        }
        shares
    }

    /// 1. One token of each text that is being continued, oldest first.
    fn continue_texts(&mut self, shares: &mut Vec<Share>) {
        let mut index = 0;
        while let Some(id) = self.running.get(index).copied() {
            let text = &self.texts[&id];
            if !text.is_read() {
                index += 1;
                continue;
            }
            let stretches = self.limits.stretch.is_some_and(|over| text.tokens.len() > over);
            if stretches && !text.stretched {
                self.give_up(index, true);
                continue;
            }
            if !self.has_block_for_next(id) {
                // The youngest gives way: perhaps this one itself.
                self.give_up(self.running.len() - 1, false);
                continue;
            }
            let position = self.texts[&id].computed;
            shares.push(Share { text: id, position, tokens: 1, says: true });
            index += 1;
        }
    }

    /// Sees to it that the text's next token has a place.
    fn has_block_for_next(&mut self, id: TextId) -> bool {
        let text = self.texts.get_mut(&id).expect("a running text is known");
        if text.computed < text.blocks.len() * BLOCK_TOKENS {
            return true;
        }
        self.blocks.take().map(|block| text.blocks.push(block)).is_some()
    }

    /// Takes all blocks from the running text at `index`, which will be read again.
    fn give_up(&mut self, index: usize, stretched: bool) {
        let id = self.running.remove(index);
        let text = self.texts.get_mut(&id).expect("a running text is known");
        self.blocks.release(&text.blocks);
        text.blocks.clear();
        text.stretched |= stretched;
        (text.computed, text.learnt, text.after) = (0, 0, None);
        text.before = text.start();
        self.waiting.push_front(id);
    }

    /// 2. The next tokens of a text that is being read, as many as are left.
    fn read(&self, id: TextId, left: &mut usize, shares: &mut Vec<Share>) {
        let text = &self.texts[&id];
        let rest = text.tokens.len() - text.computed;
        let weight = 1.0 + text.computed as f64 / self.limits.past as f64;
        let affordable = (*left as f64 / weight).ceil();
        let tokens = rest.min(affordable as usize);
        if tokens > 0 {
            let tokens = NewText::uncut(&text.together, text.computed, tokens);
            *left = left.saturating_sub((tokens as f64 * weight) as usize);
            shares.push(Share { text: id, position: text.computed, tokens, says: tokens == rest });
        }
    }

    /// 3. Gives the text that has waited longest blocks for all its tokens, if there are enough. What the
    ///    cache knows of its beginning need not be computed, but for the last token.
    fn start_next(&mut self) -> Option<TextId> {
        let id = *self.waiting.front()?;
        let text = &self.texts[&id];
        let read = |other: &TextId| self.texts.get(other).is_none_or(Text::is_read);
        if self.running.len() >= self.limits.texts || !text.after.as_ref().is_none_or(read) {
            return None;
        }
        let known = self.known_beginning(text);
        let needed = text.tokens.len().div_ceil(BLOCK_TOKENS) - known.len();
        // Those that are being continued will soon need a block each.
        let spare = self.running.len();
        known.iter().for_each(|link| self.blocks.hold(link.block));
        if self.blocks.free() < needed + if self.running.is_empty() { 0 } else { spare } {
            let blocks: Vec<BlockId> = known.iter().map(|link| link.block).collect();
            self.blocks.release(&blocks);
            return None;
        }
        let fresh: Vec<BlockId> = (0..needed).map_while(|_| self.blocks.take()).collect();
        let text = self.texts.get_mut(&id).expect("a waiting text is known");
        text.blocks = known.iter().map(|link| link.block).chain(fresh).collect();
        (text.learnt, text.computed) = (known.len(), known.len() * BLOCK_TOKENS);
        text.before = known.last().map_or(text.before, |link| Before::Block(*link));
        text.found.get_or_insert(text.computed);
        self.waiting.pop_front();
        let place = self.running.partition_point(|running| *running < id);
        self.running.insert(place, id);
        Some(id)
    }

    fn known_beginning(&self, text: &Text) -> Vec<super::blocks::Link> {
        let mut before = text.before;
        let mut known = Vec::new();
        while let Some(tokens) = text.full_block(known.len(), text.tokens.len() - 1) {
            let Some(link) = self.blocks.find(before, tokens) else { break };
            before = Before::Block(link);
            known.push(link);
        }
        known
    }

    /// The step was computed: its tokens are in the cache, and what fills a block is known from now on.
    pub(super) fn computed(&mut self, shares: &[Share]) {
        for share in shares {
            let Some(text) = self.texts.get_mut(&share.text) else { continue };
            text.computed = share.position + share.tokens;
            while let Some(tokens) = text.full_block(text.learnt, text.computed) {
                let link = self.blocks.learn(text.blocks[text.learnt], text.before, tokens);
                (text.before, text.learnt) = (Before::Block(link), text.learnt + 1);
            }
        }
    }

    /// What the text said comes next is part of it now.
    pub(super) fn push(&mut self, id: TextId, token: u32) {
        if let Some(text) = self.texts.get_mut(&id) {
            text.tokens.push(token);
        }
    }

    /// Ends a text: done, failed or no longer wanted. Its blocks are free at once.
    pub(super) fn end(&mut self, id: TextId) {
        let Some(text) = self.texts.remove(&id) else { return };
        self.blocks.release(&text.blocks);
        self.waiting.retain(|waiting| *waiting != id);
        self.running.retain(|running| *running != id);
    }

    /// The tokens of a share.
    pub(super) fn tokens(&self, share: &Share) -> &[u32] {
        &self.texts[&share.text].tokens[share.position..][..share.tokens]
    }

    /// The blocks of a text.
    pub(super) fn blocks_of(&self, id: TextId) -> &[BlockId] {
        &self.texts[&id].blocks
    }

    /// Which tokens of a text see each other.
    pub(super) fn together(&self, id: TextId) -> &[Range<usize>] {
        &self.texts[&id].together
    }

    /// Where the tokens of a share are, if that is not told by their order.
    pub(super) fn places(&self, share: &Share) -> Option<Vec<Place>> {
        let places = self.texts[&share.text].places.as_ref()?;
        Some(places.of(share.position, share.tokens))
    }

    /// Whether the text is so long that it is computed the other way.
    pub(super) fn is_stretched(&self, id: TextId) -> bool {
        self.texts[&id].stretched
    }

    /// How many tokens of the prompt were found in the cache when the text was first read.
    pub(super) fn found(&self, id: TextId) -> usize {
        self.texts.get(&id).and_then(|text| text.found).unwrap_or(0)
    }

    /// Blocks that no text holds, and all there are.
    pub(super) fn free_blocks(&self) -> (usize, usize) {
        (self.blocks.free(), self.blocks.total())
    }
}

#[cfg(test)]
mod tests;
