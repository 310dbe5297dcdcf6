//! The libFuzzer shell of every target: `FUZZ_TARGET` names one of `fuzz::TARGETS`. One shell,
//! since each would be linked with all of the sanitizer's weight.

#![no_main]

use std::sync::OnceLock;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();
    let target = TARGET.get_or_init(|| {
        let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
        let found = fuzz::TARGETS.iter().find(|(known, _)| *known == name);
        found.expect("FUZZ_TARGET is one of fuzz::TARGETS").1
    });
    target(data);
});
