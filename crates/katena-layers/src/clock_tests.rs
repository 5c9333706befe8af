use katena_core::ManualClock;

use super::*;

fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    future.now_or_never()
}

#[test]
fn without_a_runtime_a_wait_is_a_config_error() {
    let time = Time::default();
    let error = now(time.wait(&Context::new(), Duration::from_secs(1))).unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
    assert_eq!(now(time.within(&Context::new(), Some(Duration::ZERO), async { 7 })).unwrap().unwrap(), 7);
}

#[test]
fn a_runtime_without_timers_is_a_config_error_too() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let error = runtime.block_on(async {
        assert_eq!(TokioClock::current().unwrap_err().kind(), ErrorKind::Config);
        Time::default().wait(&Context::new(), Duration::from_secs(1)).await.unwrap_err()
    });
    assert_eq!(error.kind(), ErrorKind::Config);
}

#[test]
fn what_is_done_wins_over_signal_deadline_and_limit() {
    let clock = ManualClock::new();
    let time = Time::from(Arc::new(clock.clone()) as Arc<dyn Clock>);
    let context = Context::new().with_deadline(clock.now());
    context.cancel.cancel();
    assert!(now(time.within(&context, Some(Duration::ZERO), async {})).unwrap().is_ok());
    let never = time.within(&context, None, std::future::pending::<()>());
    assert!(matches!(now(never), Some(Err(Stopped::Cancelled))));
}

#[test]
fn deadline_and_limit_are_told_apart() {
    let clock = ManualClock::new();
    let time = Time::from(Arc::new(clock.clone()) as Arc<dyn Clock>);
    let second = Duration::from_secs(1);
    for (deadline, limit, expected) in [(2, 1, "Limit"), (1, 2, "Deadline")] {
        let context = Context::new().with_deadline(clock.now() + second * deadline);
        let mut wait = pin!(time.within(&context, Some(second * limit), std::future::pending::<()>()));
        assert!(now(&mut wait).is_none());
        clock.advance(second);
        assert_eq!(format!("{:?}", now(wait).unwrap().unwrap_err()), expected);
    }
}

#[test]
fn the_longest_wait_does_not_overflow() {
    let time = Time::from(Arc::new(ManualClock::new()) as Arc<dyn Clock>);
    assert!(now(time.wait(&Context::new(), Duration::MAX)).is_none());
}

#[tokio::test(start_paused = true)]
async fn tokios_clock_moves_with_tokios_time() {
    let clock = TokioClock::current().unwrap();
    let start = clock.now();
    Time::default().wait(&Context::new(), Duration::from_secs(60)).await.unwrap();
    assert!(clock.now() - start >= Duration::from_secs(60));
}
