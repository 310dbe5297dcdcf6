//! What precedes a datum: a registry's id, or a fingerprint.
#![allow(
    clippy::big_endian_bytes,
    reason = "the registry's prefix is Kafka's byte order, not Avro's"
)]

use crate::error::{Fault, Malformed};

/// Bytes of a registry's prefix.
pub const REGISTRY_BYTES: usize = 5;

/// Bytes of a single object's prefix.
pub const SINGLE_OBJECT_BYTES: usize = 10;

/// `00 | schema id u32 be`.
///
/// Source: Confluent's wire format; the id is a positive signed 32-bit integer.
#[inline]
pub fn put_registry_id(out: &mut Vec<u8>, id: u32) {
    let [a, b, c, d] = id.to_be_bytes();
    out.extend_from_slice(&[0, a, b, c, d]);
}

/// The id, and the datum after it.
///
/// Errors: [`Fault::Truncated`]; [`Fault::BadMagic`] when the first byte is not 0.
pub fn split_registry_id(bytes: &[u8]) -> Result<(u32, &[u8]), Malformed> {
    let malformed = |field, at, fault| Malformed {
        message: "registry prefix",
        field,
        at,
        fault,
    };
    match bytes.split_first_chunk::<REGISTRY_BYTES>() {
        Some((&[0, a, b, c, d], datum)) => Ok((u32::from_be_bytes([a, b, c, d]), datum)),
        Some(_) => Err(malformed("magic", 0, Fault::BadMagic)),
        None => Err(malformed("schema id", bytes.len(), Fault::Truncated)),
    }
}

/// `C3 01 | fingerprint u64 le`, the fingerprint being [`crate::Schema::fingerprint`].
///
/// Source: Apache Avro specification, "Single-object encoding".
#[inline]
pub fn put_single_object(out: &mut Vec<u8>, fingerprint: u64) {
    out.extend_from_slice(&[0xc3, 0x01]);
    out.extend_from_slice(&fingerprint.to_le_bytes());
}

/// The fingerprint, and the datum after it.
///
/// Errors: [`Fault::Truncated`]; [`Fault::BadMagic`] when the first two bytes are not `C3 01`.
pub fn split_single_object(bytes: &[u8]) -> Result<(u64, &[u8]), Malformed> {
    let malformed = |field, at, fault| Malformed {
        message: "single object",
        field,
        at,
        fault,
    };
    match bytes.split_first_chunk::<SINGLE_OBJECT_BYTES>() {
        Some((&[0xc3, 0x01, ref fingerprint @ ..], datum)) => {
            Ok((u64::from_le_bytes(*fingerprint), datum))
        }
        Some(_) => Err(malformed("marker", 0, Fault::BadMagic)),
        None => Err(malformed("fingerprint", bytes.len(), Fault::Truncated)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_prefix_is_five_bytes() {
        let mut out = Vec::new();
        put_registry_id(&mut out, 0x0102_0304);
        out.push(0x0a);
        assert_eq!(out, [0, 1, 2, 3, 4, 0x0a]);
        assert_eq!(split_registry_id(&out), Ok((0x0102_0304, &[0x0a][..])));
        assert_eq!(
            split_registry_id(&out[..4]).unwrap_err().fault,
            Fault::Truncated
        );
        assert_eq!(
            split_registry_id(&[1, 0, 0, 0, 1]).unwrap_err().fault,
            Fault::BadMagic
        );
    }

    #[test]
    fn a_single_object_carries_its_fingerprint() {
        let schema: crate::Schema = r#""string""#.parse().unwrap();
        let mut out = Vec::new();
        put_single_object(&mut out, schema.fingerprint());
        assert_eq!(
            out,
            [0xc3, 1, 0xc7, 0x03, 0x45, 0x63, 0x72, 0x48, 0x01, 0x8f]
        );
        assert_eq!(
            split_single_object(&out),
            Ok((schema.fingerprint(), &[][..]))
        );
        assert_eq!(
            split_single_object(&out[..9]).unwrap_err().fault,
            Fault::Truncated
        );
        assert_eq!(
            split_single_object(&[0; 10]).unwrap_err().fault,
            Fault::BadMagic
        );
    }
}
