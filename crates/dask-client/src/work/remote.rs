//! Python callables declared once with their types and then called like functions.

use std::marker::PhantomData;

use dask_pickle::Template;
use dask_wire::Key;
use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};

use crate::work::call::Call;
use crate::work::future::Future;
use crate::work::graph::Node;

/// Declares Python callables as Rust functions: what they take, what they return, and where workers import them from.
///
/// ```
/// use dask_client::{NdArray, remote};
///
/// #[derive(serde::Deserialize)]
/// struct Prediction {
///     label: String,
///     score: f64,
/// }
///
/// remote! {
///     /// The team's model, importable on the workers.
///     pub fn score(features: NdArray, threshold: f64) -> Vec<Prediction> = "risk.model:score";
///
///     /// Python's own.
///     fn gcd(a: i64, b: i64) -> i64 = "math:gcd";
/// }
///
/// # async fn example(client: dask_client::Client) -> dask_client::Result<()> {
/// let four = client.call(gcd(12, 8).retries(2)).await?;
/// let twelve = client.submit(gcd(24, 36)).await?;
/// let six = client.call(gcd(&twelve, 18)).await?;
/// # Ok(())
/// # }
/// ```
///
/// Each function returns a [`RemoteCall`] of its result type. Arguments are positional and may be values of their type,
/// references to ones, [`Future`]s of that type, nodes of the same [`Graph`](crate::Graph), or other calls that return
/// it (see [`Argument`]). With the feature
/// `ndarray`, arrays of that crate may stand where an [`NdArray`](crate::NdArray) or an `Array1`, `Array2` … of this one
/// is declared: `fn score(features: Array2<f64>, threshold: f64) -> Vec<Prediction> = …`.
#[macro_export]
macro_rules! remote {
    ($($(#[$attribute:meta])* $visible:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)? = $callable:expr;)+) => {$(
        $(#[$attribute])*
        $visible fn $name($($arg: impl $crate::Argument<$type>),*) -> $crate::RemoteCall<$crate::remote!(@ $($result)?)> {
            let call = $crate::py($callable);
            $(let call = call.arg($crate::Argument::<$type>::into_argument($arg));)*
            $crate::RemoteCall::new(call)
        }
    )+};
    (@ $result:ty) => { $result };
    (@) => { () };
}

/// What may stand where a `T` is asked for: a value, something on the cluster, or a call that gives one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument of type `{T}`",
    label = "expected a `{T}`, a reference to one, a `Future` or `RemoteCall` of one, or a `&Node` of a graph"
)]
pub trait Argument<T> {
    /// What is sent.
    #[doc(hidden)]
    fn into_argument(self) -> Sent;
}

/// An argument on its way into a call.
#[doc(hidden)]
#[derive(Debug)]
pub struct Sent(Result<Template, dask_pickle::Error>);

impl Sent {
    fn of<T: Serialize + ?Sized>(value: &T) -> Self {
        Self(Template::of(value))
    }
}

impl Serialize for Sent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Ok(template) => template.serialize(serializer),
            Err(error) => Err(serde::ser::Error::custom(error)),
        }
    }
}

impl<T: Serialize> Argument<T> for T {
    fn into_argument(self) -> Sent {
        Sent::of(&self)
    }
}

impl<T: Serialize> Argument<T> for &T {
    fn into_argument(self) -> Sent {
        Sent::of(self)
    }
}

impl Argument<String> for &str {
    fn into_argument(self) -> Sent {
        Sent::of(self)
    }
}

impl<T: Serialize> Argument<Vec<T>> for &[T] {
    fn into_argument(self) -> Sent {
        Sent::of(self)
    }
}

/// Arrays of the crate `ndarray` where arrays are asked for.
#[cfg(feature = "ndarray")]
mod arrays {
    use dask_wire::numpy::{Array, NdArray, Scalar};
    use ndarray::{ArrayBase, Data, Dimension};

    use super::{Argument, Sent};

    fn sent<T: Scalar, S: Data<Elem = T>, D: Dimension>(array: &ArrayBase<S, D>) -> Sent {
        match NdArray::from_ndarray(array) {
            Ok(array) => Sent::of(&array),
            Err(error) => Sent(Err(serde::ser::Error::custom(error))),
        }
    }

