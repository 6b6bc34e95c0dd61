//! A model check of the log protocol.
//!
//! It drives the real machines of `runyard_runs::protocol` as the service does, on a simulated store that keeps exactly
//! the promises of `RunStore`. It explores every order of events that a configuration allows: crashes, lost replies,
//! operations that are performed late or never, messages that are lost or delivered twice, clocks that differ, leases
//! that expire under a slow worker, hand-overs, cancels, answers.
//!
//! | module | what |
//! | --- | --- |
//! | `config` | the configurations; the rules that can be switched off |
//! | `store`, `engine`, `worker`, `actor` | the store, a deterministic engine, an executor, all other participants |
//! | `world` | a state of all of them, and the actions that are possible next |
//! | `properties` | what must hold |
//! | `explore` | visits every state, and continues from each without faults to the end |
//! | `rules_on` | configurations in which every property holds |
//! | `rules_off` | each rule switched off once, and the property that then fails |

#![expect(unreachable_pub, reason = "nothing outside of a test can use it")]

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
