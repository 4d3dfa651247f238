//! A cheap handle on one node of a tree.

use std::fmt;

use bytes::Bytes;
use num_bigint::BigInt;

use crate::tree::{How, Node, NodeId, Object, Tree};

/// One node of a [`Tree`].
#[derive(Clone, Copy)]
pub struct View<'t> {
    pub(crate) tree: &'t Tree,
    pub(crate) id: NodeId,
}

/// The kind of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// `None`.
    None,
    /// A bool.
    Bool,
    /// An int of up to 64 bits.
    Int,
    /// A larger int.
    BigInt,
    /// A float.
    Float,
    /// A str.
    Str,
    /// A str with lone surrogates.
    Surrogates,
    /// Bytes.
    Bytes,
    /// A bytearray.
    ByteArray,
    /// A list.
    List,
    /// A tuple.
    Tuple,
    /// A set.
    Set,
    /// A frozenset.
    FrozenSet,
    /// A dict.
    Dict,
    /// An importable object, by name.
    Global,
    /// An object made by a call.
    Object,
    /// An out-of-band buffer.
    Buffer,
    /// A persistent id.
    Persistent,
}

impl Kind {
    /// The kind in words, with an article.
    pub fn name(self) -> &'static str {
        match self {
            Kind::None => "None",
            Kind::Bool => "a bool",
            Kind::Int | Kind::BigInt => "an int",
            Kind::Float => "a float",
            Kind::Str => "a str",
            Kind::Surrogates => "a str with lone surrogates",
            Kind::Bytes => "bytes",
            Kind::ByteArray => "a bytearray",
            Kind::List => "a list",
            Kind::Tuple => "a tuple",
            Kind::Set => "a set",
            Kind::FrozenSet => "a frozenset",
            Kind::Dict => "a dict",
            Kind::Global => "an importable object",
            Kind::Object => "an object",
            Kind::Buffer => "a buffer",
            Kind::Persistent => "a persistent id",
        }
    }
}

fn dotted((module, name): (&str, &str)) -> String {
    match module {
        "builtins" | "__builtin__" | "exceptions" => name.to_owned(),
        module => format!("{module}.{name}"),
    }
}

static NOTHING: Node = Node::None;

