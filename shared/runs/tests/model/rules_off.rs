//! Each rule switched off once: the history that it forbids happens, and a property tells.

use crate::{
    config::{Budget, Config, Item, Off, Request, Splits},
    explore::explore,
    properties::Property,
    rules_on::{A_KILLER, AN_INNOCENT},
};
use runyard_runs::protocol::{LOST_ONE, MAX_ATTEMPTS, SUSPECT};

/// Explores `config` without a rule: `property` must fail, and must not fail with the rule.
fn fails(off: Off, property: Property, config: &Config) {
    let broken = Config { off: Some(off), ..config.clone() };
    match explore(&broken, Some(property)) {
        Ok(report) => panic!("without {off:?}, {property:?} holds in {} states", report.states),
        Err(counterexample) => {
            assert_eq!(counterexample.property, property);
            eprintln!("without {off:?}: {}", counterexample.text);
        }
    }
    if let Err(counterexample) = explore(config, Some(property)) {
        panic!("with every rule: {}", counterexample.text);
    }
}

const TWO_CALLS: &[&[Item]] = &[&[Item::Call(0), Item::Call(1)]];
const A_QUESTION: &[&[Item]] = &[&[Item::Ask(0), Item::Call(0)]];
const A_CALL_AND_A_QUESTION: &[&[Item]] = &[&[Item::Call(0), Item::Ask(0)]];
const A_QUESTION_BESIDE_A_CALL: &[&[Item]] = &[&[Item::Ask(0)], &[Item::Call(0)]];

fn one_worker() -> Budget {
    Budget { workers: 1, ..Budget::default() }
}

/// Time for one suspicion, or one loss.
fn a_lease_ends() -> Budget {
    Budget { workers: 2, ticks: 1, sweeps: 1, ..Budget::default() }
}

fn calls(budget: Budget) -> Config {
    Config { script: TWO_CALLS, budget, ..Config::default() }
}

fn asks(budget: Budget) -> Config {
    Config { script: A_QUESTION, answers: vec![0], budget, ..Config::default() }
}

/// A question is asked while a call is made, and answered before it is over.
fn asks_beside(budget: Budget) -> Config {
    Config { script: A_QUESTION_BESIDE_A_CALL, answers: vec![0], budget, ..Config::default() }
}

#[test]
fn rule_2_an_accepted_run_that_was_never_enqueued() {
    let config = calls(Budget { crashes: 1, ..one_worker() });
    fails(Off::DueOnCreate, Property::Ends, &config);
    fails(Off::DueOnCreate, Property::StaysDue, &config);
}

#[test]
fn rule_3_answered_but_never_resumed() {
    let budget = Budget { split: 1, crashes: 1, dropped: 1, ..one_worker() };
    fails_split(Property::Wakes, &Config { splits: Splits::Answers, ..asks(budget) });
}

#[test]
fn rule_3_a_cancel_of_a_paused_run_whose_record_never_heard() {
    let budget = Budget { split: 1, ..one_worker() };
    let config = Config { cancels: 1, answers: vec![], splits: Splits::Cancels, ..asks(budget) };
    fails_split(Property::EndIsHeard, &config);
}

#[test]
fn rule_3_a_late_started_over_completed() {
    let config = calls(Budget { split: 1, ..one_worker() });
    fails_split(Property::EndIsHeard, &config);
    fails_split(Property::RecordAgrees, &config);
}

/// The record that does not hear is a fault that only this rule's absence makes possible.
fn fails_split(property: Property, config: &Config) {
    let broken = Config { off: Some(Off::OneTransaction), ..config.clone() };
    let Err(counterexample) = explore(&broken, Some(property)) else {
        panic!("without one transaction, {property:?} holds");
    };
    assert_eq!(counterexample.property, property);
    eprintln!("without one transaction: {}", counterexample.text);
    let sound = Config { budget: Budget { split: 0, ..config.budget }, ..config.clone() };
    if let Err(counterexample) = explore(&sound, Some(property)) {
        panic!("with every rule: {}", counterexample.text);
    }
}

#[test]
fn rule_4_the_end_of_the_log_taken_from_the_record() {
    fails(Off::NeverTheRecord, Property::Ends, &calls(Budget { crashes: 1, ..a_lease_ends() }));
}

#[test]
fn rule_5_an_executor_that_read_the_last_entry_only() {
    fails(Off::WholeLog, Property::NotRecordedAgain, &calls(Budget { crashes: 1, ..a_lease_ends() }));
}

