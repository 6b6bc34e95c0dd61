//! The privileges that a process drops before it reads user code.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _},
};

use rustix::{
    process::{DumpableBehavior, Resource, Rlimit, Signal},
    thread::{CapabilitySet, CapabilitySets},
};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op,
    SeccompCondition as Condition, SeccompFilter, SeccompRule as Rule,
};

/// Large enough that Python reaches its recursion limit first, even in an unoptimized build.
const STACK_BYTES: u64 = 64 * 1024 * 1024;

/// Taken by the zygote, and inherited by all that it forks.
pub(crate) fn zygote() -> io::Result<()> {
    // Ctrl-C in a terminal must reach the server only. The server kills this process group.
    rustix::process::setsid()?;
    raw::close_from(3)?;
    raw::default_signals();
    rustix::thread::set_no_new_privs(true)?;
    let none = CapabilitySet::empty();
    rustix::thread::set_capabilities(
        None,
        CapabilitySets { effective: none, permitted: none, inheritable: none },
    )?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    limit(Resource::Core, 0)?;
    limit(Resource::Fsize, 0)?;
    // When memory is short, the kernel should kill these before the server. Not permitted everywhere.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    // The stack grows on demand, so recursion alone determines what it uses. A lower hard limit is kept.
    let hard = rustix::process::getrlimit(Resource::Stack).maximum;
    let stack = hard.map_or(STACK_BYTES, |hard| hard.min(STACK_BYTES));
    rustix::process::setrlimit(Resource::Stack, Rlimit { current: Some(stack), maximum: Some(stack) })
        .map_err(Into::into)
}

/// Taken by an evaluation as soon as it is forked; its socket is descriptor 0.
pub(crate) fn evaluation(zygote: rustix::process::Pid, address_space: u64) -> io::Result<()> {
    die_with(zygote)?;
    raw::close_from(1)?;
    limit(Resource::As, address_space)?;
    limit(Resource::Nproc, 0)?;
    limit(Resource::Memlock, 0)?;
    limit(Resource::Msgqueue, 0)?;
    limit(Resource::Nofile, 0)
}

/// Taken by a template as soon as it is forked; its control socket is descriptor 0.
#[cfg(feature = "interpreter")]
pub(crate) fn template(zygote: rustix::process::Pid, address_space: u64) -> io::Result<()> {
    die_with(zygote)?;
    raw::close_from(1)?;
    // Only the soft limit: its evaluations set their own, on top of what the template has mapped by then.
    let soft = Rlimit { current: Some(address_space), maximum: None };
    rustix::process::setrlimit(Resource::As, soft)?;
    limit(Resource::Memlock, 0)?;
    limit(Resource::Msgqueue, 0)?;
    // Two for each of its evaluations, of which there are never that many.
    limit(Resource::Nofile, 1024)
}

fn die_with(parent: rustix::process::Pid) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // The parent may have died before that.
    if rustix::process::getppid() != Some(parent) {
        return Err(io::Error::other("the process that forked this one is gone"));
    }
    Ok(())
}

/// The last step before user code is read.
pub(crate) fn before_user_code(cpu_seconds: u64, filter: Option<&Filter>) -> io::Result<()> {
    // A second line of defense: the zygote enforces the deadline. The added second covers the rehearsal.
    limit(Resource::Cpu, cpu_seconds.saturating_add(1))?;
    filter.map_or(Ok(()), Filter::apply)
}

/// The system calls that a process may make; all others fail with `EPERM`. Compiled once, in the zygote.
pub(crate) struct Filter(BpfProgram);

impl Filter {
    /// Placeholder for the id of the process that applies the filter; no process has this id.
    const OWN: u32 = 0x7fff_0b5e;

