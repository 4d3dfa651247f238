//! Compression of single frames, in the byte formats of Dask's `protocol/compression.py`.

use std::fmt;
use std::io::Read;
use std::str::FromStr;

use bytes::Bytes;

use crate::error::WireError;

/// A way to compress frames that two peers can agree on in their handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compression {
    /// A little-endian `u32` size, then one raw LZ4 block.
    Lz4,
    /// One Zstandard frame that states its content's size.
    Zstd,
    /// A zlib stream (RFC 1950).
    Zlib,
    /// One raw Snappy block.
    Snappy,
}

impl Compression {
    /// The name in handshakes and headers.
    pub fn name(self) -> &'static str {
        match self {
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
            Compression::Zlib => "zlib",
            Compression::Snappy => "snappy",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Compression {
    type Err = WireError;
    fn from_str(name: &str) -> Result<Self, WireError> {
        Ok(match name {
            "lz4" => Compression::Lz4,
            "zstd" => Compression::Zstd,
            "zlib" => Compression::Zlib,
            "snappy" => Compression::Snappy,
            "blosc" => {
                return Err(WireError::Compression(
                    "blosc is not supported; set distributed.comm.compression to lz4 or false on the cluster"
                        .to_owned(),
                ));
            }
            other => return Err(WireError::Compression(format!("unknown compression {other:?}"))),
        })
    }
}

/// What is left of the bytes that one message may expand to.
#[derive(Debug)]
pub(crate) struct Budget {
    left: u64,
    limit: u64,
}

impl Budget {
    pub(crate) fn new(limit: u64) -> Self {
        Self { left: limit, limit }
    }

    /// Sets `size` bytes aside.
    fn take(&mut self, size: u64) -> Result<(), WireError> {
        match self.left.checked_sub(size) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(WireError::TooLarge {
                what: "decompressed data in bytes",
                actual: self.limit - self.left + size,
                limit: self.limit,
                name: "decompressed_bytes",
            }),
        }
    }
}

/// No LZ4 block expands more than this.
const LZ4_RATIO: u64 = 256;
/// No Snappy block expands more than this.
const SNAPPY_RATIO: u64 = 64;

pub(crate) fn decompress(how: Compression, frame: &Bytes, budget: &mut Budget) -> Result<Bytes, WireError> {
    let broken = |error: &dyn fmt::Display| WireError::Compression(format!("{how}: {error}"));
    match how {
        Compression::Lz4 => {
            let (size, block) =
                frame.split_first_chunk::<4>().ok_or_else(|| broken(&"shorter than its size field"))?;
            let size = u64::from(u32::from_le_bytes(*size));
            if size > (block.len() as u64).saturating_mul(LZ4_RATIO) {
                return Err(broken(&format_args!("{} bytes cannot hold the {size} they claim", block.len())));
            }
            budget.take(size)?;
            let size = usize::try_from(size).map_err(|error| broken(&error))?;
            let out = lz4_flex::block::decompress(block, size).map_err(|error| broken(&error))?;
            if out.len() != size {
                return Err(broken(&format_args!("{} bytes where {size} were announced", out.len())));
            }
            Ok(out.into())
        }
        Compression::Snappy => {
            let size = snap::raw::decompress_len(frame).map_err(|error| broken(&error))? as u64;
            if size > (frame.len() as u64).saturating_mul(SNAPPY_RATIO) {
                return Err(broken(&format_args!("{} bytes cannot hold the {size} they claim", frame.len())));
            }
            budget.take(size)?;
            Ok(snap::raw::Decoder::new().decompress_vec(frame).map_err(|error| broken(&error))?.into())
        }
        Compression::Zstd => {
            let reader = zstd::stream::read::Decoder::new(frame.as_ref()).map_err(|error| broken(&error))?;
            read_within(reader, frame.len(), budget, &broken)
        }
        Compression::Zlib => {
            read_within(flate2::read::ZlibDecoder::new(frame.as_ref()), frame.len(), budget, &broken)
        }
    }
}

/// Expands as the bytes come, so that what is claimed does not matter and what is real is bounded.
fn read_within(
    reader: impl Read,
    compressed: usize,
    budget: &mut Budget,
    broken: &dyn Fn(&dyn fmt::Display) -> WireError,
) -> Result<Bytes, WireError> {
    let mut out = Vec::with_capacity(compressed.saturating_mul(2).min(1 << 20));
    reader.take(budget.left.saturating_add(1)).read_to_end(&mut out).map_err(|error| broken(&error))?;
    budget.take(out.len() as u64)?;
    Ok(out.into())
}

/// Frames below this are sent as they are.
const WORTHWHILE: usize = 10_000;
const SAMPLES: usize = 5;
const SAMPLE: usize = 10_000;
/// A result above this share of the original is thrown away.
const GAIN: f64 = 0.7;

/// Compresses a frame by Dask's rule: only from 10 kB to 2 GiB, only if samples and then the whole shrink to 70 %.
pub(crate) fn maybe_compress(how: Compression, frame: &Bytes) -> Option<Bytes> {
    if frame.len() < WORTHWHILE || u32::try_from(frame.len()).map_or(true, |len| len > 1 << 31) {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "a ratio")]
    let shrinks = |from: usize, to: usize| (to as f64) <= GAIN * from as f64;
    if frame.len() > SAMPLES * SAMPLE {
        let stride = (frame.len() - SAMPLE) / (SAMPLES - 1);
        let sample: Vec<u8> = (0..SAMPLES)
            .filter_map(|at| frame.get(at * stride..at * stride + SAMPLE))
            .flatten()
            .copied()
            .collect();
        if !shrinks(sample.len(), compress(how, &sample)?.len()) {
            return None;
        }
    }
    let packed = compress(how, frame)?;
    shrinks(frame.len(), packed.len()).then_some(packed)
}

