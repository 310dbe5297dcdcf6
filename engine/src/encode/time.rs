//! Dates, times and intervals: from PostgreSQL's text (DateStyle ISO, IntervalStyle postgres) to
//! the numbers and the ISO 8601 text that Debezium emits.

use super::form::put_padded;

const DAY_S: i64 = 86_400;
/// From 1970-01-01 to 2000-01-01, where PostgreSQL counts from.
const POSTGRES_EPOCH_DAYS: i64 = 10_957;
/// The same in seconds.
const POSTGRES_EPOCH_S: i64 = POSTGRES_EPOCH_DAYS * DAY_S;

/// A point in time, or the end of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Point<T> {
    /// `-infinity`
    Past,
    /// `infinity`
    Future,
    /// A finite one.
    At(T),
}

/// Seconds since 1970-01-01 00:00 UTC (proleptic Gregorian), and microseconds above them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instant {
    pub(crate) seconds: i64,
    pub(crate) micros: u32,
}

/// The parts of an interval, each with its sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Interval {
    years: i64,
    months: i64,
    days: i64,
    hours: i64,
    minutes: i64,
    /// Of the seconds.
    micros: i64,
}

impl Instant {
    pub(crate) fn millis(self) -> Option<i64> {
        self.seconds
            .checked_mul(1000)?
            .checked_add(i64::from(self.micros / 1000))
    }

    pub(crate) fn micros(self) -> Option<i64> {
        self.seconds
            .checked_mul(1_000_000)?
            .checked_add(i64::from(self.micros))
    }

    /// As Java computes it: the seconds' part saturates, the sum wraps.
    pub(crate) fn micros_as_java(self) -> i64 {
        self.seconds
            .saturating_mul(1_000_000)
            .wrapping_add(i64::from(self.micros))
    }

    pub(crate) fn nanos(self) -> Option<i64> {
        // The product alone may leave the range that the sum is in.
        let nanos = i128::from(self.seconds) * 1_000_000_000 + i128::from(self.micros) * 1000;
        i64::try_from(nanos).ok()
    }

    /// As Java computes it: the seconds' part alone must be in the range, too.
    pub(crate) fn nanos_as_java(self) -> Option<i64> {
        self.seconds
            .checked_mul(1_000_000_000)?
            .checked_add(i64::from(self.micros) * 1000)
    }

    /// From the binary form: microseconds since 2000-01-01, the extremes infinite.
    pub(crate) fn from_postgres(micros: i64) -> Point<Self> {
        match micros {
            i64::MIN => Point::Past,
            i64::MAX => Point::Future,
            _ => Point::At(Self {
                seconds: micros.div_euclid(1_000_000) + POSTGRES_EPOCH_S,
                micros: u32::try_from(micros.rem_euclid(1_000_000)).unwrap_or(0),
            }),
        }
    }

    /// From microseconds since 1970.
    pub(crate) fn from_micros(micros: i64) -> Self {
        Self {
            seconds: micros.div_euclid(1_000_000),
            micros: u32::try_from(micros.rem_euclid(1_000_000)).unwrap_or(0),
        }
    }
}

/// Days since 1970 of the binary form: days since 2000-01-01, the extremes infinite.
pub(crate) fn date_from_postgres(days: i32) -> Point<i64> {
    match days {
        i32::MIN => Point::Past,
        i32::MAX => Point::Future,
        _ => Point::At(i64::from(days) + POSTGRES_EPOCH_DAYS),
    }
}

/// What a date is after a way through Java's `java.sql.Date`: in the calendar with Julian days
/// before 1582-10-15, so that days that calendar does not have move on by ten, and with the year of
/// its era alone, so that years BC are years AD. None: the year of the same number has no such day.
pub(crate) fn through_java(date: Point<i64>) -> Option<i64> {
    let days = match date {
        Point::Future => return Some(days_of(292_278_994, 8, 16)),
        Point::Past => return Some(days_of(292_269_055, 12, 2)),
        Point::At(days) => days,
    };
    let (year, month, day) = date_of(days);
    let (month, day) = (i64::try_from(month).ok()?, i64::try_from(day).ok()?);
    let year = if year <= 0 { 1 - year } else { year };
    let moved = days_of(year, month, day);
    // 29 February of a year without one comes out as 1 March.
    (date_of(moved).1 == u64::try_from(month).ok()?).then_some(match (year, month, day) {
        (1582, 10, 5..=14) => moved + 10,
        _ => moved,
    })
}