    impl<T: Scalar, S: Data<Elem = T>, D: Dimension> Argument<Array<T, D>> for ArrayBase<S, D> {
        fn into_argument(self) -> Sent {
            sent(&self)
        }
    }

    impl<T: Scalar, S: Data<Elem = T>, D: Dimension> Argument<Array<T, D>> for &ArrayBase<S, D> {
        fn into_argument(self) -> Sent {
            sent(self)
        }
    }

    impl<T: Scalar, S: Data<Elem = T>, D: Dimension> Argument<NdArray> for ArrayBase<S, D> {
        fn into_argument(self) -> Sent {
            sent(&self)
        }
    }

    impl<T: Scalar, S: Data<Elem = T>, D: Dimension> Argument<NdArray> for &ArrayBase<S, D> {
        fn into_argument(self) -> Sent {
            sent(self)
        }
    }
}

impl<T> Argument<T> for &Future<T> {
    fn into_argument(self) -> Sent {
        Sent::of(self)
    }
}

/// A node has no type of its own: what its task gives is taken for a `T`.
impl<T: DeserializeOwned> Argument<T> for &Node {
    fn into_argument(self) -> Sent {
        Sent::of(self)
    }
}

impl<T> Argument<T> for RemoteCall<T> {
    fn into_argument(self) -> Sent {
        Sent::of(&self)
    }
}

/// A [`Call`] that knows the type of its result. Functions declared by [`remote!`](crate::remote!) return it.
#[must_use = "a call does nothing until it is submitted"]
pub struct RemoteCall<R> {
    call: Call,
    result: PhantomData<fn() -> R>,
}

impl<R> RemoteCall<R> {
    /// Says what a call returns.
    pub fn new(call: Call) -> Self {
        Self { call, result: PhantomData }
    }

    /// The call by itself.
    pub fn into_call(self) -> Call {
        self.call
    }

    fn map(self, change: impl FnOnce(Call) -> Call) -> Self {
        Self::new(change(self.call))
    }

    /// One more keyword argument. See [`Call::kwarg`].
    pub fn kwarg(self, name: impl Into<String>, value: impl Serialize) -> Self {
        self.map(|call| call.kwarg(name, value))
    }

    /// The key of the task and of its result. See [`Call::key`].
    pub fn key(self, key: impl Into<Key>) -> Self {
        self.map(|call| call.key(key))
    }

    /// Higher runs earlier; 0 is the default.
    pub fn priority(self, priority: i64) -> Self {
        self.map(|call| call.priority(priority))
    }

    /// How often the task is run again when it fails.
    pub fn retries(self, retries: u32) -> Self {
        self.map(|call| call.retries(retries))
    }

    /// An amount of a named resource that the worker must have free.
    pub fn resource(self, name: impl Into<String>, amount: f64) -> Self {
        self.map(|call| call.resource(name, amount))
    }

    /// Only these workers may run it: addresses, host names or worker names.
    pub fn workers<W: Into<String>>(self, workers: impl IntoIterator<Item = W>) -> Self {
        self.map(|call| call.workers(workers))
    }

    /// Other workers may run it, too, when none of [`RemoteCall::workers`] can.
    pub fn allow_other_workers(self) -> Self {
        self.map(Call::allow_other_workers)
    }
}

impl<R> Clone for RemoteCall<R> {
    fn clone(&self) -> Self {
        Self::new(self.call.clone())
    }
}

impl<R> std::fmt::Debug for RemoteCall<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.call.fmt(f)
    }
}

impl<R> From<RemoteCall<R>> for Call {
    fn from(call: RemoteCall<R>) -> Self {
        call.call
    }
}

/// As an argument of another call: evaluated on the worker, in the same task.
impl<R> Serialize for RemoteCall<R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.call.serialize(serializer)
    }
}

/// A call whose result is read as an `R`: any for a [`Call`], the declared one for a [`RemoteCall`].
pub trait IntoCall<R> {
    /// The call by itself.
    fn into_call(self) -> Call;
}

impl<R> IntoCall<R> for Call {
    fn into_call(self) -> Call {
        self
    }
}

impl<R> IntoCall<R> for RemoteCall<R> {
    fn into_call(self) -> Call {
        self.call
    }
}