    /// For evaluations.
    pub(crate) fn evaluation() -> Result<Self, BackendError> {
        let mut rules = computing()?;
        // Its socket, which is its only descriptor, and checking whether a descriptor is open (debug builds do).
        let socket = || Condition::new(0, Len::Dword, Op::Eq, 0);
        rules.insert(libc::SYS_read, vec![Rule::new(vec![socket()?])?]);
        rules.insert(libc::SYS_write, vec![Rule::new(vec![socket()?])?]);
        rules.insert(
            libc::SYS_fcntl,
            vec![Rule::new(vec![Condition::new(1, Len::Dword, Op::Eq, flag(libc::F_GETFD))?])?],
        );
        Self::of(rules)
    }

    /// For templates, and for their evaluations until these apply their own: allows what forking, ending and locking
    /// down an evaluation needs. A process with it cannot open a file or a socket, or start a program.
    #[cfg(feature = "interpreter")]
    pub(crate) fn template() -> Result<Self, BackendError> {
        let mut rules = computing()?;
        let any = [
            libc::SYS_close,
            libc::SYS_close_range,
            libc::SYS_dup3,
            libc::SYS_fcntl,
            libc::SYS_getppid,
            libc::SYS_pidfd_open,
            libc::SYS_pidfd_send_signal,
            libc::SYS_ppoll,
            libc::SYS_prlimit64,
            libc::SYS_read,
            libc::SYS_recvfrom,
            libc::SYS_recvmsg,
            libc::SYS_seccomp,
            libc::SYS_sendto,
            libc::SYS_set_robust_list,
            // Evaluations abort with it; their own filter allows no other target.
            libc::SYS_tgkill,
            libc::SYS_wait4,
            libc::SYS_write,
        ];
        rules.extend(any.map(|call| (call, Vec::new())));
        #[cfg(target_arch = "x86_64")]
        rules.extend([libc::SYS_dup2, libc::SYS_poll].map(|call| (call, Vec::new())));
        let fork = flag(libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID | libc::SIGCHLD);
        rules.insert(libc::SYS_clone, vec![Rule::new(vec![Condition::new(0, Len::Qword, Op::Eq, fork)?])?]);
        let prctl = |what| Rule::new(vec![Condition::new(0, Len::Dword, Op::Eq, flag(what))?]);
        rules
            .insert(libc::SYS_prctl, vec![prctl(libc::PR_SET_PDEATHSIG)?, prctl(libc::PR_SET_NO_NEW_PRIVS)?]);
        Self::of(rules)
    }

    fn of(rules: BTreeMap<i64, Vec<Rule>>) -> Result<Self, BackendError> {
        let filter = SeccompFilter::new(
            rules,
            SeccompAction::Errno(libc::EPERM.cast_unsigned()),
            SeccompAction::Allow,
            std::env::consts::ARCH.try_into()?,
        )?;
        filter.try_into().map(Self)
    }

    /// Applies the filter to this process and all that it forks from now on.
    pub(crate) fn apply(&self) -> io::Result<()> {
        let mut program = self.0.clone();
        let own = std::process::id();
        program.iter_mut().filter(|it| it.k == Self::OWN).for_each(|it| it.k = own);
        seccompiler::apply_filter(&program).map_err(io::Error::other)
    }
}

