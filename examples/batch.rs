//! A batch: a callback for every task as it ends, retries for those that fail, and then the same with
//! answers in order.
//!
//! ```text
//! cargo run --no-default-features --example batch
//! ```

use std::error::Error;
use std::time::Duration;

use crossbeam_channel::unbounded;
use millpond::capability::{Task, Tasks};
use millpond::pool::{Completion, Pool, PoolConfig, Retry, SubmitOptions};

/// Counts words. Empty pages never work; long ones only at the second attempt.
fn count_words(page: &'static str) -> Task {
    Task::new(move |task| match page.split_whitespace().count() {
        0 => Err(format!("{} is empty", task.id)),
        words if words > 4 && task.attempt == 1 => Err("too much at once".to_owned()),
        words => Ok(words),
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let retry = Retry::new(3, Duration::from_millis(20));
    let pool = Pool::background(PoolConfig::background().workers(3).retry(retry))?;
    let pages = ["a pond", "", "water turns the wheel that turns the stone", "flour"];

    // Each task calls back once, however it ends. The channel is how the callbacks reach this thread.
    let (report, reports) = unbounded();
    let accepted = pool.submit_batch_with("tasks", pages.map(count_words), |index| {
        let report = report.clone();
        let options = SubmitOptions::new().id(format!("page {index}"));
        options.on_complete(move |done: &Completion<'_, Tasks>| {
            let words = done.result.map(|words| words.downcast_ref::<usize>().copied());
            let _ = report.send((done.id.to_string(), words.map_err(ToString::to_string)));
        })
    });
    for ticket in accepted {
        ticket?.detach();
    }
    for (page, words) in reports.iter().take(pages.len()) {
        match words {
            Ok(words) => println!("{page}: {} words", words.unwrap_or(0)),
            Err(error) => println!("{page} failed: {error}"),
        }
    }
    println!("{} further attempts were made", pool.metrics().total_retries);

    // Or block for all answers, in the order of the requests; the first error would end it.
    let answers = pool.submit_all("tasks", [pages[0], pages[2], pages[3]].map(count_words))?;
    let total: usize = answers.iter().filter_map(|words| words.downcast_ref::<usize>()).sum();
    println!("{total} words in all pages that have any");
    Ok(())
}
