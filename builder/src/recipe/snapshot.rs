//! A day after which no package counts any more.

use std::fmt;
use std::str::FromStr;

use super::words::Refusal;

/// A day, `YYYY-MM-DD`, of which the end in UTC is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    text: String,
    end: u64,
}

impl Snapshot {
    /// The day as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether something of that time, in seconds since 1970, came later.
    #[must_use]
    pub fn is_before(&self, time: u64) -> bool {
        time >= self.end
    }
}

impl FromStr for Snapshot {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let refusal = || format!("`{text}` is not a day\nwrite it as \"2026-11-01\"");
        let digits = |text: &str| text.bytes().all(|c| c.is_ascii_digit());
        let [year, month, day] = text.split('-').collect::<Vec<_>>()[..] else {
            return Err(refusal());
        };
        let shape = year.len() == 4 && month.len() == 2 && day.len() == 2;
        if !shape || ![year, month, day].into_iter().all(digits) {
            return Err(refusal());
        }
        let number = |text: &str| text.parse::<u64>().map_err(|_| refusal());
        let (year, month, day) = (number(year)?, number(month)?, number(day)?);
        let days = days_before(year, month, day).ok_or_else(refusal)?;
        Ok(Self { text: text.to_owned(), end: (days + 1) * 86_400 })
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Days from 1970 to this one, of the Gregorian calendar.
fn days_before(year: u64, month: u64, day: u64) -> Option<u64> {
    let is_leap =
        |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let february = if is_leap(year) { 29 } else { 28 };
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let month = usize::try_from(month).ok()?.checked_sub(1)?;
    if year < 1970 || !(1..=*lengths.get(month)?).contains(&day) {
        return None;
    }
    let years: u64 = (1970..year).map(|year| if is_leap(year) { 366 } else { 365 }).sum();
    Some(years + lengths[..month].iter().sum::<u64>() + day - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_day_counts() {
        let day: Snapshot = "2026-11-01".parse().expect("a day");
        // date -u -d '2026-11-01 23:59:59' +%s
        assert!(!day.is_before(1_793_577_599));
        assert!(day.is_before(1_793_577_600));
        let leap: Snapshot = "2024-02-29".parse().expect("a day");
        assert!(leap.is_before(1_709_251_200) && !leap.is_before(1_709_251_199));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "2026",
            "2026-13-01",
            "2026-02-29",
            "2026-1-1",
            "1969-12-31",
            "a-b-c",
            "2026-11-01T00:00:00",
            "+026-11-01",
            "2026-11-00",
        ] {
            assert!(text.parse::<Snapshot>().is_err(), "{text}");
        }
    }
}