impl Instant {
    /// What a timestamp is after a way through Java's `java.sql.Timestamp`: before 1582-10-15 its
    /// date is read as a Julian one.
    pub(crate) fn read_as_julian(self) -> Self {
        let days = self.seconds.div_euclid(DAY_S);
        if days >= days_of(1582, 10, 15) {
            return self;
        }
        let (year, month, _) = date_of(days);
        // Leap days of the two calendars, counted in years that begin in March.
        let year = year - i64::from(month <= 2);
        let centuries = year.div_euclid(100) - year.div_euclid(400) - 2;
        Self {
            seconds: self.seconds + centuries * DAY_S,
            ..self
        }
    }

    /// A timestamp's date as [`through_java`] has it, and its clock as it is.
    pub(crate) fn through_java(self) -> Option<Self> {
        let days = through_java(Point::At(self.seconds.div_euclid(DAY_S)))?;
        Some(Self {
            seconds: days * DAY_S + self.seconds.rem_euclid(DAY_S),
            ..self
        })
    }

    /// `-infinity` after that way: a time of day in the year of its era.
    pub(crate) fn past_through_java() -> Self {
        Self {
            seconds: days_of(292_269_055, 12, 2) * DAY_S + 23 * 3600,
            micros: 0,
        }
    }
}

/// Takes what is left of a text from its front.
struct Cursor<'b>(&'b [u8]);

impl<'b> Cursor<'b> {
    fn byte(&mut self, expected: u8) -> Option<()> {
        self.0 = self.0.strip_prefix(&[expected])?;
        Some(())
    }

