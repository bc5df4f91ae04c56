//! What a content is made of, as bytes: for a process that comes after this one and is to serve the same.
//!
//! Bytes that are on no disk are in it; of what lies in a file there are only ranges, the number that stands for the
//! file's content, and one that tells whether the file has been written over since.

use crate::storage::backing::Backing;

/// How deep parts may lie in parts.
const MAX_DEPTH: usize = 4;

/// A recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipe {
    /// The bytes themselves.
    Bytes(Vec<u8>),
    /// Ranges of a file.
    Ranges(Ranges),
    /// Others, one after the other.
    Parts(Vec<Recipe>),
}

/// Ranges of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranges {
    /// Stands for the file's content.
    pub identity: u64,
    /// See [`ReadAt::origin`](crate::storage::source::ReadAt::origin).
    pub fingerprint: u64,
    /// Length and offset in the file; no offset is zeros.
    pub runs: Vec<(u64, Option<u64>)>,
}

/// The needs of a recipe: the source for the content of an identity.
pub type Find<'a> = &'a mut dyn FnMut(u64) -> Option<Backing>;

impl Recipe {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode_into(&mut out);
        out
    }

    fn encode_into(&self, out: &mut Vec<u8>) {
        let number = |out: &mut Vec<u8>, number: u64| out.extend_from_slice(&number.to_le_bytes());
        match self {
            Self::Bytes(bytes) => {
                out.push(0);
                number(out, bytes.len() as u64);
                out.extend_from_slice(bytes);
            }
            Self::Ranges(Ranges { identity, fingerprint, runs }) => {
                out.push(1);
                for field in [*identity, *fingerprint, runs.len() as u64] {
                    number(out, field);
                }
                for (len, from) in runs {
                    number(out, *len);
                    number(out, from.unwrap_or(u64::MAX));
                }
            }
            Self::Parts(parts) => {
                out.push(2);
                number(out, parts.len() as u64);
                parts.iter().for_each(|part| part.encode_into(out));
            }
        }
    }

    /// From bytes, if they are a recipe.
    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
        let recipe = decode(&mut bytes, 0)?;
        bytes.is_empty().then_some(recipe)
    }

    /// The identity of each file that it needs, with the fingerprint of that.
    pub fn files(&self) -> Vec<(u64, u64)> {
        match self {
            Self::Bytes(_) => Vec::new(),
            Self::Ranges(ranges) => vec![(ranges.identity, ranges.fingerprint)],
            Self::Parts(parts) => parts.iter().flat_map(Self::files).collect(),
        }
    }
}

fn decode(bytes: &mut &[u8], depth: usize) -> Option<Recipe> {
    let (kind, rest) = bytes.split_first()?;
    *bytes = rest;
    match kind {
        0 => {
            let len = usize::try_from(number(bytes)?).ok()?;
            let (text, rest) = bytes.split_at_checked(len)?;
            *bytes = rest;
            Some(Recipe::Bytes(text.to_vec()))
        }
        1 => {
            let (identity, fingerprint, count) = (number(bytes)?, number(bytes)?, number(bytes)?);
            let run = |bytes: &mut &[u8]| {
                let (len, from) = (number(bytes)?, number(bytes)?);
                Some((len, (from != u64::MAX).then_some(from)))
            };
            let runs = (0..count).map_while(|_| run(bytes)).collect::<Vec<_>>();
            let whole = runs.len() as u64 == count;
            whole.then_some(Recipe::Ranges(Ranges { identity, fingerprint, runs }))
        }
        2 if depth < MAX_DEPTH => {
            let count = number(bytes)?;
            let parts = (0..count).map_while(|_| decode(bytes, depth + 1)).collect::<Vec<_>>();
            (parts.len() as u64 == count).then_some(Recipe::Parts(parts))
        }
        _ => None,
    }
}

fn number(bytes: &mut &[u8]) -> Option<u64> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u64::from_le_bytes(*number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn recipe() -> impl Strategy<Value = Recipe> {
        let bytes = prop::collection::vec(any::<u8>(), 0..20).prop_map(Recipe::Bytes);
        let runs = prop::collection::vec((0u64..99, prop::option::of(0u64..99)), 0..4);
        let ranges = (any::<u64>(), any::<u64>(), runs);
        let ranges = ranges
            .prop_map(|(identity, fingerprint, runs)| Recipe::Ranges(Ranges { identity, fingerprint, runs }));
        prop_oneof![bytes, ranges]
            .prop_recursive(2, 8, 3, |part| prop::collection::vec(part, 0..3).prop_map(Recipe::Parts))
    }

    proptest! {
        #[test]
        fn bytes_and_recipes_stand_for_each_other(recipe in recipe()) {
            prop_assert_eq!(Recipe::decode(&recipe.encode()), Some(recipe));
        }

        #[test]
        fn what_is_cut_short_is_none(recipe in recipe(), cut in 1usize..9) {
            let bytes = recipe.encode();
            prop_assert_eq!(Recipe::decode(&bytes[..bytes.len().saturating_sub(cut)]), None);
        }

        #[test]
        fn any_bytes_are_a_recipe_or_none(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = Recipe::decode(&bytes);
        }
    }
}
