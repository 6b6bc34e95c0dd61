//! Each rule switched off once: what it prevents happens, and a property fails.

use crate::{
    config::{Budget, Config, Item, Off, Request, Splits},
    explore::explore,
    properties::Property,
    rules_on::{A_KILLER, AN_INNOCENT},
};
use runyard_runs::protocol::{LOST_ONE, MAX_ATTEMPTS, SUSPECT};

/// Explores `config` without a rule and with it: `property` must fail only without it.
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

/// One lease may end, so that a live worker is suspected or a lost one is replaced.
fn a_lease_ends() -> Budget {
    Budget { workers: 2, ticks: 1, sweeps: 1, ..Budget::default() }
}

fn calls(budget: Budget) -> Config {
    Config { script: TWO_CALLS, budget, ..Config::default() }
}

fn asks(budget: Budget) -> Config {
    Config { script: A_QUESTION, answers: vec![0], budget, ..Config::default() }
}

/// A question is asked during a call, and answered before the call ends.
fn asks_beside(budget: Budget) -> Config {
    Config { script: A_QUESTION_BESIDE_A_CALL, answers: vec![0], budget, ..Config::default() }
}

#[test]
fn rule_2_an_accepted_run_is_never_enqueued() {
    let config = calls(Budget { crashes: 1, ..one_worker() });
    fails(Off::DueOnCreate, Property::Ends, &config);
    fails(Off::DueOnCreate, Property::StaysDue, &config);
}

#[test]
fn rule_3_an_answered_run_is_never_resumed() {
    let budget = Budget { split: 1, crashes: 1, dropped: 1, ..one_worker() };
    fails_split(Property::Wakes, &Config { splits: Splits::Answers, ..asks(budget) });
}

#[test]
fn rule_3_a_paused_run_is_canceled_without_its_record() {
    let budget = Budget { split: 1, ..one_worker() };
    let config = Config { cancels: 1, answers: vec![], splits: Splits::Cancels, ..asks(budget) };
    fails_split(Property::EndIsHeard, &config);
}

#[test]
fn rule_3_a_late_start_overwrites_the_record_of_a_completed_run() {
    let config = calls(Budget { split: 1, ..one_worker() });
    fails_split(Property::EndIsHeard, &config);
    fails_split(Property::RecordAgrees, &config);
}

/// A lost change of the record is a fault that is only possible without this rule.
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
fn rule_4_the_end_of_the_log_is_taken_from_the_record() {
    fails(Off::NeverTheRecord, Property::Ends, &calls(Budget { crashes: 1, ..a_lease_ends() }));
}

#[test]
fn rule_5_an_executor_reads_only_the_last_entry() {
    fails(Off::WholeLog, Property::NotRecordedAgain, &calls(Budget { crashes: 1, ..a_lease_ends() }));
}

#[test]
fn rules_5_and_6_two_claims_without_leases_do_everything_twice() {
    let budget = Budget { workers: 2, duplicated: 1, ..Budget::default() };
    fails(Off::Leases, Property::PaidOnce, &calls(budget));
}

#[test]
fn rule_6_a_claim_ignores_the_lease_of_another() {
    fails(Off::LeaseGuard, Property::LeaseRespected, &calls(Budget { renewals: 1, ..a_lease_ends() }));
}

#[test]
fn rule_7_a_refused_claim_continues() {
    let config = calls(Budget { renewals: 1, ..a_lease_ends() });
    fails(Off::RefusedStops, Property::ClaimedFirst, &config);
}

#[test]
fn rule_8_a_replay_repeats_what_others_have_recorded() {
    let budget = Budget { workers: 2, duplicated: 1, ticks: 1, ..Budget::default() };
    fails(Off::DiscardReplay, Property::NotRecordedAgain, &calls(budget));
}

#[test]
fn rule_8_an_old_collision_discards_the_first_call() {
    let budget = Budget { workers: 2, ticks: 2, sweeps: 1, renewals: 1, ..Budget::default() };
    fails(Off::StartOverOnce, Property::OncePerClaim, &calls(budget));
}

#[test]
fn rule_9_a_superseded_worker_reads_only_one_entry() {
    fails(Off::ReadToEnd, Property::NoneSuperseded, &calls(a_lease_ends()));
}

#[test]
fn rule_9_a_pause_is_sent_again_after_its_answer() {
    fails(Off::DecideAnew, Property::Wakes, &asks_beside(one_worker()));
}

#[test]
fn rule_10_a_timeout_is_taken_for_success() {
    let config = calls(Budget { lost: 1, ..one_worker() });
    fails(Off::LookAfterTimeOut, Property::Shown, &config);
    fails(Off::LookAfterTimeOut, Property::ClaimedFirst, &config);
}

#[test]
fn rule_10_a_collision_is_taken_for_success() {
    let config = Config { cancels: 1, ..calls(one_worker()) };
    fails(Off::LookAfterCollision, Property::Shown, &config);
}

