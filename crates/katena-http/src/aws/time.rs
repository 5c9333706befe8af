//! Moments in AWS's forms.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: u64 = 86_400;

/// `20150830T123600Z`. Times before 1970 count as 1970.
pub(crate) fn stamp(at: SystemTime) -> String {
    let seconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (year, month, day) = civil(seconds / DAY);
    let rest = seconds % DAY;
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

/// Reads `2015-08-30T12:36:00Z`, with or without a fraction or an offset such as `+00:00`.
pub(crate) fn parse(text: &str) -> Option<SystemTime> {
    let text = text.trim();
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let marks = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    let bytes = text.as_bytes();
    if !marks.iter().all(|(at, mark)| bytes.get(*at) == Some(mark))
        || !matches!(bytes.get(10)?, b'T' | b't' | b' ')
    {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let sane = year >= 1970 && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !sane || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let local = days(year, month, day) * DAY + hour * 3600 + minute * 60 + second;
    let zone = text.get(19..)?.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let seconds = match zone.as_bytes() {
        [] | [b'Z' | b'z'] => local,
        [sign @ (b'+' | b'-'), rest @ ..] => {
            let digits: Vec<u64> =
                rest.iter().filter(|b| b.is_ascii_digit()).map(|b| u64::from(b - b'0')).collect();
            let [a, b, c, d] = digits[..] else { return None };
            let offset = (a * 10 + b) * 3600 + (c * 10 + d) * 60;
            if *sign == b'+' { local.checked_sub(offset)? } else { local + offset }
        }
        _ => return None,
    };
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// Days since 1970 of a date of the Gregorian calendar; years are counted from March, so that the leap day comes last.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, of_era) = (year / 400, year % 400);
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + (month * 153 + 2) / 5 + day - 1 - 719_468
}

fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (year * 365 + year / 4 - year / 100);
    let month = (of_year * 5 + 2) / 153;
    let day = of_year - (month * 153 + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + carry, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let texts = [
            ("2015-08-30T12:36:00Z", "20150830T123600Z"),
            ("2024-02-29T23:59:59.123Z", "20240229T235959Z"),
            ("1970-01-01T00:00:00+00:00", "19700101T000000Z"),
            ("2000-03-01T01:00:00+01:00", "20000301T000000Z"),
            ("2099-12-31T22:00:00-0130", "20991231T233000Z"),
        ];
        for (text, want) in texts {
            assert_eq!(parse(text).map(stamp).as_deref(), Some(want), "{text}");
        }
        for bad in ["", "2015", "2015-13-01T00:00:00Z", "2015-08-30T12:36:00X", "２０15-08-30T12:36:00Z"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        // Every day of four centuries.
        for day in 0..146_097 {
            let (y, m, d) = civil(day);
            assert_eq!(days(y, m, d), day);
        }
    }
}
