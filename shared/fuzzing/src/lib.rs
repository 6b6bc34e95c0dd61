//! How fuzz targets read their inputs, and the replay of a corpus in the ordinary tests.
//!
//! A target is a function over bytes. It stands beside the code that it tries, in a module `fuzz` that is compiled for
//! tests and for `cargo fuzz` alone, and panics where a promise is broken. Its corpus, `fuzz/corpus/<name>/`, is text: what
//! an input consists of is separated by lines of four equals signs.

use std::{
    borrow::Cow,
    fs, io,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// A target: its name and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

const SEPARATOR: &[u8] = b"\n====\n";

/// The most bytes that [`pieces`] makes of an input.
const MOST_BYTES: usize = 64 << 10;

/// The stack of a replay: what the threads of a server have.
const STACK: usize = 2 << 20;

/// What one input may take of a processor. Unoptimized code is slower.
const CEILING: Duration = Duration::from_secs(if cfg!(debug_assertions) { 5 } else { 1 });

/// When an input is given up: it hangs, however slow and busy the machine is.
const HANGS: Duration = Duration::from_mins(2);

/// The parts of an input. Those that it lacks are empty, and the last one is all the rest.
pub fn parts<const N: usize>(input: &[u8]) -> [&[u8]; N] {
    let mut parts = [&input[..0]; N];
    let mut rest = input;
    for (place, part) in parts.iter_mut().enumerate() {
        let found = rest.windows(SEPARATOR.len()).position(|window| window == SEPARATOR);
        let Some(at) = found.filter(|_| place + 1 < N) else {
            *part = rest;
            break;
        };
        *part = &rest[..at];
        rest = &rest[at + SEPARATOR.len()..];
    }
    parts
}

/// A part as text.
pub fn text(part: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(part)
}

/// What comes over a network in pieces: `content`, cut as `cuts` says.
///
/// `cuts` are numbers between spaces, the sizes of the pieces, again and again from the first; without any it is one piece.
/// A number after `x` says how often the content comes: what takes time that grows with the square of its length shows only
/// where it is long.
pub fn pieces(cuts: &[u8], content: &[u8]) -> Vec<Vec<u8>> {
    let (mut sizes, mut times) = (Vec::new(), 1);
    for word in text(cuts).split_ascii_whitespace() {
        match word.strip_prefix('x') {
            Some(number) => times = number.parse().unwrap_or(1),
            None => sizes.extend(word.parse::<usize>().ok().filter(|size| *size > 0)),
        }
    }
    let content = content.repeat(times.clamp(1, (MOST_BYTES / content.len().max(1)).max(1)));
    let mut rest = content.as_slice();
    let mut pieces = Vec::new();
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at(rest.len().min(*size));
        pieces.push(piece.to_owned());
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(rest.to_owned());
    }
    pieces
}

/// Gives each target all inputs of its corpus, `fuzz/corpus/<name>/`.
///
/// # Panics
///
/// If one fails, takes longer than it may, or a target has no inputs.
pub fn replay(targets: &[Target]) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (name, target) in targets {
        let folder = corpus.join(name);
        let inputs = inputs(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        assert!(!inputs.is_empty(), "{} is empty", folder.display());
        for path in inputs {
            let input = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let took = time(*target, input).unwrap_or_else(|problem| panic!("{}: {problem}", path.display()));
            assert!(took <= CEILING, "{} took {took:?} of a processor", path.display());
        }
    }
}

fn inputs(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<PathBuf>>>()?;
    paths.sort();
    Ok(paths)
}

/// How much of a processor an input takes.
fn time(target: fn(&[u8]), input: Vec<u8>) -> Result<Duration, &'static str> {
    let (told, ended) = mpsc::channel();
    let run = move || {
        let begun = Instant::now();
        target(&input);
        // On a busy machine the clock tells of others.
        let _ = told.send(of_processor().unwrap_or_else(|| begun.elapsed()));
    };
    thread::Builder::new().stack_size(STACK).spawn(run).map_err(|_| "no thread can be started")?;
    ended.recv_timeout(HANGS).map_err(|error| match error {
        mpsc::RecvTimeoutError::Timeout => "hangs",
        mpsc::RecvTimeoutError::Disconnected => "panicked",
    })
}

/// How much of a processor this thread has taken, where the system tells.
fn of_processor() -> Option<Duration> {
    let told = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    told.split_ascii_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_has_parts() {
        assert_eq!(parts(b"a\nb\n====\n\n====\nc\n====\nd"), [&b"a\nb"[..], b"", b"c\n====\nd"]);
        assert_eq!(parts(b"a"), [&b"a"[..], b""]);
        assert_eq!(parts::<1>(b""), [b""]);
    }

    #[test]
    fn content_comes_in_pieces() {
        let cut = |cuts: &str, content: &str| {
            let pieces = pieces(cuts.as_bytes(), content.as_bytes());
            pieces.iter().map(|piece| text(piece).into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(cut("", "abc"), ["abc"]);
        assert_eq!(cut("1 2", "abcdefg"), ["a", "bc", "d", "ef", "g"]);
        assert_eq!(cut("0 x2 what 4", "abc"), ["abca", "bc"]);
        assert_eq!(cut("3", ""), Vec::<String>::new());
        assert_eq!(cut("x18446744073709551615", "ab").concat().len(), MOST_BYTES);
    }

    #[test]
    fn what_fails_is_found() {
        assert!(time(|_| {}, Vec::new()).is_ok());
        assert_eq!(time(|input| assert!(input.is_empty(), "not empty"), vec![1]), Err("panicked"));
        let long = time(
            |_| {
                let begun = Instant::now();
                while begun.elapsed() < Duration::from_millis(20) {}
            },
            Vec::new(),
        );
        assert!(long.is_ok_and(|took| took > Duration::ZERO));
    }
}
