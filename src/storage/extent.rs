//! Where bytes lie in an image: runs of them, whose places count in sectors.

/// The unit in which volume descriptors and extents are counted (ECMA-119, 6.1.2).
pub const SECTOR: u64 = 2048;

/// A run of bytes in the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Extent {
    /// Where it begins, in bytes from the start of the image.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
}
