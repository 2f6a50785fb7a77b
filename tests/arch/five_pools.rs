//! Five capabilities in one engine, under one budget that does not hold them all.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use millpond::capability::{DescribeRequest, DrawRequest, GenerateRequest, ImageSource, Prompt};
use millpond::memory::{MemoryBudget, MemoryReading, OverBudget};
use millpond::pool::{PoolConfig, PoolError};
use millpond::{ByteSize, Engine, Error, ModelOptions};

use crate::pictures::picture;

/// What each capability is called here, in the order of [`ask`].
const KEYS: [&str; 5] = ["embeds", "writes", "sees", "describes", "draws"];

fn model(key: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join(match key {
        "embeds" => "models/tiny/shapes-embed",
        "writes" => "tests/fixtures/decoder/qwen3",
        "sees" => "tests/fixtures/image/clip-vision",
        "describes" => "tests/fixtures/vision/llava",
        _ => "tests/fixtures/diffusion/sd1",
    })
}

/// A machine whose memory the test decides.
#[derive(Clone, Default)]
struct Machine(Arc<AtomicU64>);

impl Machine {
    fn set(&self, total: u64, engine: &Engine) {
        self.0.store(total, Ordering::SeqCst);
        engine.budget().refresh();
    }

    fn engine(&self) -> Engine {
        let total = self.0.clone();
        let budget = MemoryBudget::new(1.0, move || MemoryReading {
            total: ByteSize::new(total.load(Ordering::SeqCst)),
            cgroup_limit: ByteSize::MAX,
            available: ByteSize::MAX,
            resident: ByteSize::ZERO,
        });
        let mut config = PoolConfig::default().workers(1).request_timeout(Duration::from_mins(5));
        (config.min_residence, config.memory_patience) = (Duration::ZERO, Duration::from_millis(50));
        let engine = Engine::builder().config(config).budget(budget).build().unwrap();
        for key in KEYS {
            let options = ModelOptions::default().cache_tokens(256);
            engine.add_with(key, model(key).to_str().unwrap(), options).unwrap();
        }
        engine
    }
}

/// Asks one of the five for something small: what it says, as numbers.
fn ask(engine: &Engine, key: &str) -> Result<Vec<u32>, Error> {
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect();
    let image = ImageSource::path(picture("rgb.png"));
    let generate = GenerateRequest::new(Prompt::Raw("the mill".to_owned())).max_tokens(4);
    Ok(match key {
        "embeds" => bits(&engine.embed(key, "a red circle")?.values),
        "writes" => engine.generate(key, generate)?.choices[0].token_ids.clone(),
        "sees" => bits(&engine.embed_image(key, image)?.values),
        "describes" => {
            let request = DescribeRequest::new(vec![image], generate);
            engine.describe(key, request)?.choices[0].token_ids.clone()
        }
        _ => {
            let mut request = DrawRequest::new("a mill");
            (request.size, request.steps, request.seed) = (Some((32, 32)), Some(2), Some(7));
            engine.draw(key, request)?.pictures[0].rgb.iter().map(|byte| u32::from(*byte)).collect()
        }
    })
}

/// Which keys have weights now.
fn loaded(engine: &Engine) -> BTreeSet<String> {
    let holders = engine.budget().status().holders.into_iter();
    let labels: Vec<String> = holders.map(|holder| holder.label.to_string()).collect();
    let has = |key: &str| labels.iter().any(|label| label.contains(key));
    KEYS.iter().filter(|key| has(key)).map(|key| (*key).to_owned()).collect()
}

#[test]
fn five_capabilities_share_a_budget_that_holds_some_of_them() {
    let machine = Machine::default();
    let engine = machine.engine();
    machine.set(4 << 30, &engine);
    let first = KEYS.map(|key| ask(&engine, key).unwrap_or_else(|error| panic!("{key}: {error}")));
    assert_eq!(loaded(&engine), KEYS.iter().map(|key| (*key).to_owned()).collect(), "all at once");

    // As much as all but the smallest, so that whoever comes back has to displace somebody.
    let all = engine.budget().reserved().bytes();
    let needs = KEYS.map(needed);
    let (least, most) = (needs.iter().min().unwrap(), needs.iter().max().unwrap());
    let tight = (all - least / 2).min(*most + least + 1);
    machine.set(tight, &engine);
    let answers = thread::scope(|scope| {
        let callers = KEYS.map(|key| {
            let engine = &engine;
            scope.spawn(move || (0..8).map(|_| ask(engine, key)).collect::<Vec<_>>())
        });
        callers.map(|caller| caller.join().unwrap())
    });
    for ((key, answers), first) in KEYS.iter().zip(answers).zip(&first) {
        for answer in answers {
            match answer {
                Ok(answer) => assert_eq!(&answer, first, "{key}: the same as when there was room"),
                Err(error) => assert_named(&error, key),
            }
        }
    }
    assert!(engine.budget().reserved() <= engine.budget().limit());
    assert!(loaded(&engine).len() < KEYS.len(), "they cannot all be there");
    // One after the other each gets its turn: nobody is busy, so somebody can always go.
    for (key, first) in KEYS.iter().zip(&first) {
        assert_eq!(&ask(&engine, key).unwrap_or_else(|error| panic!("{key}: {error}")), first);
        assert!(loaded(&engine).contains(*key));
        assert!(engine.budget().reserved() <= engine.budget().limit());
    }
    machine.set(4 << 30, &engine);
    for (key, first) in KEYS.iter().zip(&first) {
        assert_eq!(&ask(&engine, key).unwrap(), first, "{key}: when there is room again");
    }
    engine.shutdown(Duration::from_mins(1)).unwrap();
    assert_eq!(engine.budget().reserved(), ByteSize::ZERO);
}

/// What a key takes, as a refusal says.
fn needed(key: &str) -> u64 {
    let machine = Machine::default();
    let engine = machine.engine();
    machine.set(1, &engine);
    let error = ask(&engine, key).unwrap_err();
    let Error::Pool(PoolError::MemoryExhausted { source, .. }) = error else { panic!("{key}: {error}") };
    source.need.bytes()
}

/// The one error that may come of it: it says what is needed and who has the rest.
fn assert_named(error: &Error, key: &str) {
    let Error::Pool(PoolError::MemoryExhausted { key: refused, source }) = error else {
        panic!("{key}: {error}");
    };
    let OverBudget { need, limit, holders, .. } = source;
    assert_eq!(refused.as_ref(), key);
    assert!(need <= limit && !holders.is_empty(), "{error}");
    let named = error.to_string();
    assert!(holders.iter().any(|holder| named.contains(&*holder.label)), "{named}");
}

#[test]
fn what_can_never_fit_says_so_and_holds_nothing() {
    let machine = Machine::default();
    let engine = machine.engine();
    machine.set(1 << 10, &engine);
    for key in KEYS {
        let error = ask(&engine, key).unwrap_err();
        let Error::Pool(PoolError::MemoryExhausted { source, .. }) = &error else { panic!("{key}: {error}") };
        assert!(source.need > source.limit, "{error}");
        assert!(error.to_string().contains("raise the memory fraction"), "{error}");
        assert_eq!(engine.budget().reserved(), ByteSize::ZERO, "{key}");
    }
}
