//! Runs what may panic, so that a panic is a result like another.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local!(static PANIC: Cell<Option<String>> = const { Cell::new(None) });
thread_local!(static IS_QUIET: Cell<bool> = const { Cell::new(false) });

/// Runs; the text of a panic, with its place, is the error, and is not printed.
pub fn quietly<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| match IS_QUIET.get() {
            true => PANIC.set(Some(panic.to_string())),
            false => usual(panic),
        }));
    });
    IS_QUIET.set(true);
    let result = catch_unwind(AssertUnwindSafe(run));
    IS_QUIET.set(false);
    result.map_err(|_| PANIC.take().unwrap_or_default())
}
