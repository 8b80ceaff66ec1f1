//! Random numbers of Linux that a seed repeats. Ids, the order of hash maps and which branch of a `select!` comes first are all
//! drawn from there, so a simulation with the same seed does the same.
//!
//! Whoever links this package has its `getrandom` instead of the C library's.

use std::cell::Cell;

thread_local! {
    static STATE: Cell<Option<u64>> = const { Cell::new(None) };
}

/// From now on this thread draws the numbers of this seed. Its hash maps are in the same order if it had none before.
pub fn seed(seed: u64) {
    STATE.set(Some(seed));
}

/// SplitMix64.
fn next(state: &Cell<Option<u64>>) -> Option<u64> {
    let number = state.get()?.wrapping_add(0x9e37_79b9_7f4a_7c15);
    state.set(Some(number));
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    Some(mixed ^ (mixed >> 31))
}

/// As getrandom(2), but from the seed of the thread if it has one.
///
/// # Safety
/// `buffer` has room for `length` bytes.
#[cfg(target_os = "linux")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(
    buffer: *mut libc::c_void,
    length: libc::size_t,
    flags: libc::c_uint,
) -> libc::ssize_t {
    let seeded = STATE.try_with(|state| {
        for at in 0..length {
            // SAFETY: the caller gave room for that many bytes.
            unsafe { buffer.cast::<u8>().add(at).write(next(state)?.to_be_bytes()[0]) };
        }
        state.get().map(|_| length.cast_signed())
    });
    match seeded {
        Ok(Some(written)) => written,
        // SAFETY: the arguments are those of the system call.
        _ => unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) as libc::ssize_t },
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::hash::{BuildHasher as _, RandomState};

    fn drawn(seed: u64) -> u64 {
        let hash = move || {
            super::seed(seed);
            RandomState::new().hash_one(0)
        };
        std::thread::spawn(hash).join().expect("it does not panic")
    }

    #[test]
    fn a_seed_repeats_what_the_standard_library_draws() {
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
    }
}
