//! How pages are compressed. What comes out is as long as the page says, or nothing comes out.

use std::io::Read;

use flate2::read::MultiGzDecoder;
use ruzstd::decoding::FrameDecoder;

use super::Wrong;

/// A compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    Plain,
    Snappy,
    Gzip,
    Zstd,
    /// A block of LZ4.
    Lz4,
    /// Blocks of LZ4 with their lengths in front, as Hadoop writes them.
    HadoopLz4,
}

impl Codec {
    /// By its number in the format.
    pub(super) fn of(number: i64) -> Result<Self, Wrong> {
        match number {
            0 => Ok(Self::Plain),
            1 => Ok(Self::Snappy),
            2 => Ok(Self::Gzip),
            5 => Ok(Self::HadoopLz4),
            6 => Ok(Self::Zstd),
            7 => Ok(Self::Lz4),
            3 => {
                Err(Wrong::Damage("compressed by LZO, which is not read: write it with snappy, zstd or gzip"))
            }
            4 => Err(Wrong::Damage(
                "compressed by Brotli, which is not read: write it with snappy, zstd or gzip",
            )),
            _ => Err(Wrong::Damage("compressed by something unknown")),
        }
    }

    /// Appends the `size` bytes that were compressed.
    pub(super) fn expand(self, from: &[u8], to: &mut Vec<u8>, size: usize) -> Option<()> {
        let start = to.len();
        match self {
            Self::Plain => to.extend_from_slice(from),
            Self::Gzip => {
                MultiGzDecoder::new(from).take(size as u64 + 1).read_to_end(to).ok()?;
            }
            // It says itself how long it is: only then room is made.
            Self::Snappy if snap::raw::decompress_len(from).ok()? != size => return None,
            Self::Snappy => {
                to.resize(start + size, 0);
                snap::raw::Decoder::new().decompress(from, &mut to[start..]).ok()?;
            }
            Self::Zstd => {
                to.resize(start + size, 0);
                let written = FrameDecoder::new().decode_all(from, &mut to[start..]).ok()?;
                to.truncate(start + written);
            }
            Self::Lz4 => expand_lz4(from, to, size)?,
            Self::HadoopLz4 => {
                if expand_hadoop(from, to, size).is_none() {
                    // Older writers used the number for a block without lengths.
                    to.truncate(start);
                    expand_lz4(from, to, size)?;
                }
            }
        }
        (to.len() - start == size).then_some(())
    }
}

fn expand_lz4(from: &[u8], to: &mut Vec<u8>, size: usize) -> Option<()> {
    let start = to.len();
    to.resize(start + size, 0);
    let written = lz4_flex::block::decompress_into(from, &mut to[start..]).ok()?;
    to.truncate(start + written);
    Some(())
}

/// Before each block its length expanded and its length here, four bytes each, the highest first.
fn expand_hadoop(mut from: &[u8], to: &mut Vec<u8>, size: usize) -> Option<()> {
    let end = to.len() + size;
    while !from.is_empty() {
        let (expanded, rest) = from.split_first_chunk()?;
        let (here, rest) = rest.split_first_chunk()?;
        let (block, rest) = rest.split_at_checked(u32::from_be_bytes(*here) as usize)?;
        let expanded = u32::from_be_bytes(*expanded) as usize;
        if expanded > end - to.len() {
            return None;
        }
        expand_lz4(block, to, expanded)?;
        from = rest;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"13912345678 13912345679 13912345680 13912345681";

    fn hadoop(text: &[u8]) -> Vec<u8> {
        let block = lz4_flex::block::compress(text);
        [&(text.len() as u32).to_be_bytes()[..], &(block.len() as u32).to_be_bytes(), &block].concat()
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        flate2::read::GzEncoder::new(text, flate2::Compression::default()).read_to_end(&mut out).unwrap();
        out
    }

    #[test]
    fn every_compression_gives_back_what_went_in_or_nothing() {
        let two = [hadoop(&TEXT[..20]), hadoop(&TEXT[20..])].concat();
        let zstd = ruzstd::encoding::compress_to_vec(TEXT, ruzstd::encoding::CompressionLevel::Fastest);
        let compressed = [
            (Codec::Plain, TEXT.to_vec()),
            (Codec::Snappy, snap::raw::Encoder::new().compress_vec(TEXT).unwrap()),
            (Codec::Gzip, gzip(TEXT)),
            (Codec::Zstd, zstd),
            (Codec::Lz4, lz4_flex::block::compress(TEXT)),
            (Codec::HadoopLz4, hadoop(TEXT)),
            (Codec::HadoopLz4, two),
            (Codec::HadoopLz4, lz4_flex::block::compress(TEXT)),
        ];
        for (codec, bytes) in compressed {
            let mut out = b"before".to_vec();
            assert_eq!(codec.expand(&bytes, &mut out, TEXT.len()), Some(()), "{codec:?}");
            assert_eq!(out, [b"before", TEXT].concat(), "{codec:?}");
            for size in [0, TEXT.len() - 1, TEXT.len() + 1] {
                assert_eq!(codec.expand(&bytes, &mut Vec::new(), size), None, "{codec:?} of {size}");
            }
            for cut in 0..bytes.len() {
                assert_eq!(codec.expand(&bytes[..cut], &mut Vec::new(), TEXT.len()), None, "{codec:?}");
            }
        }
    }

    #[test]
    fn what_is_not_read_is_named() {
        let named = |number| Codec::of(number).unwrap_err().to_string();
        assert!(named(4).contains("Brotli") && named(3).contains("LZO") && named(99).contains("unknown"));
    }
}
