//! Where bytes come from.
//!
//! A [source](source::ReadAt) reads a backing file; [content](content::Content) is segments of one or rendered bytes;
//! a [recipe] is what it is made of, as bytes. Between source and content stand the [block cache](cache), what tells that a
//! file is [whole](writers) and [unchanged], and the way on which the kernel reads by itself ([passthrough]); a
//! [backing file](backing) has them all. [Workers](workers) do what may hang, a file that does is opened [late] and [closed](closing) beside, the [state directory](state) keeps files, and
//! [descriptors] are [few](spare); who has none of them leaves [signals] to others.
//!
//! Uses no other room, and knows neither ISOs nor names nor FUSE. A read gives all the bytes that were asked for or an
//! error, never zeros in their place, and the same bytes each time.

pub mod backing;
pub mod cache;
pub mod closing;
pub mod content;
pub mod descriptors;
pub mod extent;
pub mod identity;
pub mod inotify;
pub mod late;
pub mod passthrough;
pub mod recipe;
pub mod resident;
pub mod signals;
pub mod source;
pub mod spare;
pub mod state;
pub mod unchanged;
pub mod workers;
pub mod writers;
