//! The choice of a partition for a key, as the Java client makes it.
//!
//! Rows of one key keep their order only while they share a partition, and they share one with rows
//! that another producer of the Java family wrote only while both choose alike. A record without a
//! key has no such tie; which partition it joins is the producer's affair, best the one whose batch
//! is open.

use std::num::NonZeroU32;

/// The partition, `0 .. partition_count`, of a record with these key bytes, as serialized.
///
/// `partition_count` counts every partition of the topic, those without a leader included. The sign
/// bit of the hash is masked off; this is not an absolute value.
///
/// Source: Apache Kafka, `BuiltInPartitioner.partitionForKey`, `Utils.toPositive`.
#[must_use]
pub fn partition_for_key(key: &[u8], partition_count: NonZeroU32) -> u32 {
    if partition_count == NonZeroU32::MIN {
        return 0;
    }
    (murmur2(key) & 0x7fff_ffff) % partition_count
}

/// MurmurHash2, 32 bits, with Kafka's seed.
///
/// Source: Apache Kafka, `Utils.murmur2` (which prints the same bits as a signed number).
#[must_use]
pub fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;

    // Java's array length is an i32; no key comes near it, so cutting to 32 bits loses nothing.
    #[allow(
        clippy::cast_possible_truncation,
        reason = "a key is shorter than 2 GiB"
    )]
    let mut hash = SEED ^ (data.len() as u32);
    let (words, tail) = data.as_chunks::<4>();
    for &[a, b, c, d] in words {
        let mut k = u32::from_be_bytes([d, c, b, a]).wrapping_mul(M);
        k ^= k >> R;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        for (i, &byte) in (0u32..).zip(tail) {
            hash ^= u32::from(byte) << (8 * i);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_agree_with_the_java_client() {
        let cases: [(&[u8], i32, [u32; 5]); 17] = [
            (b"", 275646681, [0, 1, 9, 6, 31]),
            (b"a", -1563381124, [1, 4, 4, 24, 24]),
            (b"ab", 316155434, [2, 4, 2, 9, 34]),
            (b"abc", 479470107, [0, 7, 3, 7, 7]),
            (b"abcd", -1323649548, [2, 0, 8, 0, 0]),
            (b"21", -973932308, [0, 0, 0, 15, 40]),
            (b"foobar", -790332482, [0, 6, 6, 16, 16]),
            (b"a-little-bit-long-string", -985981536, [2, 2, 8, 12, 12]),
            (
                b"a-little-bit-longer-string",
                -1486304829,
                [2, 9, 11, 19, 19],
            ),
            (
                b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58897971,
                [2, 7, 5, 2, 27],
            ),
            (br#"{"id":1}"#, -56768732, [0, 6, 0, 16, 16]),
            (
                br#"{"schema":{"type":"struct"},"payload":{"id":1}}"#,
                -502607883,
                [2, 5, 5, 15, 15],
            ),
            (
                br#"["inventory-connector",{"server":"dbserver1"}]"#,
                -1922584362,
                [2, 6, 2, 11, 36],
            ),
            (b"dbserver1", -778136867, [0, 1, 9, 6, 31]),
            ("éè".as_bytes(), -1525060724, [0, 4, 0, 24, 24]),
            (&[0, 0, 0, 0, 1, 2], -1917368978, [0, 0, 6, 20, 20]),
            (&[0xff, 0xfe, 0xfd], 998637092, [2, 2, 8, 17, 42]),
        ];
        for (key, hash, partitions) in cases {
            assert_eq!(murmur2(key).cast_signed(), hash, "{}", key.escape_ascii());
            for (count, partition) in [3, 10, 12, 25, 50].into_iter().zip(partitions) {
                let count = NonZeroU32::new(count).unwrap();
                assert_eq!(
                    partition_for_key(key, count),
                    partition,
                    "{}",
                    key.escape_ascii()
                );
            }
        }
    }
}