fn compress(how: Compression, bytes: &[u8]) -> Option<Bytes> {
    Some(Bytes::from(match how {
        Compression::Lz4 => lz4_flex::block::compress_prepend_size(bytes),
        // Python's decompressor wants the content's size in the frame, which only the bulk call writes.
        Compression::Zstd => zstd::bulk::compress(bytes, 3).ok()?,
        Compression::Snappy => snap::raw::Encoder::new().compress_vec(bytes).ok()?,
        Compression::Zlib => {
            let mut out = Vec::new();
            flate2::read::ZlibEncoder::new(bytes, flate2::Compression::default())
                .read_to_end(&mut out)
                .ok()?;
            out
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Compression; 4] =
        [Compression::Lz4, Compression::Zstd, Compression::Zlib, Compression::Snappy];

    #[test]
    fn what_shrinks_is_packed_and_unpacked() {
        let text = Bytes::from(b"key-in-memory ".repeat(10_000));
        for how in ALL {
            let packed = maybe_compress(how, &text).unwrap();
            assert!(packed.len() < text.len() / 2);
            assert_eq!(decompress(how, &packed, &mut Budget::new(1 << 20)).unwrap(), text);
            assert!(maybe_compress(how, &text.slice(..9_999)).is_none());
        }
    }

    #[test]
    fn what_does_not_shrink_stays() {
        let noise: Vec<u8> = (0u32..60_000).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[1]).collect();
        let noise: Vec<u8> = noise
            .iter()
            .scan(7u8, |s, b| {
                *s = s.wrapping_mul(31) ^ b;
                Some(*s)
            })
            .collect();
        assert!(maybe_compress(Compression::Lz4, &Bytes::from(noise)).is_none());
    }

    #[test]
    fn bombs_stop_at_the_limit() {
        let zeros = vec![0u8; 50 << 20];
        for how in ALL {
            let packed = compress(how, &zeros).unwrap();
            let error = decompress(how, &packed, &mut Budget::new(1 << 20)).unwrap_err();
            assert!(
                matches!(error, WireError::TooLarge { name: "decompressed_bytes", .. }),
                "{how}: {error}"
            );
        }
        let claim = Bytes::from([&u32::MAX.to_le_bytes()[..], &[0x11, 0x22]].concat());
        assert!(decompress(Compression::Lz4, &claim, &mut Budget::new(u64::MAX)).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_frames_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for how in ALL {
                let _ = decompress(how, &Bytes::from(bytes.clone()), &mut Budget::new(1 << 16));
            }
        }
    }
}
