//! What a file of the tree consists of: segments of a backing file, rendered bytes, or several of these in a row.
//!
//! A [`Content`] has an exact size and answers any read within it, the same bytes each time; it is shared by every
//! handle that has it open and keeps its backing file open as long as one does. It knows neither names nor FUSE.

use std::fs::File;
use std::hash::{Hash, Hasher};
use std::io;
use std::sync::{Arc, OnceLock};

use crate::storage::backing::Backing;
use crate::storage::extent::Extent;
use crate::storage::identity::identity;
use crate::storage::recipe::{Find, Ranges, Recipe};
use crate::storage::source::{ReadAt, check_range};
use crate::storage::unchanged::OVERWRITTEN;

/// Kernels unpack an initrd of several archives only if each begins at a multiple of four bytes
/// (Linux, init/initramfs.c).
const ARCHIVE_ALIGN: u64 = 4;

/// The bytes of one file.
pub enum Content {
    /// Runs of bytes of a backing file, one after the other.
    Segments(Segments),
    /// Bytes that are on no disk.
    Rendered(Vec<u8>),
    /// Bytes that are on no disk and that few ask for.
    Lazy(Lazy),
    /// Other contents, one after the other. They may be parts of other files too.
    Parts(Vec<Arc<Content>>),
}

/// Bytes that are rendered when somebody first asks for them or their number, and then kept.
pub struct Lazy {
    /// Stands for all that the bytes are made of.
    identity: u64,
    render: Box<dyn Fn() -> Vec<u8> + Send + Sync>,
    bytes: OnceLock<Vec<u8>>,
}

impl Lazy {
    /// Will call `render` at most once. Another `identity` stands for whatever may make other bytes.
    pub fn new(identity: u64, render: impl Fn() -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self { identity, render: Box::new(render), bytes: OnceLock::new() }
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get_or_init(|| (self.render)())
    }
}

/// Runs of bytes of one backing file, in file order, with what identifies them.
pub struct Segments {
    source: Backing,
    /// Identity of the backing file's content: other content, another number.
    identity: u64,
    runs: Vec<Run>,
    len: u64,
}

/// One run: where it begins in the content, how long it is, and what it shows.
struct Run {
    at: u64,
    len: u64,
    /// Offset in the backing file; `None` is zeros.
    from: Option<u64>,
}

impl Segments {
    /// No bytes yet; `identity` stands for the content of `source`.
    pub fn new(source: impl Into<Backing>, identity: u64) -> Self {
        Self { source: source.into(), identity, runs: Vec::new(), len: 0 }
    }

