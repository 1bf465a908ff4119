//! When a policy runs.

use std::time::Duration;

use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use jiff::{Timestamp, tz::TimeZone};

use super::planning::is_younger;

/// Times of a wall clock that come again: a cron expression in a time zone.
///
/// Where a clock jumps forward over the time, the run is at the first moment after the gap; where it goes back, a
/// run at a fixed time happens once.
#[derive(Debug, Clone)]
pub struct Schedule {
    cron: Cron,
    zone: TimeZone,
}

/// Why a schedule is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// Not five fields that cron understands.
    #[error("{text:?} is no cron expression of minute, hour, day of month, month and day of week: {reason}")]
    Cron {
        /// The text.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It would never come: 30 February.
    #[error("{text:?} never comes")]
    Never {
        /// The text.
        text: String,
    },
    /// No zone of the tz database.
    #[error("{text:?} is no time zone of the tz database, such as Etc/UTC or Europe/Berlin")]
    Zone {
        /// The text.
        text: String,
    },
}

/// What is to be done about a schedule now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// The run of that time starts.
    Now(Timestamp),
    /// Nothing, until then.
    At(Timestamp),
    /// Nothing: the schedule has no further time.
    Never,
}

impl Schedule {
    /// Reads a cron expression and a time zone.
    ///
    /// # Errors
    /// See [`ScheduleError`].
    pub fn parse(cron: &str, zone: &str) -> Result<Self, ScheduleError> {
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron_error = |error: croner::errors::CronError| ScheduleError::Cron {
            text: cron.to_owned(),
            reason: wrong_field(parser, cron).unwrap_or_else(|| error.to_string()),
        };
        let schedule = Self {
            zone: TimeZone::get(zone).map_err(|_| ScheduleError::Zone { text: zone.to_owned() })?,
            cron: parser.parse(cron).map_err(cron_error)?,
        };
        // Whether a time ever comes does not depend on when one asks: leap days come within eight years.
        match schedule.next_after(Timestamp::UNIX_EPOCH) {
            Some(_) => Ok(schedule),
            None => Err(ScheduleError::Never { text: cron.to_owned() }),
        }
    }

    /// The first time after `time`.
    #[must_use]
    pub fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        let zoned = time.to_zoned(self.zone.clone());
        self.cron.find_next_occurrence(&zoned, false).ok().map(|next| next.timestamp())
    }

    /// The last time that is not after `time`.
    #[must_use]
    pub fn latest_until(&self, time: Timestamp) -> Option<Timestamp> {
        let zoned = time.to_zoned(self.zone.clone());
        self.cron.find_previous_occurrence(&zoned, true).ok().map(|latest| latest.timestamp())
    }

    /// What is to be done at `now`, when everything up to `handled` was done: the scheduled time of the last run,
    /// or the time from which the schedule counts. Of the times that were missed in between only the last one
    /// counts, and it is skipped if it is `deadline` ago.
    #[must_use]
    pub fn due(&self, handled: Timestamp, now: Timestamp, deadline: Duration) -> Due {
        match self.latest_until(now) {
            Some(latest) if latest > handled && is_younger(latest, deadline, now) => Due::Now(latest),
            _ => self.next_after(now).map_or(Due::Never, Due::At),
        }
    }
}

/// The fields of a cron expression, and what they take.
const FIELDS: [(&str, &str); 5] = [
    ("minute", "0 to 59"),
    ("hour", "0 to 23"),
    ("day of the month", "1 to 31"),
    ("month", "1 to 12 or JAN to DEC"),
    ("day of the week", "0 to 7 or SUN to SAT"),
];

