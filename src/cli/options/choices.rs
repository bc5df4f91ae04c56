//! Choices of other rooms as words of the command line.

use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::catalog::config::RootExport;
use crate::storage::passthrough::DataPath;

impl ValueEnum for DataPath {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Auto, Self::Kernel, Self::Cache]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (name, help) = match self {
            Self::Auto => ("auto", "The kernel where it can, else the block cache"),
            Self::Kernel => ("kernel", "The kernel, or it doesn't start"),
            Self::Cache => ("cache", "The block cache"),
        };
        Some(PossibleValue::new(name).help(help))
    }
}

impl ValueEnum for RootExport {
    fn value_variants<'a>() -> &'a [Self] {
        const { &[Self::ALL[0].0, Self::ALL[1].0, Self::ALL[2].0] }
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (_, name, help) = Self::ALL.into_iter().find(|(choice, _, _)| choice == self)?;
        Some(PossibleValue::new(name).help(help))
    }
}
