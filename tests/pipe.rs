//! The whole pipe in virtual time, while everything around it breaks: see `simulation`.
//!
//! `make simulate SEEDS=10000` runs many seeds; `SEED=4711 make simulate` one, and with `TRACE=1`
//! it tells all that happens.

mod simulation;

use simulation::{Report, simulate};

fn check(seed: u64) -> Report {
    let report = simulate(seed);
    if let Some(why) = &report.failure {
        panic!("SEED={seed} make simulate: {why}");
    }
    report
}

#[test]
fn a_fixed_set_of_seeds() {
    for seed in 0..20 {
        check(seed);
    }
}

#[test]
fn a_seed_is_the_same_twice() {
    for seed in 1000..1003 {
        assert_eq!(check(seed), check(seed), "seed {seed}");
    }
}

/// `SEED=… cargo test …`, or `SEEDS=…`.
#[test]
#[ignore = "as many seeds as SEEDS says, or the one of SEED"]
fn simulate_seeds() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    if let Some(seed) = number("SEED") {
        println!("{:#?}", check(seed));
        return;
    }
    let mut failed = 0;
    for seed in 0..number("SEEDS").unwrap_or(100) {
        let report = simulate(seed);
        if let Some(why) = &report.failure {
            println!("seed {seed}: {why}");
            failed += 1;
        }
    }
    assert_eq!(failed, 0);
}
