//! The threads that compute: one rayon pool a node, so that curve arithmetic never runs inside an async worker.

use std::{future::Future, num::NonZero, sync::Arc, thread};

use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::sync::oneshot;

use crate::fault::{Code, Fault};

/// The computing threads of a node; clones share them.
#[derive(Clone)]
pub struct Pool(Arc<ThreadPool>);

impl Pool {
    /// A pool of so many threads, or of one for each processor.
    ///
    /// # Errors
    /// [`Code::Unexpected`] if the threads can't be started.
    pub fn new(threads: Option<usize>) -> Result<Self, Fault> {
        let threads = threads.unwrap_or_else(|| thread::available_parallelism().map_or(1, NonZero::get));
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads.max(1))
            .thread_name(|index| format!("psi-compute-{index}"))
            // The waiting side sees its result missing and names the failure; the process goes on.
            .panic_handler(|_| tracing::error!("a computation panicked"))
            .build();
        pool.map(|pool| Self(Arc::new(pool))).map_err(|error| Fault::new(Code::Unexpected, error.to_string()))
    }

    /// How many threads it has.
    pub fn threads(&self) -> usize {
        self.0.current_num_threads()
    }

    /// Starts `work` now; the future is its result. Dropping the future doesn't stop it.
    pub fn run<T, W>(&self, work: W) -> impl Future<Output = Result<T, Fault>> + Send + 'static + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce() -> T + Send + 'static,
    {
        let (done, result) = oneshot::channel();
        let span = tracing::Span::current();
        self.0.spawn(move || {
            let _of_run = span.enter();
            // Nobody waits any more when a session has ended meanwhile.
            let _ = done.send(work());
        });
        async { result.await.map_err(|_| Fault::new(Code::Unexpected, "a computation failed; see the log")) }
    }
}
