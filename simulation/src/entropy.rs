//! Randomness and wall clock of this process, from the seed and the simulated time: the symbols of
//! libc that `std`, `rand` and C libraries ask are defined here, in this program only. The only
//! unsafe code of the workspace. Everything else about a run is safe code that takes a seed.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_uint, c_void};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime as real_clock};

/// 2027-01-15, when every simulation begins.
const BEGIN_SECONDS: i64 = 1_800_000_000;
const CLOCK_REALTIME: c_int = 0;
const CLOCK_MONOTONIC: c_int = 1;
const CLOCK_REALTIME_COARSE: c_int = 5;

static RANDOM: AtomicU64 = AtomicU64::new(0);
static NOW_US: AtomicU64 = AtomicU64::new(0);
/// `CLOCK_MONOTONIC` is simulated too: rooms ask `std::time::Instant`.
static MONOTONIC: AtomicBool = AtomicBool::new(false);

/// Everything drawn from now on follows from this.
pub(crate) fn seed(seed: u64) {
    RANDOM.store(seed, Ordering::Relaxed);
}

/// What the wall clock shows from now on.
pub(crate) fn set_now(elapsed: Duration) {
    let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
    NOW_US.store(micros, Ordering::Relaxed);
}

/// From now on instants are of simulated time, too.
pub(crate) fn begin_monotonic() {
    MONOTONIC.store(true, Ordering::Relaxed);
}

fn fill(bytes: &mut [u8]) {
    let mut random = consensus::splitmix::SplitMix(RANDOM.load(Ordering::Relaxed));
    for chunk in bytes.chunks_mut(8) {
        let number = random.next().to_le_bytes();
        chunk.copy_from_slice(&number[..chunk.len()]);
    }
    RANDOM.store(random.0, Ordering::Relaxed);
}

/// SAFETY contract of getrandom(2): `buffer` has `length` writable bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, _flags: c_uint) -> isize {
    if length > 0 {
        // SAFETY: the caller's promise.
        fill(unsafe { std::slice::from_raw_parts_mut(buffer.cast(), length) });
    }
    length.cast_signed()
}

/// SAFETY contract of getentropy(3): as above.
#[unsafe(no_mangle)]
unsafe extern "C" fn getentropy(buffer: *mut c_void, length: usize) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { getrandom(buffer, length, 0) };
    0
}

#[repr(C)]
struct Time {
    seconds: i64,
    nanoseconds: i64,
}

/// The wall clock is simulated, and in the node ring instants are, in steps of the simulation;
/// other clocks are the machine's own (tokio's time is simulated by itself).
///
/// SAFETY contract of clock_gettime(2): `time` may be written.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: c_int, time: *mut Time) -> c_int {
    let monotonic = clock == CLOCK_MONOTONIC && MONOTONIC.load(Ordering::Relaxed);
    let now = if monotonic || clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE {
        let micros = NOW_US.load(Ordering::Relaxed).cast_signed();
        Time {
            seconds: BEGIN_SECONDS + micros / 1_000_000,
            nanoseconds: micros % 1_000_000 * 1_000,
        }
    } else {
        // Not through libc: that would come back here.
        let real = real_clock(ClockId::Monotonic);
        Time {
            seconds: real.tv_sec,
            nanoseconds: real.tv_nsec,
        }
    };
    // SAFETY: the caller's promise.
    unsafe { time.write(now) };
    0
}
