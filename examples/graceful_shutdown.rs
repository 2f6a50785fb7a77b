//! Stopping: intake ends, what was accepted is finished, and what does not finish in time is told so.
//!
//! ```text
//! cargo run --no-default-features --example graceful_shutdown
//! ```
//!
//! A server calls the same two lines when it is told to end, say by `ctrlc`, and stops listening after them.

use std::error::Error;
use std::thread;
use std::time::Duration;

use crossbeam_channel::bounded;
use millpond::pool::{Pool, PoolConfig};

fn main() -> Result<(), Box<dyn Error>> {
    let pool = Pool::background(PoolConfig::background().workers(4))?;
    let tickets: Vec<_> = (0..40)
        .map(|n| {
            pool.spawn(move |_| {
                thread::sleep(Duration::from_millis(10));
                Ok::<_, std::io::Error>(n)
            })
        })
        .collect::<Result<_, _>>()?;

    // The signal to stop comes from somewhere else.
    let (signal, signaled) = bounded(1);
    let operator = thread::spawn(move || signal.send("time to go"));
    println!("{}: {} tasks are under way", signaled.recv()?, pool.metrics().total_requests);
    pool.shutdown(Duration::from_secs(30))?;
    operator.join().map_err(|_| "the operator is gone")??;

    let refused = pool.spawn(|_| Ok::<_, std::io::Error>(())).map(drop);
    println!("a task that comes now: {}", refused.expect_err("the pool takes nothing any more"));
    let done = tickets.into_iter().filter(millpond::pool::Ticket::is_ready).count();
    println!("all {done} that were accepted before are done");

    // A task that would run for ever asks now and then whether it is still wanted.
    let pool = Pool::background(PoolConfig::background().workers(1))?;
    let (begin, started) = bounded(1);
    let endless = pool.spawn(move |task| {
        begin.send(())?;
        while !task.cancel.is_canceled() {
            thread::sleep(Duration::from_millis(1));
        }
        Ok::<_, crossbeam_channel::SendError<()>>(())
    })?;
    started.recv()?;
    if let Err(error) = pool.shutdown(Duration::from_millis(50)) {
        println!("shutting down: {error}");
    }
    println!("the endless task: {}", endless.wait().map(drop).expect_err("it had no time to end"));
    Ok(())
}
