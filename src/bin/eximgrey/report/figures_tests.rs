use super::*;

fn counts(reasons: &[(Reason, u64)]) -> Counts {
    let mut counts = Counts::default();
    reasons.iter().for_each(|(reason, n)| counts.reasons[*reason as usize] = *n);
    counts
}

/// Each decision is in one of four parts, whatever was decided.
#[test]
fn every_decision_is_in_one_part() {
    let all: Vec<_> = Reason::ALL.iter().zip(1..).map(|(reason, n)| (*reason, 1 << n)).collect();
    let counts = counts(&all);
    let parts = [counts.held(), counts.came_back(), counts.passed_at_once(), counts.errors()];
    assert_eq!(parts.iter().sum::<u64>(), counts.total());
    assert_eq!(counts.passed() + counts.deferred(), counts.total());
}

#[test]
fn what_is_only_observed_has_passed() {
    let counts = Counts { would_defer: 7, ..counts(&[(Reason::New, 7), (Reason::Known, 3)]) };
    assert_eq!((counts.held(), counts.deferred(), counts.passed()), (7, 0, 10));
}

/// The wait that half of the retries did not exceed is told to within its bucket.
#[test]
fn waits_lie_in_their_buckets() {
    assert_eq!(Counts::default().wait(0.5), None);
    let mut counts = Counts::default();
    counts.waits[5] = 100;
    counts.waits[7] = 98;
    *counts.waits.last_mut().unwrap() = 2;
    assert_eq!(counts.wait(0.5), Some(Wait::UpTo(WAITED[5])));
    assert_eq!(counts.wait(0.9), Some(Wait::UpTo(WAITED[7])));
    assert_eq!(counts.wait(0.995), Some(Wait::Over(WAITED[WAITED.len() - 2])));
}

/// The delay that lets nearly all through at their first retry is the longest that does, and no longer than it is.
#[test]
fn a_shorter_delay_is_told_where_it_helps() {
    let mut counts = Counts::default();
    assert_eq!((counts.at_first_retry(), counts.shorter_delay(0.95)), (None, None));
    counts.waits[6] = 100;
    assert_eq!((counts.at_first_retry(), counts.shorter_delay(0.95)), (Some(1.0), None));
    // Up to one minute, to two, and to five; and what did not come back.
    (counts.early_that_passed[0], counts.early_that_passed[1], counts.early_that_passed[3]) = (2, 2, 20);
    (counts.came_early[0], counts.came_early[1], counts.came_early[3]) = (50, 7, 31);
    assert_eq!(counts.at_first_retry(), Some(0.76));
    let shorter = Shorter { delay: Seconds(180), share: 0.96, besides: 11 };
    assert_eq!(counts.shorter_delay(0.95), Some(shorter));
    let shorter = Shorter { delay: Seconds(60), share: 0.98, besides: 16 };
    assert_eq!(counts.shorter_delay(0.97), Some(shorter));
    assert_eq!((counts.shorter_delay(0.99), counts.shorter_delay(0.7)), (None, None));
}

/// The histogram begins and ends with what there is, and its last bucket has no end.
#[test]
fn the_histogram_has_no_empty_ends() {
    assert_eq!(histogram(&Counts::default()), []);
    let mut counts = Counts::default();
    (counts.waits[2], counts.waits[4]) = (3, 1);
    let expected = [(1, 2, 3), (2, 3, 0), (3, 4, 1)].map(|(from, to, n)| (WAITED[from], Some(WAITED[to]), n));
    assert_eq!(histogram(&counts), expected);
    *counts.waits.last_mut().unwrap() = 1;
    assert_eq!(histogram(&counts).last(), Some(&(WAITED[WAITED.len() - 2], None, 1)));
}

/// Hours become days where there are too many, and nothing is lost.
#[test]
fn rows_are_put_together_until_they_fit() {
    let start = Timestamp(1_764_201_600 + 5 * 3_600);
    let row = |n| (start.plus(Seconds::HOUR.times(n)), counts(&[(Reason::New, 1)]));
    let counted =
        Counted { total: Counts::default(), step: Seconds::HOUR, rows: (0..168).map(row).collect() };
    for (most, step, len) in [(168, 1, 168), (100, 6, 29), (10, 24, 8), (3, 168, 2), (1, 672, 1)] {
        let (each, rows) = counted.in_at_most(most);
        assert_eq!((each, rows.len()), (Seconds::HOUR.times(step), len), "{most}");
        assert_eq!(rows.iter().map(|(_, counts)| counts.total()).sum::<u64>(), 168);
        // Weeks begin with a Monday.
        let monday = if each > Seconds::DAY { 4 * 86_400 } else { 0 };
        assert!(rows.iter().all(|(time, _)| most > 100 || (time.0 - monday) % each.0 == 0), "{most}");
    }
}

/// With the paper's own numbers comes out what the paper says.
#[test]
fn the_table_of_2003_comes_out_as_it_was() {
    let counts = counts(&[(Reason::New, 346_968), (Reason::Retried, 8_950), (Reason::Known, 76_795)]);
    let mut scanned = Scanned::default();
    scanned.passed_again = 3_512;
    let table = Whitepaper::of(&counts, &scanned);
    let thousandths = |share: Option<f64>| (share.unwrap() * 1_000.0).round();
    assert_eq!(thousandths(table.effective), 974.0);
    assert_eq!(thousandths(table.delayed_again_share), 41.0);
    assert_eq!((table.passed, table.bytes_saved), (85_745, 338_018 * 5_000));
    assert_eq!(table.bytes_spent, 8_950 * 500);
}

#[test]
fn nothing_has_no_shares() {
    let table = Whitepaper::of(&Counts::default(), &Scanned::default());
    assert_eq!((table.effective, table.delayed_share, table.bytes_saved), (None, None, 0));
}
