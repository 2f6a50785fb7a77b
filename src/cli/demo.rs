//! `millpond demo`: what works, on models that ship with millpond, without a network.

use std::fmt;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use clap::Args;
use crossbeam_channel::Receiver;

use super::bench::{milliseconds, quantile};
use super::catalogs::CatalogArgs;
use super::events::in_words;
use super::failure::Failure;
use super::output::{Output, counted};
use crate::arch::footprint;
use crate::capability::{Capability, ImageEmbedding, Task, Tasks, TextToText};
use crate::engine::{Capabilities, Engine};
use crate::kernels::Dtype;
use crate::memory::MemoryBudget;
use crate::pool::{
    KeyConfig, Pool, PoolConfig, PoolError, PoolEvent, PoolMetrics, PoolStatus, Retry, SubmitOptions, Ticket,
};
use crate::weights::{ModelFiles, ModelFolder};

/// The model it shows, by its name in the catalog.
const MODEL: &str = "shapes-embed";

const TEXTS: [(&str, &str); 5] = [
    ("A", "a red circle left of a blue square"),
    ("B", "there is a blue square to the right of a red circle"),
    ("C", "a small green star at the top on a black background"),
    ("D", "on a black background, a tiny green star is at the top"),
    ("E", "good morning, how are you"),
];

/// How many characters a line of the terminal has.
const WIDTH: usize = 80;

/// How many callers ask at once, and how often each.
const CALLERS: usize = 8;
const REQUESTS: usize = 100;

/// Show what works, offline, in seconds
///
/// Embeds texts with a model that ships with millpond, from many threads at once; runs closures on workers;
/// lets two models compete for memory. Prints what the pools did and why.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  millpond demo
  millpond demo -v        with the pools' own log")]
pub(super) struct Demo {
    #[command(flatten)]
    catalog: CatalogArgs,
}

impl Demo {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let began = Instant::now();
        let catalogs = self.catalog.open()?;
        let missing = || Failure::UnknownModel { name: MODEL.to_owned(), known: catalogs.names() };
        let folder = catalogs.source(MODEL).ok_or_else(missing)?;
        let folder = folder.resolve().and_then(ModelFiles::folder).map_err(crate::Error::from)?;
        let mut show = Show { output: Output::stdout(), folder };
        show.say("millpond demo: what works today, on a model that ships with it, offline.")?;
        let engine = Engine::new()?;
        show.similarity(&engine)?;
        show.load(&engine)?;
        let tasks = show.closures(&engine)?;
        show.memory()?;
        show.pools(&engine, &tasks)?;
        show.say(format_args!("\nDone in {:.1} s. Next: millpond --help", began.elapsed().as_secs_f64()))?;
        show.output.flush()
    }
}

/// The demo under way.
struct Show {
    output: Output,
    folder: ModelFolder,
}

impl Show {
    fn say(&mut self, line: impl fmt::Display) -> Result<(), Failure> {
        self.output.line(wrapped(&line.to_string()))?;
        self.output.flush()
    }

    fn similarity(&mut self, engine: &Engine) -> Result<(), Failure> {
        let events = engine.text_embedding().events(64);
        engine.add_folder(MODEL, self.folder.clone(), engine.key_config(Capabilities::TextEmbedding))?;
        self.say(format_args!("\n1. Text embedding: {MODEL}, a BERT that knows coloured shapes"))?;
        let mut vectors = Vec::new();
        for (name, text) in TEXTS {
            let embedding = engine.embed(MODEL, text)?;
            self.say(format_args!("   {name}  {text}  ({} tokens)", embedding.tokens))?;
            vectors.push(embedding.values);
        }
        self.say("   How alike they are, from -1 to 1:")?;
        let names = TEXTS.map(|(name, _)| format!("{name:>7}")).concat();
        self.say(format_args!("      {names}"))?;
        for ((name, _), row) in TEXTS.iter().zip(&vectors) {
            let cells = vectors.iter().map(|column| format!("{:7.2}", dot(row, column)));
            self.say(format_args!("     {name}{}", cells.collect::<String>()))?;
        }
        self.say("   A and B say the same in other words, and so do C and D.")?;
        self.happened(&events)
    }

