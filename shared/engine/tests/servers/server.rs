//! Installs and starts servers. A server ends when this process ends.

use std::{
    env,
    fs::{self, File},
    io::{self, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

/// Timeout for the start of a server, which takes seconds, or longer on a busy machine.
const START_TIMEOUT: Duration = Duration::from_mins(2);

/// Runs the command in its arguments until its standard input ends.
const KEEPER: &str = "\"$@\" & child=$!; cat > /dev/null; kill $child; wait $child";

/// Running servers. Each ends with its standard input, which is kept open here.
static RUNNING: Mutex<Vec<Child>> = Mutex::new(Vec::new());

/// Skips the tests of a server that is not available, and prints why; in CI they fail.
pub(crate) fn had<'r, T>(server: &str, result: &'r Result<T, String>) -> Option<&'r T> {
    match result {
        Ok(server) => Some(server),
        Err(why) => {
            let is_ci = env::var("CI").is_ok_and(|ci| ci == "true");
            assert!(!is_ci, "{server} cannot be had: {why}");
            let _ = writeln!(io::stderr().lock(), "\nskipped: a test with {server}: {why}");
            None
        }
    }
}

/// A Python environment under `target/` with these packages, created on first use.
pub(crate) fn installed(packages: &[&str]) -> Result<PathBuf, String> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/servers");
    fs::create_dir_all(&target).map_err(|error| error.to_string())?;
    let target = target.canonicalize().map_err(|error| error.to_string())?;
    let name = packages.join("-").replace("==", "-");
    let (venv, done) = (target.join(&name), target.join(format!("{name}.done")));
    // A lock across processes: one installs at a time.
    let lock = File::create(target.join(format!("{name}.lock"))).map_err(|error| error.to_string())?;
    lock.lock().map_err(|error| error.to_string())?;
    if !done.exists() {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
        let mut pip = Command::new(venv.join("bin/python"));
        run(pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(packages))?;
        File::create(&done).map_err(|error| error.to_string())?;
    }
    Ok(venv)
}

/// Runs a command to its end; the error contains the end of its output.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let last: Vec<&str> = text.lines().rev().take(5).collect();
    Err(format!("{command:?}: {}", last.into_iter().rev().collect::<Vec<_>>().join(" / ")))
}

/// Starts a server that will listen on `port`, and waits until it does.
pub(crate) fn start(command: &Command, port: u16) -> Result<(), String> {
    let log = scratch(&format!("log-{port}"))?;
    let file = File::create(&log).map_err(|error| error.to_string())?;
    let other = file.try_clone().map_err(|error| error.to_string())?;
    let mut keeper = Command::new("sh");
    keeper.args(["-c", KEEPER, "sh"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        keeper.env(name, value.unwrap_or_default());
    }
    let mut child = keeper
        .stdin(Stdio::piped())
        .stdout(file)
        .stderr(other)
        .spawn()
        .map_err(|error| format!("{command:?}: {error}"))?;
    let until = Instant::now() + START_TIMEOUT;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        let ended = child.try_wait().map_err(|error| error.to_string())?.is_some();
        if ended || Instant::now() > until {
            let text = fs::read_to_string(&log).unwrap_or_default();
            return Err(format!("{command:?} does not listen: {text}"));
        }
        thread::sleep(Duration::from_millis(50));
    }
    RUNNING.lock().expect("no test fails while it starts a server").push(child);
    Ok(())
}

pub(crate) fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(|error| error.to_string())?;
    Ok(listener.local_addr().map_err(|error| error.to_string())?.port())
}

/// An unused path for this process.
pub(crate) fn scratch(name: &str) -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("servers-{}", process::id()));
    fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let path = folder.join(name);
    let _ = fs::remove_dir_all(&path);
    Ok(path)
}
