//! Handing jobs over, queueing them, and taking them back.

use loom::thread::spawn;

use super::Scene;
use crate::pool::PoolConfig;
use crate::pool::WorkerState;
use crate::pool::handle::Message;
use crate::pool::lane::Route;
use crate::pool::supervisor::Command;
use crate::sync::in_every_order;

/// One worker, and no more may come: what it does not take is lost.
fn scene() -> Scene {
    Scene::new(PoolConfig::default().workers(1))
}

/// A scene whose worker has its one job already; the caller holds it for the worker.
fn busy_scene() -> (Scene, crate::pool::job::Job<super::Echo>) {
    let scene = scene();
    assert!(scene.submit(0, Route::Anywhere));
    let Ok(Message::Job(job)) = scene.seat.backlog.try_recv() else { panic!("an idle worker gets the job") };
    (scene, job)
}

#[test]
fn a_job_that_finds_no_room_is_seen_by_the_worker_that_makes_some() {
    in_every_order(|| {
        let (scene, running) = busy_scene();
        let works = spawn({
            let scene = scene.clone();
            move || {
                scene.finish(running);
                scene.work();
            }
        });
        assert!(scene.submit(1, Route::Anywhere));
        works.join().expect("no panic");
        // A message in its channel wakes it; nothing else does.
        if !scene.seat.backlog.is_empty() {
            scene.work();
        }
        assert_eq!(scene.ended(), 2, "a job waits for a worker that sleeps");
    });
}

#[test]
fn of_several_jobs_for_one_worker_none_is_left_behind() {
    in_every_order(|| {
        let scene = scene();
        let submits = spawn({
            let scene = scene.clone();
            move || assert!(scene.submit(1, Route::Anywhere))
        });
        let works = spawn({
            let scene = scene.clone();
            move || scene.work()
        });
        assert!(scene.submit(2, Route::Anywhere));
        submits.join().expect("no panic");
        works.join().expect("no panic");
        if !scene.seat.backlog.is_empty() {
            scene.work();
        }
        assert_eq!(scene.ended(), 2, "a job waits for a worker that sleeps");
    });
}

#[test]
fn a_job_sent_to_a_worker_that_fails_meanwhile_is_rescued() {
    in_every_order(|| {
        let scene = scene();
        let fails = spawn({
            let Scene { lane, seat, .. } = scene.clone();
            move || {
                seat.handle.cell().fail();
                lane.rescue(&seat);
            }
        });
        assert!(scene.submit(1, Route::Anywhere));
        fails.join().expect("no panic");
        assert!(scene.seat.backlog.is_empty(), "it lies where nobody looks");
        assert_eq!(scene.lane.queued(), 1);
        scene.close();
    });
}

#[test]
fn nothing_is_left_with_a_worker_that_is_gone() {
    in_every_order(|| {
        let scene = scene();
        let leaves = spawn({
            let Scene { lane, seat, .. } = scene.clone();
            move || {
                // The worker's own leave, then what the supervisor does about it.
                seat.handle.cell().fail();
                lane.rescue(&seat);
                seat.handle.cell().stop();
                lane.dismiss(seat.handle.worker_id());
                lane.rescue(&seat);
            }
        });
        assert!(scene.submit(1, Route::Anywhere));
        leaves.join().expect("no panic");
        assert!(scene.seat.backlog.is_empty(), "it lies where nobody looks");
        assert_eq!(scene.lane.queued(), 1);
        scene.close();
    });
}

#[test]
fn a_worker_is_evicted_or_gets_the_job_and_never_both() {
    in_every_order(|| {
        let scene = scene();
        let evicts = spawn({
            let seat = scene.seat.clone();
            move || seat.try_evict()
        });
        assert!(scene.submit(1, Route::Anywhere));
        let evicted = evicts.join().expect("no panic");
        if evicted {
            assert_eq!(scene.seat.handle.state(), WorkerState::Draining);
            assert!(matches!(scene.seat.backlog.try_recv(), Ok(Message::Wake)));
            assert_eq!(scene.lane.queued(), 1, "it waits for the next worker");
        } else {
            assert!(matches!(scene.seat.backlog.try_recv(), Ok(Message::Job(_))));
            assert_eq!(scene.lane.queued(), 0);
        }
        scene.close();
    });
}

#[test]
fn a_job_that_is_canceled_and_served_at_once_ends_once() {
    in_every_order(|| {
        let (scene, running) = busy_scene();
        let (job, ticket) = scene.job(1);
        assert!(scene.lane.accept(job, Route::Anywhere).is_ok());
        let works = spawn({
            let scene = scene.clone();
            move || {
                scene.finish(running);
                scene.work();
            }
        });
        drop(ticket);
        works.join().expect("no panic");
        assert_eq!(scene.ended(), 2);
        assert_eq!(scene.lane.pool.gate.under_way(), 0);
        assert_eq!(scene.seat.handle.pending_requests(), 0, "nobody pays for a job that is gone");
    });
}

#[test]
fn no_demand_for_workers_is_lost() {
    in_every_order(|| {
        let scene = scene();
        scene.lane.dismiss(scene.seat.handle.worker_id());
        let submits = spawn({
            let scene = scene.clone();
            move || assert!(scene.submit(1, Route::Anywhere))
        });
        let hears = spawn({
            let Scene { lane, inbox, .. } = scene.clone();
            move || {
                let mut seen = 0;
                for command in inbox.try_iter() {
                    if matches!(command, Command::Demand(_)) {
                        lane.demand_heard();
                        seen = lane.queued();
                    }
                }
                seen
            }
        });
        assert!(scene.submit(2, Route::Anywhere));
        submits.join().expect("no panic");
        let seen = hears.join().expect("no panic");
        let announced = scene.inbox.try_iter().any(|command| matches!(command, Command::Demand(_)));
        assert!(announced || seen == 2, "two jobs wait, {seen} are known of");
        scene.close();
    });
}
