use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits {
    blocks: 12,
    context: 160,
    texts: 4,
    read_alone: 40,
    read_beside: 8,
    past: 1 << 40,
    stretch: None,
};

fn prompt(tokens: usize, kind: u32) -> Vec<u32> {
    (0..tokens as u32).map(|i| kind * 1000 + i).collect()
}

/// Computes a step as if every text said 7, and gives back its shares.
fn step(scheduler: &mut Scheduler) -> Vec<Share> {
    let shares = scheduler.plan();
    scheduler.computed(&shares);
    shares.iter().filter(|share| share.says).for_each(|share| scheduler.push(share.text, 7));
    shares
}

#[test]
fn a_long_prompt_is_read_in_parts_beside_the_others() {
    let mut scheduler = Scheduler::new(LIMITS);
    let first = scheduler.admit(prompt(3, 1), 20, None).unwrap();
    assert_eq!(step(&mut scheduler), [Share { text: first, position: 0, tokens: 3, says: true }]);
    let second = scheduler.admit(prompt(20, 2), 20, None).unwrap();
    for (at, tokens, says) in [(0, 9, false), (9, 9, false), (18, 2, true)] {
        let shares = step(&mut scheduler);
        assert_eq!((shares[0].text, shares[0].tokens), (first, 1));
        assert_eq!(shares[1], Share { text: second, position: at, tokens, says });
    }
    assert_eq!(step(&mut scheduler).len(), 2);
}

#[test]
fn the_more_is_before_it_the_smaller_a_part_is() {
    let mut scheduler = Scheduler::new(Limits { past: 10, ..LIMITS });
    let first = scheduler.admit(prompt(4, 1), 20, None).unwrap();
    step(&mut scheduler);
    let second = scheduler.admit(prompt(24, 2), 5, None).unwrap();
    for (at, tokens, says) in [(0, 9, false), (9, 5, false), (14, 4, false), (18, 4, false), (22, 2, true)] {
        let shares = step(&mut scheduler);
        assert_eq!((shares[0].text, shares[0].tokens), (first, 1));
        assert_eq!(shares[1], Share { text: second, position: at, tokens, says });
    }
}

#[test]
fn a_known_beginning_is_not_read_again() {
    let mut scheduler = Scheduler::new(LIMITS);
    let first = scheduler.admit(prompt(40, 1), 5, None).unwrap();
    step(&mut scheduler);
    scheduler.end(first);
    let again = scheduler.admit(prompt(40, 1), 5, None).unwrap();
    assert_eq!(step(&mut scheduler), [Share { text: again, position: 32, tokens: 8, says: true }]);
    assert_eq!(scheduler.found(again), 32);
    // All of it is known, and still its last token has to say what comes next.
    let short = scheduler.admit(prompt(32, 1), 5, None).unwrap();
    let shares = step(&mut scheduler);
    assert!(shares.contains(&Share { text: short, position: 16, tokens: 9, says: false }), "{shares:?}");
}

#[test]
fn choices_wait_for_the_first_and_share_its_blocks() {
    let mut scheduler = Scheduler::new(LIMITS);
    let first = scheduler.admit(prompt(50, 1), 5, None).unwrap();
    let others = [(); 3].map(|()| scheduler.admit(prompt(50, 1), 5, Some(first)).unwrap());
    assert_eq!(step(&mut scheduler).len(), 1);
    assert_eq!(step(&mut scheduler).len(), 1);
    let shares = step(&mut scheduler);
    assert!(others.iter().all(|other| scheduler.found(*other) == 48), "{shares:?}");
    // Three whole blocks are shared; each has a last one of its own.
    assert_eq!(scheduler.free_blocks(), (12 - 3 - 4, 12));
}

#[test]
fn the_youngest_gives_way() {
    let mut scheduler = Scheduler::new(Limits { blocks: 4, ..LIMITS });
    let old = scheduler.admit(prompt(31, 1), 20, None).unwrap();
    step(&mut scheduler);
    let young = scheduler.admit(prompt(14, 2), 30, None).unwrap();
    let mut gave_way = false;
    for _ in 0..19 {
        let shares = step(&mut scheduler);
        assert_eq!(shares[0].text, old);
        gave_way |= shares.len() == 1;
    }
    assert!(gave_way);
    scheduler.end(old);
    let shares = step(&mut scheduler);
    assert!(shares[0].text == young && shares[0].tokens > 1, "it is read again: {shares:?}");
}

#[test]
fn a_text_that_outgrows_its_angles_is_read_again() {
    let mut scheduler = Scheduler::new(Limits { stretch: Some(10), ..LIMITS });
    let id = scheduler.admit(prompt(9, 1), 20, None).unwrap();
    for (position, tokens, stretched) in [(0, 9, false), (9, 1, false), (0, 11, true), (11, 1, true)] {
        let shares = step(&mut scheduler);
        assert_eq!(shares, [Share { text: id, position, tokens, says: true }]);
        assert_eq!(scheduler.is_stretched(id), stretched);
    }
}

#[test]
fn what_can_never_fit_is_refused() {
    let mut scheduler = Scheduler::new(LIMITS);
    assert_eq!(scheduler.admit(Vec::new(), 1, None), Err(Refusal::Empty));
    assert!(matches!(scheduler.admit(prompt(100, 1), 61, None), Err(Refusal::TooLong { limit: 160, .. })));
    assert!(scheduler.admit(prompt(100, 1), usize::MAX, None).is_err());
    let mut small = Scheduler::new(Limits { blocks: 2, ..LIMITS });
    assert!(matches!(small.admit(prompt(30, 1), 3, None), Err(Refusal::TooLong { limit: 32, .. })));
    assert!(small.admit(prompt(30, 1), 2, None).is_ok());
}