    /// Appends extents of the backing file.
    pub fn extents<'a>(mut self, extents: impl IntoIterator<Item = &'a Extent>) -> Self {
        for extent in extents {
            self.push(extent.len, Some(extent.offset));
        }
        self
    }

    /// Appends the cpio archives of an initrd, with zeros up to where each may begin.
    pub fn archives<'a>(mut self, archives: impl IntoIterator<Item = &'a [Extent]>) -> Self {
        for extents in archives {
            self.push(self.len.next_multiple_of(ARCHIVE_ALIGN) - self.len, None);
            self = self.extents(extents);
        }
        self
    }

    fn push(&mut self, len: u64, from: Option<u64>) {
        if len > 0 {
            self.runs.push(Run { at: self.len, len, from });
            self.len = self.len.saturating_add(len);
        }
    }

    fn recipe(&self, files: &mut Vec<(u64, Arc<File>)>) -> Option<Recipe> {
        let (file, fingerprint) = self.source.origin()?;
        files.push((self.identity, file));
        let runs = self.runs.iter().map(|run| (run.len, run.from)).collect();
        Some(Recipe::Ranges(Ranges { identity: self.identity, fingerprint, runs }))
    }

    fn of_ranges(ranges: &Ranges, find: Find<'_>) -> Option<Self> {
        let source = find(ranges.identity)?;
        let same = source.origin().is_some_and(|(_, now)| now == ranges.fingerprint);
        let mut segments =
            Self::new(if same { source } else { Arc::new(Overwritten).into() }, ranges.identity);
        ranges.runs.iter().for_each(|(len, from)| segments.push(*len, *from));
        Some(segments)
    }

    fn file(&self) -> Option<Arc<File>> {
        let ranges = self.runs.iter().map(|run| run.from.map(|from| from..from.saturating_add(run.len)));
        self.source.file_of(&ranges.collect::<Option<Vec<_>>>()?)
    }

    fn read_exact_at(&self, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
        let first = self.runs.partition_point(|run| run.at + run.len <= offset);
        for run in self.runs.iter().skip(first) {
            let skip = offset - run.at;
            let take = usize::try_from(run.len - skip).unwrap_or(usize::MAX).min(buf.len());
            let (part, rest) = buf.split_at_mut(take);
            match run.from {
                Some(from) => self.source.read_exact_at(part, from + skip)?,
                None => part.fill(0),
            }
            buf = rest;
            offset += take as u64;
            if buf.is_empty() {
                break;
            }
        }
        if buf.is_empty() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

impl Hash for Content {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Rendered(bytes) => bytes.hash(state),
            Self::Lazy(lazy) => lazy.identity.hash(state),
            Self::Segments(segments) => {
                segments.identity.hash(state);
                segments.runs.iter().for_each(|run| (run.at, run.len, run.from).hash(state));
            }
            Self::Parts(parts) => parts.iter().for_each(|part| part.identity().hash(state)),
        }
    }
}

impl Content {
    /// Rendered text.
    pub fn text(text: String) -> Self {
        Self::Rendered(text.into_bytes())
    }

