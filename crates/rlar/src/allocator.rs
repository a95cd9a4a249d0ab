//! The memory allocator of the binary.

use libmimalloc_sys::{_mi_option_last, mi_option_set_default, mi_option_t};

// A training step allocates and frees thousands of tensors on all threads, many of them megabytes large. The system's
// allocator returns large blocks to the kernel when they are freed and maps them anew for the next tensor; mimalloc
// reuses them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Number of the option `mi_option_purge_delay` in `mimalloc.h`, which the bindings do not name.
const PURGE_DELAY: mi_option_t = 15;
const _: () = assert!(_mi_option_last == 47, "mimalloc has other options: look up the number of mi_option_purge_delay");

/// Makes mimalloc keep freed pages instead of returning them to the kernel, unless `MIMALLOC_PURGE_DELAY` is set.
///
/// By default mimalloc returns pages that were free for a second, and the kernel clears each page before the process
/// gets it back, though a training step soon needs them again. At the shape of SmolLM2-135M on two cores a GRPO step
/// took 14.0 s and 13.0 s in two measurements with this setting, and 15.1 s with mimalloc's default in a measurement
/// between them (`scripts/bench-train.py --alone --shape smollm2 --rounds 1 --steps 3`, without and with
/// `MIMALLOC_PURGE_DELAY=1000`).
#[allow(unsafe_code)]
pub fn keep_freed_pages() {
    // SAFETY: the function takes two integers and writes one static variable, which no other thread accesses because
    // `main` calls this first.
    unsafe { mi_option_set_default(PURGE_DELAY, -1) };
}