#[derive(Clone, Debug)]
enum Act {
    Admit { tokens: usize, kind: u32, answer: usize, choices: usize },
    Cancel(usize),
    Steps(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let admit = (1..70usize, 0..3u32, 1..40usize, 1..4usize)
        .prop_map(|(tokens, kind, answer, choices)| Act::Admit { tokens, kind, answer, choices });
    let act = prop_oneof![4 => admit, 1 => (0..40usize).prop_map(Act::Cancel), 4 => (1..12usize).prop_map(Act::Steps)];
    prop::collection::vec(act, 1..60)
}

/// Plays acts and checks every step; returns how many texts ended.
#[derive(Debug)]
struct Play {
    scheduler: Scheduler,
    limits: Limits,
    /// Tokens that each text is still to say.
    left: BTreeMap<TextId, usize>,
    ended: usize,
}

impl Play {
    fn act(&mut self, act: &Act) {
        match *act {
            Act::Admit { tokens, kind, answer, choices } => {
                let mut first = None;
                for _ in 0..choices {
                    if let Ok(id) = self.scheduler.admit(prompt(tokens, kind), answer, first) {
                        assert!(self.left.insert(id, answer).is_none(), "a name is used once");
                        first = first.or(Some(id));
                    }
                }
            }
            Act::Cancel(which) => {
                if let Some(id) = self.left.keys().nth(which).copied() {
                    self.scheduler.end(id);
                    self.left.remove(&id);
                    self.ended += 1;
                }
            }
            Act::Steps(steps) => (0..steps).for_each(|_| self.step()),
        }
    }

    fn step(&mut self) {
        let shares = self.scheduler.plan();
        assert_eq!(shares.is_empty(), self.left.is_empty(), "there is progress while there are texts");
        let mut seen = BTreeSet::new();
        for share in &shares {
            assert!(seen.insert(share.text), "a text is in a step once");
            let places = self.scheduler.blocks_of(share.text).len() * BLOCK_TOKENS;
            assert!(share.position + share.tokens <= places, "every token has a place");
        }
        let says = |share: &&Share| share.says && share.tokens == 1;
        let read: usize = shares.iter().map(|share| share.tokens).sum();
        let continued = shares.iter().filter(says).count();
        assert!(
            read <= self.limits.read_alone.max(self.limits.read_beside + 2 * continued),
            "a step is bounded"
        );
        assert!(shares.len() <= self.limits.texts);
        self.no_block_has_two_writers(&shares);
        self.scheduler.computed(&shares);
        for share in shares.iter().filter(|share| share.says) {
            let left = self.left.get_mut(&share.text).expect("only texts under way are computed");
            *left -= 1;
            if *left == 0 {
                self.left.remove(&share.text);
                self.scheduler.end(share.text);
                self.ended += 1;
            } else {
                self.scheduler.push(share.text, share.position as u32);
            }
        }
    }

    fn no_block_has_two_writers(&self, shares: &[Share]) {
        let mut written = BTreeSet::new();
        for share in shares {
            let blocks = self.scheduler.blocks_of(share.text);
            let own =
                &blocks[share.position / BLOCK_TOKENS..=(share.position + share.tokens - 1) / BLOCK_TOKENS];
            assert!(own.iter().all(|block| written.insert(*block)), "two texts write into one block");
        }
        for share in shares {
            let read = &self.scheduler.blocks_of(share.text)[..share.position / BLOCK_TOKENS];
            assert!(read.iter().all(|block| !written.contains(block)), "a shared block is written");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn every_text_ends_once_and_no_block_is_lost(
        acts in acts(),
        blocks in 3..16usize,
        stretch in prop::option::of(5..60usize),
    ) {
        let limits = Limits { blocks, stretch, ..LIMITS };
        let scheduler = Scheduler::new(limits);
        let mut play = Play { scheduler, limits, left: BTreeMap::new(), ended: 0 };
        acts.iter().for_each(|act| play.act(act));
        let admitted = play.ended + play.left.len();
        // The slowest way through: one after the other, each read again a few times.
        for _ in 0..admitted * 400 {
            if play.left.is_empty() {
                break;
            }
            play.step();
        }
        prop_assert!(play.left.is_empty(), "starved: {:?}", play.left);
        prop_assert_eq!(play.ended, admitted);
        prop_assert_eq!(play.scheduler.free_blocks(), (blocks, blocks));
    }
}

#[test]
fn tokens_that_see_each_other_are_in_one_step() {
    let mut scheduler = Scheduler::new(LIMITS);
    let first = scheduler.admit(prompt(3, 1), 20, None).unwrap();
    step(&mut scheduler);
    let together = vec![4..40, 45..50];
    let text = NewText { tokens: prompt(60, 2), together, ..NewText::default() };
    let second = scheduler.admit(text, 5, None).unwrap();
    // Nine at a time would be affordable.
    for (at, tokens, says) in [(0, 4, false), (4, 36, false), (40, 5, false), (45, 9, false), (54, 6, true)] {
        let shares = step(&mut scheduler);
        assert_eq!((shares[0].text, shares[0].tokens), (first, 1));
        assert_eq!(shares[1], Share { text: second, position: at, tokens, says });
    }
}

#[test]
fn texts_kept_apart_share_nothing_but_with_their_own() {
    let mut scheduler = Scheduler::new(LIMITS);
    let apart = |apart| NewText { tokens: prompt(33, 1), apart, ..NewText::default() };
    for (kind, found) in [(0, 0), (7, 0), (7, 32), (8, 0), (0, 32)] {
        let text = scheduler.admit(apart(kind), 5, None).unwrap();
        step(&mut scheduler);
        assert_eq!(scheduler.found(text), found, "{kind}");
        scheduler.end(text);
    }
}