    fn load(&mut self, engine: &Engine) -> Result<(), Failure> {
        let pool = engine.text_embedding();
        self.say(format_args!("\n2. One pool, {CALLERS} threads, {} requests", CALLERS * REQUESTS))?;
        let events = pool.events(64);
        let began = Instant::now();
        let ask = |caller: usize| {
            let ask_once = |request: usize| {
                let asked = Instant::now();
                engine.embed(MODEL, TEXTS[(caller + request) % TEXTS.len()].1).map(|_| asked.elapsed())
            };
            (0..REQUESTS).map(ask_once).collect::<Result<Vec<Duration>, _>>()
        };
        let answers = std::thread::scope(|scope| {
            let callers: Vec<_> = (0..CALLERS).map(|caller| scope.spawn(move || ask(caller))).collect();
            let joined = callers.into_iter().map(|caller| caller.join().expect("asking does not panic"));
            joined.collect::<Result<Vec<_>, _>>()
        });
        let mut waited = answers?.concat();
        let took = began.elapsed().as_secs_f64();
        waited.sort_unstable();
        let [p50, p99] = [0.5, 0.99].map(|q| milliseconds(quantile(&waited, q)));
        let (workers, each) = (
            pool.status().workers,
            engine.threads_per_worker(&engine.key_config(Capabilities::TextEmbedding)).get(),
        );
        let rate = waited.len() as f64 / took;
        self.say(format_args!("   answered   {} in {took:.2} s: {rate:.0} each second", waited.len()))?;
        self.say(format_args!(
            "   waited     {p50:.1} ms in the middle (p50), {p99:.1} ms at the 99th percentile"
        ))?;
        let (workers, each) = (counted(workers, "worker"), counted(each, "thread"));
        self.say(format_args!("   served by  {workers} of {each}, on weights that are in memory once"))?;
        self.happened(&events)
    }

    fn closures(&mut self, engine: &Engine) -> Result<Pool<Tasks>, Failure> {
        self.say("\n3. Any closure, on workers of the same kind: Tasks")?;
        let config = PoolConfig::background().workers(2);
        let pool = Pool::<Tasks>::builder().config(config).budget(engine.budget().clone()).build();
        let pool = pool.map_err(crate::Error::from)?;
        pool.register_tasks("jobs").map_err(crate::Error::from)?;
        let sums =
            (1..=4u64).map(|n| Task::new(move |_| Ok::<_, std::io::Error>((1..=n * 1_000_000).sum::<u64>())));
        let mut sum = 0;
        for answer in pool.submit_all("jobs", sums).map_err(crate::Error::from)? {
            sum += answer.downcast_ref::<u64>().copied().unwrap_or_default();
        }
        self.say(format_args!("   4 sums on 2 workers make {sum}"))?;
        let run = |task: Task, options: SubmitOptions<Tasks>| {
            pool.submit_with("jobs", task, options).map_err(PoolError::from).and_then(Ticket::wait)
        };
        let flaky = Task::new(|context| match context.attempt {
            attempt @ 1..=2 => Err(format!("attempt {attempt} fails")),
            attempt => Ok(attempt),
        });
        let retried = SubmitOptions::new().retry(Retry::new(5, Duration::from_millis(1)));
        let attempt = run(flaky, retried).map_err(crate::Error::from)?;
        let attempt = attempt.downcast_ref::<u32>().copied().unwrap_or_default();
        self.say(format_args!("   a task that fails twice succeeds at attempt {attempt}"))?;
        let failing = Task::new(|_| Err::<(), _>("no such file"));
        if let Err(error) = run(failing, SubmitOptions::new().id("backup")) {
            self.say(format_args!("   one that always fails says so: {error}"))?;
        }
        let idle = Task::new(|_| Ok::<_, std::io::Error>(()));
        if let Err(error) = run(idle, SubmitOptions::new().timeout(Duration::ZERO)) {
            self.say(format_args!("   one that comes too late is not run: {}", error.code()))?;
        }
        Ok(pool)
    }

