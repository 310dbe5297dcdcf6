//! Tag and length: where one message ends and the next begins.

use crate::error::{Fault, Malformed};

/// The longest CopyData that a server can make: an allocation of PostgreSQL ends at 1 GiB.
pub const COPY_DATA_BYTES_MAX: usize = (1 << 30) + 4;

/// The byte that names a message. The same letter can mean two things, by who sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tag(pub u8);

impl Tag {
    /// CopyData, of both sides.
    pub const COPY_DATA: Self = Self(b'd');
    /// CopyDone, of both sides.
    pub const COPY_DONE: Self = Self(b'c');
}

/// One message.
///   tag u8 | length i32, of itself and the body | body ..
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'b> {
    /// What the message is.
    pub tag: Tag,
    /// What is in it.
    pub body: &'b [u8],
}

/// Bytes before a frame's body: tag and length.
pub const HEADER_BYTES: usize = 5;

/// Splits the first message off `bytes`: the message, and how many bytes it took. `None`: it has
/// not arrived in full.
///
/// `body_bytes_max` limits every message but CopyData, whose maximum is the server's own
/// ([`COPY_DATA_BYTES_MAX`]): what arrives in bulk is CopyData, and anything else of that size is
/// a peer that speaks something else.
///
/// Errors: `Malformed` when the length is below 4 or above the maximum, as soon as it is seen.
#[inline]
pub fn split(bytes: &[u8], body_bytes_max: usize) -> Result<Option<(Frame<'_>, usize)>, Malformed> {
    let Some((&[tag, a, b, c, d], rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Ok(None);
    };
    let length = i32::from_be_bytes([a, b, c, d]);
    let tag = Tag(tag);
    let max = if tag == Tag::COPY_DATA {
        COPY_DATA_BYTES_MAX
    } else {
        body_bytes_max
    };
    let count = match usize::try_from(length) {
        Ok(length @ 4..) if length - 4 <= max => length - 4,
        Ok(4..) => return Err(fault(Fault::TooLong(max))),
        _ => return Err(fault(Fault::Length(length))),
    };
    match rest.split_at_checked(count) {
        Some((body, _)) => Ok(Some((Frame { tag, body }, HEADER_BYTES + count))),
        None => Ok(None),
    }
}

#[cold]
fn fault(fault: Fault) -> Malformed {
    Malformed {
        message: "message",
        field: "length",
        at: 1,
        fault,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn waits_for_the_whole_message() {
        let bytes = b"Z\0\0\0\x05IZ";
        for cut in 0..6 {
            assert_eq!(split(&bytes[..cut], 100), Ok(None));
        }
        let frame = Frame {
            tag: Tag(b'Z'),
            body: b"I",
        };
        assert_eq!(split(&bytes[..6], 100), Ok(Some((frame, 6))));
        assert_eq!(split(bytes, 100), Ok(Some((frame, 6))));
    }

    #[test]
    fn believes_no_length() {
        let fault = |bytes: &'static [u8]| split(bytes, 100).map_err(|error| error.fault);
        assert_eq!(fault(b"Z\xff\xff\xff\xff"), Err(Fault::Length(-1)));
        assert_eq!(fault(b"Z\0\0\0\x03"), Err(Fault::Length(3)));
        assert_eq!(fault(b"Z\0\0\0\x69"), Err(Fault::TooLong(100)));
        assert_eq!(fault(b"Z\0\0\0\x68"), Ok(None));
        assert_eq!(fault(b"d\0\x10\0\0"), Ok(None));
        assert_eq!(
            fault(b"d\x7f\xff\xff\xff"),
            Err(Fault::TooLong(COPY_DATA_BYTES_MAX))
        );
    }

    proptest! {
        #[test]
        fn written_then_split_is_identity(tag: u8, body: Vec<u8>, tail: Vec<u8>) {
            let mut out = Vec::new();
            let mut length = crate::write::Length::open(&mut out, tag);
            length.body().extend_from_slice(&body);
            length.seal();
            let whole = out.len();
            out.extend_from_slice(&tail);
            let frame = Frame { tag: Tag(tag), body: &body };
            prop_assert_eq!(split(&out, 1 << 20), Ok(Some((frame, whole))));
        }
    }
}
