//! Configurations in which every property holds.

use crate::{
    config::{Budget, Config, Item, Request, Script},
    explore::explore,
};
use runyard_runs::protocol::{LOST_ONE, MAX_ATTEMPTS, SUSPECT};

/// Explores a configuration, and prints the size of the exploration.
fn holds(name: &str, config: &Config) {
    match explore(config, None) {
        Ok(report) => eprintln!(
            "{name}: {} states, {} transitions, depth {}, {} states in continuations, {:.1} s",
            report.states,
            report.transitions,
            report.depth,
            report.continued,
            report.took.as_secs_f64()
        ),
        Err(counterexample) => panic!("{name}: {}", counterexample.text),
    }
}

const TWO_CALLS: &[&[Item]] = &[&[Item::Call(0), Item::Call(1)]];
const A_QUESTION: &[&[Item]] = &[&[Item::Call(0), Item::Ask(0), Item::Call(1)]];
const A_QUESTION_BESIDE_A_CALL: &[&[Item]] = &[&[Item::Ask(0)], &[Item::Call(0)]];
const TWO_QUESTIONS: &[&[Item]] = &[&[Item::Ask(0)], &[Item::Ask(1)]];
const DEADLY: [Script; 3] = [&[&[Item::Die]], &[&[Item::Kill(0)]], &[&[Item::Call(0), Item::Kill(1)]]];
const A_REST: &[&[Item]] = &[&[Item::Rest(0), Item::Call(0)]];
const A_QUESTION_BESIDE_A_REST: &[&[Item]] = &[&[Item::Ask(0), Item::Call(0)], &[Item::Rest(0)]];
const BACKGROUND: Request = Request { sync: false, key: None };
const SYNC: Request = Request { sync: true, key: None };

#[test]
fn a_worker_dies_or_is_suspected() {
    let budget = Budget { workers: 3, crashes: 2, lost: 1, ticks: 1, sweeps: 1, ..Budget::default() };
    holds("a_worker_dies_or_is_suspected", &Config { script: TWO_CALLS, budget, ..Config::default() });
}

#[test]
fn a_slow_worker_writes_while_another_claims() {
    let budget = Budget { workers: 3, ticks: 2, sweeps: 2, renewals: 1, ..Budget::default() };
    holds(
        "a_slow_worker_writes_while_another_claims",
        &Config { script: TWO_CALLS, budget, ..Config::default() },
    );
}

#[test]
fn messages_are_lost_and_delivered_twice() {
    let budget =
        Budget { workers: 3, dropped: 1, duplicated: 2, lost: 1, ticks: 1, sweeps: 1, ..Budget::default() };
    holds("messages_are_lost_and_delivered_twice", &Config { budget, ..Config::default() });
}

#[test]
fn clocks_differ() {
    let budget = Budget { workers: 2, lost: 1, ticks: 2, sweeps: 2, renewals: 1, ..Budget::default() };
    holds("clocks_differ", &Config { budget, ahead: 1, tick: 30_000, ..Config::default() });
}

#[test]
fn a_question_is_answered_twice_at_once() {
    let budget = Budget { workers: 3, lost: 2, dropped: 1, duplicated: 1, crashes: 1, ..Budget::default() };
    holds(
        "a_question_is_answered_twice_at_once",
        &Config { script: A_QUESTION, answers: vec![0, 0], budget, ..Config::default() },
    );
}

#[test]
fn a_question_is_answered_while_workers_are_lost() {
    let budget =
        Budget { workers: 2, crashes: 1, dropped: 1, lost: 1, ticks: 1, sweeps: 1, ..Budget::default() };
    holds(
        "a_question_is_answered_while_workers_are_lost",
        &Config { script: &[&[Item::Ask(0), Item::Call(0)]], answers: vec![0], budget, ..Config::default() },
    );
}

#[test]
fn an_answer_comes_while_a_branch_continues() {
    let budget = Budget { workers: 2, lost: 1, crashes: 1, dropped: 1, duplicated: 1, ..Budget::default() };
    holds(
        "an_answer_comes_while_a_branch_continues",
        &Config { script: A_QUESTION_BESIDE_A_CALL, answers: vec![0, 0], budget, ..Config::default() },
    );
}

#[test]
fn two_questions_are_answered_at_once() {
    let budget = Budget { workers: 3, lost: 1, dropped: 1, duplicated: 1, crashes: 1, ..Budget::default() };
    holds(
        "two_questions_are_answered_at_once",
        &Config { script: TWO_QUESTIONS, answers: vec![0, 1], budget, ..Config::default() },
    );
}

