//! Counts what some threads allocate, in tests: what is said to allocate nothing for a message is held to it.

#![allow(unsafe_code, reason = "an allocator is nothing else; tests alone have it")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

static COUNT: AtomicU64 = AtomicU64::new(0);

thread_local!(static IS_COUNTED: Cell<bool> = const { Cell::new(false) });

struct Counting;

fn count() {
    // A thread that ends has no such word any more.
    if IS_COUNTED.try_with(Cell::get).unwrap_or(false) {
        COUNT.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call goes to the system's allocator as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, octets: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract.
        unsafe { System.realloc(pointer, layout, octets) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// From now on this thread's allocations count.
pub fn count_here() {
    IS_COUNTED.set(true);
}

/// How many there were, on all threads that count.
pub fn counted() -> u64 {
    COUNT.load(Ordering::Relaxed)
}
