//! Priorities: while tasks wait, the urgent go first, and among equals the older.
//!
//! ```text
//! cargo run --no-default-features --example priority
//! ```

use std::error::Error;

use crossbeam_channel::{bounded, unbounded};
use millpond::capability::Task;
use millpond::pool::{Pool, PoolConfig, SubmitOptions};

fn main() -> Result<(), Box<dyn Error>> {
    // One worker, so that there is an order to see. `background` is first in, first out unless told so.
    let pool = Pool::background(PoolConfig::background().workers(1).priority())?;

    // Keeps the worker busy until everything else waits.
    let (open, opened) = bounded::<()>(1);
    let first = pool.spawn(move |_| opened.recv())?;

    let (done, order) = unbounded();
    let submitted =
        [("nightly report", 1), ("page view", 5), ("payment", 10), ("thumbnail", 1), ("login", 10)];
    for (name, priority) in submitted {
        let done = done.clone();
        let task = Task::new(move |task| done.send(format!("{} ({priority})", task.id)));
        pool.spawn_with(task, SubmitOptions::new().id(name).priority(priority))?.detach();
    }
    println!("{} tasks wait in the queue", pool.key_status("tasks")?.queue_used);
    open.send(())?;
    first.wait()?;

    for (place, name) in order.iter().take(submitted.len()).enumerate() {
        println!("{}. {name}", place + 1);
    }
    Ok(())
}
