//! gzip, snappy, lz4 and zstd over the records section of a batch.
//!
//! The frames are those that every broker and client reads: one gzip member; snappy in the xerial
//! framing of the Java client; an LZ4 frame of independent 64 KiB blocks (JVM readers refuse linked
//! ones); one zstd frame. A [`Compressor`] keeps its codec's state between batches, so that nothing
//! is allocated once its buffers have grown.

use std::fmt;
use std::io::{Read, Write};

use flate2::{Compress, Crc, FlushCompress, Status};
use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};
use zstd::stream::raw::{InBuffer, Operation, OutBuffer};

/// The codec number in bits 0 to 2 of a batch's attributes.
///
/// Numbers 5 to 7 are unassigned; they survive parsing and fail only where a codec is needed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Codec(pub u8);

impl Codec {
    /// The records lie there plainly.
    pub const NONE: Self = Self(0);
    /// One RFC 1952 member.
    pub const GZIP: Self = Self(1);
    /// Snappy blocks in the xerial framing.
    pub const SNAPPY: Self = Self(2);
    /// One LZ4 frame.
    pub const LZ4: Self = Self(3);
    /// One zstd frame; needs Produce v7 and Fetch v10.
    pub const ZSTD: Self = Self(4);

    /// The name as `compression.type` spells it.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        NAMES
            .iter()
            .find(|(codec, _)| *codec == self)
            .map(|&(_, name)| name)
    }

    /// The codec that `compression.type` names.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        NAMES
            .iter()
            .find(|&&(_, known)| known == name)
            .map(|&(codec, _)| codec)
    }
}

const NAMES: [(Codec, &str); 5] = [
    (Codec::NONE, "none"),
    (Codec::GZIP, "gzip"),
    (Codec::SNAPPY, "snappy"),
    (Codec::LZ4, "lz4"),
    (Codec::ZSTD, "zstd"),
];

impl fmt::Debug for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "codec {}", self.0),
        }
    }
}

/// Why bytes could not be decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecompressError {
    /// A codec number without a codec.
    Unsupported(Codec),
    /// The codec refused the bytes.
    Malformed(Codec),
    /// The plain bytes would be more than the caller allows.
    TooLarge {
        /// The caller's bound, in bytes.
        max: usize,
    },
}

impl fmt::Display for DecompressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported(codec) => write!(f, "{codec:?} is not a known compression"),
            Self::Malformed(codec) => write!(f, "the {codec:?} stream is malformed"),
            Self::TooLarge { max } => write!(f, "decompresses to more than {max} bytes"),
        }
    }
}

impl std::error::Error for DecompressError {}

/// One codec at one level, with the state it keeps from batch to batch.
pub struct Compressor {
    codec: Codec,
    engine: Engine,
    /// The buffer that the next compressed batch is written to.
    pub(crate) spare: Vec<u8>,
}

// The two with tables in themselves are boxed, or every other would be as large.
enum Engine {
    None,
    Gzip(Compress),
    Snappy(Box<snap::raw::Encoder>),
    Lz4(Box<FrameEncoder<Vec<u8>>>),
    Zstd(zstd::stream::raw::Encoder<'static>),
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor")
            .field("codec", &self.codec)
            .finish_non_exhaustive()
    }
}

impl Compressor {
    /// Leaves records as they are.
    #[must_use]
    pub fn none() -> Self {
        Self {
            codec: Codec::NONE,
            engine: Engine::None,
            spare: Vec::new(),
        }
    }

