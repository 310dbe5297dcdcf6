//! Children that end with us.
//!
//! A shell waits at the other end of a pipe that only this process writes. When we are gone, by
//! whatever way (the last test passed, a panic, SIGKILL), it reads the end of the pipe, ends every
//! process it was told of and removes every directory. So servers may live in statics, which are
//! never dropped.

use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

/// Lines: `child SIGNAL PID`, `gone PID`, `dir PATH`.
const REAPER: &str = r#"
trap '' INT TERM HUP
children= dirs=
while read -r verb a b; do
  case $verb in
    child) children="$children $a:$b" ;;
    gone)
      left=; for c in $children; do [ "${c#*:}" = "$a" ] || left="$left $c"; done
      children=$left ;;
    dir)   dirs="$dirs $a" ;;
  esac
done
for c in $children; do kill -"${c%%:*}" "${c#*:}"; done
for turn in 1 2 3 4 5 6 7 8 9 10; do
  alive=; for c in $children; do kill -0 "${c#*:}" && alive=yes; done
  [ -n "$alive" ] || break; sleep 0.3
done
for c in $children; do kill -KILL "${c#*:}"; done
for d in $dirs; do rm -rf "$d"; done
"#;

#[allow(clippy::zombie_processes, reason = "the reaper outlives us")]
static PIPE: LazyLock<Mutex<ChildStdin>> = LazyLock::new(|| {
    let mut reaper = Command::new("sh")
        .args(["-c", REAPER])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("sh runs");
    Mutex::new(reaper.stdin.take().expect("it was piped"))
});

fn tell(line: &str) {
    let mut pipe = PIPE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    writeln!(pipe, "{line}").expect("the reaper reads");
}

/// A new directory that everybody may enter, removed when this process has ended.
pub(crate) fn directory(name: &str) -> PathBuf {
    let made = tempfile::Builder::new()
        .prefix(&format!("penstock-{name}-"))
        .permissions(Permissions::from_mode(0o755))
        .tempdir()
        .expect("a temporary directory");
    let path = made.keep();
    tell(&format!("dir {}", path.display()));
    path
}

/// A process that is ended when this value is dropped, or with us.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    last_signal: &'static str,
}

impl Running {
    /// Starts `command`; `last_signal` is what ends it when nobody asked for another.
    pub(crate) fn spawn(command: &mut Command, last_signal: &'static str) -> Self {
        let child = command
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        tell(&format!("child {last_signal} {}", child.id()));
        Self { child, last_signal }
    }

    /// As [`Self::spawn`], with the other end of its standard output, which must be piped.
    pub(crate) fn spawn_reading(
        command: &mut Command,
        last_signal: &'static str,
    ) -> (Self, ChildStdout) {
        let mut running = Self::spawn(command, last_signal);
        let output = running.child.stdout.take().expect("it was piped");
        (running, output)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name, `TERM`; nothing happens to a process that has ended.
    pub(crate) fn signal(&mut self, signal: &str) {
        if self.exited().is_none() {
            let _ = Command::new("kill")
                .args(["-s", signal, &self.id().to_string()])
                .status();
        }
    }

    /// The exit code of a process that has ended; 128 and the signal's number where one ended it.
    pub(crate) fn exited(&mut self) -> Option<i32> {
        use std::os::unix::process::ExitStatusExt as _;
        let status = self.child.try_wait().expect("our own child")?;
        Some(
            status
                .code()
                .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
        )
    }

    /// Waits for the end, for at most `limit`.
    pub(crate) fn wait(&mut self, limit: Duration) -> Option<i32> {
        let turns = limit.as_millis() / 20;
        for _ in 0..turns {
            if let Some(code) = self.exited() {
                return Some(code);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.exited()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal(self.last_signal);
        if self.wait(Duration::from_secs(10)).is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        tell(&format!("gone {}", self.id()));
    }
}
