//! Visits every reachable state of a configuration, and continues from each without faults to the end.

use crate::{
    config::{Budget, Config},
    properties::{self, Property},
    world::{Action, Violation, World},
};
use std::{
    collections::{HashSet, VecDeque},
    fmt::Write,
    hash::{BuildHasherDefault, Hash, Hasher},
    time::{Duration, Instant},
};

/// Maximum number of steps of a continuation: a run that loops until it expires takes fewer.
const MAX_STEPS: usize = 3_000;

/// Maximum number of states that a test explores.
const MAX_STATES: usize = 1_000_000;

/// The size of an exploration.
#[derive(Debug)]
pub struct Report {
    pub states: usize,
    pub transitions: usize,
    pub depth: u32,
    /// States of the continuations.
    pub continued: usize,
    pub took: Duration,
}

/// A path to a state in which a property does not hold.
pub struct Counterexample {
    pub property: Property,
    pub text: String,
}

/// A 128-bit hash of a state. Two states that differ collide once in 10^25 pairs.
#[derive(Clone, Copy)]
struct Fingerprint(u128);

impl Default for Fingerprint {
    fn default() -> Self {
        Self(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
    }
}

impl Fingerprint {
    fn of(world: &World) -> u128 {
        let mut print = Self::default();
        world.hash(&mut print);
        print.0 ^ (print.0 >> 64)
    }

    fn mix(&mut self, word: u64) {
        let mixed = (self.0 ^ u128::from(word)).wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645);
        self.0 = mixed ^ (mixed >> 59);
    }
}

impl Hasher for Fingerprint {
    fn finish(&self) -> u64 {
        u64::try_from(self.0 >> 64).unwrap_or(0)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
        self.mix(bytes.len() as u64);
    }

    fn write_u8(&mut self, number: u8) {
        self.mix(u64::from(number));
    }

    fn write_u32(&mut self, number: u32) {
        self.mix(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.mix(number);
    }

    fn write_usize(&mut self, number: usize) {
        self.mix(number as u64);
    }
}

/// A hasher that does nothing: fingerprints are already well mixed.
#[derive(Default)]
struct IdentityHasher(u64);

impl Hasher for IdentityHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[..8]);
        self.0 = u64::from_le_bytes(word);
    }
}

type Fingerprints = HashSet<u128, BuildHasherDefault<IdentityHasher>>;

struct Explorer<'a> {
    config: &'a Config,
    /// The only property whose violations count; all if absent.
    only: Option<Property>,
    /// By the number of a state: the number of the state before it, and the index of the action between them.
    paths: Vec<(u32, u32)>,
    proved: Fingerprints,
}

/// Explores all states of `config`, or up to the first violation; with `only`, other properties are ignored.
pub fn explore(config: &Config, only: Option<Property>) -> Result<Report, Counterexample> {
    let mut explorer = Explorer { config, only, paths: vec![(0, 0)], proved: Fingerprints::default() };
    explorer.run()
}

impl Explorer<'_> {
    fn run(&mut self) -> Result<Report, Counterexample> {
        let started = Instant::now();
        let mut seen = Fingerprints::default();
        let mut waiting = VecDeque::new();
        let (mut transitions, mut depth) = (0, 0);
        let first = World::new(self.config);
        seen.insert(Fingerprint::of(&first));
        self.check(&first, 0)?;
        waiting.push_back((0_u32, 0_u32, first));
        while let Some((number, deep, world)) = waiting.pop_front() {
            depth = deep;
            for (index, action) in (0..).zip(world.actions(self.config)) {
                transitions += 1;
                let mut next = world.clone();
                next.apply(action, self.config);
                if let Some(violation) = self.found(&mut next) {
                    return Err(self.tell(number, Some(index), &violation, &[]));
                }
                if !seen.insert(Fingerprint::of(&next)) {
                    continue;
                }
                let child = u32::try_from(self.paths.len()).expect("fewer than 4 billion states");
                assert!(
                    self.paths.len() < MAX_STATES,
                    "more than {MAX_STATES} states: reduce the configuration's budget"
                );
                self.paths.push((number, index));
                self.check(&next, child)?;
                waiting.push_back((child, deep + 1, next));
            }
        }
        Ok(Report {
            states: seen.len(),
            transitions,
            depth,
            continued: self.proved.len(),
            took: started.elapsed(),
        })
    }

    /// Returns the first noted violation that counts. Others are ignored, since later states may still violate `only`.
    fn found(&self, world: &mut World) -> Option<Violation> {
        let found = std::mem::take(&mut world.store.found.0);
        found.into_iter().find(|violation| self.only.is_none_or(|only| only == violation.property))
    }

    /// Checks all properties in a state, and in its continuation to the end.
    fn check(&mut self, world: &World, number: u32) -> Result<(), Counterexample> {
        let mut world = world.clone();
        properties::state(&mut world, self.config);
        if let Some(violation) = self.found(&mut world) {
            return Err(self.tell(number, None, &violation, &[]));
        }
        let mut path = Vec::new();
        match self.goes_on(world, &mut path) {
            Some(violation) => Err(self.tell(number, None, &violation, &path)),
            None => Ok(()),
        }
    }

    /// Continues to the end without faults; returns a violation on the way.
    fn goes_on(&mut self, mut world: World, path: &mut Vec<Action>) -> Option<Violation> {
        // The rest of the budget makes no difference any more.
        world.left = Budget::default();
        world.network.clear();
        world.begun = [0; 4];
        let config = Config { budget: Budget::default(), ..self.config.clone() };
        let mut prints = vec![Fingerprint::of(&world)];
        while !self.proved.contains(&prints[prints.len() - 1]) {
            if prints.len() > MAX_STEPS {
                return self
                    .only
                    .is_none_or(|only| only == Property::Ends)
                    .then(|| Violation::new(Property::Ends, "it never ends"));
            }
            let action = world.goes_on(&config);
            match action {
                Some(action) => {
                    path.push(action);
                    world.apply(action, &config);
                    properties::state(&mut world, &config);
                }
                None => properties::end(&mut world, &config),
            }
            if let Some(violation) = self.found(&mut world) {
                return Some(violation);
            }
            if action.is_none() {
                break;
            }
            prints.push(Fingerprint::of(&world));
        }
        self.proved.extend(prints);
        None
    }

    /// Repeats the path to a violation and describes its actions.
    fn tell(
        &self,
        mut number: u32,
        last: Option<u32>,
        violation: &Violation,
        path: &[Action],
    ) -> Counterexample {
        let mut path_back: Vec<u32> = last.into_iter().collect();
        while number != 0 {
            let (from, index) = self.paths[number as usize];
            path_back.push(index);
            number = from;
        }
        let mut world = World::new(self.config);
        let mut text = format!("{:?}: {}\n", violation.property, violation.text);
        for index in path_back.into_iter().rev() {
            let action: Action = world.actions(self.config)[index as usize];
            let _ = writeln!(text, "  {}", world.tell(action, self.config));
            world.apply(action, self.config);
        }
        for run in &world.store.runs {
            let log: Vec<String> = run.log.iter().map(|entry| crate::world::name(entry)).collect();
            let _ = writeln!(text, "  = log {log:?}\n  = {:?}", run.record);
        }
        world.left = Budget::default();
        world.network.clear();
        for action in path.iter().take(80) {
            let _ = world.goes_on(self.config);
            let _ = writeln!(text, "  … {}", world.tell(*action, self.config));
            world.apply(*action, self.config);
        }
        Counterexample { property: violation.property, text }
    }
}
