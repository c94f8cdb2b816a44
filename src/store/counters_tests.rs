use super::*;
use crate::time::Seconds;

fn reply(reason: Reason) -> Reply {
    Reply::new(reason)
}

#[test]
fn decisions_are_counted_by_the_hour_and_the_minute() {
    let dir = tempfile::tempdir().unwrap();
    let state = State::open(dir.path(), true).unwrap();
    let counters = Counters::of(&state);
    let now = Timestamp(1_000_000_000);
    counters.count(&reply(Reason::New), now);
    counters.count(&reply(Reason::New), now.plus(Seconds::HOUR.times(2)));
    counters.count(&Reply::error(Fault::StoreLock), now);
    counters.count(&Reply { would: Some(Action::Defer), ..reply(Reason::Early) }, now);
    let hour = counters.last_hours(1, now);
    assert_eq!([hour.reason(Reason::New), hour.reason(Reason::Early), hour.reason(Reason::Error)], [1, 1, 1]);
    assert_eq!((hour.fault(Fault::StoreLock), hour.would_defer(), hour.total()), (1, 1, 3));
    let later = now.plus(Seconds::HOUR.times(2));
    assert_eq!(counters.last_hours(1, later).total(), 1);
    assert_eq!(counters.last_hours(3, later).total(), 4);
    assert_eq!(counters.last_minutes(5, later).total(), 1);
    assert_eq!(counters.last_minutes(5, now.plus(Seconds::MINUTE.times(6))).total(), 0);
    assert_eq!(counters.last_minutes(5, now.plus(Seconds::MINUTE.times(4))).total(), 3);
}

#[test]
fn an_old_hour_makes_room_for_the_new_one_in_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let state = State::open(dir.path(), true).unwrap();
    let counters = Counters::of(&state);
    let now = Timestamp(1_000_000_000);
    let month_later = now.plus(Seconds::HOUR.times(840));
    counters.count(&reply(Reason::Known), now);
    counters.count(&reply(Reason::Known), month_later);
    // In the same minute's place, so that those before go to their hours.
    for round in [32, 64, 96, 128] {
        counters.count(&reply(Reason::Known), month_later.plus(Seconds::MINUTE.times(round)));
    }
    assert_eq!(counters.last_hours(1, month_later).reason(Reason::Known), 1);
    assert_eq!(counters.last_hours(1, now).reason(Reason::Known), 0);
}

/// A decision stands in its minute's cell until that is taken over, and then in its hour's: it is counted
/// once, wherever it is.
#[test]
fn what_has_left_the_minutes_is_in_the_hours() {
    let dir = tempfile::tempdir().unwrap();
    let state = State::open(dir.path(), true).unwrap();
    let counters = Counters::of(&state);
    let start = Timestamp(1_000_000_800);
    let at = |minutes| start.plus(Seconds::MINUTE.times(minutes));
    // Every tenth minute for a day, some twice: the ring of 64 minutes has gone round many times.
    for minute in (0..24 * 60).step_by(10) {
        counters.count(&reply(Reason::Known), at(minute));
        if minute % 60 == 0 {
            counters.count(&reply(Reason::Known), at(minute));
        }
    }
    let last = at(24 * 60 - 10);
    for (hours, counted) in [(1, 7), (2, 14), (24, 7 * 24), (30, 7 * 24)] {
        assert_eq!(counters.last_hours(hours, last).reason(Reason::Known), counted, "{hours} hours");
    }
    assert_eq!(counters.last_hours(1, at(5 * 60)).reason(Reason::Known), 7, "an hour in between");
    assert_eq!(counters.last_minutes(60, last).total(), 7);
    let hours: Vec<_> = counters.hours(at(0)..=last).map(|(hour, tally)| (hour, tally.total())).collect();
    let expected = (0..24).map(|hour| (at(60 * hour), 7));
    assert!(hours.into_iter().eq(expected), "by the hour, the oldest first");
    // Long after.
    counters.count(&reply(Reason::Known), at(40 * 24 * 60));
    assert_eq!(counters.last_hours(1, at(40 * 24 * 60)).total(), 1);
    assert_eq!(counters.hours(Timestamp(0)..=at(40 * 24 * 60)).count(), 840, "as many as are kept");
}

