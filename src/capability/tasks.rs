//! Any closure, on a pool's workers.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex};

use super::{Capability, InvalidRequest, JobContext, Model, ModelError, NoEvent, Outbox, Slot};

/// What a task may return.
pub type TaskValue = Box<dyn Any + Send>;

/// What a running task can ask about itself.
pub type TaskContext = JobContext;

/// Runs closures: background jobs with the pool's queue, priorities, retries, deadlines and statistics.
#[derive(Clone, Copy, Debug)]
pub struct Tasks;

impl Capability for Tasks {
    const NAME: &'static str = "tasks";
    type Request = Task;
    type Event = NoEvent;
    type Output = TaskValue;
}

/// A closure to run on a worker.
#[derive(Clone)]
pub struct Task(Arc<Run>);

type Once = Box<dyn FnOnce(&TaskContext) -> Result<TaskValue, ModelError> + Send>;
type Repeated = Box<dyn Fn(&TaskContext) -> Result<TaskValue, ModelError> + Send + Sync>;

enum Run {
    Once(Mutex<Option<Once>>),
    Repeated(Repeated),
}

impl Task {
    /// A task that can be tried again. Its error may be anything that is or becomes an error.
    pub fn new<T, E>(run: impl Fn(&TaskContext) -> Result<T, E> + Send + Sync + 'static) -> Self
    where
        T: Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        Self(Arc::new(Run::Repeated(Box::new(move |context| {
            run(context).map(|value| Box::new(value) as TaskValue).map_err(ModelError::failed)
        }))))
    }

    /// A task that can run only once; a retry fails with [`InvalidRequest`].
    pub fn once<T, E>(run: impl FnOnce(&TaskContext) -> Result<T, E> + Send + 'static) -> Self
    where
        T: Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        Self(Arc::new(Run::Once(Mutex::new(Some(Box::new(move |context: &TaskContext| {
            run(context).map(|value| Box::new(value) as TaskValue).map_err(ModelError::failed)
        }))))))
    }

    fn run(&self, context: &TaskContext) -> Result<TaskValue, ModelError> {
        match &*self.0 {
            Run::Repeated(run) => run(context),
            Run::Once(run) => {
                let run = run.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
                let spent = || InvalidRequest::new("task", "a task made with Task::once can run only once");
                run.ok_or_else(spent)?(context)
            }
        }
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if matches!(*self.0, Run::Once(_)) { "Task(once)" } else { "Task" })
    }
}

/// The model of [`Tasks`]: it runs the one task it was given, on its worker's thread.
#[derive(Debug, Default)]
pub(crate) struct TaskRunner {
    admitted: Option<(Slot, Task, TaskContext)>,
}

impl Model<Tasks> for TaskRunner {
    fn admit(&mut self, slot: Slot, task: Task, context: &JobContext) -> Result<(), ModelError> {
        self.admitted = Some((slot, task, context.clone()));
        Ok(())
    }

    fn step(&mut self, out: &mut Outbox<Tasks>) -> Result<(), ModelError> {
        if let Some((slot, task, context)) = self.admitted.take() {
            match task.run(&context) {
                Ok(value) => out.finish(slot, value),
                Err(error) => out.fail(slot, error),
            }
        }
        Ok(())
    }

    fn cancel(&mut self, _: Slot) {
        self.admitted = None;
    }
}
