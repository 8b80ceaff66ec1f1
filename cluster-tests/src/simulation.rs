//! Simulations of seeds: the one of `SOCKETMESH_TEST_SEED`, or as many as `SOCKETMESH_TEST_SIMULATIONS` says, which are fresh ones or those
//! from `SOCKETMESH_TEST_FIRST_SEED` on.

use std::ops::AddAssign;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::dice::Dice;

/// Plays each seed, on all cores, and fails with those that panicked. Returns what happened, if that were so many that everything
/// has to have happened.
///
/// # Panics
/// One of them panicked.
pub fn play<E: Default + AddAssign + Send>(simulation: impl Fn(u64) -> E + Sync) -> Option<E> {
    let (seeds, effects, failed) = (seeds(), Mutex::new(E::default()), Mutex::new(Vec::new()));
    let next = AtomicUsize::new(0);
    let play = || {
        while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
            match catch_unwind(AssertUnwindSafe(|| simulation(*seed))) {
                Ok(seen) => *effects.lock().expect("nothing panics with it") += seen,
                Err(_) => failed.lock().expect("nothing panics with it").push(*seed),
            }
        }
    };
    thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        (0..threads).for_each(|_| drop(scope.spawn(play)));
    });
    let failed = failed.into_inner().expect("nothing panicked with it");
    assert!(failed.is_empty(), "replay with SOCKETMESH_TEST_SEED: {failed:?}");
    (seeds.len() >= ENOUGH).then(|| effects.into_inner().expect("nothing panicked with it"))
}

fn seeds() -> Vec<u64> {
    let number = |name| std::env::var(name).ok().map(|text: String| text.parse().expect("a number"));
    let count = number("SOCKETMESH_TEST_SIMULATIONS").unwrap_or(FEW);
    match (number("SOCKETMESH_TEST_SEED"), number("SOCKETMESH_TEST_FIRST_SEED")) {
        (Some(seed), _) => vec![seed],
        (None, Some(first)) => (first..first.saturating_add(count)).collect(),
        (None, None) => (0..count).map(|_| Dice::fresh_seed()).collect(),
    }
}

/// How many seeds are played without being asked for more.
const FEW: u64 = 8;
/// How many seeds make sure that everything has happened at least once.
const ENOUGH: usize = 100;