#[test]
fn a_cancel_comes_at_any_time() {
    let budget = Budget { workers: 1, lost: 1, crashes: 1, deadlines: 1, ..Budget::default() };
    holds("a_cancel_comes_at_any_time", &Config { cancels: 2, followed: true, budget, ..Config::default() });
}

#[test]
fn a_cancel_meets_an_answer() {
    let budget = Budget { workers: 2, lost: 2, crashes: 1, duplicated: 1, ..Budget::default() };
    holds(
        "a_cancel_meets_an_answer",
        &Config {
            script: &[&[Item::Ask(0), Item::Call(0)]],
            cancels: 1,
            answers: vec![0],
            budget,
            ..Config::default()
        },
    );
}

#[test]
fn a_run_is_handed_over() {
    let budget =
        Budget { workers: 2, hand_overs: 1, lost: 1, dropped: 1, ticks: 1, sweeps: 1, ..Budget::default() };
    holds("a_run_is_handed_over", &Config { script: TWO_CALLS, budget, ..Config::default() });
}

#[test]
fn a_run_is_handed_over_while_it_is_answered() {
    let budget =
        Budget { workers: 3, hand_overs: 1, lost: 1, dropped: 1, duplicated: 1, ..Budget::default() };
    holds(
        "a_run_is_handed_over_while_it_is_answered",
        &Config { script: A_QUESTION_BESIDE_A_CALL, answers: vec![0], budget, ..Config::default() },
    );
}

#[test]
fn the_process_that_accepts_a_run_executes_it() {
    let budget =
        Budget { workers: 1, crashes: 1, lost: 1, ticks: 2, sweeps: 2, renewals: 1, ..Budget::default() };
    holds(
        "the_process_that_accepts_a_run_executes_it",
        &Config { requests: vec![SYNC], followed: true, budget, ..Config::default() },
    );
}

#[test]
fn the_process_that_accepts_a_run_hands_it_over() {
    let budget = Budget { workers: 2, lost: 1, crashes: 1, hand_overs: 1, ..Budget::default() };
    holds(
        "the_process_that_accepts_a_run_hands_it_over",
        &Config { requests: vec![SYNC], cancels: 1, budget, ..Config::default() },
    );
}

#[test]
fn a_client_follows() {
    let budget = Budget { workers: 2, crashes: 1, lost: 1, ticks: 1, sweeps: 1, ..Budget::default() };
    holds(
        "a_client_follows",
        &Config { requests: vec![BACKGROUND], followed: true, budget, ..Config::default() },
    );
}

fn keyed(requests: &[(bool, u8)], budget: Budget) -> Config {
    let requests = requests.iter().map(|(sync, key)| Request { sync: *sync, key: Some(*key) }).collect();
    Config { requests, script: &[&[]], budget, ..Config::default() }
}

#[test]
fn two_requests_have_one_key() {
    let budget = Budget { workers: 1, crashes: 1, lost: 2, retries: 1, ..Budget::default() };
    for modes in [[false, false], [true, true], [true, false]] {
        holds("two_requests_have_one_key", &keyed(&modes.map(|sync| (sync, 1)), budget));
    }
}

#[test]
fn another_request_has_the_same_key() {
    let budget = Budget { workers: 1, crashes: 1, lost: 1, retries: 1, ..Budget::default() };
    for modes in [[false, false], [true, true], [true, false]] {
        holds("another_request_has_the_same_key", &keyed(&[(modes[0], 1), (modes[1], 2)], budget));
    }
}

#[test]
fn a_run_kills_its_workers() {
    let budget = Budget { workers: 2, lost: 1, dropped: 1, ticks: 2, sweeps: 2, ..Budget::default() };
    for script in DEADLY {
        holds("a_run_kills_its_workers", &Config { script, budget, ..Config::default() });
    }
}

/// Kills its process, with every run that is executed in it.
pub const A_KILLER: &[&[Item]] = &[&[Item::Kill(0)]];
pub const AN_INNOCENT: &[&[Item]] = &[&[Item::Call(1)]];