impl<'t> View<'t> {
    fn node(self) -> &'t Node {
        self.tree.nodes.get(self.id.0 as usize).unwrap_or(&NOTHING)
    }

    fn at(self, id: NodeId) -> View<'t> {
        View { tree: self.tree, id }
    }

    /// The tree it belongs to.
    pub fn tree(self) -> &'t Tree {
        self.tree
    }

    /// Its place in the tree. Two views of one node are the same Python object.
    pub fn id(self) -> NodeId {
        self.id
    }

    /// Its kind.
    pub fn kind(self) -> Kind {
        match self.node() {
            Node::None => Kind::None,
            Node::Bool(_) => Kind::Bool,
            Node::Int(_) => Kind::Int,
            Node::BigInt(_) => Kind::BigInt,
            Node::Float(_) => Kind::Float,
            Node::Str(_) => Kind::Str,
            Node::Surrogates(_) => Kind::Surrogates,
            Node::Bytes(_) => Kind::Bytes,
            Node::ByteArray(_) => Kind::ByteArray,
            Node::List(_) => Kind::List,
            Node::Tuple(_) => Kind::Tuple,
            Node::Set(_) => Kind::Set,
            Node::FrozenSet(_) => Kind::FrozenSet,
            Node::Dict(_) => Kind::Dict,
            Node::Global(..) => Kind::Global,
            Node::Object(_) => Kind::Object,
            Node::Buffer { .. } => Kind::Buffer,
            Node::Persistent(_) => Kind::Persistent,
        }
    }

    /// Whether it is `None`.
    pub fn is_none(self) -> bool {
        matches!(self.node(), Node::None)
    }

    /// The bool, if it is one.
    pub fn as_bool(self) -> Option<bool> {
        match self.node() {
            Node::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The int, if it is one of up to 64 bits.
    pub fn as_i64(self) -> Option<i64> {
        match self.node() {
            Node::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// The int, if it is not negative and has up to 64 bits.
    pub fn as_u64(self) -> Option<u64> {
        match self.node() {
            Node::Int(value) => u64::try_from(*value).ok(),
            Node::BigInt(value) => u64::try_from(&**value).ok(),
            _ => None,
        }
    }

    /// The int, whatever its size.
    pub fn to_bigint(self) -> Option<BigInt> {
        match self.node() {
            Node::Int(value) => Some(BigInt::from(*value)),
            Node::BigInt(value) => Some((**value).clone()),
            _ => None,
        }
    }

    /// The int, if it has more than 64 bits.
    pub fn as_bigint(self) -> Option<&'t BigInt> {
        match self.node() {
            Node::BigInt(value) => Some(value),
            _ => None,
        }
    }

    /// The float, if it is one.
    pub fn as_f64(self) -> Option<f64> {
        match self.node() {
            Node::Float(value) => Some(*value),
            _ => None,
        }
    }

    /// The str, if it is one without lone surrogates.
    pub fn as_str(self) -> Option<&'t str> {
        match self.node() {
            Node::Str(span) => std::str::from_utf8(self.tree.span(span)).ok(),
            _ => None,
        }
    }

    /// The UTF-8 of a str, lone surrogates included.
    pub fn as_str_bytes(self) -> Option<&'t [u8]> {
        match self.node() {
            Node::Str(span) | Node::Surrogates(span) => Some(self.tree.span(span)),
            _ => None,
        }
    }

    /// The contents of bytes, a bytearray or an out-of-band buffer.
    pub fn as_bytes(self) -> Option<&'t [u8]> {
        match self.node() {
            Node::Bytes(span) | Node::ByteArray(span) => Some(self.tree.span(span)),
            Node::Buffer { index, .. } => self.tree.buffers.get(*index as usize).map(|buffer| &**buffer),
            _ => None,
        }
    }

    /// As [`View::as_bytes`], sharing the memory of the source or buffer.
    pub fn to_bytes(self) -> Option<Bytes> {
        match self.node() {
            Node::Bytes(span) | Node::ByteArray(span) => Some(self.tree.span_bytes(span)),
            Node::Buffer { index, .. } => self.tree.buffers.get(*index as usize).cloned(),
            _ => None,
        }
    }

    /// The UTF-8 of a str, sharing the memory of the source.
    pub fn to_str_bytes(self) -> Option<Bytes> {
        match self.node() {
            Node::Str(span) | Node::Surrogates(span) => Some(self.tree.span_bytes(span)),
            _ => None,
        }
    }

    /// The index of an out-of-band buffer and whether it is read-only.
    pub fn as_buffer(self) -> Option<(usize, bool)> {
        match self.node() {
            Node::Buffer { index, readonly } => Some((*index as usize, *readonly)),
            _ => None,
        }
    }

    /// The id behind a persistent id.
    pub fn persistent_id(self) -> Option<View<'t>> {
        match self.node() {
            Node::Persistent(id) => Some(self.at(*id)),
            _ => None,
        }
    }

    /// Module and qualified name of an importable object.
    pub fn as_global(self) -> Option<(&'t str, &'t str)> {
        match self.node() {
            Node::Global(module, name) => Some((self.at(*module).as_str()?, self.at(*name).as_str()?)),
            _ => None,
        }
    }

    /// The items of a list, tuple, set or frozenset; nothing for any other kind.
    pub fn items(self) -> Items<'t> {
        let ids: &[NodeId] = match self.node() {
            Node::List(ids) | Node::Set(ids) => ids,
            Node::Tuple(ids) | Node::FrozenSet(ids) => ids,
            _ => &[],
        };
        Items { tree: self.tree, ids: ids.iter() }
    }

    /// The item at an index of a list, tuple, set or frozenset.
    pub fn item(self, index: usize) -> Option<View<'t>> {
        self.items().nth(index)
    }

    /// The keys and values of a dict, in order; nothing for any other kind. A key set twice comes twice, and its
    /// last value counts.
    pub fn pairs(self) -> Pairs<'t> {
        let ids: &[(NodeId, NodeId)] = match self.node() {
            Node::Dict(pairs) => pairs,
            _ => &[],
        };
        Pairs { tree: self.tree, ids: ids.iter() }
    }

    /// Items of a list, tuple, set, frozenset or dict, or bytes of a str or of bytes.
    pub fn len(self) -> usize {
        match self.node() {
            Node::Dict(pairs) => pairs.len(),
            Node::Str(span) | Node::Surrogates(span) => self.tree.span(span).len(),
            _ => self.as_bytes().map_or_else(|| self.items().len(), <[u8]>::len),
        }
    }

    /// Whether [`View::len`] is zero.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The value of a str key in a dict.
    pub fn get(self, key: &str) -> Option<View<'t>> {
        self.pairs().rev().find(|(name, _)| name.as_str() == Some(key)).map(|(_, value)| value)
    }

    /// The object, if it is made by a call.
    pub fn object(self) -> Option<ObjectView<'t>> {
        match self.node() {
            Node::Object(object) => Some(ObjectView { tree: self.tree, object }),
            _ => None,
        }
    }

    /// Module and name of the class of an object, or of the object that a global names.
    pub fn class_name(self) -> Option<(&'t str, &'t str)> {
        self.as_global().or_else(|| self.object()?.class_name())
    }

    /// The class as Python names it, with its module unless that is `builtins`: `float`, `collections.Counter`,
    /// `numpy.float32`. Of an object that a function makes, and of whose class nothing more is known, the function.
    pub fn python_class(self) -> String {
        let plain = match self.kind() {
            Kind::None => "NoneType",
            Kind::Bool => "bool",
            Kind::Int | Kind::BigInt => "int",
            Kind::Float => "float",
            Kind::Str | Kind::Surrogates => "str",
            Kind::Bytes => "bytes",
            Kind::ByteArray => "bytearray",
            Kind::List => "list",
            Kind::Tuple => "tuple",
            Kind::Set => "set",
            Kind::FrozenSet => "frozenset",
            Kind::Dict => "dict",
            Kind::Buffer => "PickleBuffer",
            Kind::Persistent => "a persistent id",
            // The name of a class, or of a function.
            Kind::Global => return self.class_name().map_or_else(String::new, dotted),
            Kind::Object => {
                let object = self.object();
                let known = object.and_then(|object| {
                    let (module, maker) = object.callable().as_global()?;
                    crate::numpy::class_made(module, maker, object.args())
                });
                return match (known, object.and_then(ObjectView::class_name)) {
                    (Some(class), _) => class,
                    (None, Some((_, "_make_function" | "_fill_function"))) => "function".to_owned(),
                    (None, Some(names)) => dotted(names),
                    (None, None) => "object".to_owned(),
                };
            }
        };
        plain.to_owned()
    }

    /// What it is, for a message.
    pub(crate) fn describe(self) -> String {
        match self.class_name() {
            Some((module, name)) if self.kind() == Kind::Object => format!("an object of {module}.{name}"),
            Some((module, name)) => format!("{module}.{name}"),
            None => self.kind().name().to_owned(),
        }
    }
}

