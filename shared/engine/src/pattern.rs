//! Regular expressions with limits on their length, their compiled size, and the cost of a search.
//!
//! Patterns without look-around and backreferences run in linear time. Only a single search is linear; finding all
//! matches takes many searches, so steps are counted between them. Patterns that need backtracking are tried at each
//! position of the text in turn, with a limit on backtracks per position.

use crate::{compute, flow::NodeError};
use fancy_regex::{CompileError, Error, Expr, Regex, RegexBuilder, RegexInput};
use std::{
    fmt,
    ops::Range,
    sync::OnceLock,
    time::{Duration, Instant},
};

/// Bytes of a pattern.
const MAX_LENGTH: usize = 16 << 10;
/// Instructions of a pattern that needs backtracking.
const MAX_PROGRAM: usize = 10_000;
/// Limits on the bytes of a compiled pattern, and what a byte of text then costs at worst, in sixteenths of a step: for
/// each byte, a search may visit every state of the pattern.
const SIZES: [(usize, u64); 3] = [(64 << 10, 4), (256 << 10, 32), (2 << 20, 256)];
/// (bytes of text, backtracks per position). Fewer for longer text, because each backtrack may scan all of it.
const BACKTRACKS: [(usize, usize); 3] = [(4 << 10, 500_000), (64 << 10, 30_000), (4 << 20, 1_000)];
/// Processor time that counts as one step where steps cannot be counted.
const STEP: Duration = Duration::from_nanos(250);
/// How often the processor time is read.
const CLOCK_INTERVAL: Duration = Duration::from_millis(1);
/// Steps that one search may take (a second or two), whatever the budget of the computation around it.
const MAX_STEPS: u64 = 6_000_000;
/// Matches that are found in one text.
const MAX_MATCHES: usize = 500_000;

/// A compiled pattern.
pub(crate) struct Pattern {
    text: String,
    ignore_case: bool,
    /// For text that does not end with a line break: `$` matches only at the end, and needs no look-ahead.
    engine: Engine,
    /// For text that ends with a line break, if the pattern has a `$`: the source, and the engine compiled on first
    /// use.
    before_break: Option<(String, OnceLock<Result<Engine, String>>)>,
}

enum Engine {
    Linear {
        regex: Regex,
        size: usize,
        price: u64,
    },
    /// One regex per entry of [`BACKTRACKS`], compiled on first use.
    Backtracking {
        pattern: String,
        ignore_case: bool,
        regexes: Box<[OnceLock<Option<Regex>>; 3]>,
    },
}

/// Omits the compiled program.
impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pattern").field(&self.text).finish()
    }
}

impl Pattern {
    /// A pattern in Python's syntax.
    pub(crate) fn python(text: &str) -> Result<Self, String> {
        let compiled = if has_end(text) {
            Self::compile(text, &translated(text, "\\z"), Some(translated(text, "(?=\\n?\\z)")), false)
        } else {
            Self::compile(text, &translated(text, ""), None, false)
        };
        compiled.map_err(|error| format!("Invalid regular expression '{}': {error}", excerpt(text)))
    }

    /// A pattern in the library's syntax.
    pub(crate) fn new(text: &str, ignore_case: bool) -> Result<Self, String> {
        Self::compile(text, text, None, ignore_case)
    }

    /// A pattern that matches exactly `text`.
    pub(crate) fn literal(text: &str, ignore_case: bool) -> Result<Self, String> {
        Self::compile(text, &fancy_regex::escape(text), None, ignore_case)
    }

    fn compile(
        text: &str,
        pattern: &str,
        before_break: Option<String>,
        ignore_case: bool,
    ) -> Result<Self, String> {
        if text.len() > MAX_LENGTH {
            return Err(format!("a regular expression has at most {MAX_LENGTH} bytes"));
        }
        if lacks_group(pattern) {
            return Err(LACKS_GROUP.into());
        }
        let engine = Engine::new(pattern, ignore_case)?;
        let before_break = before_break.map(|pattern| (pattern, OnceLock::new()));
        Ok(Self { text: text.to_owned(), ignore_case, engine, before_break })
    }

    /// The pattern as it was written.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Approximate bytes of the compiled pattern.
    pub(crate) fn size(&self) -> usize {
        let size = match &self.engine {
            Engine::Linear { size, .. } => *size,
            Engine::Backtracking { .. } => SIZES[0].0,
        };
        if self.before_break.is_some() { 2 * size } else { size }
    }

    /// Returns whether the pattern matches anywhere in `text`.
    pub(crate) fn is_match(&self, text: &str) -> Result<bool, NodeError> {
        let mut search = self.search(text)?;
        Ok(search.next_from(0)?.is_some())
    }