#[test]
fn rules_5_and_6_two_claims_without_leases_run_everything_twice() {
    let budget = Budget { workers: 2, duplicated: 1, ..Budget::default() };
    fails(Off::Leases, Property::PaidOnce, &calls(budget));
}

#[test]
fn rule_6_two_claims_without_a_lease_condition() {
    fails(Off::LeaseGuard, Property::LeaseRespected, &calls(Budget { renewals: 1, ..a_lease_ends() }));
}

#[test]
fn rule_7_a_refused_claim_that_goes_on() {
    let config = calls(Budget { renewals: 1, ..a_lease_ends() });
    fails(Off::RefusedStops, Property::ClaimedFirst, &config);
}

#[test]
fn rule_8_a_replay_of_what_others_had_recorded() {
    let budget = Budget { workers: 2, duplicated: 1, ticks: 1, ..Budget::default() };
    fails(Off::DiscardReplay, Property::NotRecordedAgain, &calls(budget));
}

#[test]
fn rule_8_a_first_call_thrown_away_by_an_old_collision() {
    let budget = Budget { workers: 2, ticks: 2, sweeps: 1, renewals: 1, ..Budget::default() };
    fails(Off::StartOverOnce, Property::OncePerClaim, &calls(budget));
}

#[test]
fn rule_9_a_zombie_that_looked_at_one_entry_only() {
    fails(Off::ReadToEnd, Property::NoneSuperseded, &calls(a_lease_ends()));
}

#[test]
fn rule_9_a_pause_sent_again_after_its_own_answer() {
    fails(Off::DecideAnew, Property::Wakes, &asks_beside(one_worker()));
}

#[test]
fn rule_10_a_time_out_taken_for_success() {
    let config = calls(Budget { lost: 1, ..one_worker() });
    fails(Off::LookAfterTimeOut, Property::Shown, &config);
    fails(Off::LookAfterTimeOut, Property::ClaimedFirst, &config);
}

#[test]
fn rule_10_a_collision_taken_for_success() {
    let config = Config { cancels: 1, ..calls(one_worker()) };
    fails(Off::LookAfterCollision, Property::Shown, &config);
}

#[test]
fn rule_10_a_retry_with_a_regrouped_batch() {
    let config = asks_beside(Budget { lost: 1, ..one_worker() });
    fails(Off::SameBatch, Property::Gapless, &config);
    fails(Off::SameBatch, Property::Shown, &config);
}

#[test]
fn rule_11_a_call_before_the_claim() {
    fails(Off::ClaimBeforeCall, Property::ClaimedFirst, &calls(one_worker()));
}

#[test]
fn rule_11_a_call_before_the_journal() {
    fails(Off::JournalBeforeCall, Property::JournaledFirst, &calls(one_worker()));
}

#[test]
fn rule_12_a_pause_that_keeps_the_lease() {
    fails(
        Off::PauseFrees,
        Property::RecordAgrees,
        &Config { script: A_CALL_AND_A_QUESTION, ..asks(one_worker()) },
    );
}

#[test]
fn rule_13_an_answer_that_wakes_nobody() {
    fails(Off::WakeOnAnswer, Property::Wakes, &asks(one_worker()));
}

#[test]
fn rule_13_answered_but_the_message_was_lost() {
    fails(Off::DueOnAnswer, Property::Wakes, &asks(Budget { dropped: 1, ..one_worker() }));
}

#[test]
fn rule_15_a_late_renewal_of_an_ended_run() {
    let config = Config { cancels: 1, ..calls(Budget { renewals: 1, lost: 1, ticks: 1, ..one_worker() }) };
    fails(Off::OwnerOfRenewal, Property::RecordAgrees, &config);
}

#[test]
fn rule_16_a_hand_over_that_leaves_the_list() {
    let config = calls(Budget { hand_overs: 1, dropped: 1, ..one_worker() });
    fails(Off::DueOnHandOver, Property::Ends, &config);
    fails(Off::DueOnHandOver, Property::StaysDue, &config);
}

#[test]
fn rule_16_a_late_hand_over_that_strips_a_fresh_lease() {
    let budget = Budget { workers: 3, hand_overs: 1, lost: 1, duplicated: 1, ..Budget::default() };
    fails(Off::OwnerOfHandOver, Property::PaidOnce, &Config { at_once: 3, ..calls(budget) });
}

#[test]
fn rule_17_a_sweeper_that_stripped_a_fresh_lease() {
    let config = calls(Budget { workers: 3, ..a_lease_ends() });
    fails(Off::SweepRev, Property::LeaseKept, &config);
}

