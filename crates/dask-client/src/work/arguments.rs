//! The arguments of a call, collected one after the other.

use dask_pickle::Template;
use serde::Serialize;

use crate::error::{Error, Result};

/// Positional and keyword arguments. The first that cannot be sent spoils them all, and is told where they are used.
#[derive(Clone, Debug)]
pub(crate) struct Arguments(Result<Collected>);

/// Arguments that can all be sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Collected {
    pub(crate) positional: Vec<Template>,
    pub(crate) named: Vec<(String, Template)>,
}

impl Arguments {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self(Ok(Collected::default()))
    }

    fn add(&mut self, add: impl FnOnce(&mut Collected) -> Result<(), dask_pickle::Error>) {
        if let Ok(collected) = &mut self.0
            && let Err(error) = add(collected)
        {
            self.0 = Err(Error::encode(error));
        }
    }

    /// One more positional argument.
    pub(crate) fn push(&mut self, value: impl Serialize) {
        self.add(|to| {
            to.positional.push(Template::of(&value)?);
            Ok(())
        });
    }

    /// More positional arguments.
    pub(crate) fn extend(&mut self, values: impl Args) {
        self.add(|to| values.push_onto(&mut to.positional));
    }

    /// One more keyword argument.
    pub(crate) fn name(&mut self, name: impl Into<String>, value: impl Serialize) {
        self.add(|to| {
            to.named.push((name.into(), Template::of(&value)?));
            Ok(())
        });
    }

    /// Whether all of them can be sent.
    pub(crate) fn check(&self) -> Result<()> {
        self.0.as_ref().map(drop).map_err(Error::clone)
    }

    /// All of them.
    pub(crate) fn collected(self) -> Result<Collected> {
        self.0
    }
}

/// Values that stand for positional arguments.
pub trait Args {
    /// Pickles each and appends it.
    #[doc(hidden)]
    fn push_onto(&self, args: &mut Vec<Template>) -> Result<(), dask_pickle::Error>;
}

impl Args for () {
    fn push_onto(&self, _: &mut Vec<Template>) -> Result<(), dask_pickle::Error> {
        Ok(())
    }
}

impl<T: Serialize> Args for [T] {
    fn push_onto(&self, args: &mut Vec<Template>) -> Result<(), dask_pickle::Error> {
        for value in self {
            args.push(Template::of(value)?);
        }
        Ok(())
    }
}

impl<T: Serialize> Args for &[T] {
    fn push_onto(&self, args: &mut Vec<Template>) -> Result<(), dask_pickle::Error> {
        (**self).push_onto(args)
    }
}

impl<T: Serialize, const N: usize> Args for [T; N] {
    fn push_onto(&self, args: &mut Vec<Template>) -> Result<(), dask_pickle::Error> {
        self.as_slice().push_onto(args)
    }
}

impl<T: Serialize> Args for Vec<T> {
    fn push_onto(&self, args: &mut Vec<Template>) -> Result<(), dask_pickle::Error> {
        self.as_slice().push_onto(args)
    }
}

macro_rules! args_of_tuples {
    ($(($($name:ident)+))+) => {$(
        impl<$($name: Serialize),+> Args for ($($name,)+) {
            fn push_onto(&self, args: &mut Vec<Template>) -> Result<(), dask_pickle::Error> {
                #[allow(non_snake_case, reason = "each value under its type's name")]
                let ($($name,)+) = self;
                $(args.push(Template::of($name)?);)+
                Ok(())
            }
        }
    )+};
}
args_of_tuples! {
    (A) (A B) (A B C) (A B C D) (A B C D E) (A B C D E F) (A B C D E F G) (A B C D E F G H) (A B C D E F G H I)
    (A B C D E F G H I J) (A B C D E F G H I J K) (A B C D E F G H I J K L)
}
