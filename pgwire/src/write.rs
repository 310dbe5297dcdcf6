//! Puts that append to the caller's `Vec`, and the guard that patches a length.

/// Appends Int8.
#[inline]
pub fn put_u8(out: &mut Vec<u8>, value: u8) {
    out.push(value);
}

/// Appends Int16.
#[inline]
pub fn put_i16(out: &mut Vec<u8>, value: i16) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Appends Int32.
#[inline]
pub fn put_i32(out: &mut Vec<u8>, value: i32) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Appends Int32, unsigned.
#[inline]
pub fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Appends Int64.
#[inline]
pub fn put_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Appends Int64, unsigned.
#[inline]
pub fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Appends `text` and a zero byte. A zero byte inside would end the string early and turn its
/// tail into fields of our own message, so the text is cut there.
#[inline]
pub fn put_cstr(out: &mut Vec<u8>, text: &[u8]) {
    let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
    out.extend_from_slice(text);
    out.push(0);
}

/// An Int32 length that is not known yet: reserved now, patched when the guard is sealed.
///
/// Dropped unsealed, it truncates the buffer to where it was opened, tag included: a half-written
/// message can never be sent.
#[derive(Debug)]
pub struct Length<'o> {
    out: &'o mut Vec<u8>,
    start: usize,
    at: usize,
    sealed: bool,
}

impl<'o> Length<'o> {
    /// Appends a message's tag and reserves its length.
    #[inline]
    pub fn open(out: &'o mut Vec<u8>, tag: u8) -> Self {
        let start = out.len();
        out.push(tag);
        Self::reserve(out, start)
    }

    /// Reserves the length of a message that has no tag: the first one of a connection.
    #[inline]
    pub fn open_untagged(out: &'o mut Vec<u8>) -> Self {
        let start = out.len();
        Self::reserve(out, start)
    }

    #[inline]
    fn reserve(out: &'o mut Vec<u8>, start: usize) -> Self {
        let at = out.len();
        out.extend_from_slice(&[0; 4]);
        Self {
            out,
            start,
            at,
            sealed: false,
        }
    }

    /// Where the body is appended.
    #[inline]
    pub fn body(&mut self) -> &mut Vec<u8> {
        self.out
    }

    /// Patches the length, which counts itself but not the tag.
    #[inline]
    pub fn seal(mut self) {
        let length = i32::try_from(self.out.len() - self.at);
        assert!(length.is_ok(), "a message of ours is above 2 GiB");
        let length = length.unwrap_or_default().to_be_bytes();
        if let Some(slot) = self
            .out
            .get_mut(self.at..)
            .and_then(<[u8]>::first_chunk_mut)
        {
            *slot = length;
        }
        self.sealed = true;
    }
}

impl Drop for Length<'_> {
    fn drop(&mut self) {
        if !self.sealed {
            self.out.truncate(self.start);
        }
    }
}