    /// Size in bytes. It never changes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Segments(segments) => segments.len,
            Self::Rendered(bytes) => bytes.len() as u64,
            Self::Lazy(lazy) => lazy.bytes().len() as u64,
            Self::Parts(parts) => parts.iter().map(|part| part.size()).sum(),
        }
    }

    /// Reads up to `size` bytes from `offset` on; fewer only at the end of the file.
    ///
    /// # Errors
    /// What the backing file says. A backing file that has become shorter is an error, never zeros.
    pub fn read_at(&self, offset: u64, size: usize) -> io::Result<Vec<u8>> {
        let mut buf = vec![0; size.min(self.left(offset))];
        let len = self.read_into(&mut buf, offset)?;
        buf.truncate(len);
        Ok(buf)
    }

    /// Reads from `offset` on into `buf`, and returns how many bytes; fewer than it holds only at the end of the file.
    ///
    /// # Errors
    /// As for [`Content::read_at`].
    pub fn read_into(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let len = buf.len().min(self.left(offset));
        let Some(buf) = buf.get_mut(..len).filter(|buf| !buf.is_empty()) else { return Ok(0) };
        self.fill(buf, offset)?;
        Ok(len)
    }

    /// Bytes from `offset` to the end.
    fn left(&self, offset: u64) -> usize {
        usize::try_from(self.size().saturating_sub(offset)).unwrap_or(usize::MAX)
    }

    /// Fills `buf`, all of which lies within the content.
    fn fill(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Self::Segments(segments) => segments.read_exact_at(buf, offset),
            Self::Rendered(bytes) => copy(bytes, offset, buf),
            Self::Lazy(lazy) => copy(lazy.bytes(), offset, buf),
            Self::Parts(parts) => fill_from(parts, buf, offset),
        }
    }

    /// A file with the same bytes that the kernel can read by itself, if there is one. It may be made here.
    pub fn file(&self) -> Option<Arc<File>> {
        match self {
            Self::Segments(segments) => segments.file(),
            Self::Rendered(_) | Self::Lazy(_) | Self::Parts(_) => None,
        }
    }

    /// A number of the backing file that has to be read for its bytes; `None` if they are all here.
    pub fn waits_for(&self) -> Option<u64> {
        match self {
            Self::Segments(segments) => Some(segments.identity),
            Self::Rendered(_) | Self::Lazy(_) => None,
            Self::Parts(parts) => parts.iter().find_map(|part| part.waits_for()),
        }
    }

    /// Whether nobody else has the file that is read for it, so that this goes with the content.
    pub fn has_last(&self) -> bool {
        match self {
            Self::Segments(segments) => segments.source.is_last(),
            Self::Rendered(_) | Self::Lazy(_) => false,
            Self::Parts(parts) => parts.iter().any(|part| part.has_last()),
        }
    }

    /// The file that has to be read for its bytes; `None` if they are all here, or it isn't known.
    pub fn backing_file(&self) -> Option<Arc<File>> {
        match self {
            Self::Segments(segments) => Some(segments.source.origin()?.0),
            Self::Rendered(_) | Self::Lazy(_) => None,
            Self::Parts(parts) => parts.iter().find_map(|part| part.backing_file()),
        }
    }

    /// What it is made of, for a process that comes after this one; `None` if that can't be told. The files that are
    /// needed for it, by identity, are added to `files`.
    pub fn recipe(&self, files: &mut Vec<(u64, Arc<File>)>) -> Option<Recipe> {
        match self {
            Self::Segments(segments) => segments.recipe(files),
            Self::Rendered(bytes) => Some(Recipe::Bytes(bytes.clone())),
            Self::Lazy(lazy) => Some(Recipe::Bytes(lazy.bytes().to_vec())),
            Self::Parts(parts) => {
                let parts = parts.iter().map(|part| part.recipe(files));
                Some(Recipe::Parts(parts.collect::<Option<_>>()?))
            }
        }
    }

    /// The content of a recipe; `None` if a file for it is missing. Where another image has been written over a file,
    /// every read is an error.
    pub fn of_recipe(recipe: &Recipe, find: Find<'_>) -> Option<Self> {
        match recipe {
            Recipe::Bytes(bytes) => Some(Self::Rendered(bytes.clone())),
            Recipe::Ranges(ranges) => Some(Self::Segments(Segments::of_ranges(ranges, find)?)),
            Recipe::Parts(parts) => {
                let parts = parts.iter().map(|part| Some(Arc::new(Self::of_recipe(part, find)?)));
                Some(Self::Parts(parts.collect::<Option<_>>()?))
            }
        }
    }

    /// The bytes from the first to the last.
    pub fn reader(&self) -> Reader<'_> {
        Reader { content: self, at: 0 }
    }

    /// A number that is the same for the same bytes, now and after a restart, and another for others.
    pub fn identity(&self) -> u64 {
        identity(self)
    }

    /// Whether it is text that is on no disk, and nothing else.
    pub fn is_rendered(&self) -> bool {
        matches!(self, Self::Rendered(_) | Self::Lazy(_))
    }

    /// What it is made of, in a few words for a dump of the tree.
    pub fn describe(&self) -> String {
        match self {
            Self::Rendered(_) | Self::Lazy(_) => "rendered".into(),
            Self::Segments(segments) => {
                let runs = segments.runs.iter().map(|run| match run.from {
                    Some(from) => format!("@{from}+{}", run.len),
                    None => format!("zeros+{}", run.len),
                });
                runs.collect::<Vec<_>>().join(",")
            }
            Self::Parts(parts) => parts.iter().map(|part| part.describe()).collect::<Vec<_>>().join(","),
        }
    }
}

fn fill_from(parts: &[Arc<Content>], mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
    for part in parts {
        let size = part.size();
        if offset >= size {
            offset -= size;
            continue;
        }
        let take = usize::try_from(size - offset).unwrap_or(usize::MAX).min(buf.len());
        let (now, rest) = buf.split_at_mut(take);
        part.fill(now, offset)?;
        (buf, offset) = (rest, 0);
        if buf.is_empty() {
            break;
        }
    }
    if buf.is_empty() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

impl ReadAt for Content {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        check_range(offset, buf.len(), self.size())?;
        self.fill(buf, offset)
    }

    fn len(&self) -> u64 {
        self.size()
    }
}