    fn memory(&mut self) -> Result<(), Failure> {
        const THREADS: NonZeroUsize = NonZeroUsize::MIN;
        let need = footprint(&self.folder, Dtype::Auto, THREADS).map_err(crate::Error::from)?.with_workers(1);
        let room = need.saturating_add(need.fraction(0.5));
        self.say(format_args!("\n4. One budget for all: {room}, and each model needs {need}"))?;
        let mut config = PoolConfig::default().workers(1);
        (config.min_workers, config.min_residence) = (0, Duration::ZERO);
        let small = |limit| {
            let builder = Engine::builder().config(config.clone()).budget(MemoryBudget::fixed(limit));
            builder.threads_per_worker(THREADS).build()
        };
        let engine = small(room)?;
        let events = engine.text_embedding().events(64);
        for key in ["first", "second"] {
            engine.add_folder(key, self.folder.clone(), KeyConfig::of(&config))?;
            engine.embed(key, TEXTS[0].1)?;
        }
        self.happened(&events)?;
        let engine = small(need.fraction(0.5))?;
        engine.add_folder("third", self.folder.clone(), KeyConfig::of(&config))?;
        match engine.embed("third", TEXTS[0].1) {
            Ok(_) => Ok(()),
            Err(error) => self.say(format_args!("   With half of that: {error}")),
        }
    }

    /// A table of all pools; those without models say so.
    fn pools(&mut self, engine: &Engine, tasks: &Pool<Tasks>) -> Result<(), Failure> {
        self.say("\n5. What the pools did")?;
        self.say("   pool              workers  requests  answered  failed      memory")?;
        let mut pools = engine.status().pools;
        pools.push(tasks.status());
        for PoolStatus { name, workers, memory, totals, keys, .. } in &pools {
            if keys.is_empty() {
                let models = match name.as_str() {
                    TextToText::NAME => "not shown here: see `millpond generate --help`",
                    ImageEmbedding::NAME => "not shown here: see `millpond embed-image --help`",
                    _ => "no built-in models yet; takes loaders of your own",
                };
                self.say(format_args!("   {name:<16} {models}"))?;
                continue;
            }
            let PoolMetrics { total_requests, total_completed, .. } = totals;
            let failed = totals.total_errors + totals.total_timeouts;
            let memory = memory.to_string();
            self.say(format_args!(
                "   {name:<16} {workers:>8}  {total_requests:>8}  {total_completed:>8}  {failed:>6}  {memory:>10}"
            ))?;
        }
        let memory = engine.budget().status();
        self.say(format_args!("   Memory: {} reserved of a budget of {}.", memory.reserved, memory.limit))
    }

    /// What the pool says it did.
    fn happened(&mut self, events: &Receiver<PoolEvent>) -> Result<(), Failure> {
        let mut first = None;
        for PoolEvent { at, key, what } in events.try_iter() {
            let after = at.since(*first.get_or_insert(at)).as_secs_f64() * 1e3;
            let what = in_words(&what);
            self.say(format_args!("   +{after:3.0} ms  {key}: {what}"))?;
        }
        Ok(())
    }
}

/// The line, broken between words where it is wider than a terminal.
fn wrapped(line: &str) -> String {
    let indent = line.len() - line.trim_start_matches([' ', '\n']).len() + 2;
    let mut text = String::new();
    let mut width = 0;
    for word in line.split_inclusive(' ') {
        if width + word.trim_end().chars().count() > WIDTH {
            text.truncate(text.trim_end().len());
            text.push('\n');
            text.push_str(&" ".repeat(indent));
            width = indent;
        }
        text.push_str(word);
        width += word.chars().count();
    }
    text
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_broken_between_words() {
        let text = wrapped(&format!("   {}", "word ".repeat(40).trim_end()));
        assert!(text.lines().all(|line| line.len() <= WIDTH), "{text}");
        assert!(text.lines().skip(1).all(|line| line.starts_with("     word")), "{text}");
        assert_eq!(text.split_whitespace().count(), 40);
        assert_eq!(wrapped("\n1. Short"), "\n1. Short");
    }
}
