//! CRC-64-AVRO of the canonical form.

use crate::schema::Schema;

/// The fingerprint of nothing, and the polynomial.
const EMPTY: u64 = 0xc15d_213a_a4d7_a795;

/// One step of eight bits, for each byte.
const TABLE: [u64; 256] = table();

#[allow(
    clippy::indexing_slicing,
    reason = "a constant expression: an index out of range is no program"
)]
const fn table() -> [u64; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut step = index as u64;
        let mut bit = 0;
        while bit < 8 {
            step = (step >> 1) ^ (EMPTY & (step & 1).wrapping_neg());
            bit += 1;
        }
        table[index] = step;
        index += 1;
    }
    table
}

/// CRC-64-AVRO of `bytes`.
///
/// Source: Apache Avro specification, "Schema Fingerprints".
#[must_use]
pub fn crc64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(EMPTY, |crc, byte| {
        let step = TABLE
            .get(usize::from(crc.to_le_bytes()[0] ^ byte))
            .copied()
            .unwrap_or_default();
        (crc >> 8) ^ step
    })
}

impl Schema {
    /// The fingerprint of [`Schema::canonical_form`]. Little-endian where it is written as bytes.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        crc64(self.canonical_form().as_bytes())
    }
}
