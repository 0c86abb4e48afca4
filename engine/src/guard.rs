//! Runs closures that users have written, so that a panic in one is an outcome like another.
//!
//! What is caught here stays off standard error: a run puts a panic hook before the process's own,
//! which it leaves in charge of every other panic.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
    /// What the thread's last panic said, and where.
    static LAST: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs `closure` and says in words what it panicked with, and where, if it did.
///
/// What the closure was about to change may be half changed then, so it should be given nothing
/// that matters afterwards. The cost of a call that does not panic is that of a function call.
///
/// ```
/// use thalweg_engine::guard::guard;
///
/// let half = |n: i32| if n % 2 == 0 { n / 2 } else { panic!("{n} is odd") };
/// assert_eq!(guard(|| half(4)), Ok(2));
/// assert!(guard(|| half(3)).unwrap_err().starts_with("closure panicked: 3 is odd"));
/// ```
///
/// # Errors
/// The panic in words.
pub fn guard<R>(closure: impl FnOnce() -> R) -> Result<R, String> {
    let outer = IS_GUARDED.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(closure));
    IS_GUARDED.set(outer);
    outcome.map_err(|payload| {
        let told = LAST.take();
        let told = if told.is_empty() {
            text(&*payload)
        } else {
            told
        };
        format!("closure panicked: {told}")
    })
}

/// Puts the hook in place, once in a process.
pub(crate) fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let others = take_hook();
        set_hook(Box::new(move |info| {
            LAST.set(describe(info));
            if !IS_GUARDED.get() {
                others(info);
            }
        }));
    });
}

/// What this thread has panicked with, and where, if that is known.
pub(crate) fn last_panic() -> String {
    LAST.take()
}

fn describe(info: &PanicHookInfo<'_>) -> String {
    let text = text(info.payload());
    match info.location() {
        Some(place) => format!("{text} (at {}:{})", place.file(), place.line()),
        None => text,
    }
}

fn text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("it does not say why").to_owned()
}

#[cfg(test)]
mod tests {
    use std::panic::panic_any;

    use super::*;

    #[test]
    fn a_panic_is_told_with_its_text_and_place_wherever_it_happens() {
        install();
        install();
        let check = |panicking: fn(), start: &str| {
            let told = guard(panicking).unwrap_err();
            assert!(told.starts_with(start), "{told}");
            assert!(told.contains("engine/src/guard.rs:"), "{told}");
        };
        check(|| panic!("plain"), "closure panicked: plain (at ");
        check(|| panic!("of {}", 2), "closure panicked: of 2 (at ");
        check(
            || panic_any(7),
            "closure panicked: it does not say why (at ",
        );
        // Not the inner one's text.
        let nested = || {
            assert!(guard(|| panic!("inner")).is_err());
            panic!("outer");
        };
        check(nested, "closure panicked: outer (at ");
        assert_eq!(guard(|| 1), Ok(1));
        assert!(!IS_GUARDED.get());
    }
}
