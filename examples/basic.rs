//! Closures on a pool of workers: submit many, keep an answer, wait until all are done.
//!
//! ```text
//! cargo run --no-default-features --example basic
//! ```

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millpond::pool::{Pool, PoolConfig};

/// Takes a while: how many steps until 1 by halving, or tripling and adding one.
fn steps_to_one(mut n: u64) -> u64 {
    let mut steps = 0;
    while n != 1 {
        n = if n.is_multiple_of(2) { n / 2 } else { 3 * n + 1 };
        steps += 1;
    }
    steps
}

fn main() -> Result<(), Box<dyn Error>> {
    // Five workers that stay, and room for a hundred tasks that wait.
    let pool = Pool::background(PoolConfig::background().workers(5).queue_capacity(100))?;

    // A ticket is the right to an answer.
    let ticket = pool.spawn(|task| {
        println!("{} runs on {}", task.id, std::thread::current().name().unwrap_or("?"));
        Ok::<_, std::io::Error>(steps_to_one(97))
    })?;
    let answer = ticket.wait()?;
    println!("97 reaches 1 after {} steps", answer.downcast_ref::<u64>().ok_or("not a number")?);

    // Without one the task runs all the same.
    let longest = Arc::new(AtomicU64::new(0));
    for n in 1..=100 {
        let longest = longest.clone();
        let run = pool.spawn(move |_| {
            longest.fetch_max(steps_to_one(n), Ordering::Relaxed);
            Ok::<_, std::io::Error>(())
        })?;
        run.detach();
    }
    if !pool.wait_idle(Duration::from_secs(10)) {
        return Err("not done within ten seconds".into());
    }
    println!("no number up to 100 needs more than {} steps", longest.load(Ordering::Relaxed));

    let metrics = pool.metrics();
    println!("{} tasks submitted, {} completed", metrics.total_requests, metrics.total_completed);
    pool.shutdown(Duration::from_secs(5))?;
    Ok(())
}
