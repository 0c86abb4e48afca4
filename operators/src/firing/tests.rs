//! What windows do at the edges, each by name; everything between is in the oracle's test.

use std::time::Duration;

use thalweg_engine::time::{EventTime, secs};

use super::Timing::{Early, Late, OnTime};
use super::Window;
use super::testing::{END, Harness, Listed, Op, at, check, event, rows, watermark};

#[test]
fn a_window_fires_when_the_watermark_has_passed_its_end() {
    check(
        Window::tumbling(secs(10)),
        &[
            event(3),
            event(12),
            event(4),
            watermark(9),
            watermark(10),
            event(15),
            END,
        ],
        &[
            (0, 10, OnTime, 0, vec![3, 4]),
            (10, 20, OnTime, 0, vec![12, 15]),
        ],
    );
}

#[test]
fn an_empty_window_does_not_fire() {
    check(
        Window::hopping(secs(10), secs(5)),
        &[event(1), watermark(70), event(71), END],
        &[
            (-5, 5, OnTime, 0, vec![1]),
            (0, 10, OnTime, 0, vec![1]),
            (65, 75, OnTime, 0, vec![71]),
            (70, 80, OnTime, 0, vec![71]),
        ],
    );
    check(Window::global(), &[watermark(10), END], &[]);
}

#[test]
fn windows_at_the_edge_of_the_epoch_round_down() {
    check(
        Window::tumbling(secs(10)).offset(secs(3)),
        &[event(-8), event(-7), event(-1), event(2), event(3), END],
        &[
            (-17, -7, OnTime, 0, vec![-8]),
            (-7, 3, OnTime, 0, vec![-7, -1, 2]),
            (3, 13, OnTime, 0, vec![3]),
        ],
    );
}

#[test]
fn days_of_23_and_25_hours() {
    let day = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_second();
    let (spring, autumn) = (day("2024-03-10T05:00:00Z"), day("2024-11-03T04:00:00Z"));
    let (spring_end, autumn_end) = (spring + 23 * 3_600, autumn + 25 * 3_600);
    let events = [
        spring,
        spring_end - 1,
        spring_end,
        autumn,
        autumn_end - 1,
        autumn_end,
    ];
    let mut ops: Vec<Op> = events.map(event).to_vec();
    ops.push(END);
    check(
        Window::daily("America/New_York"),
        &ops,
        &[
            (spring, spring_end, OnTime, 0, vec![spring, spring_end - 1]),
            (spring_end, spring_end + 86_400, OnTime, 0, vec![spring_end]),
            (autumn, autumn_end, OnTime, 0, vec![autumn, autumn_end - 1]),
            (autumn_end, autumn_end + 86_400, OnTime, 0, vec![autumn_end]),
        ],
    );
}

#[test]
fn the_limits_of_time_do_not_overflow() {
    let times = [
        EventTime::MIN,
        EventTime::MAX,
        at(0),
        EventTime::MAX,
        EventTime::MIN,
    ];
    let long = Duration::from_secs(86_400 * 366 * 10_000);
    for window in [
        Window::tumbling(Duration::from_micros(1)),
        Window::tumbling(long).offset(Duration::MAX),
        Window::hopping(long, Duration::from_secs(86_400 * 366))
            .lateness(long)
            .early_events(1),
        Window::hopping(secs(7), secs(3))
            .offset(secs(2))
            .discarding()
            .early_period(long),
        Window::daily("Asia/Tokyo")
            .lateness(long)
            .early_period(Duration::from_micros(1)),
        Window::session(long)
            .lateness(long)
            .early_events(1)
            .early_period(secs(1)),
        Window::session(Duration::from_micros(1)),
        Window::count_sliding(3, 2),
        Window::global()
            .early_events(2)
            .early_period(long)
            .lateness(long),
    ] {
        for settled in [None, Some(EventTime::MIN), Some(at(0))] {
            let mut harness = Harness::new(&window, Listed);
            for (number, time) in (0..).zip(times) {
                harness.event(time, number, number as i64, settled.unwrap_or(time));
            }
            harness.watermark(EventTime::from_micros(i64::MAX - 1));
            harness.watermark(EventTime::MAX);
            assert!(harness.state.is_empty(), "{window:?}");
            let given: std::collections::BTreeSet<i64> =
                harness.fired.iter().flat_map(|f| f.value.clone()).collect();
            let late = harness.late.iter().map(|number| *number as i64);
            let all: Vec<i64> = given.into_iter().chain(late).collect();
            assert_eq!(all.len(), times.len(), "{window:?} {settled:?} {all:?}");
        }
    }
}

