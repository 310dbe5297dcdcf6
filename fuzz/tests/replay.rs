//! Every target over its corpus, and over mutations of it that are the same in every run.
//!
//! `FUZZ_SEED=7 cargo test -p fuzz` draws others; `FUZZ_ROUNDS` says how many (1000 a target).

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

use fuzz::TARGETS;

#[test]
fn every_target_keeps_its_claims_over_the_corpus_and_its_mutations() {
    let rounds = setting("FUZZ_ROUNDS", 1000);
    for (name, target) in TARGETS {
        let seeds = corpus(name);
        let mut dice = Dice(setting("FUZZ_SEED", 1) ^ hash(name));
        let mut failed = Vec::new();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            for seed in &seeds {
                failed.clone_from(seed);
                target(seed);
            }
            for _ in 0..rounds {
                failed = dice.mutant(&seeds);
                target(&failed);
            }
        }));
        if let Err(panic) = outcome {
            let hex: String = failed.iter().map(|byte| format!("{byte:02x}")).collect();
            eprintln!("target {name}, {} bytes: {hex}", failed.len());
            resume_unwind(panic);
        }
    }
}

#[test]
fn every_folder_of_the_corpus_belongs_to_a_target() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for group in fs::read_dir(root).into_iter().flatten().flatten() {
        for folder in fs::read_dir(group.path()).into_iter().flatten().flatten() {
            let name = format!(
                "{}/{}",
                group.file_name().to_string_lossy(),
                folder.file_name().to_string_lossy()
            );
            assert!(
                TARGETS.iter().any(|(known, _)| *known == name),
                "no target {name}"
            );
        }
    }
}

fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(usual)
}

/// The kept inputs in order of name, and a few that every parser should meet.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(name);
    let mut files: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    files.sort();
    let kept = files
        .iter()
        .map(|path| fs::read(path).expect("a file of the corpus"));
    let usual = [vec![], vec![0; 64], vec![0xff; 64], (0..=255).collect()];
    kept.chain(usual).collect()
}

fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end.max(1)).expect("64 bits hold a length");
        usize::try_from(self.next() % end).expect("below a length")
    }

    fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }

    /// One of the seeds with up to six changes.
    fn mutant(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(6) {
            let at = self.below(bytes.len());
            match self.below(8) {
                _ if bytes.is_empty() => bytes = (0..self.below(40)).map(|_| self.byte()).collect(),
                0 => bytes[at] ^= 1 << self.below(8),
                1 => bytes[at] = self.byte(),
                2 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][self.below(5)],
                3 => bytes.truncate(at),
                4 => bytes.insert(at, self.byte()),
                5 => drop(bytes.drain(at..(at + self.below(8)).min(bytes.len()))),
                6 => {
                    let other = &seeds[self.below(seeds.len())];
                    let from = self.below(other.len() + 1);
                    bytes.extend_from_slice(&other[from..]);
                }
                _ => {
                    // Lengths are what parsers believe.
                    let value =
                        [0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0xffff][self.below(6)];
                    let end = (at + 4).min(bytes.len());
                    bytes[at..end].copy_from_slice(&u32::to_be_bytes(value)[..end - at]);
                }
            }
        }
        bytes
    }
}
