//! Runs a target on many inputs, and says which one surprised it.

use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Once, mpsc};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use super::target::Target;

/// How long a target is run.
#[derive(Debug, Clone, Copy)]
pub enum Limit {
    /// For so many cases.
    Executions(u64),
    /// For that long.
    Time(Duration),
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// How many inputs the target had.
    pub executions: u64,
    /// How many of them were taken, or got far.
    pub reached: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// What surprised it first.
    pub failure: Option<Failure>,
}

/// An input with which a property did not hold.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Its number.
    pub case: u64,
    /// The input.
    pub input: Vec<u8>,
    /// What the panic said.
    pub reason: String,
}

/// Runs a target, on so many threads, until the limit or the first failure.
pub fn run(target: Target, seed: u64, limit: Limit, threads: u64) -> Outcome {
    listen();
    let began = Instant::now();
    let (tell, told) = mpsc::channel();
    let stop = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..threads.max(1))
        .map(|first| {
            let worker = Worker { target, seed, limit, began, stop: Arc::clone(&stop), at: Arc::default() };
            let (at, tell) = (Arc::clone(&worker.at), tell.clone());
            // Not scoped: one that hangs must not keep the others from telling.
            thread::spawn(move || tell.send(worker.work(first, threads.max(1))));
            at
        })
        .collect();
    drop(tell);
    let mut outcome = Outcome { executions: 0, reached: 0, elapsed: Duration::ZERO, failure: None };
    let mut before = vec![u64::MAX; workers.len()];
    let mut ended = 0;
    while ended < workers.len() {
        match told.recv_timeout(HANG) {
            Ok((executions, reached, failure)) => {
                ended += 1;
                outcome.executions += executions;
                outcome.reached += reached;
                outcome.failure = outcome.failure.or(failure);
            }
            Err(_) => {
                let now: Vec<_> = workers.iter().map(|at| at.load(Ordering::Relaxed)).collect();
                if let Some(case) =
                    now.iter().zip(&before).find_map(|(now, before)| (now == before).then_some(*now))
                {
                    let mut input = Vec::new();
                    target.input(seed, case, &mut input);
                    let reason = format!("it does not end within {HANG:?}");
                    outcome.failure = Some(Failure { case, input, reason });
                    break;
                }
                before = now;
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    outcome.elapsed = began.elapsed();
    outcome
}

struct Worker {
    target: Target,
    seed: u64,
    limit: Limit,
    began: Instant,
    stop: Arc<AtomicBool>,
    /// The case that runs; the highest number when none does any more.
    at: Arc<AtomicU64>,
}

impl Worker {
    fn work(&self, first: u64, step: u64) -> (u64, u64, Option<Failure>) {
        let (mut input, mut executions, mut reached) = (Vec::new(), 0, 0);
        let mut failure = None;
        for case in (first..).step_by(usize::try_from(step).unwrap_or(1)) {
            let is_over = match self.limit {
                Limit::Executions(most) => case >= most,
                Limit::Time(most) => executions % 16 == 0 && self.began.elapsed() >= most,
            };
            if is_over || self.stop.load(Ordering::Relaxed) {
                break;
            }
            self.at.store(case, Ordering::Relaxed);
            self.target.input(self.seed, case, &mut input);
            executions += 1;
            match again(self.target, &input) {
                Ok(far) => reached += u64::from(far),
                Err(reason) => {
                    failure = Some(Failure { case, input, reason });
                    self.stop.store(true, Ordering::Relaxed);
                    break;
                }
            }
        }
        self.at.store(u64::MAX - first, Ordering::Relaxed);
        (executions, reached, failure)
    }
}

/// Runs a target on one input.
///
/// # Errors
/// What a panic said, even one that somebody caught on its way, as the runtime does.
pub fn again(target: Target, input: &[u8]) -> Result<bool, String> {
    listen();
    RUNS.set(true);
    let reached = panic::catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    RUNS.set(false);
    match (PANIC.take(), reached) {
        (Some(panic), _) => Err(panic),
        (None, Ok(reached)) => Ok(reached),
        (None, Err(_)) => Err("a panic that says nothing".to_owned()),
    }
}

/// An input with which a target still fails, as short as leaving out and zeroing bytes makes it.
pub fn short(target: Target, mut input: Vec<u8>) -> Vec<u8> {
    let fails = |input: &[u8]| again(target, input).is_err();
    let mut size = input.len();
    while size > 0 {
        let mut at = 0;
        while at < input.len() {
            let end = (at + size).min(input.len());
            let without = [&input[..at], &input[end..]].concat();
            if fails(&without) {
                input = without;
            } else {
                at = end;
            }
        }
        size /= 2;
    }
    for at in 0..input.len() {
        let before = std::mem::take(&mut input[at]);
        if before != 0 && !fails(&input) {
            input[at] = before;
        }
    }
    input
}

thread_local! {
    /// Whether this thread runs a target.
    static RUNS: Cell<bool> = const { Cell::new(false) };
    /// The first panic of the run.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From now on panics of targets are remembered instead of printed.
fn listen() {
    static LISTENS: Once = Once::new();
    LISTENS.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !RUNS.get() {
                return others(panic);
            }
            PANIC.with_borrow_mut(|first| {
                first.get_or_insert_with(|| panic.to_string());
            });
        }));
    });
}

/// A case takes microseconds or milliseconds.
const HANG: Duration = Duration::from_secs(20);