/// A clock that was ahead, for minutes or years, stops no counter when it is set right, and neither does
/// one that was behind.
#[test]
fn a_clock_that_was_wrong_is_forgotten_when_it_is_right() {
    let now = Timestamp(1_000_000_800);
    for wrong in
        [now.plus(Seconds::MINUTE.times(3)), now.plus(Seconds::DAY), Timestamp(u32::MAX), Timestamp(0)]
    {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path(), true).unwrap();
        let counters = Counters::of(&state);
        let at = |minutes| now.plus(Seconds::MINUTE.times(minutes));
        for minute in 0..3 * 60 {
            counters.count(&reply(Reason::New), wrong.plus(Seconds::MINUTE.times(minute)));
        }
        for minute in 200..260 {
            (0..100).for_each(|_| counters.count(&reply(Reason::New), at(minute)));
            assert_eq!(counters.last_minutes(1, at(minute)).total(), 100, "{wrong:?}, minute {minute}");
        }
        assert_eq!(counters.ever().total(), 3 * 60 + 60 * 100, "{wrong:?}");
        assert_eq!(counters.last_minutes(60, at(259)).total(), 6_000, "{wrong:?}");
        for hour in 5..1_000 {
            (0..100).for_each(|_| counters.count(&reply(Reason::New), at(60 * hour)));
        }
        let last = at(60 * 999);
        assert_eq!(counters.last_hours(24, last).total(), 2_400, "{wrong:?}");
        assert!(counters.hours(at(60 * 300)..=last).all(|(_, tally)| tally.total() == 100), "{wrong:?}");
    }
}

/// Two processes that look at the clock just before and just after a new minute are counted, each in its
/// minute.
#[test]
fn a_process_that_is_a_little_late_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let state = State::open(dir.path(), true).unwrap();
    let counters = Counters::of(&state);
    let minute = Timestamp(1_000_000_800);
    for _ in 0..10 {
        counters.count(&reply(Reason::New), minute);
        counters.count(&reply(Reason::New), Timestamp(minute.0 - 1));
    }
    assert_eq!(counters.last_minutes(1, minute).total(), 10);
    assert_eq!(counters.last_hours(2, minute).total(), 20);
}

#[test]
fn all_processes_share_one_file() {
    let dir = tempfile::tempdir().unwrap();
    let states = [(); 2].map(|()| State::open(dir.path(), true).unwrap());
    let [one, two] = states.each_ref().map(Counters::of);
    one.count(&reply(Reason::New), Timestamp(60));
    two.count(&reply(Reason::New), Timestamp(60));
    assert_eq!(one.last_hours(1, Timestamp(60)).total(), 2);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

/// An hour's count goes to its day when the hour's place is taken, and a day's to all that was before: each
/// decision and each outcome is told once, and the sum of all never falls.
#[test]
fn what_has_left_the_hours_is_in_the_days() {
    let dir = tempfile::tempdir().unwrap();
    let state = State::open(dir.path(), true).unwrap();
    let counters = Counters::of(&state);
    let start = Timestamp(1_000_080_000);
    assert!(start.0.is_multiple_of(86_400));
    let at = |hours: u32| start.plus(Seconds::HOUR.times(hours));
    let passed = |minutes| Reply { delay: Some(Seconds::MINUTE.times(minutes)), ..reply(Reason::Retried) };
    let days = 900;
    let mut ever = 0;
    for hour in (0..days * 24).step_by(6) {
        counters.count(&passed(7), at(hour));
        counters.count(&passed(90), at(hour));
        counters.count(&reply(Reason::New), at(hour));
        if hour % 240 == 0 {
            let now = counters.ever().total();
            assert!(now > ever, "hour {hour}");
            ever = now;
        }
    }
    let last = at(days * 24 - 1);
    let all: Vec<_> = counters.days(Timestamp(0)..=last).collect();
    assert_eq!(all.len(), 731);
    let whole = |(day, tally): &&(Timestamp, Tally)| {
        assert_eq!((tally.total(), tally.reason(Reason::Retried)), (12, 8), "{day}");
        tally.waits().iter().sum::<u64>() == 8
    };
    assert_eq!(all.iter().filter(whole).count(), 731);
    let ever = counters.ever();
    assert_eq!((ever.total(), ever.waits().iter().sum::<u64>()), (3 * 900 * 4, 2 * 900 * 4));
    let day = counters.last_hours(24, last);
    assert_eq!((day.waited(0.5), day.waited(0.9)), (Some(Seconds(480)), Some(Seconds(7_200))));
    assert_eq!(Tally::default().waited(0.5), None);
}

/// The words' numbers are on disk: a row has room for them, and no two share a cell.
#[test]
fn every_word_has_a_cell_of_its_own() {
    assert!(Reason::ALL.len() <= FIRST_FAULT);
    assert!(FIRST_FAULT + Fault::ALL.len() <= WOULD_DEFER);
    assert_eq!((Reason::New as usize, Reason::Error as usize, Fault::Internal as usize), (0, 11, 8));
}