#[test]
fn a_run_kills_its_process_and_is_the_only_one_to_fail() {
    let budget = Budget { workers: 6, sweeps: 6, clearances: 1, ..Budget::default() };
    for attempts in [
        [LOST_ONE, LOST_ONE],
        [LOST_ONE, MAX_ATTEMPTS - 1],
        [SUSPECT, MAX_ATTEMPTS - 1],
        [MAX_ATTEMPTS - 1, MAX_ATTEMPTS - 1],
    ] {
        let config = Config {
            script: A_KILLER,
            others: Some(AN_INNOCENT),
            attempts,
            one_process: true,
            requests: vec![BACKGROUND, BACKGROUND],
            budget,
            ..Config::default()
        };
        holds("a_run_kills_its_process_and_is_the_only_one_to_fail", &config);
    }
}

#[test]
fn a_suspect_loses_the_reply_to_its_clearance() {
    let budget = Budget { workers: 3, sweeps: 2, ticks: 1, lost: 2, clearances: 2, ..Budget::default() };
    let config = Config { attempts: [SUSPECT; 2], budget, ..Config::default() };
    holds("a_suspect_loses_the_reply_to_its_clearance", &config);
}

#[test]
fn a_call_takes_longer_than_any_worker_lives() {
    let budget = Budget { workers: 2, lost: 1, ticks: 1, sweeps: 1, ..Budget::default() };
    holds(
        "a_call_takes_longer_than_any_worker_lives",
        &Config { script: &[&[Item::Long(0)]], budget, ..Config::default() },
    );
}

#[test]
fn the_queue_is_long() {
    let budget = Budget { workers: 1, dropped: 1, ticks: 1, sweeps: 1, ..Budget::default() };
    holds("the_queue_is_long", &Config { backlog: 8, budget, ..Config::default() });
}

#[test]
fn a_run_rests() {
    let budget =
        Budget { workers: 3, crashes: 1, lost: 1, duplicated: 1, ticks: 1, sweeps: 1, ..Budget::default() };
    holds("a_run_rests", &Config { script: A_REST, budget, ..Config::default() });
    let script: Script = &[&[Item::Call(0), Item::Rest(1), Item::Call(1)]];
    holds("a_run_rests", &Config { script, budget, ..Config::default() });
}

#[test]
fn the_time_of_a_rest_passes_at_any_time() {
    let budget = Budget { workers: 3, lost: 1, ticks: 2, sweeps: 2, ..Budget::default() };
    let script: Script = &[&[Item::Rest(1), Item::Call(0)], &[Item::Rest(0)]];
    holds(
        "the_time_of_a_rest_passes_at_any_time",
        &Config { script, tick: 601_000, budget, ..Config::default() },
    );
}

#[test]
fn a_rest_lasts_while_a_branch_continues() {
    let budget = Budget { workers: 3, crashes: 1, hand_overs: 1, ticks: 1, sweeps: 1, ..Budget::default() };
    let script: Script = &[&[Item::Rest(1), Item::Call(0)], &[Item::Call(1)]];
    holds("a_rest_lasts_while_a_branch_continues", &Config { script, budget, ..Config::default() });
}

#[test]
fn an_answer_comes_while_a_run_rests() {
    let budget = Budget { workers: 2, lost: 1, dropped: 1, duplicated: 1, ..Budget::default() };
    holds(
        "an_answer_comes_while_a_run_rests",
        &Config { script: A_QUESTION_BESIDE_A_REST, answers: vec![0, 0], budget, ..Config::default() },
    );
    let budget = Budget { workers: 2, crashes: 1, dropped: 1, ticks: 1, sweeps: 1, ..Budget::default() };
    holds(
        "an_answer_comes_while_a_run_rests",
        &Config { script: A_QUESTION_BESIDE_A_REST, answers: vec![0], budget, ..Config::default() },
    );
}

#[test]
fn a_resting_run_is_canceled() {
    let budget = Budget { workers: 2, lost: 1, duplicated: 1, deadlines: 1, ..Budget::default() };
    holds(
        "a_resting_run_is_canceled",
        &Config { script: A_REST, cancels: 1, followed: true, budget, ..Config::default() },
    );
}

#[test]
fn the_process_that_accepts_a_run_lets_it_rest() {
    let budget = Budget { workers: 2, crashes: 1, lost: 1, ticks: 1, sweeps: 1, ..Budget::default() };
    holds(
        "the_process_that_accepts_a_run_lets_it_rest",
        &Config { requests: vec![SYNC], script: A_REST, followed: true, budget, ..Config::default() },
    );
}