#[test]
fn an_event_beyond_the_lateness_is_refused_and_one_within_fires_late() {
    let ops = [
        event(3),
        watermark(12),
        event(4),
        watermark(14),
        event(5),
        watermark(15),
        event(6),
        END,
    ];
    let harness = check(
        Window::tumbling(secs(10)).lateness(secs(5)),
        &ops,
        &[
            (0, 10, OnTime, 0, vec![3]),
            (0, 10, Late, 1, vec![3, 4]),
            (0, 10, Late, 2, vec![3, 4, 5]),
        ],
    );
    assert_eq!(harness.late, [3]);
    let harness = check(
        Window::tumbling(secs(10)).lateness(secs(5)).discarding(),
        &ops,
        &[
            (0, 10, OnTime, 0, vec![3]),
            (0, 10, Late, 1, vec![4]),
            (0, 10, Late, 2, vec![5]),
        ],
    );
    assert_eq!(harness.late, [3]);
    let harness = check(
        Window::tumbling(secs(10)),
        &ops,
        &[(0, 10, OnTime, 0, vec![3])],
    );
    assert_eq!(harness.late, [1, 2, 3]);
}

#[test]
fn a_late_event_for_a_window_that_had_none_is_its_first_pane() {
    check(
        Window::tumbling(secs(10)).lateness(secs(5)),
        &[watermark(12), event(4), END],
        &[(0, 10, Late, 0, vec![4])],
    );
}

#[test]
fn an_event_late_for_one_hopping_window_counts_in_the_next() {
    let harness = check(
        Window::hopping(secs(10), secs(5)),
        &[
            event(1),
            watermark(5),
            event(2),
            watermark(12),
            event(3),
            END,
        ],
        &[(-5, 5, OnTime, 0, vec![1]), (0, 10, OnTime, 0, vec![1, 2])],
    );
    assert_eq!(harness.late, [2]);
}

#[test]
fn early_on_time_and_late_panes_are_numbered_in_a_row() {
    let window = Window::tumbling(secs(10)).early_events(2).lateness(secs(5));
    let ops = [
        event(1),
        event(2),
        event(3),
        event(9),
        event(5),
        watermark(10),
        event(7),
        END,
    ];
    check(
        window.clone(),
        &ops,
        &[
            (0, 10, Early, 0, vec![1, 2]),
            (0, 10, Early, 1, vec![1, 2, 3, 9]),
            (0, 10, OnTime, 2, vec![1, 2, 3, 5, 9]),
            (0, 10, Late, 3, vec![1, 2, 3, 5, 7, 9]),
        ],
    );
    check(
        window.discarding(),
        &ops,
        &[
            (0, 10, Early, 0, vec![1, 2]),
            (0, 10, Early, 1, vec![3, 9]),
            (0, 10, OnTime, 2, vec![5]),
            (0, 10, Late, 3, vec![7]),
        ],
    );
}

#[test]
fn a_discarding_window_without_news_does_not_fire_again() {
    let window = Window::tumbling(secs(10)).early_events(2);
    let ops = [event(1), event(2), END];
    check(
        window.clone(),
        &ops,
        &[
            (0, 10, Early, 0, vec![1, 2]),
            (0, 10, OnTime, 1, vec![1, 2]),
        ],
    );
    check(window.discarding(), &ops, &[(0, 10, Early, 0, vec![1, 2])]);
}

