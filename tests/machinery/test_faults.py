"""Which test shows that a fault is survived; each of them must exist.

A line is a fault and its tests, as `file::test`. A fault without a test is not listed.
"""

import ast
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
FAULTS = {
    "F1 storage is down before or in the middle of a push": [
        "test_storage::test_f1_storage_that_is_down_fails_the_push",
        "test_storage::test_f1_storage_that_breaks_in_the_middle_of_a_push",
        "test_validate_workflow::test_storage_that_is_down_is_an_error_not_a_pass",
    ],
    "F2 a pointer or a lock is committed, its object is missing in storage": [
        "test_storage::test_f2_a_missing_object_names_the_command",
        "test_build::test_data_that_was_not_pushed_is_named_with_its_command",
        "test_register::test_missing_bytes_are_refused",
    ],
    "F3 a push is killed and run again": [
        "test_storage::test_f3_a_push_that_was_killed_is_complete_or_red",
    ],
    "F4 an object in storage is altered, truncated or swapped": [
        "test_storage::test_f4_an_altered_object_is_refused",
        "test_register::test_altered_bytes_are_refused",
        "test_handovers::test_mutations_are_refused_by_name",
    ],
    "F5 a cache object is corrupted on disk": [
        "test_storage::test_f5_a_corrupted_cache_is_never_believed",
        "test_storage::test_a_push_of_other_bytes_is_refused",
    ],
    "F6 two files have one MD5": [
        "test_handovers::test_the_twins_are_twins",
        "test_handovers::test_mutations_are_refused_by_name",
    ],
    "F7 two merges promote at once": [
        "test_races::test_f7_four_merges_that_each_beat_the_old_champion",
        "test_races::test_four_runs_of_one_merge",
        "test_races::test_four_models_get_four_versions",
        "test_skew::test_of_two_that_beat_the_old_champion_the_second_is_asked_again",
        "test_deploy::test_a_champion_that_changed_while_waiting_is_refused",
    ],
    "F8 deploy runs again": [
        "test_skew::test_f8_every_job_may_run_again",
        "test_register::test_registering_again_changes_nothing",
        "test_deploy::test_running_it_again_changes_nothing",
        "test_rollback::test_a_second_run_changes_nothing",
    ],
    "F9 a version's tag exists for other bytes": [
        "test_register::test_a_version_for_other_bytes_is_a_hard_stop",
        "test_register::test_a_release_with_other_bytes_is_a_hard_stop",
        "test_register::test_a_foreign_tag_is_a_hard_stop",
        "test_register::test_an_older_number_on_newer_work_is_a_hard_stop",
    ],
    "F10 a tag is moved or deleted by hand": [
        "test_register::test_a_moved_tag_is_a_hard_stop",
        "test_register::test_a_moved_tag_that_lies_is_a_hard_stop",
        "test_register::test_a_deleted_tag_is_a_hard_stop",
        "test_rollback::test_a_moved_tag_is_refused",
    ],
    "F11 killed between two steps of a promotion": [
        "test_kills::test_killed_anywhere_it_is_never_half_and_a_rerun_ends",
        "test_agent_load::test_killed_at_random_moments_it_resumes_whole",
        "test_agent::test_killed_hard_it_takes_its_children_along_and_resumes",
        "test_deploy::test_killed_between_two_steps_a_rerun_finishes",
        "test_deploy::test_killed_while_taking_back_a_rerun_finishes",
        "test_rollback::test_killed_before_the_pull_request_a_rerun_opens_it",
    ],
    "F12 the new version fails its health check": [
        "test_deploy::test_a_version_that_does_not_come_up_is_taken_back",
        "test_deploy::test_an_agents_failure_is_taken_back_at_once",
        "test_deploy::test_a_first_version_that_fails_leaves_no_champion",
    ],
    "F13 healthy but wrong": [
        "test_deploy::test_wrong_answers_are_taken_back_at_once",
        "test_agent::test_deploy_switch_refuse_roll_back_without_losing_a_request",
    ],
    "F14 the way back is missing or corrupt": [
        "test_deploy::test_f14_without_a_verified_way_back_nothing_is_replaced",
        "test_rollback::test_missing_bytes_in_storage_are_refused",
        "test_rollback::test_altered_bytes_in_storage_are_refused",
        "test_rollback::test_altered_bytes_on_the_release_are_refused",
        "test_rollback::test_a_release_without_its_model_is_refused",
    ],
    "F15 the monitor runs twice, or overlaps itself": [
        "test_retrain::test_f15_one_pull_request_is_opened_and_found_again",
        "test_retrain::test_f15_newer_rows_update_the_one_that_is_open",
        "test_retrain::test_f15_runs_that_overlap_leave_one",
        "test_retrain::test_monitor_records_once_and_stops_on_a_broken_feed",
    ],
    "F16 the log is empty, or a column is gone, empty or of another kind": [
        "test_monitor::test_f16_an_empty_log_is_not_enough_data",
        "test_monitor::test_f16_a_broken_feed_stops",
        "test_retrain::test_rows_that_mostly_break_the_contract_are_not_trained_on",
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
        "test_monitor_hostile::"
        "test_f19_a_window_with_every_kind_of_hostile_line_has_its_verdict",
        "test_monitor_hostile::"
        "test_f19_whatever_a_log_and_labels_hold_there_is_a_verdict_or_a_sentence",
    ],
    "F20 labels are late, missing or contradictory": [
        "test_monitor::test_f20_labels_join_by_id_and_contradictory_ones_are_dropped",
        "test_monitor::test_f20_drift_without_labels_is_watched_not_retrained",
        "test_monitor::test_late_labels_are_told_and_the_estimate_is_scored",
        "test_retrain::test_f20_rows_without_a_label_are_not_trained_on",
        "test_simulate::test_f20_rows_go_out_in_order_and_labels_come_late",
        "test_monitor_labels::"
        "test_f20_a_corrected_label_counts_where_an_order_is_given",
        "test_monitor_labels::test_f20_a_later_file_corrects_an_earlier_one",
    ],
    "F21 clocks are a day apart": [
        "test_retrain::test_f21_the_newest_record_is_the_last_one_not_the_latest_clock",
        "test_monitor::test_windows_follow_the_events_and_the_version_not_the_clock",
    ],
    "F22 the disk is full": [
        "test_storage::test_f22_a_full_disk_leaves_nothing_half",
        "test_agent::test_what_nobody_foresaw_keeps_the_agent_alive",
    ],
    "F25 the verdict of what was merged is stale, red or missing": [
        "test_register::test_no_verdict_is_refused",
        "test_register::test_the_newest_verdict_decides",
        "test_register::test_a_champion_that_changed_is_refused",
        "test_register::test_a_recipe_that_was_not_judged_is_refused",
        "test_register::test_a_main_that_moved_is_refused",
        "test_register::test_what_was_judged_but_not_merged_is_refused",
        "test_deploy::test_main_that_moved_on_is_refused",
    ],
    "F26 squash or rebase changes the commit": [
        "test_skew::test_f26_how_it_is_merged_does_not_matter",
    ],
    "F27 SIGTERM under load": [
        "test_serving::test_sigterm_under_load_loses_nothing",
    ],
    "F28 the server is killed under load": [
        "test_serving::test_killed_hard_then_started_again_the_log_has_no_torn_line",
        "test_log_kills::test_half_a_line_of_a_killed_writer_is_removed",
    ],
    "F30 the model is missing or corrupt at the start": [
        "test_serving::test_a_bad_model_is_alive_but_not_ready",
        "test_serving::test_another_version_than_expected_is_not_served",
    ],
    "F31 the log's disk is full, slow or away": [
        "test_log_kills::test_a_disk_that_recovers_has_every_line_once",
        "test_log_kills::test_a_disk_that_hangs_holds_no_response_for_long",
        "test_log_kills::"
        "test_lines_beyond_the_bound_are_dropped_counted_and_carried_over",
        "test_endurance::test_f31_a_sink_that_fails_is_waited_for_within_the_bound",
        "test_shipping::test_a_folder_has_no_byte_beyond_its_bound",
    ],
    "F32 four times the capacity for a minute": [
        "test_endurance::"
        "test_f32_of_four_times_the_capacity_a_quarter_is_answered_in_time",
        "test_endurance::test_within_the_capacity_nothing_is_refused",
        "test_endurance::test_memory_and_descriptors_stay_as_they_are",
    ],
    "F33 a row is dated in the future; labels match no id": [
        "test_monitor_blind::test_f33_a_row_dated_in_the_future_hides_no_other",
        "test_monitor_blind::"
        "test_a_labelled_row_dated_in_the_future_leaves_the_training_data_alone",
        "test_monitor_labels::test_labels_that_match_no_prediction_are_a_finding",
    ],
    "F34 killed under load, what was sent and not logged is counted": [
        "test_log_kills::test_f34_killed_under_load_no_response_is_missing_in_the_log",
        "test_log_kills::"
        "test_f34_what_a_full_disk_and_a_kill_lose_is_counted_at_the_next_start",
        "test_monitor_unlogged::test_what_was_lost_is_in_the_report_and_in_the_history",
    ],
    "T26 floods are bounded, others are served meanwhile": [
        "test_floods::test_trailers_without_end_are_cut",
        "test_floods::test_other_endless_requests_are_cut",
        "test_floods::test_responses_that_nobody_reads_stop_the_reading",
        "test_floods::test_silent_connections_do_not_keep_others_out",
        "test_floods::test_bodies_that_do_not_end_hold_little_together",
        "test_floods::test_a_request_is_one_request_wherever_it_is_cut",
        "test_floods::test_event_days_make_no_files",
        "test_floods::test_a_text_much_longer_than_any_category_is_refused_and_counted",
        "test_replay::test_one_text_of_50_kb_does_not_end_every_replay",
        "test_monitor_hostile::test_a_category_of_many_values_takes_no_room",
    ],
    "F29 a new model is swapped in under load, some of them bad": [
        "test_agent_load::test_f29_swaps_under_load_lose_no_request",
        "test_agent_load::test_workers_are_swapped_and_replaced_under_load",
        "test_agent::test_deploy_switch_refuse_roll_back_without_losing_a_request",
    ],
    "F35 the host itself is at fault: a proxy, an interpreter, a full disk": [
        "test_agent_faults::test_a_proxy_variable_is_for_the_network_only",
        "test_agent_faults::test_a_fault_of_this_host_is_not_held_against_a_release",
        "test_agent_faults::test_a_fault_of_a_release_is_final",
        "test_agent_faults::test_without_a_control_the_first_release_is_tried_again",
        "test_agent_faults::"
        "test_on_a_full_disk_the_old_model_serves_and_the_disk_is_named",
        "test_agent_campaign::test_a_campaign_of_faults",
    ],
    "F36 git hangs, a download trickles": [
        "test_agent_faults::"
        "test_a_hanging_git_stops_neither_tending_nor_the_agents_end",
        "test_agent_faults::test_a_hanging_git_is_ended_in_time",
        "test_agent_faults::test_a_download_that_fails_is_told_and_tried_again",
        "test_agent_campaign::test_a_campaign_of_faults",
    ],
    "F37 a clock is set back or forward by a year": [
        "test_agent_faults::test_a_clock_set_back_removes_nothing_that_runs",
        "test_monitor_blind::"
        "test_f37_rows_from_a_clock_that_is_a_year_ahead_hide_no_other",
        "test_agent_campaign::test_a_campaign_of_faults",
    ],
    "F38 the agent's files are damaged": [
        "test_agent_faults::test_a_damaged_clone_is_made_again",
        "test_agent_faults::test_an_odd_state_is_left_out",
        "test_agent_faults::test_an_agent_starts_from_an_odd_state",
        "test_agent_faults::test_what_was_altered_on_this_disk_is_fetched_again",
        "test_agent_campaign::test_a_campaign_of_faults",
    ],
    "F39 GitHub fails, limits, refuses, or says null": [
        "test_github::test_a_failure_of_the_moment_is_tried_again",
        "test_github::test_the_tries_are_bounded",
        "test_github::test_a_refusal_is_final",
        "test_github::test_retry_after_is_respected_also_for_a_post",
        "test_github::test_a_post_that_may_have_worked_is_not_made_twice",
        "test_github::test_a_list_that_github_counts_is_read_to_its_end",
        "test_github::test_git_tries_again_where_the_remote_failed",
        "test_github_rules::test_a_rule_against_the_ledger_is_told_once_and_in_its_words",
        "test_proposal::test_a_deleted_fork_and_a_deleted_account_are_judged",
    ],
    "F40 settings of a machine's git, another branch, a conflict in dvc.lock": [
        "test_setup::test_a_commit_has_the_same_bytes_on_every_machine",
        "test_setup::test_what_a_gitignore_of_the_machine_hides_is_committed_all_the_same",
        "test_setup::test_a_conflict_leaves_a_lock_that_can_be_read",
        "test_setup::test_a_repository_without_a_commit_gets_the_branch_main",
        "test_setup::test_a_branch_with_commits_keeps_its_name_and_the_command_is_said",
        "test_lock::test_a_conflict_says_the_way_out",
        "test_doctor::test_doctor_names_surroundings_in_which_nothing_runs",
    ],
    "Merge skew: what was green is not what may be deployed now": [
        "test_skew::test_of_two_that_beat_the_old_champion_the_second_is_asked_again",
        "test_skew::test_one_that_was_judged_between_the_two_is_deployed",
        "test_skew::test_f26_how_it_is_merged_does_not_matter",
        "test_skew::test_f8_every_job_may_run_again",
        "test_register::test_no_verdict_is_refused",
        "test_register::test_the_newest_verdict_decides",
        "test_register::test_a_recipe_that_was_not_judged_is_refused",
        "test_register::test_a_lock_that_the_ledger_lacks_is_refused",
        "test_register::test_a_lock_altered_on_the_ledger_is_refused",
        "test_register::test_missing_bytes_are_refused",
        "test_deploy::test_a_champion_that_changed_while_waiting_is_refused",
    ],
    "T10 a model file attacks whoever reads it": [
        "test_validate::test_a_model_file_that_reaches_out_is_refused",
        "test_validate::test_bytes_that_are_no_model_are_refused",
        "test_validate::test_a_model_over_its_budget_is_refused",
        "test_validate::test_a_child_sees_no_token",
        "test_validate::test_a_child_at_its_limit_is_a_refusal",
        "test_online::test_an_operator_that_is_not_listed_is_refused",
        "test_online::test_the_server_reads_the_format_that_the_judge_read",
    ],
    "T15 a client abuses the server": [
        "test_serving::test_odd_input_is_refused_with_a_sentence",
        "test_serving::test_a_head_without_end_is_refused_and_others_are_answered",
        "test_serving::test_a_body_without_length_is_cut_at_the_cap",
        "test_floods::test_who_sends_nothing_or_half_is_left",
        "test_floods::test_who_takes_no_response_is_left",
        "test_floods::test_a_length_of_many_digits_is_no_failure",
    ],
    "T18 a proposal changes its judge, or forges the status": [
        "test_planted::test_a_bad_proposal_is_refused_for_its_own_reason",
        "test_planted::test_a_forged_artifact_is_refused_for_its_own_reason",
        "test_verdict::test_a_change_of_what_judges_is_named",
        "test_verdict::test_a_change_of_a_rule_in_params_is_named",
        "test_register::test_no_verdict_is_refused",
        "test_doctor::test_rulesets_name_the_required_checks",
    ],
    "T19 a proposal trains on the holdout": [
        "test_validate::test_rows_learnt_under_another_id_are_seen",
        "test_validate::test_rows_of_the_holdouts_days_are_seen_whatever_their_values",
        "test_validate::test_rows_that_the_champion_learnt_from_do_not_count",
        "test_planted::test_a_bad_proposal_is_refused_for_its_own_reason",
    ],
    "T20 a model answers by more than its row, fails, hangs or eats memory": [
        "test_online::test_a_model_that_goes_by_more_than_its_row_is_refused",
        "test_online::test_a_model_that_is_slow_for_one_value_is_refused",
        "test_online::"
        "test_an_answer_that_does_not_come_ends_the_child_and_names_the_row",
        "test_online::test_a_model_of_its_row_alone_is_let_through",
        "test_planted::test_a_bad_proposal_is_refused_for_its_own_reason",
    ],
    "T21 a manifest lies": [
        "test_identity::test_a_lie_is_refused_by_its_entry",
        "test_identity::"
        "test_a_window_and_golden_rows_that_the_table_does_not_give_are_refused",
        "test_identity::test_a_key_that_is_given_twice_is_refused",
        "test_identity::test_a_true_manifest_is_believed",
    ],
    "T22 an old or foreign verdict is used again; a rollback is undone": [
        "test_rollback::"
        "test_a_verdict_on_an_unrelated_pull_request_does_not_bring_it_again",
        "test_register::"
        "test_a_verdict_on_another_recipe_of_the_same_version_takes_nothing_away",
        "test_register::"
        "test_other_bytes_that_were_uploaded_for_a_recipe_do_not_condemn_it",
        "test_server_release::test_an_unrelated_verdict_does_not_bring_a_server_back",
        "test_returning::test_an_unrelated_pull_request_brings_nothing_back",
    ],
    "T23 a stranger takes over the judge's comment, an issue or the revert": [
        "test_proposal::test_a_comment_with_the_marker_of_somebody_else_is_left_alone",
        "test_update::test_an_issue_with_the_marker_of_somebody_else_hides_no_update",
        "test_rollback::test_a_strangers_pull_request_of_that_name_is_not_the_revert",
    ],
    "T24 what is proposed crashes or hangs the privileged job": [
        "test_hostile_input::test_a_crash_is_a_refusal_with_status_and_comment",
        "test_hostile_input::test_hostile_yaml_is_refused_in_time",
        "test_judge_fuzz::test_nothing_ends_without_a_status",
    ],
    "T25 a value of the log runs as script": [
        "test_monitor_hostile::"
        "test_t25_the_policy_names_the_scripts_that_evidently_has",
        "test_monitor_hostile::test_t25_what_evidently_is_given_holds_no_markup",
        "test_monitor_hostile::test_t25_every_page_has_a_policy",
    ],
    "T27 the ledger is rewritten, or names what is not on main": [
        "test_agent::test_a_ledger_that_went_back_in_time_is_not_followed",
        "test_agent::test_a_commit_that_is_not_on_main_is_not_deployed",
    ],
    "Tampering: the audit names it": [
        "test_audit::test_a_tampered_ledger_is_named",
        "test_audit::test_a_moved_tag_hides_nothing",
        "test_audit::test_a_deleted_tag_is_a_disagreement",
        "test_audit::test_an_answer_that_no_deployment_explains_is_named",
        "test_signature::test_a_tag_of_another_key_is_refused",
        "test_reproduce::test_other_data_and_another_seed_are_refused_by_name",
    ],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_tests_of_a_fault_exist(fault: str) -> None:
    assert FAULTS[fault]
    for name in FAULTS[fault]:
        file, test = name.split("::")
        if file.startswith("test_agent") and not (HERE / f"{file}.py").exists():
            continue  # only where the target is a host
        tree = ast.parse((HERE / f"{file}.py").read_text(encoding="utf-8"))
        assert test in {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}