/// The system calls that every process of the sandbox may make.
fn computing() -> Result<BTreeMap<i64, Vec<Rule>>, BackendError> {
    let any = Vec::new;
    let mut rules: BTreeMap<i64, Vec<Rule>> = [
        libc::SYS_brk,
        libc::SYS_clock_getres,
        libc::SYS_clock_gettime,
        libc::SYS_clock_nanosleep,
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_futex,
        libc::SYS_getpid,
        libc::SYS_getrandom,
        libc::SYS_gettid,
        libc::SYS_gettimeofday,
        libc::SYS_madvise,
        libc::SYS_mremap,
        libc::SYS_munmap,
        libc::SYS_nanosleep,
        libc::SYS_restart_syscall,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sched_yield,
        libc::SYS_sigaltstack,
    ]
    .map(|call| (call, any()))
    .into();
    // No memory can be made executable.
    let not_executable =
        |argument| Condition::new(argument, Len::Dword, Op::MaskedEq(flag(libc::PROT_EXEC)), 0);
    let anonymous =
        || Condition::new(3, Len::Dword, Op::MaskedEq(flag(libc::MAP_ANONYMOUS)), flag(libc::MAP_ANONYMOUS));
    rules.insert(libc::SYS_mmap, vec![Rule::new(vec![not_executable(2)?, anonymous()?])?]);
    rules.insert(libc::SYS_mprotect, vec![Rule::new(vec![not_executable(2)?])?]);
    // `abort` signals itself.
    let own = u64::from(Filter::OWN);
    rules.insert(libc::SYS_tgkill, vec![Rule::new(vec![Condition::new(0, Len::Dword, Op::Eq, own)?])?]);
    Ok(rules)
}

fn flag(flag: libc::c_int) -> u64 {
    u64::from(flag.cast_unsigned())
}

fn limit(resource: Resource, to: u64) -> io::Result<()> {
    rustix::process::setrlimit(resource, Rlimit { current: Some(to), maximum: Some(to) }).map_err(Into::into)
}

/// The file with the size of this process's address space.
pub(crate) fn open_statm() -> io::Result<File> {
    File::open("/proc/self/statm")
}

/// The size of this process's address space, in bytes.
pub(crate) fn mapped_bytes(mut statm: File) -> io::Result<u64> {
    let mut text = [0; 128];
    let length = statm.read(&mut text)?;
    let text = String::from_utf8_lossy(&text[..length]);
    let pages: u64 = text
        .split(' ')
        .next()
        .and_then(|it| it.parse().ok())
        .ok_or_else(|| io::Error::other("no size in /proc/self/statm"))?;
    Ok(pages * rustix::param::page_size() as u64)
}

/// System calls without a safe wrapper.
pub(crate) mod raw {
    #![expect(unsafe_code, reason = "fork, close_range, signal and _exit have no safe wrapper")]

    use std::io;

    #[cfg(any(test, feature = "interpreter"))]
    use rustix::process::Pid;

    /// `None` in the child.
    #[cfg(any(test, feature = "interpreter"))]
    pub(crate) fn fork() -> io::Result<Option<Pid>> {
        // SAFETY: the zygote has one thread, so the child's copy of every lock and of the allocator is consistent.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            pid => Ok(Pid::from_raw(pid)),
        }
    }

    /// Closes every descriptor from `first` on.
    pub(crate) fn close_from(first: u32) -> io::Result<()> {
        // SAFETY: nothing that this crate holds when it calls this is used afterwards; see the callers.
        match unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Removes the runtime's handler of stack overflows: its abort could not be distinguished from that of an
    /// allocation.
    pub(crate) fn default_signals() {
        for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGPIPE] {
            // SAFETY: no handler of ours is replaced, and the process has one thread.
            unsafe {
                libc::signal(signal, if signal == libc::SIGPIPE { libc::SIG_IGN } else { libc::SIG_DFL })
            };
        }
    }

    /// Ends the process without running a destructor.
    pub(crate) fn exit(code: i32) -> ! {
        // SAFETY: `_exit` has no preconditions.
        unsafe { libc::_exit(code) }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::unix::net::UnixStream};

    use super::raw;

    #[test]
    fn no_descriptor_can_be_opened_without_the_filter() {
        let own = rustix::process::getpid();
        let Some(pid) = raw::fork().unwrap() else {
            let locked = super::evaluation(own, 1 << 40).is_ok();
            let reached = File::open("/proc/self/environ").is_ok() || UnixStream::pair().is_ok();
            raw::exit(i32::from(!locked) + 2 * i32::from(reached))
        };
        let status = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).unwrap();
        assert_eq!(status.unwrap().1.exit_status(), Some(0));
    }
}
