//! What /proc tells of processes and the machine: CPU, memory.

use std::fs;
use std::time::Duration;

/// Ticks a second of the CPU times in /proc: USER_HZ, which Linux fixed at 100.
const TICKS: f64 = 100.0;

/// CPU seconds of a process, ended threads included, in hundredths; 0 once it is gone.
#[must_use]
pub fn cpu(pid: u32) -> f64 {
    stat(pid).map_or(0.0, |stat| stat.cpu)
}

/// CPU seconds of a process and of the children that it has waited for.
#[must_use]
pub fn cpu_with_reaped(pid: u32) -> f64 {
    stat(pid).map_or(0.0, |stat| stat.cpu + stat.reaped)
}

/// CPU seconds of a process, of the children that it has waited for, and of those that live: of a
/// whole PostgreSQL, by its postmaster.
#[must_use]
pub fn cpu_of_tree(pid: u32) -> f64 {
    let live = children(pid).into_iter().map(cpu_of_tree);
    cpu_with_reaped(pid) + live.sum::<f64>()
}

/// The processes whose parent is `pid`.
#[must_use]
pub fn children(pid: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|child| stat(*child).is_some_and(|stat| stat.parent == pid))
        .collect()
}

/// The CPU time of this process's first thread, to the nanosecond.
#[must_use]
pub fn own_cpu() -> Duration {
    let text = fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let first = text.split(' ').next().and_then(|text| text.parse().ok());
    Duration::from_nanos(first.unwrap_or(0))
}

/// CPU seconds that all cores of the machine were busy, and that the host has taken away.
#[must_use]
pub fn machine() -> (f64, f64) {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields = text.lines().next().unwrap_or_default().split_whitespace();
    let ticks: Vec<f64> = fields.skip(1).filter_map(|it| it.parse().ok()).collect();
    let sum = |of: &[usize]| of.iter().filter_map(|at| ticks.get(*at)).sum::<f64>() / TICKS;
    // user, nice, system, idle, iowait, irq, softirq, steal
    (sum(&[0, 1, 2, 5, 6]), sum(&[7]))
}

/// Resident memory of a process in KiB, now and at its highest; zeros once it is gone.
#[must_use]
pub fn memory_kib(pid: u32) -> (u64, u64) {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    (field("VmRSS:").unwrap_or(0), field("VmHWM:").unwrap_or(0))
}

/// How many cores there are for us.
#[must_use]
pub fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1))
}

struct Stat {
    parent: u32,
    cpu: f64,
    reaped: f64,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parse_stat(&text)
}

/// `pid (name) state parent ..`: a name may hold anything, so what counts is the last bracket.
fn parse_stat(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        cpu: (ticks(11)? + ticks(12)?) / TICKS,
        reaped: (ticks(13)? + ticks(14)?) / TICKS,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_brackets() {
        let text = "7 (a) S 1 (b)) S 42 7 7 0 -1 4194560 1 0 0 0 150 50 20 10 20 0 1 0 99";
        let stat = parse_stat(text).unwrap();
        assert_eq!((stat.parent, stat.cpu, stat.reaped), (42, 2.0, 0.3));
        assert!(parse_stat("7 (a) S").is_none());
    }

    #[test]
    fn we_are_a_process_too() {
        let own = std::process::id();
        assert!(memory_kib(own).1 >= memory_kib(own).0 && memory_kib(own).0 > 1_000);
        assert!(machine().0 > 0.0 && cores() > 0);
        assert_eq!(memory_kib(u32::MAX), (0, 0));
    }
}
