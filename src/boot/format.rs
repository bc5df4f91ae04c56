//! File systems of root images, told by their magic numbers.

/// File system of a root image. Names don't tell: Fedora 42 calls an EROFS `squashfs.img`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `hsqs` at 0 (Linux, fs/squashfs/squashfs_fs.h).
    Squashfs,
    /// 0xE0F5E1E2 at 1024 (Linux, fs/erofs/erofs_fs.h).
    Erofs,
    /// 0xEF53 at 1080: ext2, ext3 and ext4 (Linux, fs/ext4/ext4.h).
    Ext4,
    /// None of them.
    Unknown,
}

impl Format {
    /// Bytes of an image that tell what it is.
    pub const HEAD: usize = 1082;

    /// Recognises a root image by its first [`Format::HEAD`] bytes.
    pub fn of(head: &[u8]) -> Self {
        let at = |offset: usize, magic: &[u8]| head.get(offset..offset + magic.len()) == Some(magic);
        if at(0, b"hsqs") {
            Self::Squashfs
        } else if at(1024, &0xe0f5_e1e2_u32.to_le_bytes()) {
            Self::Erofs
        } else if at(1080, &0xef53_u16.to_le_bytes()) {
            Self::Ext4
        } else {
            Self::Unknown
        }
    }

    /// Name of the file system in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Squashfs => "squashfs",
            Self::Erofs => "erofs",
            Self::Ext4 => "ext4",
            Self::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_image_is_known_by_its_magic() {
        let image = |offset: usize, magic: &[u8]| {
            let mut head = vec![0; Format::HEAD];
            head[offset..offset + magic.len()].copy_from_slice(magic);
            Format::of(&head)
        };
        assert_eq!(image(0, b"hsqs"), Format::Squashfs);
        assert_eq!(image(1024, &[0xe2, 0xe1, 0xf5, 0xe0]), Format::Erofs);
        assert_eq!(image(1080, &[0x53, 0xef]), Format::Ext4);
        assert_eq!(image(0, b"sqsh"), Format::Unknown);
        assert_eq!(Format::of(b""), Format::Unknown);
    }
}
