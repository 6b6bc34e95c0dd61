//! Runs the Python code of a workflow's nodes in isolated processes.
//!
//! # Promises
//!
//! - User code has no access to files, the network, other processes, the environment or the memory of this process.
//! - It ends at its deadline, at its memory limit and at its output limit, even if it is hostile. These limits are
//!   enforced outside the interpreter: by the kernel, and by a process that never runs user code.
//! - Nothing is carried from one evaluation to the next: each runs in a process of its own.
//! - Dropping the future of [`Sandbox::run`] kills what it started.
//! - No app takes all processes: a new app's evaluation starts at once, and apps are served round robin ([`Turns`]).
//!
//! The crate does not know what a workflow or a node is, or how a node's result is wrapped.
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
//! descriptors and no capabilities (`enter_if_asked` must be the first thing that its `main` does). It warms an
//! interpreter once, then forks a process for each evaluation, and kills those that pass their deadline or whose caller
//! is gone. A forked evaluation closes all descriptors but its socket, and takes its resource limits and a system call
//! filter that leaves it little more than memory, the clock and that socket. Only then does it read the code. At most
//! [`Config::max_processes`] evaluations run at once, at most half of them for one app. When idle, only the zygote and
//! its spare process remain. When the server dies, the control socket closes and all these processes end.
//!
//! # Repeated code
//!
//! Most of the cost of a small function is the same in each evaluation: compiling its code, loading the modules that it
//! imports, compiling its regular expressions. The second time that an app has the same code evaluated, the zygote
//! forks a template: a process that does these three things and then forks the evaluations of that code, as the zygote
//! does. Evaluations stay isolated in the same way:
//!
//! - Each evaluation has a process of its own, forked for it, locked down by the same steps, and ended after it.
//! - A template runs no user code and gets no input. It sees the text of one code of one app, and keeps only what the
//!   library would produce from this text in each evaluation. The top-level statements of the code run in each
//!   evaluation. An evaluation has only a copy of its template's memory, as it was before the fork.
//! - Before a template reads the text, it takes limits, and a filter that lets it fork, end its evaluations and use the
//!   sockets that it is given. It cannot open a file or a socket, or start a program. An evaluation has both filters.
//!
//! There are at most [`Config::max_templates`], half of them for one app; the least recently used one is evicted. A
//! template that is idle for 30 s ends. If the code does not compile, or the template is killed, the zygote forks the
//! evaluation instead: the caller still gets an answer.
//!
//! # Without a filter
//!
//! If the kernel refuses the filter, a warning is logged. The other limits still hold: no descriptor can be opened
//! (`RLIMIT_NOFILE` 0), so neither a file nor a socket.
//!
//! # Jobs
//!
//! Parsers of untrusted data cannot be interrupted either, so they run in a process of their own too: see [`Jobs`]. A
//! job has the same limits, and executes code of the embedding program, not Python.
//!
//! # From Python to JSON
//!
//! | Python | JSON |
//! | --- | --- |
//! | `None`, `bool`, `int`, `float`, `str`, `list`, `dict`, and their subclasses | the same value |
//! | `tuple`, `set`, `frozenset`, `deque`, `range`, views of a dict | an array |
//! | NaN and the infinities | null |
//! | `Enum` | its value |
//! | `date`, `time`, `datetime` | ISO text |
//! | `bytes`, `BytesIO` | text, or base64 if they are not UTF-8 |
//! | `UUID`, `Decimal`, `Fraction`, `timedelta`, exceptions | their `str()` |
//! | a dataclass | an object of its fields |
//! | a function | `func: name` |
//!
//! Keys that are numbers, booleans or None become text as in `json.dumps`. An integer of more than 64 bits, any other
//! object or key, and nesting of more than 100 levels is an [`Error::Output`].

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
