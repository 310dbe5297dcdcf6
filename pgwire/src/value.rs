//! One column's bytes, read as the type its oid names: [`text`] is what every server sends,
//! [`binary`] what it sends on request.
//!
//! Nothing here allocates. The text forms are those of DateStyle ISO, IntervalStyle postgres,
//! bytea_output hex (or escape) and client_encoding UTF8.
//!
//! Source: PostgreSQL documentation, "Data Types"; the types' output and send functions.

pub mod binary;
pub mod text;

/// Microseconds from 1970-01-01 to 2000-01-01, where PostgreSQL counts from.
pub const EPOCH_UNIX_US: i64 = 946_684_800_000_000;

/// Days from 1970-01-01 to 2000-01-01.
pub const EPOCH_UNIX_DAYS: i32 = 10_957;

/// Microseconds in a day.
pub const DAY_US: i64 = 86_400_000_000;

/// `date`: days since 2000-01-01, in the proleptic Gregorian calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date(pub i32);

impl Date {
    /// `infinity`
    pub const INFINITY: Self = Self(i32::MAX);
    /// `-infinity`
    pub const NEG_INFINITY: Self = Self(i32::MIN);
    /// 4713-01-01 BC of the Julian calendar, which is how far back PostgreSQL goes.
    pub const MIN: Self = Self(-2_451_545);
    /// 5874897-12-31
    pub const MAX: Self = Self(2_145_031_948);

    /// Neither of the infinities.
    #[inline]
    #[must_use]
    pub fn is_finite(self) -> bool {
        self != Self::INFINITY && self != Self::NEG_INFINITY
    }

    /// Days since 1970-01-01; of a finite date.
    #[inline]
    #[must_use]
    pub fn unix_days(self) -> i64 {
        i64::from(self.0) + i64::from(EPOCH_UNIX_DAYS)
    }

    /// Year (astronomical: 0 is 1 BC), month and day.
    #[inline]
    #[must_use]
    pub fn civil(self) -> (i64, u8, u8) {
        civil_from_days(self.unix_days())
    }
}

/// `time`: microseconds since midnight; 24:00:00 is a time too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub i64);

/// `timetz`: a time of day where clocks are `zone_west` seconds behind UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimeTz {
    /// Of the local time.
    pub time: Time,
    /// Seconds west of UTC: `+02` is -7200.
    pub zone_west: i32,
}

/// `timestamp` and `timestamptz`: microseconds since 2000-01-01 00:00, local or UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// `infinity`
    pub const INFINITY: Self = Self(i64::MAX);
    /// `-infinity`
    pub const NEG_INFINITY: Self = Self(i64::MIN);
    /// The first of 4714-11-24 BC.
    pub const MIN: Self = Self(-211_813_488_000_000_000);
    /// The last of 294276-12-31.
    pub const MAX: Self = Self(9_223_371_331_199_999_999);

    /// Neither of the infinities.
    #[inline]
    #[must_use]
    pub fn is_finite(self) -> bool {
        self != Self::INFINITY && self != Self::NEG_INFINITY
    }

    /// Microseconds since 1970-01-01 00:00. `None` in the last thirty years of the range, which
    /// an `i64` from that epoch does not hold.
    #[inline]
    #[must_use]
    pub fn unix_us(self) -> Option<i64> {
        self.0.checked_add(EPOCH_UNIX_US)
    }

    /// The day, and the time in it.
    #[inline]
    #[must_use]
    pub fn split(self) -> (Date, Time) {
        let days = self.0.div_euclid(DAY_US);
        let date = i32::try_from(days).map_or(Date::INFINITY, Date);
        (date, Time(self.0.rem_euclid(DAY_US)))
    }
}

/// `interval`: three numbers that do not convert into each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Interval {
    /// Years are 12 months.
    pub months: i32,
    /// Weeks are 7 days.
    pub days: i32,
    /// Microseconds.
    pub micros: i64,
}

impl Interval {
    /// `infinity`, from 17 on.
    pub const INFINITY: Self = Self {
        months: i32::MAX,
        days: i32::MAX,
        micros: i64::MAX,
    };
    /// `-infinity`, from 17 on.
    pub const NEG_INFINITY: Self = Self {
        months: i32::MIN,
        days: i32::MIN,
        micros: i64::MIN,
    };

    /// Neither of the infinities.
    #[inline]
    #[must_use]
    pub fn is_finite(self) -> bool {
        self != Self::INFINITY && self != Self::NEG_INFINITY
    }
}

/// `numeric`: `D` is the form that finite ones arrived in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numeric<D> {
    /// A number.
    Finite(D),
    /// `NaN`
    NaN,
    /// `Infinity`, from 14 on.
    Infinity,
    /// `-Infinity`, from 14 on.
    NegInfinity,
}

/// Days since 1970-01-01 of a date; year astronomical, month 1 to 12.
#[inline]
#[must_use]
pub fn days_from_civil(year: i64, month: u8, day: u8) -> i64 {
    // Years begin in March here, so that the leap day is the last of its year, and an era is the
    // 400 years (146 097 days) after which the calendar repeats.
    let (month, day) = (i64::from(month), i64::from(day));
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The date of a day since 1970-01-01: year (astronomical), month, day.
#[inline]
#[must_use]
pub fn civil_from_days(days: i64) -> (i64, u8, u8) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    // Both are below 32 by their making.
    (
        year,
        u8::try_from(month).unwrap_or(0),
        u8::try_from(day).unwrap_or(0),
    )
}

/// How many days the month has.
#[inline]
#[must_use]
pub fn days_in_month(year: i64, month: u8) -> u8 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_days() {
        assert_eq!(days_from_civil(1970, 1, 1), 0);
        assert_eq!(days_from_civil(2000, 1, 1), i64::from(EPOCH_UNIX_DAYS));
        assert_eq!(Date(0).civil(), (2000, 1, 1));
        assert_eq!(Date::MAX.civil(), (5_874_897, 12, 31));
        assert_eq!(Date::MIN.civil(), (-4713, 11, 24));
        assert_eq!(Timestamp::MIN.split(), (Date::MIN, Time(0)));
        assert_eq!(Timestamp::MAX.split().0.civil(), (294_276, 12, 31));
        assert_eq!(Timestamp(-1).split(), (Date(-1), Time(DAY_US - 1)));
    }

    proptest! {
        #[test]
        fn civil_is_identity(days in -3_000_000i64..2_200_000_000) {
            let (year, month, day) = civil_from_days(days);
            prop_assert_eq!(days_from_civil(year, month, day), days);
            prop_assert!((1..=12).contains(&month));
            prop_assert!((1..=days_in_month(year, month)).contains(&day));
        }
    }
}