    fn take(&mut self, expected: &[u8]) -> bool {
        match self.0.strip_prefix(expected) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    /// One or more digits.
    fn number(&mut self) -> Option<i64> {
        let mut value: i64 = 0;
        let mut rest = self.0;
        while let Some((&byte, tail)) = rest.split_first() {
            if !byte.is_ascii_digit() {
                break;
            }
            value = value.checked_mul(10)?.checked_add(i64::from(byte - b'0'))?;
            rest = tail;
        }
        (rest.len() < self.0.len()).then(|| {
            self.0 = rest;
            value
        })
    }

    /// Exactly two digits.
    #[inline]
    fn pair(&mut self) -> Option<i64> {
        let (&[tens, ones], rest) = self.0.split_first_chunk::<2>()?;
        if !(tens.is_ascii_digit() && ones.is_ascii_digit()) {
            return None;
        }
        self.0 = rest;
        Some(i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
    }

    /// `.` and digits, as microseconds; nothing is 0.
    #[inline]
    fn fraction(&mut self) -> Option<i64> {
        if !self.take(b".") {
            return Some(0);
        }
        let mut value = 0;
        let mut digits = 0;
        while let Some((&byte, rest)) = self.0.split_first() {
            if !byte.is_ascii_digit() {
                break;
            }
            if digits < 6 {
                value = value * 10 + i64::from(byte - b'0');
                digits += 1;
            }
            self.0 = rest;
        }
        for _ in digits..6 {
            value *= 10;
        }
        (digits > 0).then_some(value)
    }

    /// `HH:MM:SS[.ffffff]` in microseconds.
    #[inline]
    fn clock(&mut self) -> Option<i64> {
        let hours = self.pair()?;
        self.byte(b':')?;
        let minutes = self.pair()?;
        self.byte(b':')?;
        let seconds = self.pair()?;
        Some(((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + self.fraction()?)
    }

    /// `+HH[:MM[:SS]]` in seconds east of Greenwich.
    fn offset(&mut self) -> Option<i64> {
        let east = self.take(b"+");
        if !east {
            self.byte(b'-')?;
        }
        let mut seconds = self.pair()? * 3600;
        if self.take(b":") {
            seconds += self.pair()? * 60;
            if self.take(b":") {
                seconds += self.pair()?;
            }
        }
        Some(if east { seconds } else { -seconds })
    }

    fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }

    /// `Y..-MM-DD`: year as printed, month, day.
    #[inline]
    fn date(&mut self) -> Option<(i64, i64, i64)> {
        let year = self.number()?;
        self.byte(b'-')?;
        let month = self.pair()?;
        self.byte(b'-')?;
        let day = self.pair()?;
        ((1..=12).contains(&month) && (1..=31).contains(&day) && year <= 9_999_999)
            .then_some((year, month, day))
    }
}

/// Days since 1970 of a date's text.
pub(crate) fn parse_date(text: &[u8]) -> Option<Point<i64>> {
    if let Some(infinite) = parse_infinite(text) {
        return Some(infinite);
    }
    let mut cursor = Cursor(text);
    let (year, month, day) = cursor.date()?;
    let year = if cursor.take(b" BC") { 1 - year } else { year };
    cursor.end()?;
    Some(Point::At(days_of(year, month, day)))
}

/// Microseconds since midnight of a time's text.
pub(crate) fn parse_time(text: &[u8]) -> Option<i64> {
    let mut cursor = Cursor(text);
    let micros = cursor.clock()?;
    cursor.end()?;
    Some(micros)
}

/// Microseconds since midnight UTC, within one day, of the text of a time with a zone.
pub(crate) fn parse_timetz(text: &[u8]) -> Option<i64> {
    let mut cursor = Cursor(text);
    let micros = cursor.clock()?;
    let offset = cursor.offset()?;
    cursor.end()?;
    Some((micros - offset * 1_000_000).rem_euclid(DAY_S * 1_000_000))
}

/// The text of a timestamp, with a zone (`2020-02-29 12:34:56.1+02`) or without: then UTC.
pub(crate) fn parse_timestamp(text: &[u8], zoned: bool) -> Option<Point<Instant>> {
    if let Some(infinite) = parse_infinite(text) {
        return Some(infinite);
    }
    let mut cursor = Cursor(text);
    let (year, month, day) = cursor.date()?;
    cursor.byte(b' ')?;
    let clock = cursor.clock()?;
    let offset = if zoned { cursor.offset()? } else { 0 };
    let year = if cursor.take(b" BC") { 1 - year } else { year };
    cursor.end()?;
    Some(Point::At(Instant {
        seconds: days_of(year, month, day) * DAY_S + clock / 1_000_000 - offset,
        micros: u32::try_from(clock % 1_000_000).ok()?,
    }))
}

/// A timestamp of four-digit year in UTC, taken apart: `YYYY-MM-DD HH:MM:SS`, and the fraction's
/// digits, at most six. None: of another shape, which [`parse_timestamp`] judges.
#[inline]
pub(crate) fn split_utc(text: &[u8]) -> Option<(&[u8; 19], &[u8])> {
    const SHAPE: &[u8; 19] = b"0000-00-00 00:00:00";
    let (second, rest) = text.split_first_chunk::<19>()?;
    let fits = second
        .iter()
        .zip(SHAPE)
        .fold(true, |fits, (&byte, &shape)| {
            // A digit where the shape has one, else the shape's own byte.
            fits & if shape == b'0' {
                byte.is_ascii_digit()
            } else {
                byte == shape
            }
        });
    let fraction = rest.strip_suffix(b"+00")?;
    let fraction = match fraction.split_first() {
        None => fraction,
        Some((b'.', digits)) if (1..=6).contains(&digits.len()) => digits,
        Some(_) => return None,
    };
    (fits && fraction.iter().all(u8::is_ascii_digit)).then_some((second, fraction))
}

fn parse_infinite<T>(text: &[u8]) -> Option<Point<T>> {
    match text {
        b"infinity" => Some(Point::Future),
        b"-infinity" => Some(Point::Past),
        _ => None,
    }
}

/// `1 year 2 mons 3 days 04:05:06.789`, any part missing, each with a sign.
pub(crate) fn parse_interval(text: &[u8]) -> Option<Interval> {
    let mut interval = Interval::default();
    let mut words = text
        .split(|&byte| byte == b' ')
        .filter(|word| !word.is_empty());
    let mut parts = 0;
    while let Some(word) = words.next() {
        parts += 1;
        let (negative, digits) = match word.split_first()? {
            (b'-', rest) => (true, rest),
            (b'+', rest) => (false, rest),
            _ => (false, word),
        };
        let sign = if negative { -1 } else { 1 };
        let mut cursor = Cursor(digits);
        let number = cursor.number()?;
        if cursor.take(b":") {
            interval.hours = sign * number;
            interval.minutes = sign * cursor.pair()?;
            cursor.byte(b':')?;
            let seconds = cursor.pair()?;
            interval.micros = sign * (seconds * 1_000_000 + cursor.fraction()?);
            cursor.end()?;
            continue;
        }
        cursor.end()?;
        let slot = match words.next()? {
            b"year" | b"years" => &mut interval.years,
            b"mon" | b"mons" => &mut interval.months,
            b"day" | b"days" => &mut interval.days,
            _ => return None,
        };
        *slot = sign * number;
    }
    (parts > 0).then_some(interval)
}

impl Interval {
    /// From the binary form. None: infinite.
    pub(crate) fn from_postgres(months: i32, days: i32, micros: i64) -> Option<Self> {
        let past = (months, days, micros) == (i32::MIN, i32::MIN, i64::MIN);
        let future = (months, days, micros) == (i32::MAX, i32::MAX, i64::MAX);
        (!past && !future).then(|| Self {
            years: (months / 12).into(),
            months: (months % 12).into(),
            days: days.into(),
            hours: micros / 3_600_000_000,
            minutes: micros / 60_000_000 % 60,
            micros: micros % 60_000_000,
        })
    }

    /// Microseconds, a month taken as 365.25/12 days; computed as Java computes it, in doubles.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "Debezium's own arithmetic: doubles, and a cast that saturates"
    )]
    pub(crate) fn micros(self) -> i64 {
        let days = (self.years * 12 + self.months) as f64 * (365.25 / 12.0) + self.days as f64;
        let seconds = (self.micros / 1_000_000) as f64 + (self.micros % 1_000_000) as f64 / 1e6;
        let minutes = (days * 24.0 + self.hours as f64) * 60.0 + self.minutes as f64;
        ((minutes * 60.0 + seconds) * 1e6) as i64
    }

    /// `P1Y2M3DT4H5M6.789S`: always all parts.
    pub(crate) fn put_iso(self, out: &mut Vec<u8>) {
        let parts = [
            (&b"P"[..], self.years),
            (b"Y", self.months),
            (b"M", self.days),
            (b"DT", self.hours),
            (b"H", self.minutes),
        ];
        for (mark, part) in parts {
            out.extend_from_slice(mark);
            super::form::put_decimal(out, part);
        }
        out.push(b'M');
        if self.micros < 0 {
            out.push(b'-');
        }
        let micros = self.micros.unsigned_abs();
        put_padded(out, micros / 1_000_000, 1);
        put_fraction_trimmed(out, micros % 1_000_000);
        out.push(b'S');
    }
}

/// Days since 1970-01-01 of a date of the proleptic Gregorian calendar; year 0 is 1 BC.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    // Years from March: a leap day is the last of its year.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year (0 is 1 BC), month and day of a day since 1970-01-01.
fn date_of(days: i64) -> (i64, u64, u64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month.unsigned_abs(), day.unsigned_abs())
}