impl fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "View({}, {})", self.id.0, self.describe())
    }
}

/// An object made by a call.
#[derive(Clone, Copy)]
pub struct ObjectView<'t> {
    tree: &'t Tree,
    object: &'t Object,
}

impl<'t> ObjectView<'t> {
    fn at(self, id: NodeId) -> View<'t> {
        View { tree: self.tree, id }
    }

    /// How it is made.
    pub fn how(self) -> How {
        self.object.how
    }

    /// The callable or class it is made with.
    pub fn callable(self) -> View<'t> {
        self.at(self.object.callable)
    }

    /// The arguments, as they stand in the pickle.
    pub fn args(self) -> View<'t> {
        self.at(self.object.args)
    }

    /// The keyword arguments.
    pub fn kwargs(self) -> Option<View<'t>> {
        self.object.kwargs.map(|id| self.at(id))
    }

    /// The state given to the finished object.
    pub fn state(self) -> Option<View<'t>> {
        self.object.state.map(|id| self.at(id))
    }

    /// Items appended or added to it.
    pub fn items(self) -> Items<'t> {
        Items { tree: self.tree, ids: self.object.items.iter() }
    }

    /// Keys and values set in it.
    pub fn pairs(self) -> Pairs<'t> {
        Pairs { tree: self.tree, ids: self.object.pairs.iter() }
    }

    /// Whether it is made through one of the helpers by which `copyreg` spells "a new instance of this class".
    pub(crate) fn through_copyreg(self) -> Option<&'t str> {
        match self.callable().as_global() {
            Some(("copyreg" | "copy_reg", name @ ("__newobj__" | "__newobj_ex__" | "_reconstructor"))) => {
                Some(name)
            }
            _ => None,
        }
    }

    /// The class, or the callable if it is made by calling something else.
    pub fn class(self) -> View<'t> {
        if self.through_copyreg().is_some() {
            return self.args().item(0).unwrap_or_else(|| self.callable());
        }
        self.bound_class().unwrap_or_else(|| self.callable())
    }

    /// The class whose `__new__` was bound to its arguments, which is how protocols 2 and 3 pass keywords to it.
    fn bound_class(self) -> Option<View<'t>> {
        let partial = self.callable().object()?;
        let ("functools", "partial") = partial.callable().as_global()? else { return None };
        let state = partial.state()?;
        let ("builtins" | "__builtin__", "getattr") = state.item(0)?.object()?.callable().as_global()? else {
            return None;
        };
        let method = state.item(0)?.object()?.args().item(1)?;
        (method.as_str() == Some("__new__")).then(|| state.item(1)?.item(0)).flatten()
    }

    /// Module and name of its class, or of the function that makes it. A class that was pickled by value has the
    /// names it was defined with.
    pub fn class_name(self) -> Option<(&'t str, &'t str)> {
        let class = self.class();
        match class.as_global() {
            // A member of an enum by its name.
            Some(("builtins" | "__builtin__", "getattr")) => {
                return self.args().item(0)?.as_global();
            }
            // An exception with what pickle alone would lose of it.
            Some(("tblib.pickling_support", name)) if name.starts_with("unpickle_exception") => {
                return self.args().item(0)?.as_global();
            }
            Some(names) => return Some(names),
            None => {}
        }
        // A class made by a call: cloudpickle's skeletons say which.
        let maker = class.object()?;
        let (_, function) = maker.callable().as_global()?;
        let text = |index: usize| maker.args().item(index).and_then(View::as_str);
        match function {
            "_make_skeleton_class" => {
                let kwargs = maker.args().item(3).filter(|kwargs| kwargs.len() <= 64)?;
                let module = kwargs.get("__module__").and_then(View::as_str);
                Some((module.unwrap_or("__main__"), text(1)?))
            }
            "_make_skeleton_enum" => Some((text(4).unwrap_or("__main__"), text(1)?)),
            _ => None,
        }
    }

    /// The positional arguments, without the class where a `copyreg` helper takes it among them.
    pub fn arguments(self) -> Items<'t> {
        match self.through_copyreg() {
            None => self.args().items(),
            Some("__newobj__") => {
                let mut items = self.args().items();
                items.next();
                items
            }
            Some("__newobj_ex__") => match self.args().item(1) {
                Some(args) => args.items(),
                None => self.at(self.object.callable).items(),
            },
            // `_reconstructor(cls, base, value)`: the value of a built-in base.
            Some(_) => {
                let skip = match self.args().item(1).and_then(View::as_global) {
                    Some((_, "object")) | None => 3,
                    Some(_) => 2,
                };
                let mut items = self.args().items();
                for _ in 0..skip {
                    items.next();
                }
                items
            }
        }
    }
}