#[test]
fn a_period_of_early_firings_gives_what_is_new_when_it_ends() {
    let harness = check(
        Window::tumbling(secs(100)).early_period(secs(10)),
        &[
            event(3),
            watermark(9),
            watermark(50),
            event(61),
            event(75),
            watermark(70),
            END,
        ],
        &[
            (0, 100, Early, 0, vec![3]),
            (0, 100, Early, 1, vec![3, 61, 75]),
            (0, 100, OnTime, 2, vec![3, 61, 75]),
        ],
    );
    let times: Vec<i64> = harness.fired.iter().map(|f| f.time.as_micros()).collect();
    assert_eq!(times, [9_999_999, 69_999_999, 99_999_999]);
}

#[test]
fn sessions_end_a_gap_after_their_last_event() {
    check(
        Window::session(secs(10)),
        &[
            event(0),
            event(9),
            event(19),
            watermark(19),
            watermark(29),
            event(40),
            END,
        ],
        &[
            (0, 19, OnTime, 0, vec![0, 9]),
            (19, 29, OnTime, 0, vec![19]),
            (40, 50, OnTime, 0, vec![40]),
        ],
    );
}

#[test]
fn a_bridging_event_makes_two_sessions_one() {
    check(
        Window::session(secs(10)).early_events(1),
        &[event(0), event(3), event(15), event(8), END],
        &[
            (0, 10, Early, 0, vec![0]),
            (0, 13, Early, 1, vec![0, 3]),
            (15, 25, Early, 0, vec![15]),
            (0, 25, Early, 2, vec![0, 3, 8, 15]),
            (0, 25, OnTime, 3, vec![0, 3, 8, 15]),
        ],
    );
    // The first of the two has fired already: the whole fires on time once more.
    check(
        Window::session(secs(10)).lateness(secs(20)),
        &[event(0), event(15), watermark(20), event(8), END],
        &[
            (0, 10, OnTime, 0, vec![0]),
            (0, 25, OnTime, 1, vec![0, 8, 15]),
        ],
    );
    // Both have.
    check(
        Window::session(secs(10)).lateness(secs(20)),
        &[event(0), event(15), watermark(26), event(8), END],
        &[
            (0, 10, OnTime, 0, vec![0]),
            (15, 25, OnTime, 0, vec![15]),
            (0, 25, Late, 1, vec![0, 8, 15]),
        ],
    );
}

#[test]
fn count_windows_fire_every_so_many_events_and_the_rest_at_the_end() {
    let events = [5, 1, 2, 9, 8, 7, 11].map(event);
    let ops: Vec<Op> = events.into_iter().chain([END]).collect();
    let harness = check(
        Window::count(3),
        &ops,
        &[
            (1, 5, OnTime, 0, vec![5, 1, 2]),
            (7, 9, OnTime, 0, vec![9, 8, 7]),
            (11, 11, OnTime, 0, vec![11]),
        ],
    );
    let times: Vec<EventTime> = harness.fired.iter().map(|f| f.time).collect();
    let last = EventTime::from_micros(i64::MAX - 1);
    assert_eq!(times, [at(5), at(9), last]);
    check(
        Window::count_sliding(4, 2),
        &ops,
        &[
            (1, 5, OnTime, 0, vec![5, 1]),
            (1, 9, OnTime, 0, vec![5, 1, 2, 9]),
            (2, 9, OnTime, 0, vec![2, 9, 8, 7]),
            (7, 11, OnTime, 0, vec![8, 7, 11]),
        ],
    );
}

#[test]
fn the_global_window_fires_when_triggered_and_at_the_end() {
    let ops = [
        event(5),
        event(3),
        event(8),
        watermark(6),
        event(1),
        event(9),
        END,
    ];
    let fired = |window: Window| {
        let mut harness = Harness::new(&window, Listed);
        harness.run(&ops);
        let panes = rows(&harness.fired).into_iter();
        panes
            .map(|(_, _, timing, pane, list)| (timing, pane, list))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        fired(Window::global().early_events(2)),
        [
            (Early, 0, vec![3, 5]),
            (Early, 1, vec![3, 5, 1, 8]),
            (OnTime, 2, vec![3, 5, 1, 8, 9]),
        ]
    );
    assert_eq!(
        fired(Window::global().early_events(2).discarding()),
        [
            (Early, 0, vec![3, 5]),
            (Early, 1, vec![1, 8]),
            (OnTime, 2, vec![9])
        ]
    );
}
