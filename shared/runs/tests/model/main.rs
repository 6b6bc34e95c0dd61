//! The protocol, checked before it is built on.
//!
//! A model of a run's log: the real machines of `runyard_runs::protocol`, driven as the service drives them, on a
//! simulated store that keeps to the promises of `RunStore` and to nothing else. Every order of events is explored
//! that a configuration allows: crashes, lost replies, requests that are performed late or never, messages that are
//! lost or come twice, clocks that differ, leases that run out under a slow worker, hand-overs, cancels, answers.
//!
//! | module | what |
//! | --- | --- |
//! | `config` | what a configuration is made of; the rules that can be switched off |
//! | `store`, `engine`, `worker`, `actor` | the store, a deterministic engine, an executor, everybody else |
//! | `world` | all of it at one moment, and what may happen next |
//! | `properties` | what must hold |
//! | `explore` | visits every state, and from each lets a faultless world go on to the end |
//! | `rules_on` | the configurations, in which every property holds |
//! | `rules_off` | each rule switched off once, and the property that fails |

#![expect(unreachable_pub, reason = "a test has no outside")]

mod actor;
mod config;
mod engine;
mod explore;
mod properties;
mod rules_off;
mod rules_on;
mod store;
mod worker;
mod world;
