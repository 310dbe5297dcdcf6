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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors() {
        assert_eq!(TABLE[1], 0x2cf1_cba6_b753_51fa);
        assert_eq!(TABLE[255], 0x9a39_78b1_55ab_f5b0);
        let example = r#"{"type":"record","namespace":"a.b","name":"R","doc":"d","x":1,"fields":[{"type":{"type":"string"},"name":"s","default":"q"},{"name":"d","type":{"type":"bytes","logicalType":"decimal","precision":10,"scale":2}},{"name":"n","type":["null",{"type":"record","name":"a.b.N","fields":[]}],"default":null},{"name":"m","type":"N"}]}"#;
        for (text, fingerprint) in [
            (r#""null""#, 7_195_948_357_588_979_594_i64),
            (r#""boolean""#, -6_970_731_678_124_411_036),
            (r#""int""#, 8_247_732_601_305_521_295),
            (r#""long""#, -3_434_872_931_120_570_953),
            (r#""float""#, 5_583_340_709_985_441_680),
            (r#""double""#, -8_181_574_048_448_539_266),
            (r#""bytes""#, 5_746_618_253_357_095_269),
            (r#""string""#, -8_142_146_995_180_207_161),
            ("[]", -1_241_056_759_729_112_623),
            (r#"["null","string"]"#, -7_474_301_792_809_991_011),
            (
                r#"{"type":"array","items":"long"}"#,
                6_059_251_950_232_166_001,
            ),
            (
                r#"{"type":"map","values":"string"}"#,
                -8_732_877_298_790_414_990,
            ),
            (
                r#"{"name":"Test","type":"fixed","size":1}"#,
                6_572_239_772_516_444_520,
            ),
            (
                r#"{"name":"Test","type":"enum","symbols":["A","B"]}"#,
                1_619_747_627_903_132_163,
            ),
            (
                r#"{"name":"E","type":"enum","symbols":["A","B"]}"#,
                -5_903_992_586_670_083_243,
            ),
            (
                r#"{"name":"Test","type":"record","fields":[{"name":"f","type":"long"}]}"#,
                -8_189_536_545_172_777_747,
            ),
            (
                r#"{"name":"R","type":"record","fields":[{"name":"a","type":"int"}]}"#,
                3_868_699_776_679_679_287,
            ),
            (
                r#"{"name":"a.b.R","type":"record","fields":[{"name":"x","type":["null","long"]},{"name":"y","type":"bytes"}]}"#,
                4_477_823_316_457_790_736,
            ),
            (example, 5_793_976_486_731_350_800),
        ] {
            let schema: Schema = text.parse().expect(text);
            assert_eq!(schema.fingerprint().cast_signed(), fingerprint, "{text}");
        }
    }
}
