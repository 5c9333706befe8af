//! The time of day, for what expires and for what is counted by day and month.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A source of the time of day; [`Clock`](katena_core::Clock) only tells how much time passes.
pub trait WallClock: fmt::Debug + Send + Sync {
    /// The present time.
    fn now(&self) -> SystemTime;
}

/// The system's time.
///
/// ```
/// use katena_layers::{SystemWallClock, WallClock};
/// assert!(SystemWallClock.now() > std::time::UNIX_EPOCH);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemWallClock;

impl WallClock for SystemWallClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// A time for tests that moves only by [`advance`](ManualWallClock::advance). Clones share it.
///
/// ```
/// use std::time::Duration;
/// use katena_layers::{Date, ManualWallClock, WallClock};
/// let clock = ManualWallClock::at(Date::new(2026, 1, 31), Duration::from_secs(23 * 3600));
/// clock.advance(Duration::from_secs(3600));
/// assert_eq!(Date::of(clock.now(), 0), Date::new(2026, 2, 1));
/// ```
#[derive(Clone)]
pub struct ManualWallClock(Arc<Mutex<SystemTime>>);

impl fmt::Debug for ManualWallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ManualWallClock")
    }
}

impl ManualWallClock {
    /// Stands at this time.
    pub fn new(time: SystemTime) -> Self {
        Self(Arc::new(Mutex::new(time)))
    }

    /// Stands so long after midnight (UTC) of a day.
    pub fn at(date: Date, after_midnight: Duration) -> Self {
        Self::new(date.midnight(0) + after_midnight)
    }

    /// Moves it forward.
    pub fn advance(&self, duration: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += duration;
    }

    /// Sets it, also back.
    pub fn set(&self, time: SystemTime) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = time;
    }
}

impl WallClock for ManualWallClock {
    fn now(&self) -> SystemTime {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const DAY: i64 = 86_400;

/// A day of the (proleptic Gregorian) calendar.
///
/// ```
/// use katena_layers::Date;
/// let day = Date::new(2024, 2, 29);
/// assert_eq!(day.to_string(), "2024-02-29");
/// assert_eq!(Date::of(day.midnight(0), 0), day);
/// assert_eq!(Date::of(day.midnight(0), -60), Date::new(2024, 2, 28));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Date {
    /// Year.
    pub year: i32,
    /// Month, 1 to 12.
    pub month: u8,
    /// Day, 1 to 31.
    pub day: u8,
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl Date {
    /// A day; a month or day that doesn't exist counts on into the next one.
    pub const fn new(year: i32, month: u8, day: u8) -> Self {
        Self { year, month, day }
    }

    /// The day that `time` lies in, `offset_minutes` east of Greenwich.
    pub fn of(time: SystemTime, offset_minutes: i32) -> Self {
        Self::from_days((seconds(time) + i64::from(offset_minutes) * 60).div_euclid(DAY))
    }

    /// When it begins, `offset_minutes` east of Greenwich.
    pub fn midnight(self, offset_minutes: i32) -> SystemTime {
        let seconds = self.days() * DAY - i64::from(offset_minutes) * 60;
        let distance = Duration::from_secs(seconds.unsigned_abs());
        if seconds >= 0 { UNIX_EPOCH + distance } else { UNIX_EPOCH - distance }
    }

    /// The first day of its month.
    pub fn first_of_month(self) -> Self {
        Self { day: 1, ..self }
    }

    /// Days since 1970-01-01. Years are counted from March, so that the leap day is a year's last.
    fn days(self) -> i64 {
        let month = i64::from(self.month);
        let year = i64::from(self.year) - i64::from(month <= 2);
        let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + i64::from(self.day) - 1;
        era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
    }

    fn from_days(days: i64) -> Self {
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        Self { year: year as i32, month: month as u8, day: day as u8 }
    }
}

fn seconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => after.as_secs().cast_signed(),
        Err(before) => {
            let before = before.duration();
            -before.as_secs().cast_signed() - i64::from(before.subsec_nanos() > 0)
        }
    }
}

/// Milliseconds since 1970, for storage; times before then are 0.
#[cfg(any(feature = "sqlite", test))]
pub(crate) fn to_millis(time: SystemTime) -> i64 {
    let millis = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    i64::try_from(millis).unwrap_or(i64::MAX)
}

/// As [`to_millis`], rounded up: the end of a range must not leave out what came before it in the same millisecond.
#[cfg(feature = "sqlite")]
pub(crate) fn to_millis_up(time: SystemTime) -> i64 {
    let nanos = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    i64::try_from(nanos.div_ceil(1_000_000)).unwrap_or(i64::MAX)
}

#[cfg(feature = "sqlite")]
pub(crate) fn from_millis(millis: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_eight_centuries_goes_there_and_back() {
        let mut before = Date::from_days(-146_097 - 1);
        for days in -146_097..146_097 {
            let date = Date::from_days(days);
            assert_eq!(date.days(), days);
            assert!(date > before, "{date} after {before}");
            before = date;
        }
        assert_eq!(Date::from_days(0), Date::new(1970, 1, 1));
        assert_eq!(Date::from_days(19_782), Date::new(2024, 2, 29));
    }

    #[test]
    fn offsets_move_midnight() {
        let new_year = Date::new(2026, 1, 1).midnight(0);
        assert_eq!(Date::of(new_year - Duration::from_secs(1), 0), Date::new(2025, 12, 31));
        assert_eq!(Date::of(new_year - Duration::from_secs(1), 60), Date::new(2026, 1, 1));
        assert_eq!(Date::new(2026, 1, 1).midnight(60), new_year - Duration::from_secs(3600));
        assert_eq!(to_millis(UNIX_EPOCH - Duration::from_secs(1)), 0);
        assert_eq!(Date::of(UNIX_EPOCH - Duration::from_millis(1), 0), Date::new(1969, 12, 31));
    }
}