    /// A codec at a level; `None` is the Java client's default (gzip 6, zstd 3).
    ///
    /// gzip takes 1 to 9 or -1 for its default, zstd -131072 to 22; a level beyond is brought to
    /// the nearest. snappy has none, and the only lz4 here is the fast one, which is also what the
    /// Java client's default level 9 means.
    /// Errors: a codec number without a codec.
    pub fn new(codec: Codec, level: Option<i32>) -> Result<Self, DecompressError> {
        let engine = match codec {
            Codec::NONE => Engine::None,
            Codec::GZIP => {
                let level = match level {
                    None | Some(-1) => 6,
                    Some(level) => level.clamp(1, 9).unsigned_abs(),
                };
                Engine::Gzip(Compress::new(flate2::Compression::new(level), false))
            }
            Codec::SNAPPY => Engine::Snappy(Box::new(snap::raw::Encoder::new())),
            Codec::LZ4 => {
                let info = FrameInfo::new()
                    .block_mode(BlockMode::Independent)
                    .block_size(BlockSize::Max64KB);
                Engine::Lz4(Box::new(FrameEncoder::with_frame_info(info, Vec::new())))
            }
            Codec::ZSTD => {
                let level = level.unwrap_or(3).clamp(-131_072, 22);
                let encoder = zstd::stream::raw::Encoder::new(level);
                Engine::Zstd(encoder.map_err(|_| DecompressError::Unsupported(codec))?)
            }
            _ => return Err(DecompressError::Unsupported(codec)),
        };
        Ok(Self {
            codec,
            engine,
            spare: Vec::new(),
        })
    }

    /// The codec it writes.
    #[must_use]
    pub const fn codec(&self) -> Codec {
        self.codec
    }

    /// Appends the compressed form of `plain` to `out`.
    ///
    /// Answers `None`, with `out` as it was, where the codec fails; writing to memory, it has no
    /// reason to but exhaustion, and the caller can always send the plain bytes.
    #[must_use]
    pub fn compress(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let start = out.len();
        let done = match &mut self.engine {
            Engine::None => {
                out.extend_from_slice(plain);
                Some(())
            }
            Engine::Gzip(encoder) => gzip(encoder, plain, out),
            Engine::Snappy(encoder) => snappy(encoder, plain, out),
            Engine::Lz4(_) if plain.is_empty() => {
                // The encoder writes an empty frame only as its first.
                out.extend_from_slice(&LZ4_EMPTY_FRAME);
                Some(())
            }
            Engine::Lz4(encoder) => {
                std::mem::swap(encoder.get_mut(), out);
                let done = encoder.write_all(plain).is_ok() && encoder.try_finish().is_ok();
                std::mem::swap(encoder.get_mut(), out);
                done.then_some(())
            }
            Engine::Zstd(encoder) => zstd_frame(encoder, plain, out),
        };
        if done.is_none() {
            out.truncate(start);
        }
        done
    }
}

/// Magic, descriptor (independent blocks of 64 KiB, no checksums), end mark.
const LZ4_EMPTY_FRAME: [u8; 11] = [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82, 0, 0, 0, 0];

/// Header of a gzip member: deflate, no name, no time, unknown operating system.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

fn gzip(encoder: &mut Compress, plain: &[u8], out: &mut Vec<u8>) -> Option<()> {
    out.extend_from_slice(&GZIP_HEADER);
    encoder.reset();
    loop {
        let taken = usize::try_from(encoder.total_in()).ok()?;
        let rest = plain.get(taken..)?;
        // `compress_vec` writes within the capacity and never grows it.
        out.reserve(rest.len() / 4 + 64);
        match encoder
            .compress_vec(rest, out, FlushCompress::Finish)
            .ok()?
        {
            Status::StreamEnd => break,
            Status::Ok | Status::BufError => {}
        }
    }
    let mut crc = Crc::new();
    crc.update(plain);
    // The trailer is little-endian.
    out.extend(crc.sum().to_be_bytes().iter().rev());
    out.extend(crc.amount().to_be_bytes().iter().rev());
    Some(())
}

const XERIAL_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
/// Version and lowest compatible version, both 1, after the magic.
const XERIAL_VERSIONS: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];
/// Plain bytes in a block, as the Java client cuts them.
const XERIAL_BLOCK: usize = 32 * 1024;

fn snappy(encoder: &mut snap::raw::Encoder, plain: &[u8], out: &mut Vec<u8>) -> Option<()> {
    out.extend_from_slice(&XERIAL_MAGIC);
    out.extend_from_slice(&XERIAL_VERSIONS);
    for block in plain.chunks(XERIAL_BLOCK) {
        let length_at = out.len();
        let body_at = length_at + 4;
        out.resize(body_at + snap::raw::max_compress_len(block.len()), 0);
        let written = encoder.compress(block, out.get_mut(body_at..)?).ok()?;
        out.truncate(body_at + written);
        let length = u32::try_from(written).ok()?.to_be_bytes();
        out.get_mut(length_at..body_at)?.copy_from_slice(&length);
    }
    Some(())
}