impl fmt::Debug for ObjectView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectView({:?}, {:?})", self.object.how, self.class_name())
    }
}

/// Items of a container.
#[derive(Debug, Clone)]
pub struct Items<'t> {
    tree: &'t Tree,
    ids: std::slice::Iter<'t, NodeId>,
}

impl<'t> Iterator for Items<'t> {
    type Item = View<'t>;

    fn next(&mut self) -> Option<View<'t>> {
        self.ids.next().map(|id| View { tree: self.tree, id: *id })
    }

    fn nth(&mut self, n: usize) -> Option<View<'t>> {
        self.ids.nth(n).map(|id| View { tree: self.tree, id: *id })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.ids.size_hint()
    }
}

impl ExactSizeIterator for Items<'_> {}

/// Keys and values of a dict.
#[derive(Debug, Clone)]
pub struct Pairs<'t> {
    tree: &'t Tree,
    ids: std::slice::Iter<'t, (NodeId, NodeId)>,
}

impl<'t> Pairs<'t> {
    fn views(&self, ids: &(NodeId, NodeId)) -> (View<'t>, View<'t>) {
        (View { tree: self.tree, id: ids.0 }, View { tree: self.tree, id: ids.1 })
    }
}

impl<'t> Iterator for Pairs<'t> {
    type Item = (View<'t>, View<'t>);

    fn next(&mut self) -> Option<Self::Item> {
        let ids = self.ids.next()?;
        Some(self.views(ids))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.ids.size_hint()
    }
}

impl DoubleEndedIterator for Pairs<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let ids = self.ids.next_back()?;
        Some(self.views(ids))
    }
}

impl ExactSizeIterator for Pairs<'_> {}