/// Appends `YYYY-MM-DD`; years beyond four digits with `+`, before year 0 with `-`.
pub(crate) fn put_date(out: &mut Vec<u8>, days: i64) {
    let (year, month, day) = date_of(days);
    if year < 0 {
        out.push(b'-');
    } else if year > 9999 {
        out.push(b'+');
    }
    put_padded(out, year.unsigned_abs(), 4);
    out.push(b'-');
    put_pair(out, month);
    out.push(b'-');
    put_pair(out, day);
}

/// Appends a date as PostgreSQL prints it: `2020-02-29`, ` BC` behind it before year 1.
pub(crate) fn put_postgres_date(out: &mut Vec<u8>, date: Point<i64>) {
    let Some(days) = finite(out, date) else {
        return;
    };
    let era = put_year_of_era(out, days);
    out.extend_from_slice(era);
}

/// Appends a timestamp as PostgreSQL prints it in UTC: `2020-02-29 12:34:56.789+00`.
pub(crate) fn put_postgres_timestamp(out: &mut Vec<u8>, point: Point<Instant>, zoned: bool) {
    let Some(instant) = finite(out, point) else {
        return;
    };
    let era = put_year_of_era(out, instant.seconds.div_euclid(DAY_S));
    out.push(b' ');
    put_clock(out, instant.seconds.rem_euclid(DAY_S).unsigned_abs());
    put_fraction_trimmed(out, instant.micros.into());
    if zoned {
        out.extend_from_slice(b"+00");
    }
    out.extend_from_slice(era);
}