fn zstd_frame(
    encoder: &mut zstd::stream::raw::Encoder<'static>,
    plain: &[u8],
    out: &mut Vec<u8>,
) -> Option<()> {
    encoder.reinit().ok()?;
    encoder
        .set_pledged_src_size(Some(u64::try_from(plain.len()).ok()?))
        .ok()?;
    let mut input = InBuffer::around(plain);
    loop {
        out.reserve((plain.len() - input.pos()) / 4 + 256);
        let at = out.len();
        let mut output = OutBuffer::around_pos(out, at);
        if input.pos() < plain.len() {
            encoder.run(&mut input, &mut output).ok()?;
        } else if encoder.finish(&mut output, true).ok()? == 0 {
            return Some(());
        }
    }
}

/// Appends the plain form of `bytes` to `out`, at most `max` bytes of it.
///
/// Memory follows what the codec really yields, not what its headers announce.
/// Errors: an unknown codec, a malformed stream, more than `max` bytes; `out` is then as it was.
pub fn decompress(
    codec: Codec,
    bytes: &[u8],
    out: &mut Vec<u8>,
    max: usize,
) -> Result<(), DecompressError> {
    let start = out.len();
    let done = match codec {
        Codec::NONE if bytes.len() > max => Err(DecompressError::TooLarge { max }),
        Codec::NONE => {
            out.extend_from_slice(bytes);
            Ok(())
        }
        Codec::GZIP => read_bounded(codec, flate2::bufread::MultiGzDecoder::new(bytes), out, max),
        Codec::SNAPPY => unsnappy(bytes, out, max),
        Codec::LZ4 => read_bounded(codec, FrameDecoder::new(bytes), out, max),
        Codec::ZSTD => match zstd::stream::read::Decoder::with_buffer(bytes) {
            Ok(decoder) => read_bounded(codec, decoder, out, max),
            Err(_) => Err(DecompressError::Malformed(codec)),
        },
        _ => Err(DecompressError::Unsupported(codec)),
    };
    if done.is_err() {
        out.truncate(start);
    }
    done
}

fn read_bounded(
    codec: Codec,
    decoder: impl Read,
    out: &mut Vec<u8>,
    max: usize,
) -> Result<(), DecompressError> {
    // One byte more than allowed tells "exactly max" from "too much".
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    match decoder.take(limit).read_to_end(out) {
        Ok(read) if read > max => Err(DecompressError::TooLarge { max }),
        Ok(_) => Ok(()),
        Err(_) => Err(DecompressError::Malformed(codec)),
    }
}

fn unsnappy(bytes: &[u8], out: &mut Vec<u8>, max: usize) -> Result<(), DecompressError> {
    const MALFORMED: DecompressError = DecompressError::Malformed(Codec::SNAPPY);
    let Some(framed) = bytes.strip_prefix(&XERIAL_MAGIC) else {
        // librdkafka and others also send one bare block.
        return unsnappy_block(bytes, out, max);
    };
    let mut rest = framed.get(XERIAL_VERSIONS.len()..).ok_or(MALFORMED)?;
    let mut left = max;
    while let Some((length, tail)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| MALFORMED)?;
        let (block, tail) = tail.split_at_checked(length).ok_or(MALFORMED)?;
        let before = out.len();
        unsnappy_block(block, out, left).map_err(|error| match error {
            DecompressError::TooLarge { .. } => DecompressError::TooLarge { max },
            other => other,
        })?;
        left -= out.len() - before;
        rest = tail;
    }
    if rest.is_empty() {
        Ok(())
    } else {
        Err(MALFORMED)
    }
}

