//! The whole pipe in virtual time, while everything around it breaks: see `simulation`.
//!
//! `make simulate SEEDS=10000` runs many seeds; `make simulate ONLY=4711` one, and with `TRACE=1`
//! it tells all that happens.

#[allow(dead_code, reason = "the peers alone are for peers_agree")]
mod simulation;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use simulation::{Report, simulate};

/// Seeds that `make test` runs, in some ten seconds.
const FIXED: u64 = 200;
/// A mistake must show within so many seeds.
#[cfg(debug_assertions)]
const SEEDS_PER_MUTANT: u64 = 13_000;

fn check(seed: u64) -> Report {
    let report = simulate(seed);
    if let Some(why) = &report.failure {
        panic!("make simulate ONLY={seed}: {why}");
    }
    report
}

/// Runs `work` for each seed on as many threads as there are processors, until it says no.
fn on_all_processors(seeds: u64, work: impl Fn(u64) -> bool + Sync) {
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        break;
                    }
                    if !work(seed) {
                        next.store(seeds, Ordering::Relaxed);
                    }
                }
            });
        }
    });
}

#[test]
fn a_fixed_set_of_seeds() {
    for seed in 0..FIXED {
        check(seed);
    }
}

#[test]
fn a_seed_is_the_same_twice() {
    for seed in 1000..1004 {
        // What is made once and kept is the first one's.
        let without = |report| Report {
            memory: 0,
            ..report
        };
        let (once, again) = (without(check(seed)), without(check(seed)));
        assert_eq!(once, again, "seed {seed}");
    }
}

#[test]
fn routes_wait_for_a_registry() {
    simulation::scenes::routes_wait_for_a_registry();
}

#[test]
fn a_request_comes_late_and_fences() {
    simulation::scenes::a_request_comes_late_and_fences();
}

#[test]
fn a_batch_comes_late() {
    simulation::scenes::a_batch_comes_late();
}

/// Each mistake that the engine can make on purpose is noticed.
#[cfg(debug_assertions)]
#[test]
#[ignore = "minutes: make simulate runs it"]
fn mutants_are_caught() {
    use engine::mutant::{Mutant, choose};
    let chosen = std::env::var("MUTANT").ok().filter(|name| !name.is_empty());
    let mut survivors = Vec::new();
    for mutant in Mutant::ALL {
        if chosen
            .as_ref()
            .is_some_and(|name| *name != format!("{mutant:?}"))
        {
            continue;
        }
        let caught = Mutex::new(None);
        on_all_processors(SEEDS_PER_MUTANT, |seed| {
            choose(Some(mutant));
            let failure = simulate(seed).failure;
            choose(None);
            let Some(why) = failure else { return true };
            if simulate(seed).failure.is_some() {
                return true;
            }
            caught.lock().unwrap().get_or_insert((seed, why));
            false
        });
        match caught.into_inner().unwrap() {
            Some((seed, why)) => {
                let line = why.lines().next().unwrap_or_default();
                println!("{mutant:?}: seed {seed}: {line}");
            }
            None => {
                println!("{mutant:?}: survives");
                survivors.push(mutant);
            }
        }
    }
    assert!(survivors.is_empty(), "{survivors:?}");
}

/// As many seeds as `SEEDS` says, from `FROM` on; or the one of `ONLY`.
#[test]
#[ignore = "make simulate"]
fn many_seeds() {
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        text.parse::<u64>().ok()
    };
    if let Some(seed) = number("ONLY") {
        println!("{:#?}", check(seed));
        return;
    }
    let (from, seeds) = (number("FROM").unwrap_or(0), number("SEEDS").unwrap_or(1000));
    let began = Instant::now();
    let sums = Mutex::new((
        BTreeMap::<&str, u64>::new(),
        [0u64; 3],
        Duration::ZERO,
        0u64,
        0usize,
    ));
    on_all_processors(seeds, |seed| {
        let report = simulate(from + seed);
        let mut sums = sums.lock().unwrap();
        for (what, times) in &report.counts {
            *sums.0.entry(what).or_default() += times;
        }
        let more = [report.events, report.changes, report.records];
        for (sum, more) in sums.1.iter_mut().zip(more) {
            *sum += more;
        }
        sums.2 += report.virtual_time;
        sums.4 = sums.4.max(report.memory);
        if let Some(why) = &report.failure {
            println!("make simulate ONLY={}: {why}", from + seed);
            sums.3 += 1;
        }
        true
    });
    let (counts, [events, changes, records], time, failed, memory) = sums.into_inner().unwrap();
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    println!(
        "{seeds} seeds in {minutes:.2} minutes: {:.0} a minute",
        seeds as f64 / minutes
    );
    println!("{:.1} simulated hours", time.as_secs_f64() / 3600.0);
    println!("{events} events, {changes} changes, {records} records seen by committed readers");
    println!("{} KiB of the heap at most", memory >> 10);
    for (what, times) in counts {
        println!("{times:>10} {what}");
    }
    assert_eq!(failed, 0, "seeds that failed");
}