#[test]
fn rule_10_a_retry_sends_other_events_in_the_entry() {
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
fn rule_12_a_pause_keeps_the_lease() {
    fails(
        Off::PauseFrees,
        Property::RecordAgrees,
        &Config { script: A_CALL_AND_A_QUESTION, ..asks(one_worker()) },
    );
}

#[test]
fn rule_13_an_answer_does_not_wake_the_run() {
    fails(Off::WakeOnAnswer, Property::Wakes, &asks(one_worker()));
}

#[test]
fn rule_13_the_message_of_an_answer_is_lost() {
    fails(Off::DueOnAnswer, Property::Wakes, &asks(Budget { dropped: 1, ..one_worker() }));
}

#[test]
fn rule_15_an_ended_run_is_renewed_late() {
    let config = Config { cancels: 1, ..calls(Budget { renewals: 1, lost: 1, ticks: 1, ..one_worker() }) };
    fails(Off::OwnerOfRenewal, Property::RecordAgrees, &config);
}

#[test]
fn rule_16_a_hand_over_removes_a_run_from_the_index() {
    let config = calls(Budget { hand_overs: 1, dropped: 1, ..one_worker() });
    fails(Off::DueOnHandOver, Property::Ends, &config);
    fails(Off::DueOnHandOver, Property::StaysDue, &config);
}

#[test]
fn rule_16_a_late_hand_over_ends_the_lease_of_another() {
    let budget = Budget { workers: 3, hand_overs: 1, lost: 1, duplicated: 1, ..Budget::default() };
    fails(Off::OwnerOfHandOver, Property::PaidOnce, &Config { at_once: 3, ..calls(budget) });
}

#[test]
fn rule_17_the_sweeper_ends_a_new_lease() {
    let config = calls(Budget { workers: 3, ..a_lease_ends() });
    fails(Off::SweepRev, Property::LeaseKept, &config);
}

#[test]
fn rule_17_the_sweeper_makes_an_ended_run_due() {
    fails(Off::SweepRev, Property::RecordAgrees, &calls(a_lease_ends()));
}

#[test]
fn rule_17_the_sweeper_removes_live_runs_from_the_index() {
    fails(Off::DueOnSweep, Property::Ends, &calls(Budget { crashes: 1, dropped: 1, ..a_lease_ends() }));
}

#[test]
fn rule_18_lost_workers_are_not_counted() {
    let config = Config { script: &[&[Item::Kill(0)]], ..calls(one_worker()) };
    fails(Off::CountLosses, Property::Ends, &config);
}

#[test]
fn rule_18_a_long_queue_fails_a_run() {
    fails(Off::CountOnlyLosses, Property::NotLost, &Config { backlog: 8, ..calls(one_worker()) });
}

#[test]
fn rule_18_hand_overs_without_progress_are_not_counted() {
    let config = Config { script: &[&[Item::Long(0)]], ..calls(one_worker()) };
    fails(Off::CountHandOvers, Property::Ends, &config);
}

/// A run that kills its process beside one that does not, but would fail after one more loss.
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
fn rule_18_suspects_are_executed_at_the_same_time() {
    fails(Off::OneSuspect, Property::NotLost, &kills(SUSPECT, 0));
}

#[test]
fn rule_18_a_suspect_is_executed_beside_a_run_that_has_lost_a_worker() {
    fails(Off::ApartFromLosers, Property::NotLost, &kills(LOST_ONE, 0));
}

#[test]
fn rule_18_a_suspect_frees_its_place_before_it_is_cleared() {
    fails(Off::ClearBeforeNext, Property::NotLost, &kills(SUSPECT, 1));
}

fn rests(budget: Budget) -> Config {
    Config { script: &[&[Item::Ask(0), Item::Call(0)], &[Item::Rest(0)]], ..asks(budget) }
}

#[test]
fn rule_13_the_message_of_an_answer_to_a_resting_run_is_lost() {
    fails(Off::DueOnAnswer, Property::AnswerIsHeard, &rests(Budget { dropped: 1, ..one_worker() }));
}

#[test]
fn rule_13_the_owner_releases_the_run_before_the_answer() {
    fails(Off::OwnerOfAnswer, Property::AnswerIsHeard, &rests(Budget { dropped: 1, ..one_worker() }));
}

#[test]
fn rule_21_a_run_rests_although_it_was_just_answered() {
    let budget = Budget { workers: 2, ..Budget::default() };
    fails(Off::RestRev, Property::AnswerIsHeard, &rests(budget));
}

#[test]
fn rule_21_a_rest_removes_a_run_from_the_index() {
    let config = Config { script: &[&[Item::Rest(0), Item::Call(0)]], ..calls(one_worker()) };
    fails(Off::DueOnHandOver, Property::Ends, &config);
    fails(Off::DueOnHandOver, Property::StaysDue, &config);
}

#[test]
fn an_append_overwrites_an_entry() {
    let config = Config { cancels: 1, ..calls(one_worker()) };
    fails(Off::PutIfAbsent, Property::Sealed, &config);
}

#[test]
fn an_event_is_shown_before_it_is_written() {
    fails(Off::WrittenFirst, Property::Shown, &calls(one_worker()));
}

fn keyed(keys: [u8; 2]) -> Config {
    let requests = keys.map(|key| Request { sync: false, key: Some(key) }).to_vec();
    Config { requests, script: &[&[]], budget: one_worker(), ..Config::default() }
}

#[test]
fn idempotency_a_run_is_created_before_its_key_is_bound() {
    fails(Off::BindFirst, Property::OneRunPerKey, &keyed([1, 1]));
}

#[test]
fn idempotency_a_key_is_bound_twice() {
    fails(Off::BindIfAbsent, Property::OneRunPerKey, &keyed([1, 1]));
}

#[test]
fn idempotency_another_request_gets_the_run_of_the_first() {
    fails(Off::CompareRequests, Property::ToldRight, &keyed([1, 2]));
}