    /// The non-overlapping matches in `text`, in order. Ends after an error.
    pub(crate) fn find_iter<'a>(
        &'a self,
        text: &'a str,
    ) -> impl Iterator<Item = Result<Range<usize>, NodeError>> + 'a {
        let (search, error) = match self.search(text) {
            Ok(search) => (Some(search), None),
            Err(error) => (None, Some(error)),
        };
        let found = search.map(|search| Matches { search, at: Some(0), last: None, count: 0 });
        error.map(Err).into_iter().chain(found.into_iter().flatten())
    }

    /// Replaces each match by `with`.
    pub(crate) fn replace(&self, text: &str, with: &str) -> Result<String, NodeError> {
        let (mut replaced, mut end) = (String::new(), 0);
        for found in self.find_iter(text) {
            let found = found?;
            let kept = &text[end..found.start];
            compute::make(kept.len() + with.len()).map_err(|_| too_long())?;
            replaced.extend([kept, with]);
            end = found.end;
        }
        replaced.push_str(&text[end..]);
        Ok(replaced)
    }

    /// Starts a search, and charges for one pass over the text.
    fn search<'a>(&'a self, text: &'a str) -> Result<Search<'a>, NodeError> {
        let engine = match &self.before_break {
            Some((pattern, engine)) if text.ends_with('\n') => {
                let engine = engine.get_or_init(|| Engine::new(pattern, self.ignore_case));
                engine.as_ref().map_err(|problem| NodeError::new("ValueError", problem.as_str()))?
            }
            _ => &self.engine,
        };
        let (regex, backtracks, price) = match engine {
            Engine::Linear { regex, price, .. } => (regex, false, *price),
            Engine::Backtracking { pattern, ignore_case, regexes } => {
                let Some(index) = BACKTRACKS.iter().position(|(max, _)| text.len() <= *max) else {
                    let max = BACKTRACKS[BACKTRACKS.len() - 1].0 >> 20;
                    return Err(NodeError::limit_exceeded(format!(
                        "a regular expression with look-around or backreferences accepts at most {max} MiB of text"
                    )));
                };
                let limit = BACKTRACKS[index].1;
                let regex = regexes[index].get_or_init(|| build(pattern, *ignore_case, limit).ok());
                let problem = || NodeError::new("ValueError", "the regular expression cannot be compiled");
                (regex.as_ref().ok_or_else(problem)?, true, 0)
            }
        };
        let clock = Clock { began: processor_time(), read_at: Instant::now(), passed: Duration::ZERO };
        let mut search = Search { text, regex, backtracks, clock, taken: 0 };
        search.charge(text.len() as u64 * price / 16)?;
        Ok(search)
    }
}

impl Engine {
    fn new(pattern: &str, ignore_case: bool) -> Result<Self, String> {
        for (size, price) in SIZES {
            let mut builder = RegexBuilder::new(pattern);
            builder.case_insensitive(ignore_case).delegate_size_limit(size);
            // A size of 0 allows no backtracking program, so only linear patterns compile.
            match builder.max_prog_size(0).build() {
                Ok(regex) => return Ok(Self::Linear { regex, size, price }),
                Err(Error::CompileError(error)) if matches!(*error, CompileError::InnerError(_)) => {}
                Err(Error::CompileError(error)) if matches!(*error, CompileError::PatternTooComplex) => {
                    build(pattern, ignore_case, 1).map_err(|error| described(&error))?;
                    return Ok(Self::Backtracking {
                        pattern: pattern.to_owned(),
                        ignore_case,
                        regexes: Box::new([const { OnceLock::new() }; 3]),
                    });
                }
                Err(error) => return Err(described(&error)),
            }
        }
        build(pattern, ignore_case, 1).map_err(|error| described(&error))?;
        Err("it is too large once compiled; shorten its repetitions".into())
    }
}

/// A pattern that needs backtracking.
fn build(pattern: &str, ignore_case: bool, backtracks: usize) -> Result<Regex, Error> {
    RegexBuilder::new(pattern)
        .case_insensitive(ignore_case)
        .delegate_size_limit(SIZES[1].0)
        .delegate_dfa_skip_cache_capacity_check(false)
        .max_prog_size(MAX_PROGRAM)
        .backtrack_limit(backtracks)
        .build()
}

/// What is wrong with a pattern that [`lacks_group`].
pub(crate) const LACKS_GROUP: &str = "a condition asks for a group that is not there";

/// Whether a pattern has a condition, `(?(9)…)`, on a group that it has not: the library compiles it, and panics once it is
/// tried.
pub(crate) fn lacks_group(pattern: &str) -> bool {
    fn look(expr: &Expr, groups: &mut usize, asked: &mut usize) {
        match expr {
            Expr::Group(_) => *groups += 1,
            Expr::BackrefExistsCondition { group, .. } => *asked = (*asked).max(*group),
            _ => {}
        }
        if !expr.is_leaf_node() {
            expr.children_iter().for_each(|child| look(child, groups, asked));
        }
    }
    if !pattern.contains("(?(") {
        return false;
    }
    // What is no pattern is told when it is compiled.
    let Ok(tree) = Expr::parse_tree(pattern) else { return false };
    let (mut groups, mut asked) = (0, 0);
    look(&tree.expr, &mut groups, &mut asked);
    asked > groups
}

