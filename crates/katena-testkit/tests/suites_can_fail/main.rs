//! The suites can fail: right components pass every law, and each broken one is caught by the law that it breaks.

#![expect(clippy::unwrap_used, reason = "a poisoned lock fails the test")]

mod checkpoints;
mod models;
mod stores;
mod texts;

/// Runs one law on a broken component and wants it to fail in that law's name.
macro_rules! caught {
    ($($test:ident: $suite:ident::$law:ident($component:expr $(, $extra:expr)*);)*) => {$(
        #[test]
        fn $test() {
            let failed = std::panic::catch_unwind(|| {
                katena_testkit::__private::run(stringify!($test), || async {
                    katena_testkit::$suite::$law(&$component $(, &$extra)*).await;
                });
            });
            let panic = failed.expect_err("the law did not see what is broken");
            let message = panic.downcast_ref::<String>().expect("a message");
            let law = format!(": {}` is broken", stringify!($law));
            assert!(message.contains(&law), "the message names no law: {message}");
        }
    )*};
}
use caught;
