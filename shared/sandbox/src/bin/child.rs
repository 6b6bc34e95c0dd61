//! The program that tests and benches start as the sandbox: the real sandbox, with probes that simulate code that has
//! broken out of the interpreter.

#![expect(unsafe_code, reason = "the point is to make raw system calls")]

use serde_json::{Map, Value, json};

fn main() {
    runyard_sandbox::enter_with_probe(probe);
}

fn probe(code: &str) -> Option<Value> {
    match code.strip_prefix("probe: ")? {
        "system_calls" => Some(system_calls()),
        "descriptors" => Some(descriptors()),
        "environment" => Some(json!(std::env::vars_os().count())),
        "abort" => std::process::abort(),
        "exit" => std::process::exit(7),
        "panic" => panic!("as asked"),
        // Announces an answer of 4 GiB, then sends nothing.
        "lie" => {
            let lie = u32::MAX.to_le_bytes();
            // SAFETY: the buffer outlives the call.
            unsafe { libc::write(0, lie.as_ptr().cast(), lie.len()) };
            loop {
                std::hint::spin_loop();
            }
        }
        _ => None,
    }
}

/// The error number of each call; 0 if it succeeds.
fn system_calls() -> Value {
    let parent = 1; // Any process of others will do; process 1 always exists.
    let path = c"/proc/self/environ".as_ptr() as usize;
    let calls = [
        ("open", libc::SYS_openat, [libc::AT_FDCWD.cast_unsigned() as usize, path, 0]),
        ("socket", libc::SYS_socket, [2, 1, 0]),
        ("socketpair", libc::SYS_socketpair, [1, 1, 0]),
        ("pipe", libc::SYS_pipe2, [path, 0, 0]),
        ("dup", libc::SYS_dup, [0, 0, 0]),
        ("kill", libc::SYS_kill, [parent, 0, 0]),
        ("tgkill", libc::SYS_tgkill, [parent, parent, 0]),
        ("ptrace", libc::SYS_ptrace, [16, parent, 0]),
        ("process_vm_readv", libc::SYS_process_vm_readv, [parent, 0, 0]),
        ("pidfd_open", libc::SYS_pidfd_open, [parent, 0, 0]),
        ("execve", libc::SYS_execve, [path, 0, 0]),
        ("clone", libc::SYS_clone, [libc::SIGCHLD.cast_unsigned() as usize, 0, 0]),
        ("clone3", libc::SYS_clone3, [0, 0, 0]),
        ("unshare", libc::SYS_unshare, [libc::CLONE_NEWUSER.cast_unsigned() as usize, 0, 0]),
        ("prctl", libc::SYS_prctl, [libc::PR_SET_DUMPABLE.cast_unsigned() as usize, 1, 0]),
        ("prlimit", libc::SYS_prlimit64, [0, 7, 0]),
        ("setuid", libc::SYS_setuid, [0, 0, 0]),
        ("chdir", libc::SYS_chdir, [path, 0, 0]),
        ("unlink", libc::SYS_unlinkat, [libc::AT_FDCWD.cast_unsigned() as usize, path, 0]),
        ("mount", libc::SYS_mount, [path, path, path]),
        ("memfd_create", libc::SYS_memfd_create, [path, 0, 0]),
        ("io_uring_setup", libc::SYS_io_uring_setup, [1, 0, 0]),
        ("bpf", libc::SYS_bpf, [0, 0, 0]),
        ("perf_event_open", libc::SYS_perf_event_open, [0, 0, 0]),
        ("userfaultfd", libc::SYS_userfaultfd, [0, 0, 0]),
        ("shmget", libc::SYS_shmget, [0, 4096, 0o1600]),
        ("setsid", libc::SYS_setsid, [0, 0, 0]),
        ("getppid", libc::SYS_getppid, [0, 0, 0]),
        ("sendmsg", libc::SYS_sendmsg, [0, 0, 0]),
        ("recvmsg", libc::SYS_recvmsg, [0, 0, 0]),
        ("read of another descriptor", libc::SYS_read, [3, 0, 0]),
        ("executable memory", libc::SYS_mmap, [0, 4096, 7]),
        ("getpid", libc::SYS_getpid, [0, 0, 0]),
    ];
    let answers = calls.map(|(name, number, [a, b, c])| {
        // SAFETY: calls that could write to memory are refused before they read their arguments, and a null pointer is
        // an error.
        let answer = unsafe { libc::syscall(number, a, b, c, 0x22_usize, usize::MAX, 0_usize) };
        let error = std::io::Error::last_os_error().raw_os_error();
        (name.to_owned(), json!(if answer < 0 { error } else { Some(0) }))
    });
    Value::Object(answers.into_iter().collect::<Map<_, _>>())
}

fn descriptors() -> Value {
    // SAFETY: F_GETFD only reads.
    (0..4096).filter(|it| unsafe { libc::fcntl(*it, libc::F_GETFD) } >= 0).collect()
}