fn finite<T>(out: &mut Vec<u8>, point: Point<T>) -> Option<T> {
    match point {
        Point::At(at) => return Some(at),
        Point::Future => out.extend_from_slice(b"infinity"),
        Point::Past => out.extend_from_slice(b"-infinity"),
    }
    None
}

/// Appends the date with its year counted from its era's beginning; the answer is the era's mark.
fn put_year_of_era(out: &mut Vec<u8>, days: i64) -> &'static [u8] {
    let (year, month, day) = date_of(days);
    let before = year <= 0;
    put_padded(out, if before { 1 - year } else { year }.unsigned_abs(), 4);
    out.push(b'-');
    put_pair(out, month);
    out.push(b'-');
    put_pair(out, day);
    if before { b" BC" } else { b"" }
}

/// Appends `HH:MM:SS` of the seconds of a day.
pub(crate) fn put_clock(out: &mut Vec<u8>, seconds: u64) {
    put_pair(out, seconds / 3600);
    out.push(b':');
    put_pair(out, seconds / 60 % 60);
    out.push(b':');
    put_pair(out, seconds % 60);
}

/// `YYYY-MM-DDTHH:MM:SS.ffffff` from 1970 to 9999.
#[inline]
pub(crate) fn iso(instant: Instant) -> Option<[u8; 26]> {
    /// 10000-01-01 00:00
    const END: i64 = 253_402_300_800;
    if !(0..END).contains(&instant.seconds) {
        return None;
    }
    let day_s = DAY_S.unsigned_abs();
    let seconds = instant.seconds.unsigned_abs();
    let clock = u32::try_from(seconds % day_s).unwrap_or(0);
    // As in `date_of`, in words of half the size and without signs.
    let days = u32::try_from(seconds / day_s).unwrap_or(0) + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let (month, later) = match month_from_march {
        10.. => (month_from_march - 9, 1),
        _ => (month_from_march + 3, 0),
    };
    let year = year_of_era + era * 400 + later;
    let micros = instant.micros;
    let mut text = *b"....-..-..T..:..:.........";
    text[19] = b'.';
    for (at, value) in [
        (0, year / 100),
        (2, year % 100),
        (5, month),
        (8, day),
        (11, clock / 3600),
        (14, clock / 60 % 60),
        (17, clock % 60),
        (20, micros / 10_000),
        (22, micros / 100 % 100),
        (24, micros % 100),
    ] {
        [text[at], text[at + 1]] = PAIRS[value as usize % 100];
    }
    Some(text)
}

/// `00` to `99`
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let (mut at, mut tens) = (0, b'0');
    while at < 100 {
        let mut ones = b'0';
        while ones <= b'9' {
            pairs[at] = [tens, ones];
            at += 1;
            ones += 1;
        }
        tens += 1;
    }
    pairs
};

/// Appends `YYYY-MM-DDTHH:MM:SS`.
pub(crate) fn put_date_time(out: &mut Vec<u8>, seconds: i64) {
    put_date(out, seconds.div_euclid(DAY_S));
    out.push(b'T');
    put_clock(out, seconds.rem_euclid(DAY_S).unsigned_abs());
}

