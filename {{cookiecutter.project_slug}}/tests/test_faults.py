"""Which test shows that a fault is survived; each of them must exist.

A line is a fault and its tests, as `file::test`. A fault without a test is not listed.
"""

import ast
from pathlib import Path

import pytest

pytestmark = pytest.mark.machinery

HERE = Path(__file__).resolve().parent
FAULTS = {
    "F15 the monitor runs twice, or overlaps itself": [
        "test_retrain::test_f15_one_pull_request_is_opened_and_found_again",
        "test_retrain::test_f15_newer_rows_update_the_one_that_is_open",
        "test_retrain::test_f15_runs_that_overlap_leave_one",
        "test_retrain::test_monitor_records_once_and_stops_on_a_broken_feed",
    ],
    "F16 the log is empty, or a column is gone, empty or of another kind": [
        "test_monitor::test_f16_an_empty_log_is_not_enough_data",
        "test_monitor::test_f16_a_broken_feed_stops",
        "test_retrain::test_monitor_records_once_and_stops_on_a_broken_feed",
        "test_retrain::test_other_decisions_propose_nothing",
    ],
    "F17 one row, five rows, fifty rows": [
        "test_monitor::test_f17_few_rows_get_no_verdict_and_no_check",
    ],
    "F18 no drift": [
        "test_monitor::test_f18_windows_without_drift_stay_silent",
        "test_monitor_calibrate::test_f18_false_alarms_stay_within_the_setting",
        "test_monitor_calibrate::test_weeks_that_differ_by_themselves_are_no_drift",
        "test_monitor_calibrate::"
        "test_f18_odd_weeks_that_the_reference_has_not_seen_are_no_drift",
    ],
    "F19 a log line is corrupt, half-written or repeated": [
        "test_monitor::test_f19_corrupt_half_written_and_repeated_lines_are_counted",
        "test_monitor::test_f19_a_log_that_is_mostly_rubbish_is_not_believed",
    ],
    "F20 labels are late, missing or contradictory": [
        "test_monitor::test_f20_labels_join_by_id_and_contradictory_ones_are_dropped",
        "test_monitor::test_f20_drift_without_labels_is_watched_not_retrained",
        "test_retrain::test_f20_rows_without_a_label_are_not_trained_on",
        "test_simulate::test_f20_rows_go_out_in_order_and_labels_come_late",
    ],
    "F21 clocks are a day apart": [
        "test_retrain::test_f21_the_newest_record_is_the_last_one_not_the_latest_clock",
        "test_monitor::test_windows_follow_the_events_and_the_version_not_the_clock",
    ],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_tests_of_a_fault_exist(fault: str) -> None:
    assert FAULTS[fault]
    for name in FAULTS[fault]:
        file, test = name.split("::")
        tree = ast.parse((HERE / f"{file}.py").read_text(encoding="utf-8"))
        assert test in {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}
