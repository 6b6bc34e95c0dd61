//! Benchmarks of the store. `cargo bench -p runyard-embedded -- FILTER`.

mod data;
mod list;
mod open;
mod write;

use criterion::{criterion_group, criterion_main};

criterion_group!(benches, write::run, open::run, list::run);
criterion_main!(benches);
