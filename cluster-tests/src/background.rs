//! Servers that all tests of a process share. They run on a thread of their own, because every test has a runtime that
//! ends with it.

use std::sync::mpsc;
use std::{future, thread};

use tokio::runtime;

/// Starts something on a runtime that lasts until the process ends, and returns it.
///
/// # Panics
/// `start` panics.
pub fn run<T, F>(name: &str, start: impl FnOnce() -> F + Send + 'static) -> T
where
    T: Send + 'static,
    F: Future<Output = T>,
{
    let (started, running) = mpsc::channel();
    let run = move || {
        let runtime = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("threads for the servers").block_on(async {
            started.send(start().await).expect("the test waits for its servers");
            future::pending::<()>().await;
        });
    };
    thread::Builder::new().name(name.to_owned()).spawn(run).expect("a thread for the servers");
    running.recv().unwrap_or_else(|_| panic!("{name} did not start"))
}
