//! What a pickle holds, as a flat arena of nodes.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;

use bytes::Bytes;
use num_bigint::BigInt;
use serde::de::value::UnitDeserializer;
use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer};

use crate::budget::Budget;
use crate::view::View;
use crate::{Error, Limits, magic};

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

impl Node {
    /// The same node with other ids in it.
    fn mapped(&self, to: &mut impl FnMut(NodeId) -> NodeId) -> Self {
        let mut all = |ids: &[NodeId]| ids.iter().map(|id| to(*id)).collect::<Vec<_>>();
        match self {
            Node::List(ids) => Node::List(all(ids)),
            Node::Tuple(ids) => Node::Tuple(all(ids).into()),
            Node::Set(ids) => Node::Set(all(ids)),
            Node::FrozenSet(ids) => Node::FrozenSet(all(ids).into()),
            Node::Dict(pairs) => {
                Node::Dict(pairs.iter().map(|(key, value)| (to(*key), to(*value))).collect())
            }
            Node::Global(module, name) => Node::Global(to(*module), to(*name)),
            Node::Persistent(id) => Node::Persistent(to(*id)),
            Node::Object(object) => Node::Object(Box::new(Object {
                how: object.how,
                callable: to(object.callable),
                args: to(object.args),
                kwargs: object.kwargs.map(&mut *to),
                state: object.state.map(&mut *to),
                items: object.items.iter().map(|id| to(*id)).collect(),
                pairs: object.pairs.iter().map(|(key, value)| (to(*key), to(*value))).collect(),
            })),
            leaf => leaf.clone(),
        }
    }

    /// What a copy of it costs, in items.
    fn cost(&self) -> usize {
        let entries = match self {
            Node::List(ids) | Node::Set(ids) => ids.len(),
            Node::Tuple(ids) | Node::FrozenSet(ids) => ids.len(),
            Node::Dict(pairs) => pairs.len().saturating_mul(2),
            Node::Object(object) => object.items.len().saturating_add(object.pairs.len().saturating_mul(2)),
            Node::Str(Span::Owned(bytes))
            | Node::Surrogates(Span::Owned(bytes))
            | Node::Bytes(Span::Owned(bytes))
            | Node::ByteArray(Span::Owned(bytes)) => bytes.len() / 64,
            Node::BigInt(value) => usize::try_from(value.bits() / 512).unwrap_or(usize::MAX),
            _ => 0,
        };
        entries.saturating_add(1)
    }
}

/// Everything one pickle holds.
///
/// Nodes lie in one arena and refer to each other by index: a value used twice is stored once, cycles are possible,
/// and neither reading nor dropping a tree recurses. Strings and bytes are slices of the source.
///
/// As a part of a type that a pickle is converted to, a `Tree` takes whatever stands there as it is, sharing the memory
/// of the whole (of which its source and limits are). No other serde format holds one.
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

/// A node and all that it is made of, as a tree of its own. Costs a copy of the nodes; strings, bytes and buffers are
/// shared.
pub(crate) fn subtree(view: View<'_>, budget: &Budget) -> Result<Tree, Error> {
    let mut queue = vec![view.id];
    let mut ids = HashMap::from([(view.id, NodeId(0))]);
    let mut nodes = Vec::new();
    let mut buffers = Vec::new();
    while let Some(node) = queue.get(nodes.len()).and_then(|id| view.tree.nodes.get(id.0 as usize)) {
        budget.spend_items(node.cost())?;
        nodes.push(match node {
            Node::Buffer { index, readonly } => {
                let buffer = view.tree.buffers.get(*index as usize).cloned().unwrap_or_default();
                buffers.push(buffer);
                let index = u32::try_from(buffers.len() - 1).unwrap_or(u32::MAX);
                Node::Buffer { index, readonly: *readonly }
            }
            node => node.mapped(&mut |id| {
                *ids.entry(id).or_insert_with(|| {
                    queue.push(id);
                    NodeId(u32::try_from(queue.len() - 1).unwrap_or(u32::MAX))
                })
            }),
        });
    }
    let Tree { source, limits, consumed, .. } = view.tree;
    Ok(Tree { nodes, root: NodeId(0), source: source.clone(), buffers, limits: *limits, consumed: *consumed })
}

thread_local! {
    /// A tree on its way through a visitor, which has no method that takes one.
    static HANDED: RefCell<Option<Tree>> = const { RefCell::new(None) };
}

/// Gives a tree to the visitor of [`Tree`].
pub(crate) fn hand_over<'de, V: Visitor<'de>>(tree: Tree, visitor: V) -> Result<V::Value, Error> {
    HANDED.with(|slot| slot.replace(Some(tree)));
    let result = visitor.visit_newtype_struct(UnitDeserializer::new());
    HANDED.with(RefCell::take);
    result
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TreeVisitor;
        impl<'de> Visitor<'de> for TreeVisitor {
            type Value = Tree;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a part of a pickle")
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, _: D) -> Result<Tree, D::Error> {
                HANDED.with(RefCell::take).ok_or_else(|| D::Error::custom("only pickles have such parts"))
            }
        }
        deserializer.deserialize_newtype_struct(magic::TREE, TreeVisitor)
    }
}
