//! What a pickle holds, as a flat arena of nodes.

use bytes::Bytes;
use num_bigint::BigInt;

use crate::Limits;
use crate::view::View;

/// The place of a node in its [`Tree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(crate) u32);

/// Bytes of the source, or bytes decoded from an escaped form.
#[derive(Debug, Clone)]
pub(crate) enum Span {
    Source { start: usize, end: usize },
    Owned(Box<[u8]>),
}

/// How an object is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum How {
    /// By calling the callable: `callable(*args)`.
    Reduce,
    /// By `callable.__new__(callable, *args, **kwargs)`.
    New,
    /// As an instance of protocol 0 or 1 (`INST` and `OBJ`).
    Inst,
}

#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub(crate) how: How,
    pub(crate) callable: NodeId,
    pub(crate) args: NodeId,
    pub(crate) kwargs: Option<NodeId>,
    pub(crate) state: Option<NodeId>,
    pub(crate) items: Vec<NodeId>,
    pub(crate) pairs: Vec<(NodeId, NodeId)>,
}

#[derive(Debug, Clone)]
pub(crate) enum Node {
    None,
    Bool(bool),
    Int(i64),
    BigInt(Box<BigInt>),
    Float(f64),
    Str(Span),
    Surrogates(Span),
    Bytes(Span),
    ByteArray(Span),
    List(Vec<NodeId>),
    Tuple(Box<[NodeId]>),
    Set(Vec<NodeId>),
    FrozenSet(Box<[NodeId]>),
    Dict(Vec<(NodeId, NodeId)>),
    Global(NodeId, NodeId),
    Object(Box<Object>),
    Buffer { index: u32, readonly: bool },
    Persistent(NodeId),
}

/// Everything one pickle holds.
///
/// Nodes lie in one arena and refer to each other by index: a value used twice is stored once, cycles are possible,
/// and neither reading nor dropping a tree recurses. Strings and bytes are slices of the source.
#[derive(Debug, Clone)]
pub struct Tree {
    pub(crate) nodes: Vec<Node>,
    pub(crate) root: NodeId,
    pub(crate) source: Bytes,
    pub(crate) buffers: Vec<Bytes>,
    pub(crate) limits: Limits,
    pub(crate) consumed: usize,
}

impl Tree {
    /// The pickled value.
    pub fn root(&self) -> View<'_> {
        View { tree: self, id: self.root }
    }

    /// The node with an id of this tree.
    pub fn node(&self, id: NodeId) -> Option<View<'_>> {
        self.nodes.get(id.0 as usize).map(|_| View { tree: self, id })
    }

    /// Number of nodes, those that nothing refers to included.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// The limits it was read with, which also hold for conversions of it.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Replaces the limits for conversions of it.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Bytes of the source up to and with the end of the pickle.
    pub fn consumed(&self) -> usize {
        self.consumed
    }

    /// What it was read from: the pickle, and whatever follows it.
    pub fn source(&self) -> &Bytes {
        &self.source
    }

    /// The out-of-band buffers it was read with.
    pub fn buffers(&self) -> &[Bytes] {
        &self.buffers
    }

    pub(crate) fn span<'t>(&'t self, span: &'t Span) -> &'t [u8] {
        match span {
            Span::Source { start, end } => self.source.get(*start..*end).unwrap_or_default(),
            Span::Owned(bytes) => bytes,
        }
    }

    pub(crate) fn span_bytes(&self, span: &Span) -> Bytes {
        match span {
            Span::Source { start, end } if self.source.get(*start..*end).is_some() => {
                self.source.slice(*start..*end)
            }
            Span::Source { .. } => Bytes::new(),
            Span::Owned(bytes) => Bytes::copy_from_slice(bytes),
        }
    }
}
