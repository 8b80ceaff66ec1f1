//! A moment as JavaScript writes it: `Date.prototype.toISOString`, and `toString` where clocks show UTC.

use std::fmt;

/// Milliseconds since 1970, UTC; within the 8.64e15 that a JavaScript date has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Date(i64);

impl Date {
    /// None where JavaScript has an invalid date.
    pub(crate) fn from_millis(millis: i64) -> Option<Self> {
        (millis.unsigned_abs() <= MAX).then_some(Self(millis))
    }

    /// A timestamp of the MessagePack specification; what is finer than a millisecond is cut off.
    pub(super) fn from_timestamp(seconds: i64, nanos: u32) -> Option<Self> {
        let millis = seconds.checked_mul(1000)?.checked_add(i64::from(nanos) / 1_000_000)?;
        Self::from_millis(millis)
    }

    /// What `toString` gives in the time zone UTC.
    pub(crate) fn to_words(self) -> String {
        let day = self.0.div_euclid(DAY);
        let ((year, month, date), time) = (civil(day), self.0.rem_euclid(DAY));
        let name = |names: &[&'static str], index: i64| {
            usize::try_from(index).ok().and_then(|index| names.get(index).copied()).unwrap_or_default()
        };
        // The first of January 1970 was a Thursday.
        let (weekday, month) = (name(&WEEKDAYS, (day + 4).rem_euclid(7)), name(&MONTHS, month - 1));
        let (hour, minute, second) = (time / 3_600_000, time / 60_000 % 60, time / 1000 % 60);
        format!(
            "{weekday} {month} {date:02} {year:04} {hour:02}:{minute:02}:{second:02} GMT+0000 (Coordinated Universal Time)"
        )
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil(self.0.div_euclid(DAY));
        let time = self.0.rem_euclid(DAY);
        match year {
            0..=9999 => write!(f, "{year:04}")?,
            year => write!(f, "{year:+07}")?,
        }
        let (hour, minute) = (time / 3_600_000, time / 60_000 % 60);
        let (second, milli) = (time / 1000 % 60, time % 1000);
        write!(f, "-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
    }
}

/// Year, month and day of a day since 1970, in the proleptic Gregorian calendar. Years are counted from March, so that
/// the leap day is the last of its year, and in eras of 400 years, which all have the same days.
fn civil(day: i64) -> (i64, i64, i64) {
    let day = day + DAYS_BEFORE_1970;
    let (era, day) = (day.div_euclid(DAYS_OF_ERA), day.rem_euclid(DAYS_OF_ERA));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// Milliseconds of a day.
const DAY: i64 = 86_400_000;
/// Days of 400 years.
const DAYS_OF_ERA: i64 = 146_097;
/// Days from the first of March of the year 0 to the first of January 1970.
const DAYS_BEFORE_1970: i64 = 719_468;
/// Milliseconds either side of 1970 that a JavaScript date can be (ECMA-262, "Time Values and Time Range").
const MAX: u64 = 8_640_000_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_what_javascript_writes() {
        for (millis, iso) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_582_934_400_000, "2020-02-29T00:00:00.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (1_700_000_000_123, "2023-11-14T22:13:20.123Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
            (253_402_300_800_000, "+010000-01-01T00:00:00.000Z"),
            (-62_167_219_200_000, "0000-01-01T00:00:00.000Z"),
            (-62_167_219_200_001, "-000001-12-31T23:59:59.999Z"),
            (8_640_000_000_000_000, "+275760-09-13T00:00:00.000Z"),
            (-8_640_000_000_000_000, "-271821-04-20T00:00:00.000Z"),
        ] {
            assert_eq!(Date::from_millis(millis).unwrap().to_string(), iso);
        }
    }

    #[test]
    fn a_date_in_words_is_what_javascript_writes() {
        for (millis, words) in [
            (0, "Thu Jan 01 1970 00:00:00 GMT+0000 (Coordinated Universal Time)"),
            (-1, "Wed Dec 31 1969 23:59:59 GMT+0000 (Coordinated Universal Time)"),
            (1_582_934_400_000, "Sat Feb 29 2020 00:00:00 GMT+0000 (Coordinated Universal Time)"),
            (1_700_000_000_123, "Tue Nov 14 2023 22:13:20 GMT+0000 (Coordinated Universal Time)"),
        ] {
            assert_eq!(Date::from_millis(millis).unwrap().to_words(), words);
        }
    }

    #[test]
    fn what_is_beyond_every_date_is_none() {
        for millis in [8_640_000_000_000_001, -8_640_000_000_000_001, i64::MAX, i64::MIN] {
            assert!(Date::from_millis(millis).is_none(), "{millis}");
        }
        assert!(Date::from_timestamp(i64::MAX, 0).is_none());
        assert_eq!(Date::from_timestamp(-1, 999_999_999).unwrap().to_string(), "1969-12-31T23:59:59.999Z");
    }
}