fn described(error: &Error) -> String {
    match error {
        Error::CompileError(error) if matches!(**error, CompileError::PatternTooComplex) => {
            "it is too large once compiled; shorten its repetitions".into()
        }
        error => error.to_string(),
    }
}

/// A search in one text, and its cost so far.
struct Search<'a> {
    text: &'a str,
    regex: &'a Regex,
    backtracks: bool,
    clock: Clock,
    /// Steps charged so far.
    taken: u64,
}

impl Search<'_> {
    /// The first match that begins at or after `from`.
    fn next_from(&mut self, from: usize) -> Result<Option<Range<usize>>, NodeError> {
        let input = |at: usize| RegexInput::new(self.text).from_pos(at);
        if !self.backtracks {
            let found = self.regex.find_input(input(from)).map_err(search_error)?.map(|found| found.range());
            self.charge(1)?;
            return Ok(found);
        }
        let mut at = from;
        while at <= self.text.len() {
            let found = self.regex.find_input(input(at).anchored(true)).map_err(search_error)?;
            self.charge(1)?;
            if let Some(found) = found {
                return Ok(Some(found.range()));
            }
            at = next_position(self.text, at);
        }
        Ok(None)
    }

    /// Charges `steps`, or the steps that match the search's processor time if that is more.
    fn charge(&mut self, steps: u64) -> Result<(), NodeError> {
        let passed = u64::try_from(self.clock.passed().as_nanos() / STEP.as_nanos()).unwrap_or(u64::MAX);
        let steps = steps.max(passed.saturating_sub(self.taken));
        self.taken = self.taken.saturating_add(steps);
        if self.taken > MAX_STEPS {
            return Err(too_long());
        }
        compute::step(steps).map_err(|_| too_long())
    }
}

/// Processor time of this thread. Wall-clock time would count other threads' work too.
struct Clock {
    began: Duration,
    read_at: Instant,
    passed: Duration,
}

impl Clock {
    fn passed(&mut self) -> Duration {
        // Reading the wall clock is cheaper than reading the processor time.
        if self.read_at.elapsed() >= CLOCK_INTERVAL {
            self.read_at = Instant::now();
            self.passed = processor_time().saturating_sub(self.began);
        }
        self.passed
    }
}

#[cfg(target_os = "linux")]
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Other platforms use wall-clock time instead.
#[cfg(not(target_os = "linux"))]
fn processor_time() -> Duration {
    static BEGAN: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    BEGAN.elapsed()
}

/// The index of the next character.
fn next_position(text: &str, at: usize) -> usize {
    at + text[at..].chars().next().map_or(1, char::len_utf8)
}

struct Matches<'a> {
    search: Search<'a>,
    at: Option<usize>,
    /// The end of the last match.
    last: Option<usize>,
    count: usize,
}

/// Skips an empty match right after a match.
impl Iterator for Matches<'_> {
    type Item = Result<Range<usize>, NodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let at = self.at.filter(|at| *at <= self.search.text.len())?;
            let found = match self.search.next_from(at) {
                Ok(found) => found,
                Err(error) => {
                    self.at = None;
                    return Some(Err(error));
                }
            };
            let Some(found) = found else {
                self.at = None;
                return None;
            };
            let is_repeated = found.is_empty() && Some(found.end) == self.last;
            self.at =
                Some(if found.is_empty() { next_position(self.search.text, found.end) } else { found.end });
            if is_repeated {
                continue;
            }
            self.last = Some(found.end);
            self.count += 1;
            if self.count > MAX_MATCHES {
                self.at = None;
                let message = format!("a regular expression matches more than {MAX_MATCHES} times");
                return Some(Err(NodeError::limit_exceeded(message)));
            }
            return Some(Ok(found));
        }
    }
}

fn search_error(error: Error) -> NodeError {
    match error {
        Error::RuntimeError(_) => NodeError::limit_exceeded(
            "a regular expression backtracks too often; write it without nested repetitions",
        ),
        error => NodeError::new("ValueError", error.to_string()),
    }
}

fn too_long() -> NodeError {
    let steps = MAX_STEPS / 1_000_000;
    NodeError::limit_exceeded(format!(
        "the search with a regular expression took more than {steps} million steps"
    ))
}

/// The first 200 bytes of a pattern, for error messages.
fn excerpt(text: &str) -> &str {
    &text[..text.floor_char_boundary(200)]
}