/// Appends `.` and the first `digits` of six; nothing for none.
pub(crate) fn put_fraction(out: &mut Vec<u8>, micros: u32, digits: usize) {
    if digits > 0 {
        let mark = out.len();
        out.push(b'.');
        put_padded(out, micros.into(), 6);
        out.truncate(mark + 1 + digits);
    }
}

/// Appends `.` and the fraction without trailing zeros; nothing for zero.
pub(crate) fn put_fraction_trimmed(out: &mut Vec<u8>, micros: u64) {
    if micros > 0 {
        out.push(b'.');
        put_padded(out, micros, 6);
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
}

#[inline]
fn put_pair(out: &mut Vec<u8>, value: u64) {
    let pair = [value / 10 % 10, value % 10].map(|digit| b'0' + digit.to_le_bytes()[0]);
    out.extend_from_slice(&pair);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(put: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        put(&mut out);
        String::from_utf8(out).unwrap()
    }

    proptest! {
        #[test]
        fn the_quick_way_is_the_slow_way(
            seconds in -100_i64..253_402_300_900,
            micros in 0_u32..1_000_000,
        ) {
            let instant = Instant { seconds, micros };
            let slow = text(|out| {
                put_date_time(out, seconds);
                put_fraction(out, micros, 6);
            });
            match iso(instant) {
                Some(quick) => prop_assert_eq!(str::from_utf8(&quick).unwrap(), slow),
                None => prop_assert!(!(0..253_402_300_800).contains(&seconds)),
            }
        }
    }

    #[test]
    fn dates_of_all_eras() {
        for (written, days, iso) in [
            ("2020-02-29", 18_321, "2020-02-29"),
            ("1970-01-01", 0, "1970-01-01"),
            ("0001-01-01", -719_162, "0001-01-01"),
            ("0044-03-15 BC", -735_160, "-0043-03-15"),
            ("4713-01-01 BC", -2_440_550, "-4712-01-01"),
            ("20020-02-29", 6_592_686, "+20020-02-29"),
        ] {
            assert_eq!(
                parse_date(written.as_bytes()),
                Some(Point::At(days)),
                "{written}"
            );
            assert_eq!(text(|out| put_date(out, days)), iso);
        }
        assert_eq!(parse_date(b"-infinity"), Some(Point::Past));
        for bad in [
            "",
            "2020",
            "2020-1-1",
            "2020-02-30x",
            "2020-13-01",
            "infinit",
        ] {
            assert_eq!(parse_date(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn dates_that_went_through_java() {
        let java = |text: &str| through_java(parse_date(text.as_bytes()).unwrap());
        for (date, expected) in [
            ("2020-02-29", Some("2020-02-29")),
            ("1582-10-15", Some("1582-10-15")),
            ("1582-10-14", Some("1582-10-24")),
            ("1582-10-05", Some("1582-10-15")),
            ("1582-10-04", Some("1582-10-04")),
            ("4713-01-01 BC", Some("4713-01-01")),
            ("0001-12-31 BC", Some("0001-12-31")),
            ("0005-02-29 BC", None),
            ("5874897-12-31", Some("+5874897-12-31")),
        ] {
            let shown = java(date).map(|days| text(|out| put_date(out, days)));
            assert_eq!(shown.as_deref(), expected, "{date}");
        }
        // As Java narrows them to 32 bits.
        #[allow(clippy::cast_possible_truncation, reason = "as Java does")]
        let narrow = |text: &str| java(text).map(|days| days as i32);
        assert_eq!(narrow("infinity"), Some(-622_191_234));
        assert_eq!(narrow("-infinity"), Some(-625_821_272));
        for (timestamp, expected) in [
            ("1582-10-10 01:02:03.5", "1582-10-20T01:02:03"),
            ("1582-10-04 00:00:00", "1582-10-14T00:00:00"),
            ("1000-01-01 00:00:00", "1000-01-06T00:00:00"),
            ("0005-02-29 00:00:00 BC", "-0004-02-27T00:00:00"),
            ("0044-03-15 12:00:00 BC", "-0043-03-13T12:00:00"),
            ("4713-01-01 00:00:00 BC", "-4713-11-24T00:00:00"),
            ("1582-10-15 00:00:00", "1582-10-15T00:00:00"),
        ] {
            let Some(Point::At(instant)) = parse_timestamp(timestamp.as_bytes(), false) else {
                panic!("{timestamp}")
            };
            let shown = text(|out| put_date_time(out, instant.read_as_julian().seconds));
            assert_eq!(shown, expected, "{timestamp}");
        }
    }

    #[test]
    fn timestamps_of_all_zones() {
        let at = |seconds, micros| Some(Point::At(Instant { seconds, micros }));
        assert_eq!(
            parse_timestamp(b"2020-02-29 12:34:56.1+02", true),
            at(1_582_972_496, 100_000)
        );
        assert_eq!(
            parse_timestamp(b"1969-12-31 23:59:59.999", false),
            at(-1, 999_000)
        );
        assert_eq!(
            parse_timestamp(b"0044-03-15 12:00:00+00:00:01 BC", true),
            at(-63_517_780_801, 0)
        );
        assert_eq!(parse_timetz(b"01:02:03-05:30"), Some(23_523_000_000));
        assert_eq!(parse_timetz(b"24:00:00+14"), Some(36_000_000_000));
        assert_eq!(parse_timetz(b"24:00:00+00"), Some(0));
    }

    #[test]
    fn utc_is_taken_apart() {
        let split = |text: &'static str| split_utc(text.as_bytes());
        let second = b"2020-02-29 10:34:56";
        assert_eq!(
            split("2020-02-29 10:34:56.125+00"),
            Some((second, &b"125"[..]))
        );
        assert_eq!(split("2020-02-29 10:34:56+00"), Some((second, &b""[..])));
        for other in [
            "2020-02-29 10:34:56+01",
            "2020-02-29 10:34:56+00 BC",
            "20200-02-29 10:34:56+00",
            "2020-02-29 10:34:56.+00",
            "2020-02-29 10:34:56.1234567+00",
            "infinity",
        ] {
            assert_eq!(split(other), None, "{other}");
        }
    }

    #[test]
    fn intervals_as_debezium_counts_them() {
        for (written, micros, iso) in [
            (
                "1 year 2 mons 3 days 04:05:06.789012",
                37_091_106_789_012,
                "P1Y2M3DT4H5M6.789012S",
            ),
            (
                "-1 mons +3 days -00:00:00.000001",
                -2_370_600_000_001,
                "P0Y-1M3DT0H0M-0.000001S",
            ),
            (
                "-1 mons -1 days -00:00:01",
                -2_716_201_000_000,
                "P0Y-1M-1DT0H0M-1S",
            ),
            (
                "-1 mons -00:00:01.5",
                -2_629_801_500_000,
                "P0Y-1M0DT0H0M-1.5S",
            ),
            ("00:00:00", 0, "P0Y0M0DT0H0M0S"),
            ("178000000 years", i64::MAX, "P178000000Y0M0DT0H0M0S"),
        ] {
            let interval = parse_interval(written.as_bytes()).unwrap();
            assert_eq!(interval.micros(), micros, "{written}");
            assert_eq!(text(|out| interval.put_iso(out)), iso);
        }
        assert_eq!(parse_interval(b""), None);
        assert_eq!(parse_interval(b"1 fortnight"), None);
    }

    proptest! {
        #[test]
        fn a_day_is_found_again(days in -2_500_000_i64..110_000_000) {
            let (year, month, day) = date_of(days);
            let (month, day) = (month.try_into().unwrap(), day.try_into().unwrap());
            prop_assert_eq!(days_of(year, month, day), days);
        }

        #[test]
        fn nothing_panics(bytes: Vec<u8>) {
            let _ = (parse_date(&bytes), parse_timestamp(&bytes, true), parse_interval(&bytes));
            let _ = (parse_time(&bytes), parse_timetz(&bytes));
        }
    }
}
