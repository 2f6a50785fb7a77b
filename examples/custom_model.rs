//! A model of one's own: a capability, a loader and a model, which then get workers, batching, a queue,
//! restarts and a place in the memory budget.
//!
//! ```text
//! cargo run --no-default-features --example custom_model
//! ```

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;

use millpond::ByteSize;
use millpond::capability::{BatchModel, Batched, Capability, Capacity, ModelError, NoEvent};
use millpond::memory::Footprint;
use millpond::pool::{LoadError, Loader, Pool, PoolConfig};

/// Says how friendly a text is. Names the types and nothing else.
struct Sentiment;

impl Capability for Sentiment {
    const NAME: &'static str = "sentiment";
    type Request = String;
    type Event = NoEvent;
    type Output = f32;
}

/// Loaded once, shared read-only by all workers.
struct Lexicon(HashMap<&'static str, f32>);

struct LexiconLoader;

impl Loader<Sentiment> for LexiconLoader {
    type Weights = Lexicon;
    type Model = Batched<Sentiment, Scorer>;

    fn footprint(&self) -> Result<Footprint, LoadError> {
        Ok(Footprint { weights: ByteSize::mib(1), per_worker: ByteSize::kib(64) })
    }

    fn load(&self) -> Result<Lexicon, LoadError> {
        println!("loading the lexicon, once");
        Ok(Lexicon(HashMap::from([("good", 1.0), ("great", 2.0), ("bad", -1.0), ("awful", -2.0)])))
    }

    fn build(&self, weights: &Arc<Lexicon>) -> Result<Self::Model, LoadError> {
        Ok(Batched::new(Scorer { lexicon: weights.clone(), known: HashMap::new() }))
    }
}

/// Owned by one worker's thread: what it remembers needs no lock.
struct Scorer {
    lexicon: Arc<Lexicon>,
    known: HashMap<String, f32>,
}

impl BatchModel<Sentiment> for Scorer {
    fn capacity(&self) -> Capacity {
        Capacity::jobs(8)
    }

    fn run(&mut self, texts: &[String]) -> Result<Vec<Result<f32, ModelError>>, ModelError> {
        let weight = |word: &str| self.lexicon.0.get(word).copied().unwrap_or(0.0);
        let score = |text: &String| text.split(' ').map(weight).sum::<f32>();
        Ok(texts
            .iter()
            .map(|text| Ok(*self.known.entry(text.clone()).or_insert_with(|| score(text))))
            .collect())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let pool = Pool::<Sentiment>::new(PoolConfig::default().workers(2))?;
    pool.register("lexicon", LexiconLoader)?;
    let texts = ["a great day", "bad coffee in a good cup", "an awful start but a good end", "rain"];
    let scores = pool.submit_all("lexicon", texts.map(str::to_owned))?;
    texts.iter().zip(scores).for_each(|(text, score)| println!("{score:>5.1}  {text}"));
    println!("{} workers hold {}", pool.workers("lexicon")?.len(), pool.reserved_memory());
    Ok(())
}