/// Whether a pattern contains a `$` that means the end of the text.
fn has_end(text: &str) -> bool {
    let mut found = false;
    rewrite(text, |_| found = true);
    found
}

/// Translates Python's `\Z`, the end of the text. Replaces `$`, which also matches before a final line break, by `end`.
fn translated(text: &str, end: &str) -> String {
    rewrite(text, |translated| translated.push_str(end))
}

fn rewrite(text: &str, mut end: impl FnMut(&mut String)) -> String {
    let multiline = text.contains("(?m") || text.contains("(?im") || text.contains("(?sm");
    let mut translated = String::with_capacity(text.len());
    let mut in_class = false;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some('Z') => translated.push_str("\\z"),
                Some(escaped) => translated.extend(['\\', escaped]),
                None => translated.push('\\'),
            },
            '$' if !in_class && !multiline => end(&mut translated),
            _ => {
                in_class = character == '[' || (in_class && character != ']');
                translated.push(character);
            }
        }
    }
    translated
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(pattern: &str, text: &str) -> Vec<Range<usize>> {
        let pattern = Pattern::python(pattern).expect(pattern);
        pattern.find_iter(text).collect::<Result<_, _>>().expect("within the limits")
    }

    fn is_linear(pattern: &str) -> bool {
        matches!(Pattern::python(pattern).expect(pattern).engine, Engine::Linear { .. })
    }

    #[test]
    fn finds_the_matches_that_the_library_finds() {
        for pattern in
            ["a*", "a|b*", "", r"\b", r"(?=b)", r"(?<=a)b?", r"(\w)\1", "é*", r"(?!a)", r"[^a]\Kb", "x??"]
        {
            for text in ["", "aab", "baaab é bb\n", "éé a", "aabb\n\n"] {
                let theirs = Regex::new(pattern).expect(pattern);
                let theirs: Vec<_> =
                    theirs.find_iter(text).map(|found| found.expect("no limit").range()).collect();
                assert_eq!(all(pattern, text), theirs, "{pattern} {text:?}");
            }
        }
    }

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "one match")]
    fn dollar_matches_where_python_does() {
        for (pattern, text, found) in [
            ("b$", "ab", vec![1..2]),
            ("b$", "ab\n", vec![1..2]),
            ("b$", "ab\n\n", vec![]),
            ("$", "a\n", vec![1..1, 2..2]),
            ("$", "a", vec![1..1]),
            ("a$|b", "ba\n", vec![0..1, 1..2]),
            ("b\\Z", "ab\n", vec![]),
            ("[$]", "a$", vec![1..2]),
            ("(?m)^b$", "a\nb\nc", vec![2..3]),
        ] {
            assert_eq!(all(pattern, text), found, "{pattern} {text:?}");
        }
    }

    #[test]
    fn patterns_without_look_around_and_backreferences_are_linear() {
        for pattern in
            ["^a+$", "(a$|b$)+", "x(?:$)y", "(a+)+$", "^(a|aa)+$", r"\A(?:a)\Z", "(?i)a$", r"\bword\b"]
        {
            assert!(is_linear(pattern), "{pattern}");
        }
        for pattern in [r"(a)\1", "(?=a)b", "(?<!a)b"] {
            assert!(!is_linear(pattern), "{pattern}");
        }
    }

    #[test]
    fn refuses_large_and_invalid_patterns() {
        for pattern in [
            "a".repeat(MAX_LENGTH + 1),
            "((a{1000}){1000}){1000}".into(),
            r"\w{100000}".into(),
            format!("{}a{}", "(".repeat(5_000), ")".repeat(5_000)),
            "[".into(),
            "a{99999999999}".into(),
            "(a)?(?(9)b|c)".into(),
        ] {
            let refusal = Pattern::python(&pattern).expect_err(&pattern[..20.min(pattern.len())]);
            assert!(refusal.len() < 600, "{refusal}");
        }
    }

    #[test]
    fn backtracking_is_limited() {
        let text = format!("{}b", "a".repeat(40));
        let error = Pattern::python(r"^(?=(a+)+$)\1c").expect("a pattern").is_match(&text);
        assert!(error.is_ok_and(|found| !found), "look-around without choice is linear");
        let error =
            Pattern::python(r"^(a|a|aa)+\1$").expect("a pattern").is_match(&text).expect_err("a limit");
        assert_eq!(error.code(), "limit_exceeded", "{error:?}");
    }

    #[test]
    fn replaces_each_match_literally() {
        let pattern = Pattern::new("SK-[a-z]+", true).expect("a pattern");
        assert_eq!(pattern.replace("a sk-x $1 SK-YY.", "$0").expect("no limit"), "a $0 $1 $0.");
        let pattern = Pattern::literal("a.b", false).expect("a pattern");
        assert_eq!(pattern.replace("axb a.b", "").expect("no limit"), "axb ");
    }
}