fn unsnappy_block(block: &[u8], out: &mut Vec<u8>, max: usize) -> Result<(), DecompressError> {
    const MALFORMED: DecompressError = DecompressError::Malformed(Codec::SNAPPY);
    let length = snap::raw::decompress_len(block).map_err(|_| MALFORMED)?;
    // No snappy element yields more than 64 bytes from fewer than 2: a block that announces more
    // than its own bytes can is not given the memory.
    if length > block.len().saturating_mul(32) {
        return Err(MALFORMED);
    }
    if length > max {
        return Err(DecompressError::TooLarge { max });
    }
    let start = out.len();
    out.resize(start + length, 0);
    let tail = out.get_mut(start..).ok_or(MALFORMED)?;
    match snap::raw::Decoder::new().decompress(block, tail) {
        Ok(written) if written == length => Ok(()),
        _ => Err(MALFORMED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Codec; 5] = [
        Codec::NONE,
        Codec::GZIP,
        Codec::SNAPPY,
        Codec::LZ4,
        Codec::ZSTD,
    ];

    fn plain() -> impl Strategy<Value = Vec<u8>> {
        // Runs and noise, around the block sizes of snappy and lz4 too.
        (
            proptest::collection::vec((any::<u8>(), 1usize..40_000), 0..6),
            any::<u64>(),
        )
            .prop_map(|(runs, seed)| {
                let mut state = seed | 1;
                let mut bytes = Vec::new();
                for (byte, length) in runs {
                    for _ in 0..length {
                        state = state
                            .wrapping_mul(6_364_136_223_846_793_005)
                            .wrapping_add(1);
                        let noise = state.to_be_bytes()[0];
                        bytes.push(if byte % 2 == 0 { byte } else { noise });
                    }
                }
                bytes
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn what_is_compressed_comes_back(first in plain(), second in plain()) {
            for codec in ALL {
                let mut compressor = Compressor::new(codec, None).unwrap();
                // Twice, for the state that is kept; behind other bytes, as in a batch.
                for plain in [&first, &second] {
                    let mut out = b"head".to_vec();
                    compressor.compress(plain, &mut out).unwrap();
                    let mut back = b"x".to_vec();
                    decompress(codec, &out[4..], &mut back, plain.len()).unwrap();
                    prop_assert_eq!(&back[1..], &plain[..]);
                    if !plain.is_empty() {
                        let mut back = Vec::new();
                        let max = plain.len() - 1;
                        prop_assert_eq!(
                            decompress(codec, &out[4..], &mut back, max),
                            Err(DecompressError::TooLarge { max })
                        );
                        prop_assert!(back.is_empty());
                    }
                }
            }
        }

        #[test]
        fn noise_is_refused_or_bounded(noise in proptest::collection::vec(any::<u8>(), 0..200)) {
            for number in 0..8 {
                let mut out = Vec::new();
                let done = decompress(Codec(number), &noise, &mut out, 100);
                prop_assert!(out.len() <= 100);
                prop_assert!(done.is_ok() || out.is_empty());
            }
        }
    }

    #[test]
    fn a_bare_snappy_block_is_read() {
        let block = snap::raw::Encoder::new()
            .compress_vec(b"bare bare bare bare")
            .unwrap();
        let mut out = Vec::new();
        decompress(Codec::SNAPPY, &block, &mut out, 100).unwrap();
        assert_eq!(out, b"bare bare bare bare");
    }

    #[test]
    fn lz4_frames_have_the_descriptor_java_demands() {
        let mut out = Vec::new();
        Compressor::new(Codec::LZ4, None)
            .unwrap()
            .compress(b"abc", &mut out)
            .unwrap();
        assert_eq!(out[..7], LZ4_EMPTY_FRAME[..7]);
    }

    #[test]
    fn levels_are_brought_into_range() {
        for codec in ALL {
            for level in [i32::MIN, -1, 0, 1, 9, 100] {
                let mut out = Vec::new();
                Compressor::new(codec, Some(level))
                    .unwrap()
                    .compress(b"abc", &mut out)
                    .unwrap();
                let mut back = Vec::new();
                decompress(codec, &out, &mut back, 3).unwrap();
                assert_eq!(back, b"abc");
            }
        }
        assert!(Compressor::new(Codec(5), None).is_err());
    }

    #[test]
    fn names_are_those_of_compression_type() {
        for codec in ALL {
            assert_eq!(codec.name().and_then(Codec::from_name), Some(codec));
        }
        assert_eq!(Codec::from_name("lzo"), None);
    }
}
