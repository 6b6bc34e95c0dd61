//! Runs the Python of a workflow's nodes where it can do no harm.
//!
//! # Promises
//!
//! - User code has no file, network, process or environment, and no way to this process's memory.
//! - It ends at its deadline, at its memory limit and at its output limit, however hostile it is. What
//!   holds it is outside the interpreter: the kernel, and a process that never runs user code.
//! - Nothing is carried from one run to the next: each runs in a process of its own.
//! - A dropped [`Sandbox::run`] kills what it started.
//! - No owner takes all processes: a newcomer's evaluation starts at once, and turns go round between owners ([`Turns`]).
//!
//! It knows nothing of workflows: neither what a node is nor how its result is wrapped.
//!
//! # How
//!
//! ```text
//! server ── control socket ──> zygote ── fork ──> evaluation          one for each run
//!    │                           └─ fork ─> template ── fork ──> evaluation
//!    └────────── a socket for each template, and for each run ──────────┘
//! ```
//!
//! The zygote is the server's own executable or [`Config::program`], started on first use with an empty environment, no
//! descriptors and no capabilities (`enter_if_asked` must be the first thing that its `main` does). It warms
//! an interpreter once, then forks for each run and kills what is late or no longer waited for. A forked
//! evaluation closes all but its socket, takes its resource limits and a system call filter that leaves it
//! little more than memory, clock and that socket, and only then reads the code. Any number of them run at
//! once, up to [`Config::max_processes`], half of them at most for one owner; idle, there is the zygote and nothing else. When the server dies,
//! the control socket closes and all of it goes.
//!
//! # Code that comes again
//!
//! Most of what a small function costs is the same each time: its code is compiled, the modules that it imports are loaded, its
//! regular expressions are compiled. The second time that an owner has the same code evaluated, the zygote forks a template:
//! a process that does these three and then forks the evaluations of that code, as the zygote does. What keeps runs apart is
//! unchanged:
//!
//! - Each run has a process of its own, forked for it, locked down by the same steps, and gone after it.
//! - A template runs no user code and gets no input. It sees the text of one code of one owner, and all that it keeps is
//!   what the library would make of this text in each evaluation again; what the code itself does at its top, it does in each.
//!   An evaluation has no way to its template's memory but a copy of what was there before it was forked.
//! - Before a template reads the text it takes limits, and a filter that lets it fork, end its evaluations and talk on the
//!   sockets that it is given: no file and no socket can be opened, no program started. An evaluation has both filters.
//!
//! There are [`Config::max_templates`] at most, half of them for one owner; the one that was used longest ago makes room. A
//! template that serves nobody for 30 s ends. Code that does not compile, and a template that is killed, cost no answer: the
//! zygote forks the evaluation then.
//!
//! # Without a filter
//!
//! Where the kernel refuses the filter there is a warning, and the rest still holds: no descriptor can be
//! opened (`RLIMIT_NOFILE` 0), so neither file nor socket.
//!
//! # Jobs
//!
//! Work that parsers do on untrusted data, and that nothing else could stop, goes to a process of its own too: see
//! [`Jobs`]. It has the same limits, and what it does is the embedding program's code, not Python.
//!
//! # From Python to JSON
//!
//! `None`, `bool`, `int`, `float`, `str`, `list`, `dict` as they are, subclasses too; `tuple`, `set`,
//! `frozenset`, `deque`, `range` and views of a dict become arrays; NaN and the infinities null; an `Enum` its value;
//! `date`, `time`, `datetime` ISO text; `bytes`, `BytesIO` text, or base64 if they are not UTF-8; `UUID`,
//! `Decimal`, `Fraction`, `timedelta` and exceptions `str()` of them; a dataclass an object of its fields; a
//! function `func: name`. Keys that are numbers, booleans or None become text as in `json.dumps`. An integer of
//! more than 64 bits, any other object or key, and what is nested over 100 levels is [`Error::Output`].

#[cfg(feature = "interpreter")]
mod child;
#[cfg(feature = "interpreter")]
mod convert;
mod error;
#[cfg(feature = "interpreter")]
mod evaluation;
mod forker;
#[cfg(feature = "interpreter")]
mod heap;
mod job;
mod lockdown;
mod parent;
#[cfg(feature = "interpreter")]
mod python;
#[cfg(feature = "interpreter")]
mod template;
mod templates;
mod turns;
mod wire;

#[cfg(feature = "interpreter")]
pub use child::enter_if_asked;
#[cfg(feature = "interpreter")]
#[doc(hidden)]
pub use child::enter_with_probe;
pub use error::Error;
pub use job::{JobConfig, JobError, JobTurn, Jobs, Perform, enter_job_if_asked};
pub use parent::{Arguments, Config, Sandbox};
pub use turns::{Turn, Turns};
