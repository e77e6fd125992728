//! The threads that move bytes between nodes.
//!
//! The daemon has no runtime but this one. Whoever waits for an answer is polled elsewhere (`file::task`), and what
//! follows an answer runs on the thread that brought it.
//!
//! Invariant: nothing that runs here blocks; calls on storage have threads of their own.

use std::io;

/// Threads of a node that has its machine to itself: 2. One stream of TLS needs one, and the second answers meanwhile.
const WORKERS: usize = 2;

/// The threads of the wire; they end when it is dropped.
pub struct WireRuntime(Option<tokio::runtime::Runtime>);

impl WireRuntime {
    /// Starts the threads.
    ///
    /// # Errors
    /// What the kernel answers to making a thread.
    pub fn start() -> io::Result<Self> {
        Self::with_threads(WORKERS)
    }

    /// Starts one thread: where nodes share a machine a second one only takes work from the first, which costs a
    /// switch of threads each time.
    ///
    /// # Errors
    /// What the kernel answers to making a thread.
    pub fn start_small() -> io::Result<Self> {
        Self::with_threads(1)
    }

    fn with_threads(threads: usize) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("wire")
            .enable_all()
            .build()?;
        Ok(WireRuntime(Some(runtime)))
    }

    /// What starts tasks on these threads.
    pub fn handle(&self) -> tokio::runtime::Handle {
        self.0.as_ref().expect("there until it is dropped").handle().clone()
    }
}

impl Drop for WireRuntime {
    fn drop(&mut self) {
        // Without waiting: a task of it may be the one that drops it.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