fn copy(bytes: &[u8], offset: u64, buf: &mut [u8]) -> io::Result<()> {
    let from = usize::try_from(offset).unwrap_or(usize::MAX);
    let bytes = bytes.get(from..from + buf.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
    buf.copy_from_slice(bytes);
    Ok(())
}

/// A file that another image was written over while nobody looked.
struct Overwritten;

impl ReadAt for Overwritten {
    fn read_exact_at(&self, _buf: &mut [u8], _offset: u64) -> io::Result<()> {
        Err(io::Error::other(OVERWRITTEN))
    }

    fn len(&self) -> u64 {
        0
    }
}

/// Reads a [`Content`] from beginning to end.
pub struct Reader<'a> {
    content: &'a Content,
    at: u64,
}

impl io::Read for Reader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.content.read_into(buf, self.at)?;
        self.at += len as u64;
        Ok(len)
    }
}

impl io::Seek for Reader<'_> {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        let at = match to {
            io::SeekFrom::Start(offset) => Some(offset),
            io::SeekFrom::Current(distance) => self.at.checked_add_signed(distance),
            io::SeekFrom::End(distance) => self.content.size().checked_add_signed(distance),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn source(len: usize) -> Arc<dyn ReadAt> {
        Arc::new((0..len).map(|i| (i * 7 % 251) as u8).collect::<Vec<u8>>())
    }

    fn plain(content: &Content) -> Vec<u8> {
        content.read_at(0, usize::MAX).unwrap()
    }

    #[test]
    fn segments_are_read_in_order() {
        let runs = [Extent { offset: 10, len: 3 }, Extent { offset: 2, len: 2 }];
        let content = Content::Segments(Segments::new(source(20), 1).extents(&runs));
        assert_eq!(content.size(), 5);
        let all: Vec<u8> = [10, 11, 12, 2, 3].iter().map(|i| i * 7).collect();
        assert_eq!(plain(&content), all);
        assert_eq!(content.read_at(2, 2).unwrap(), [12 * 7, 2 * 7]);
        assert!(content.read_at(5, 10).unwrap().is_empty());
        assert!(content.read_at(u64::MAX, 10).unwrap().is_empty());
    }

    #[test]
    fn a_second_archive_begins_at_a_multiple_of_four() {
        let archive = |offset, len| [Extent { offset, len }];
        let segments = Segments::new(source(20), 1).archives([archive(0, 5).as_slice(), &archive(8, 4)]);
        let content = Content::Segments(segments);
        assert_eq!(plain(&content), [0, 7, 14, 21, 28, 0, 0, 0, 56, 63, 70, 77]);
        assert_eq!(content.describe(), "@0+5,zeros+3,@8+4");
    }

    #[test]
    fn a_backing_file_that_is_too_short_is_an_error() {
        let content = Content::Segments(Segments::new(source(4), 1).extents(&[Extent { offset: 2, len: 4 }]));
        assert_eq!(content.read_at(0, 4).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn identity_follows_content() {
        let make = |identity, offset| {
            Content::Segments(Segments::new(source(20), identity).extents(&[Extent { offset, len: 4 }]))
                .identity()
        };
        assert_eq!(make(1, 0), make(1, 0));
        assert_ne!(make(1, 0), make(2, 0));
        assert_ne!(make(1, 0), make(1, 4));
        assert_ne!(Content::text("a".into()).identity(), Content::text("b".into()).identity());
    }

    /// A source that has a file, and one byte that tells its content from another.
    struct Filed(Vec<u8>, u64);

    impl ReadAt for Filed {
        fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
            self.0.read_exact_at(buf, offset)
        }

        fn len(&self) -> u64 {
            self.0.len() as u64
        }

        fn origin(&self) -> Option<(Arc<File>, u64)> {
            Some((Arc::new(tempfile::tempfile().unwrap()), self.1))
        }
    }

    fn filed(fingerprint: u64) -> Arc<dyn ReadAt> {
        Arc::new(Filed((0..50).collect(), fingerprint))
    }

    fn of_both_kinds() -> Content {
        let runs = [Extent { offset: 10, len: 3 }, Extent { offset: 2, len: 2 }];
        let archives = Segments::new(filed(7), 1).archives([&runs[..], &runs[..]]);
        let lazy = Lazy::new(3, || b"lazy".to_vec());
        let parts = [Content::Segments(archives), Content::text("text".into()), Content::Lazy(lazy)];
        Content::Parts(parts.into_iter().map(Arc::new).collect())
    }

    #[test]
    fn a_recipe_gives_the_same_bytes() {
        let mut files = Vec::new();
        let recipe = of_both_kinds().recipe(&mut files).unwrap();
        assert_eq!(files.iter().map(|(identity, _)| *identity).collect::<Vec<_>>(), [1]);
        assert_eq!(recipe.files(), [(1, 7)]);
        let again = Content::of_recipe(&recipe, &mut |_| Some(filed(7).into())).unwrap();
        assert_eq!(plain(&again), plain(&of_both_kinds()));
    }

    #[test]
    fn a_recipe_without_its_file_is_no_content_and_one_that_was_written_over_an_error() {
        let recipe = of_both_kinds().recipe(&mut Vec::new()).unwrap();
        assert!(Content::of_recipe(&recipe, &mut |_| None).is_none());
        let other = Content::of_recipe(&recipe, &mut |_| Some(filed(8).into())).unwrap();
        assert!(other.read_at(0, 1).is_err());
        assert_eq!(other.size(), of_both_kinds().size());
        let memory = Content::Segments(Segments::new(source(4), 1));
        assert!(memory.recipe(&mut Vec::new()).is_none(), "it lies in no file");
    }

    #[test]
    fn lazy_text_is_rendered_once_and_when_it_is_asked_for() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let calls = Arc::new(AtomicUsize::new(0));
        let lazy = Lazy::new(7, {
            let calls = calls.clone();
            move || format!("call {}", calls.fetch_add(1, Ordering::Relaxed)).into_bytes()
        });
        let content = Content::Lazy(lazy);
        let identity = content.identity();
        assert_eq!(calls.load(Ordering::Relaxed), 0);
        assert_eq!((content.size(), plain(&content).as_slice()), (6, b"call 0".as_slice()));
        assert_eq!(content.read_at(5, 9).unwrap(), b"0");
        assert!(content.read_at(6, 9).unwrap().is_empty());
        assert_eq!((content.identity(), calls.load(Ordering::Relaxed)), (identity, 1));
    }

    proptest! {
        #[test]
        fn parts_read_as_one(parts in prop::collection::vec("[a-z]{0,5}", 0..5), offset in 0u64..30, size in 0usize..30) {
            let whole: Vec<u8> = parts.concat().into_bytes();
            let parts = parts.into_iter().map(|part| Arc::new(Content::text(part)));
            let content = Content::Parts(parts.collect());
            prop_assert_eq!(content.size(), whole.len() as u64);
            let want: Vec<u8> = whole.iter().copied().skip(offset as usize).take(size).collect();
            prop_assert_eq!(content.read_at(offset, size).unwrap(), want);
        }

        #[test]
        fn any_read_is_a_piece_of_the_whole(
            runs in prop::collection::vec((0u64..90, 0u64..10), 0..8),
            offset in 0u64..100, size in 0usize..100,
        ) {
            let runs: Vec<Extent> = runs.into_iter().map(|(offset, len)| Extent { offset, len }).collect();
            let content = Content::Segments(Segments::new(source(100), 1).extents(&runs));
            let mut read = Vec::new();
            std::io::Read::read_to_end(&mut content.reader(), &mut read).unwrap();
            let whole = plain(&content);
            prop_assert_eq!(whole.len() as u64, content.size());
            prop_assert_eq!(&read, &whole);
            let want: Vec<u8> = whole.iter().copied().skip(offset as usize).take(size).collect();
            prop_assert_eq!(content.read_at(offset, size).unwrap(), want);
        }
    }
}