#[test]
fn rule_17_a_sweeper_that_brought_an_ended_run_back() {
    fails(Off::SweepRev, Property::RecordAgrees, &calls(a_lease_ends()));
}

#[test]
fn rule_17_a_sweeper_that_takes_live_runs_off_the_list() {
    fails(Off::DueOnSweep, Property::Ends, &calls(Budget { crashes: 1, dropped: 1, ..a_lease_ends() }));
}

#[test]
fn rule_18_lost_workers_that_nobody_counts() {
    let config = Config { script: &[&[Item::Kill(0)]], ..calls(one_worker()) };
    fails(Off::CountLosses, Property::Ends, &config);
}

#[test]
fn rule_18_a_long_queue_that_fails_a_run() {
    fails(Off::CountOnlyLosses, Property::NotLost, &Config { backlog: 8, ..calls(one_worker()) });
}

#[test]
fn rule_18_a_call_longer_than_the_platforms_limit() {
    let config = Config { script: &[&[Item::Long(0)]], ..calls(one_worker()) };
    fails(Off::CountHandOvers, Property::Ends, &config);
}

/// A run that kills its process beside one that does not, which one more loss condemns.
fn kills(attempts: u32, clearances: u8) -> Config {
    Config {
        script: A_KILLER,
        others: Some(AN_INNOCENT),
        attempts: [attempts, MAX_ATTEMPTS - 1],
        one_process: true,
        requests: vec![Request { sync: false, key: None }; 2],
        budget: Budget { workers: 4, sweeps: 4, clearances, ..Budget::default() },
        ..Config::default()
    }
}

#[test]
fn rule_18_suspects_executed_beside_each_other() {
    fails(Off::OneSuspect, Property::NotLost, &kills(SUSPECT, 0));
}

#[test]
fn rule_18_a_suspect_executed_beside_one_that_has_lost_a_worker() {
    fails(Off::ApartFromLosers, Property::NotLost, &kills(LOST_ONE, 0));
}

#[test]
fn rule_18_a_suspect_that_makes_room_before_it_is_cleared() {
    fails(Off::ClearBeforeNext, Property::NotLost, &kills(SUSPECT, 1));
}

fn rests(budget: Budget) -> Config {
    Config { script: &[&[Item::Ask(0), Item::Call(0)], &[Item::Rest(0)]], ..asks(budget) }
}

#[test]
fn rule_13_a_resting_run_answered_but_the_message_was_lost() {
    fails(Off::DueOnAnswer, Property::AnswerIsHeard, &rests(Budget { dropped: 1, ..one_worker() }));
}

#[test]
fn rule_13_an_answer_of_a_run_that_was_held_a_moment_ago() {
    fails(Off::OwnerOfAnswer, Property::AnswerIsHeard, &rests(Budget { dropped: 1, ..one_worker() }));
}

#[test]
fn rule_21_a_run_left_alone_that_had_just_been_answered() {
    let budget = Budget { workers: 2, ..Budget::default() };
    fails(Off::RestRev, Property::AnswerIsHeard, &rests(budget));
}

#[test]
fn rule_21_a_rest_that_leaves_the_list() {
    let config = Config { script: &[&[Item::Rest(0), Item::Call(0)]], ..calls(one_worker()) };
    fails(Off::DueOnHandOver, Property::Ends, &config);
    fails(Off::DueOnHandOver, Property::StaysDue, &config);
}

#[test]
fn an_append_over_what_is_there() {
    let config = Config { cancels: 1, ..calls(one_worker()) };
    fails(Off::PutIfAbsent, Property::Sealed, &config);
}

#[test]
fn an_event_shown_before_it_is_written() {
    fails(Off::WrittenFirst, Property::Shown, &calls(one_worker()));
}

fn keyed(keys: [u8; 2]) -> Config {
    let requests = keys.map(|key| Request { sync: false, key: Some(key) }).to_vec();
    Config { requests, script: &[&[]], budget: one_worker(), ..Config::default() }
}

#[test]
fn idempotency_a_run_created_before_its_key_is_bound() {
    fails(Off::BindFirst, Property::OneRunPerKey, &keyed([1, 1]));
}

#[test]
fn idempotency_a_key_bound_twice() {
    fails(Off::BindIfAbsent, Property::OneRunPerKey, &keyed([1, 1]));
}

#[test]
fn idempotency_another_request_that_is_given_the_first_ones_run() {
    fails(Off::CompareRequests, Property::ToldRight, &keyed([1, 2]));
}