/// Which field of a cron expression is wrong, and what to write there.
fn wrong_field(parser: CronParser, cron: &str) -> Option<String> {
    if cron.starts_with('@') {
        return None;
    }
    let fields: Vec<&str> = cron.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        let (count, s) = (fields.len(), if fields.len() == 1 { "" } else { "s" });
        return Some(format!("it has {count} field{s} instead of five: write 0 3 * * * for each day at three"));
    }
    let is_wrong = |at: usize, field: &str| {
        let alone: Vec<&str> = (0..FIELDS.len()).map(|place| if place == at { field } else { "*" }).collect();
        parser.parse(&alone.join(" ")).is_err()
    };
    let mut wrong = fields.iter().zip(FIELDS).enumerate().filter(|(at, (field, _))| is_wrong(*at, field));
    let (_, (field, (name, takes))) = wrong.next()?;
    Some(format!("{field:?} is no {name}: write {takes}, *, or lists, ranges and steps of them, such as */2"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn next(cron: &str, zone: &str, after: &str) -> String {
        Schedule::parse(cron, zone).unwrap().next_after(at(after)).unwrap().to_string()
    }

    #[test]
    fn wrong_cron_expression_says_which_field_and_what_to_write() {
        for (cron, words) in [
            ("60 3 * * *", "\"60\" is no minute: write 0 to 59"),
            ("0 25 * * *", "\"25\" is no hour: write 0 to 23"),
            ("0 3 32 * *", "\"32\" is no day of the month: write 1 to 31"),
            ("0 3 * 13 *", "\"13\" is no month: write 1 to 12 or JAN to DEC"),
            ("0 3 * * WEEKDAY", "\"WEEKDAY\" is no day of the week: write 0 to 7 or SUN to SAT"),
            ("0 0 3 * * *", "it has 6 fields instead of five"),
            ("nightly", "it has 1 field instead of five"),
        ] {
            let error = Schedule::parse(cron, "Etc/UTC").unwrap_err().to_string();
            assert!(error.contains(words), "{cron}: {error}");
        }
    }

    #[test]
    fn the_wall_clock_of_the_zone_counts() {
        assert_eq!(next("0 3 * * *", "Etc/UTC", "2026-07-01T00:00:00Z"), "2026-07-01T03:00:00Z");
        assert_eq!(next("0 3 * * *", "Europe/Berlin", "2026-07-01T00:00:00Z"), "2026-07-01T01:00:00Z");
        assert_eq!(next("0 3 * * *", "Europe/Berlin", "2026-12-01T00:00:00Z"), "2026-12-01T02:00:00Z");
    }

    #[test]
    fn a_time_that_the_clock_jumps_over_comes_after_the_gap() {
        assert_eq!(next("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z"), "2026-03-29T01:00:00Z");
    }

    #[test]
    fn a_time_that_the_clock_repeats_comes_once() {
        let first = next("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z");
        assert_eq!(first, "2026-10-25T00:30:00Z");
        assert_eq!(next("30 2 * * *", "Europe/Berlin", &first), "2026-10-26T01:30:00Z");
    }

    #[test]
    fn days_of_the_month_and_of_the_week_are_either_or() {
        assert_eq!(next("0 0 13 * FRI", "Etc/UTC", "2026-11-13T00:00:00Z"), "2026-11-20T00:00:00Z");
    }

    #[test]
    fn expressions_that_are_none_are_refused() {
        for cron in ["", "* * * *", "60 * * * *", "* * * * * *", "every day", "0 0 30 2 *", "@reboot"] {
            assert!(Schedule::parse(cron, "Etc/UTC").is_err(), "{cron:?} was accepted");
        }
        let error = Schedule::parse("0 3 * * *", "Mars/Olympus").unwrap_err();
        assert_eq!(error, ScheduleError::Zone { text: "Mars/Olympus".to_owned() });
    }

    #[test]
    fn a_run_is_due_once_and_only_until_its_deadline() {
        let schedule = Schedule::parse("0 3 * * *", "Etc/UTC").unwrap();
        let three = at("2026-07-01T03:00:00Z");
        let before = at("2026-06-30T03:00:00Z");
        let tomorrow = Due::At(at("2026-07-02T03:00:00Z"));
        let cases = [
            (before, "2026-07-01T02:59:59Z", Due::At(three)),
            (before, "2026-07-01T03:00:00Z", Due::Now(three)),
            (before, "2026-07-01T03:59:59Z", Due::Now(three)),
            (before, "2026-07-01T04:00:00Z", tomorrow),
            (three, "2026-07-01T03:00:01Z", tomorrow),
            (at("2026-01-01T00:00:00Z"), "2026-07-01T03:30:00Z", Due::Now(three)),
        ];
        for (handled, now, expected) in cases {
            assert_eq!(schedule.due(handled, at(now), HOUR), expected, "at {now}, after {handled}");
        }
    }
}
