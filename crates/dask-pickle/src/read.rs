//! The reader: a stack machine that builds nodes and runs nothing.

use std::collections::HashMap;

use bytes::Bytes;
use num_bigint::BigInt;

use crate::tree::{How, Node, NodeId, Object, Span, Tree};
use crate::{Error, Limits, op, text};

/// Reads a pickle of any protocol, with the out-of-band buffers that belong to it.
///
/// Nothing is imported or run: names and calls become nodes. Bytes after the end of the pickle are ignored, as
/// Python does; [`Tree::consumed`] says where it ended.
///
/// ```
/// # fn main() -> Result<(), dask_pickle::Error> {
/// let tree = dask_pickle::read(&b"\x80\x04]\x94(K\x01\x8c\x01ae."[..], Vec::new(), &Default::default())?;
/// let items: Vec<_> = tree.root().items().collect();
/// assert_eq!(items[0].as_i64(), Some(1));
/// assert_eq!(items[1].as_str(), Some("a"));
/// # Ok(())
/// # }
/// ```
pub fn read(pickle: impl Into<Bytes>, buffers: Vec<Bytes>, limits: &Limits) -> Result<Tree, Error> {
    let source = pickle.into();
    let mut machine = Machine {
        data: &source,
        at: 0,
        offset: 0,
        opcode: op::PROTO,
        nodes: vec![Node::None, Node::Bool(false), Node::Bool(true)],
        stack: Vec::new(),
        marks: Vec::new(),
        memo: Memo::default(),
        made: 0,
        next_buffer: 0,
        buffers: buffers.len(),
        limits,
    };
    if machine.data.len() > limits.bytes {
        return Err(machine.limit("bytes", limits.bytes));
    }
    let root = machine.run()?;
    let (nodes, consumed) = (machine.nodes, machine.at);
    Ok(Tree { nodes, root, source, buffers, limits: *limits, consumed })
}

const NONE: NodeId = NodeId(0);
const FALSE: NodeId = NodeId(1);
const TRUE: NodeId = NodeId(2);

/// Memo entries: nearly always numbered from zero without gaps.
#[derive(Default)]
struct Memo {
    dense: Vec<NodeId>,
    sparse: HashMap<u64, NodeId>,
}

impl Memo {
    fn len(&self) -> usize {
        self.dense.len() + self.sparse.len()
    }

    fn put(&mut self, index: u64, id: NodeId) {
        let slot = usize::try_from(index).unwrap_or(usize::MAX);
        if let Some(entry) = self.dense.get_mut(slot) {
            *entry = id;
        } else if slot == self.dense.len() {
            self.dense.push(id);
            if !self.sparse.is_empty() {
                self.sparse.remove(&index);
            }
        } else {
            self.sparse.insert(index, id);
        }
    }

    fn get(&self, index: u64) -> Option<NodeId> {
        let dense = usize::try_from(index).ok().and_then(|slot| self.dense.get(slot));
        dense.or_else(|| self.sparse.get(&index)).copied()
    }
}

struct Machine<'a> {
    data: &'a [u8],
    at: usize,
    /// Where the current opcode stands, and which it is.
    offset: usize,
    opcode: u8,
    nodes: Vec<Node>,
    stack: Vec<NodeId>,
    marks: Vec<usize>,
    memo: Memo,
    /// Nodes and container entries made so far.
    made: usize,
    next_buffer: usize,
    buffers: usize,
    limits: &'a Limits,
}

impl Machine<'_> {
    fn malformed(&self, expected: &'static str) -> Error {
        Error::Malformed { offset: self.offset, opcode: op::name(self.opcode), expected }
    }

    fn unsupported(&self, reason: &'static str) -> Error {
        Error::Unsupported { offset: self.offset, opcode: op::name(self.opcode), reason }
    }

    fn limit(&self, what: &'static str, limit: usize) -> Error {
        Error::Limit { offset: self.offset, opcode: op::name(self.opcode), what, limit }
    }

    fn count(&mut self, more: usize) -> Result<(), Error> {
        self.made = self.made.saturating_add(more);
        if self.made > self.limits.items {
            return Err(self.limit("items", self.limits.items));
        }
        Ok(())
    }

    /// The next `len` bytes, as a place in the source.
    fn take(&mut self, len: u64) -> Result<(usize, usize), Error> {
        let left = self.data.len() - self.at;
        match usize::try_from(len) {
            Ok(len) if len <= left => {
                let start = self.at;
                self.at += len;
                Ok((start, self.at))
            }
            _ => {
                let opcode = op::name(self.opcode);
                Err(Error::Truncated { offset: self.offset, opcode, needed: len, left })
            }
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (start, end) = self.take(N as u64)?;
        let bytes = self.data.get(start..end).and_then(|bytes| bytes.try_into().ok());
        bytes.ok_or_else(|| self.malformed("more bytes"))
    }

    fn u8(&mut self) -> Result<u64, Error> {
        self.array::<1>().map(|[byte]| u64::from(byte))
    }

    fn u32(&mut self) -> Result<u64, Error> {
        self.array().map(|bytes| u64::from(u32::from_le_bytes(bytes)))
    }

    fn u64(&mut self) -> Result<u64, Error> {
        self.array().map(u64::from_le_bytes)
    }

    /// A length that old protocols write signed.
    fn signed_len(&mut self) -> Result<u64, Error> {
        let len = i32::from_le_bytes(self.array()?);
        u64::try_from(len).map_err(|_| self.malformed("a length that is not negative"))
    }

    fn span(&mut self, len: u64) -> Result<Span, Error> {
        let (start, end) = self.take(len)?;
        Ok(Span::Source { start, end })
    }

    fn line_span(&mut self) -> Result<(usize, usize), Error> {
        let rest = self.data.get(self.at..).unwrap_or_default();
        let Some(len) = rest.iter().position(|byte| *byte == b'\n') else {
            return Err(self.malformed("a line that ends"));
        };
        let start = self.at;
        self.at += len + 1;
        Ok((start, start + len))
    }

    fn bytes(&self, place: (usize, usize)) -> &[u8] {
        self.data.get(place.0..place.1).unwrap_or_default()
    }

    fn span_bytes<'s>(&'s self, span: &'s Span) -> &'s [u8] {
        match span {
            Span::Source { start, end } => self.bytes((*start, *end)),
            Span::Owned(bytes) => bytes,
        }
    }

    fn add(&mut self, node: Node) -> Result<NodeId, Error> {
        self.count(1)?;
        let Ok(id) = u32::try_from(self.nodes.len()) else {
            return Err(self.limit("nodes", u32::MAX as usize));
        };
        self.nodes.push(node);
        Ok(NodeId(id))
    }

    fn push(&mut self, node: Node) -> Result<(), Error> {
        let id = self.add(node)?;
        self.push_id(id)
    }

    fn push_id(&mut self, id: NodeId) -> Result<(), Error> {
        self.count(1)?;
        self.stack.push(id);
        Ok(())
    }

    fn fence(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<NodeId, Error> {
        match self.stack.last() {
            Some(id) if self.stack.len() > self.fence() => Ok(*id),
            _ => Err(self.malformed("something on the stack")),
        }
    }

    fn pop(&mut self) -> Result<NodeId, Error> {
        let id = self.top()?;
        self.stack.pop();
        Ok(id)
    }

    /// Where on the stack the items since the mark begin. The mark is gone then.
    fn since_mark(&mut self) -> Result<usize, Error> {
        match self.marks.pop() {
            Some(mark) if mark <= self.stack.len() => {
                self.count(self.stack.len() - mark)?;
                Ok(mark)
            }
            _ => Err(self.malformed("a mark on the stack")),
        }
    }

    /// Where on the stack the last items begin.
    fn last(&self, items: usize) -> Result<usize, Error> {
        let from = self.stack.len().checked_sub(items).filter(|from| *from >= self.fence());
        from.ok_or_else(|| self.malformed("something on the stack"))
    }

    /// Everything since the mark.
    fn pop_mark(&mut self) -> Result<Vec<NodeId>, Error> {
        let mark = self.since_mark()?;
        Ok(self.stack.split_off(mark))
    }

    /// What lies on the stack below this place.
    fn below(&self, from: usize) -> Result<NodeId, Error> {
        let below = if from > self.fence() { self.stack.get(from - 1) } else { None };
        below.copied().ok_or_else(|| self.malformed("something on the stack"))
    }

    fn node(&self, id: NodeId) -> &Node {
        self.nodes.get(id.0 as usize).unwrap_or(&Node::None)
    }

    /// Moves the stack's items from this place on into the list or object below.
    fn append(&mut self, from: usize) -> Result<(), Error> {
        let target = self.below(from)?;
        let items = self.stack.get(from..).unwrap_or_default();
        match self.nodes.get_mut(target.0 as usize) {
            Some(Node::List(list)) => list.extend_from_slice(items),
            Some(Node::Object(object)) => object.items.extend_from_slice(items),
            _ => return Err(self.malformed("a list or an object below the items")),
        }
        self.stack.truncate(from);
        Ok(())
    }

    /// Moves the stack's items from this place on into the set or object below.
    fn add_to_set(&mut self, from: usize) -> Result<(), Error> {
        let target = self.below(from)?;
        let items = self.stack.get(from..).unwrap_or_default();
        match self.nodes.get_mut(target.0 as usize) {
            Some(Node::Set(set)) => set.extend_from_slice(items),
            Some(Node::Object(object)) => object.items.extend_from_slice(items),
            _ => return Err(self.malformed("a set or an object below the items")),
        }
        self.stack.truncate(from);
        Ok(())
    }

    /// Moves the stack's items from this place on, keys and values in turns, into the dict or object below.
    fn set_pairs(&mut self, from: usize) -> Result<(), Error> {
        let target = self.below(from)?;
        let (pairs, rest) = self.stack.get(from..).unwrap_or_default().as_chunks::<2>();
        if !rest.is_empty() {
            return Err(self.malformed("a value for every key"));
        }
        let pairs = pairs.iter().map(|[key, value]| (*key, *value));
        match self.nodes.get_mut(target.0 as usize) {
            Some(Node::Dict(dict)) => dict.extend(pairs),
            Some(Node::Object(object)) => object.pairs.extend(pairs),
            _ => return Err(self.malformed("a dict or an object below the pairs")),
        }
        self.stack.truncate(from);
        Ok(())
    }

    fn build(&mut self) -> Result<(), Error> {
        let state = self.pop()?;
        let target = self.top()?;
        match self.nodes.get_mut(target.0 as usize) {
            Some(Node::Object(object)) => object.state = Some(state),
            _ => return Err(self.malformed("an object below the state")),
        }
        Ok(())
    }

    fn object(&mut self, how: How, with_kwargs: bool) -> Result<(), Error> {
        let kwargs = if with_kwargs { Some(self.pop()?) } else { None };
        let args = self.pop()?;
        let callable = self.pop()?;
        if !matches!(self.node(args), Node::Tuple(_) | Node::Object(_)) {
            return Err(self.malformed("a tuple of arguments"));
        }
        if kwargs.is_some_and(|id| !matches!(self.node(id), Node::Dict(_))) {
            return Err(self.malformed("a dict of keyword arguments"));
        }
        self.push_object(how, callable, args, kwargs)
    }

    fn push_object(
        &mut self,
        how: How,
        callable: NodeId,
        args: NodeId,
        kwargs: Option<NodeId>,
    ) -> Result<(), Error> {
        let (items, pairs) = (Vec::new(), Vec::new());
        self.push(Node::Object(Box::new(Object { how, callable, args, kwargs, state: None, items, pairs })))
    }

    /// A global from two lines.
    fn global(&mut self) -> Result<NodeId, Error> {
        let module = self.line_span()?;
        let name = self.line_span()?;
        for place in [module, name] {
            if std::str::from_utf8(self.bytes(place)).is_err() {
                return Err(self.malformed("names in UTF-8"));
            }
        }
        let [module, name] = [module, name].map(|(start, end)| Node::Str(Span::Source { start, end }));
        let module = self.add(module)?;
        let name = self.add(name)?;
        self.add(Node::Global(module, name))
    }

    fn stack_global(&mut self) -> Result<(), Error> {
        let name = self.pop()?;
        let module = self.pop()?;
        match (self.node(module), self.node(name)) {
            (Node::Str(_), Node::Str(_)) => self.push(Node::Global(module, name)),
            _ => Err(self.malformed("two str")),
        }
    }

    fn push_int(&mut self, value: i64) -> Result<(), Error> {
        self.push(Node::Int(value))
    }

    fn push_long(&mut self, len: u64) -> Result<(), Error> {
        let place = self.take(len)?;
        let value = BigInt::from_signed_bytes_le(self.bytes(place));
        self.push_bigint(value)
    }

    fn push_bigint(&mut self, value: BigInt) -> Result<(), Error> {
        match i64::try_from(&value) {
            Ok(small) => self.push_int(small),
            Err(_) => self.push(Node::BigInt(Box::new(value))),
        }
    }

    /// A decimal integer on a line of its own.
    fn push_decimal(&mut self, long: bool) -> Result<(), Error> {
        let place = self.line_span()?;
        let mut digits = self.bytes(place).trim_ascii();
        if long {
            digits = digits.strip_suffix(b"L").unwrap_or(digits);
        } else if digits == b"00" || digits == b"01" {
            return self.push_id(if digits == b"01" { TRUE } else { FALSE });
        }
        if digits.len() > self.limits.digits {
            return Err(self.limit("digits", self.limits.digits));
        }
        let parsed: Option<BigInt> = std::str::from_utf8(digits)
            .ok()
            .filter(|digits| !digits.contains('_'))
            .and_then(|digits| digits.parse().ok());
        let Some(value) = parsed else { return Err(self.malformed("a decimal integer")) };
        self.push_bigint(value)
    }

    fn push_float_line(&mut self) -> Result<(), Error> {
        let place = self.line_span()?;
        let text = std::str::from_utf8(self.bytes(place).trim_ascii()).ok();
        let Some(value) = text.and_then(|text| text.parse().ok()) else {
            return Err(self.malformed("a decimal number"));
        };
        self.push(Node::Float(value))
    }

    fn push_unicode(&mut self, span: Span) -> Result<(), Error> {
        let bytes = self.span_bytes(&span);
        if std::str::from_utf8(bytes).is_ok() {
            self.push(Node::Str(span))
        } else if text::is_surrogate_utf8(bytes) {
            self.push(Node::Surrogates(span))
        } else {
            Err(self.malformed("a str in UTF-8"))
        }
    }

    /// A str of Python 2: text if it is ASCII, else bytes.
    fn push_old_str(&mut self, span: Span) -> Result<(), Error> {
        if self.span_bytes(&span).is_ascii() {
            self.push(Node::Str(span))
        } else {
            self.push(Node::Bytes(span))
        }
    }

    fn memo_index(&mut self) -> Result<u64, Error> {
        let place = self.line_span()?;
        let digits = std::str::from_utf8(self.bytes(place).trim_ascii()).ok();
        digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| self.malformed("a memo index"))
    }

    fn memo_put(&mut self, index: u64) -> Result<(), Error> {
        let id = self.top()?;
        if self.memo.len() >= self.limits.memo {
            return Err(self.limit("memo entries", self.limits.memo));
        }
        self.memo.put(index, id);
        Ok(())
    }

    fn memo_get(&mut self, index: u64) -> Result<(), Error> {
        match self.memo.get(index) {
            Some(id) => self.push_id(id),
            None => Err(self.malformed("a memo entry that was made before")),
        }
    }

    fn tuple_of<const N: usize>(&mut self) -> Result<(), Error> {
        let mut items = [NONE; N];
        for slot in items.iter_mut().rev() {
            *slot = self.pop()?;
        }
        self.count(N)?;
        self.push(Node::Tuple(Box::new(items)))
    }

    fn run(&mut self) -> Result<NodeId, Error> {
        loop {
            self.offset = self.at;
            let Some(&byte) = self.data.get(self.at) else {
                return Err(Error::Truncated { offset: self.at, opcode: "STOP", needed: 1, left: 0 });
            };
            self.at += 1;
            self.opcode = byte;
            if byte == op::STOP {
                return self.pop();
            }
            self.step(byte)?;
        }
    }

    fn step(&mut self, byte: u8) -> Result<(), Error> {
        match byte {
            op::PROTO => {
                if self.u8()? > 5 {
                    return Err(self.unsupported("the protocol is newer than 5"));
                }
                Ok(())
            }
            op::FRAME => {
                let len = self.u64()?;
                let at = self.at;
                self.take(len)?;
                self.at = at;
                Ok(())
            }
            op::NONE => self.push_id(NONE),
            op::NEWTRUE => self.push_id(TRUE),
            op::NEWFALSE => self.push_id(FALSE),
            op::BININT1 => {
                let [byte] = self.array()?;
                self.push_int(i64::from(byte))
            }
            op::BININT2 => {
                let value = u16::from_le_bytes(self.array()?);
                self.push_int(i64::from(value))
            }
            op::BININT => {
                let value = i32::from_le_bytes(self.array()?);
                self.push_int(i64::from(value))
            }
            op::LONG1 => {
                let len = self.u8()?;
                self.push_long(len)
            }
            op::LONG4 => {
                let len = self.signed_len()?;
                self.push_long(len)
            }
            op::INT => self.push_decimal(false),
            op::LONG => self.push_decimal(true),
            op::FLOAT => self.push_float_line(),
            op::BINFLOAT => {
                let value = f64::from_be_bytes(self.array()?);
                self.push(Node::Float(value))
            }
            op::SHORT_BINUNICODE | op::BINUNICODE | op::BINUNICODE8 => {
                let len = match byte {
                    op::SHORT_BINUNICODE => self.u8()?,
                    op::BINUNICODE => self.u32()?,
                    _ => self.u64()?,
                };
                let span = self.span(len)?;
                self.push_unicode(span)
            }
            op::SHORT_BINBYTES | op::BINBYTES | op::BINBYTES8 => {
                let len = match byte {
                    op::SHORT_BINBYTES => self.u8()?,
                    op::BINBYTES => self.u32()?,
                    _ => self.u64()?,
                };
                let span = self.span(len)?;
                self.push(Node::Bytes(span))
            }
            op::BYTEARRAY8 => {
                let len = self.u64()?;
                let span = self.span(len)?;
                self.push(Node::ByteArray(span))
            }
            op::SHORT_BINSTRING | op::BINSTRING => {
                let len = if byte == op::BINSTRING { self.signed_len()? } else { self.u8()? };
                let span = self.span(len)?;
                self.push_old_str(span)
            }
            op::STRING => {
                let place = self.line_span()?;
                let Some(decoded) = text::quoted(self.bytes(place)) else {
                    return Err(self.malformed("a quoted str"));
                };
                self.push_old_str(Span::Owned(decoded.into()))
            }
            op::UNICODE => {
                let place = self.line_span()?;
                let Some(decoded) = text::raw_unicode_escape(self.bytes(place)) else {
                    return Err(self.malformed("a raw-unicode-escape str"));
                };
                self.push_unicode(Span::Owned(decoded.into()))
            }
            op::EMPTY_LIST => self.push(Node::List(Vec::new())),
            op::EMPTY_DICT => self.push(Node::Dict(Vec::new())),
            op::EMPTY_SET => self.push(Node::Set(Vec::new())),
            op::EMPTY_TUPLE => self.push(Node::Tuple(Box::default())),
            op::TUPLE1 => self.tuple_of::<1>(),
            op::TUPLE2 => self.tuple_of::<2>(),
            op::TUPLE3 => self.tuple_of::<3>(),
            op::TUPLE => {
                let items = self.pop_mark()?;
                self.push(Node::Tuple(items.into()))
            }
            op::LIST => {
                let items = self.pop_mark()?;
                self.push(Node::List(items))
            }
            op::FROZENSET => {
                let items = self.pop_mark()?;
                self.push(Node::FrozenSet(items.into()))
            }
            op::DICT => {
                let items = self.pop_mark()?;
                let (pairs, rest) = items.as_chunks::<2>();
                if !rest.is_empty() {
                    return Err(self.malformed("a value for every key"));
                }
                self.push(Node::Dict(pairs.iter().map(|[key, value]| (*key, *value)).collect()))
            }
            op::APPEND => {
                self.count(1)?;
                self.append(self.last(1)?)
            }
            op::APPENDS => {
                let from = self.since_mark()?;
                self.append(from)
            }
            op::ADDITEMS => {
                let from = self.since_mark()?;
                self.add_to_set(from)
            }
            op::SETITEM => {
                self.count(1)?;
                self.set_pairs(self.last(2)?)
            }
            op::SETITEMS => {
                let from = self.since_mark()?;
                self.set_pairs(from)
            }
            op::BUILD => self.build(),
            _ => self.step_rare(byte),
        }
    }

    fn step_rare(&mut self, byte: u8) -> Result<(), Error> {
        match byte {
            op::MARK => {
                self.count(1)?;
                self.marks.push(self.stack.len());
                Ok(())
            }
            op::POP => {
                if self.marks.last() == Some(&self.stack.len()) {
                    self.marks.pop();
                    return Ok(());
                }
                self.pop().map(drop)
            }
            op::POP_MARK => self.pop_mark().map(drop),
            op::DUP => {
                let id = self.top()?;
                self.push_id(id)
            }
            op::MEMOIZE => self.memo_put(self.memo.len() as u64),
            op::BINPUT => {
                let index = self.u8()?;
                self.memo_put(index)
            }
            op::LONG_BINPUT => {
                let index = self.u32()?;
                self.memo_put(index)
            }
            op::PUT => {
                let index = self.memo_index()?;
                self.memo_put(index)
            }
            op::BINGET => {
                let index = self.u8()?;
                self.memo_get(index)
            }
            op::LONG_BINGET => {
                let index = self.u32()?;
                self.memo_get(index)
            }
            op::GET => {
                let index = self.memo_index()?;
                self.memo_get(index)
            }
            op::GLOBAL => {
                let id = self.global()?;
                self.push_id(id)
            }
            op::STACK_GLOBAL => self.stack_global(),
            op::REDUCE => self.object(How::Reduce, false),
            op::NEWOBJ => self.object(How::New, false),
            op::NEWOBJ_EX => self.object(How::New, true),
            op::INST => {
                let class = self.global()?;
                let args = self.pop_mark()?;
                let args = self.add(Node::Tuple(args.into()))?;
                self.push_object(How::Inst, class, args, None)
            }
            op::OBJ => {
                let items = self.pop_mark()?;
                let Some((class, args)) = items.split_first() else {
                    return Err(self.malformed("a class after the mark"));
                };
                let args = self.add(Node::Tuple(args.into()))?;
                self.push_object(How::Inst, *class, args, None)
            }
            op::PERSID => {
                let (start, end) = self.line_span()?;
                if !self.bytes((start, end)).is_ascii() {
                    return Err(self.malformed("an ASCII id"));
                }
                let id = self.add(Node::Str(Span::Source { start, end }))?;
                self.push(Node::Persistent(id))
            }
            op::BINPERSID => {
                let id = self.pop()?;
                self.push(Node::Persistent(id))
            }
            op::NEXT_BUFFER => {
                let index = self.next_buffer;
                let (true, Ok(small)) = (index < self.buffers, u32::try_from(index)) else {
                    return Err(Error::Buffer { index, given: self.buffers });
                };
                self.next_buffer += 1;
                self.push(Node::Buffer { index: small, readonly: false })
            }
            op::READONLY_BUFFER => {
                let top = self.pop()?;
                match self.node(top) {
                    Node::Buffer { index, .. } => {
                        let index = *index;
                        self.push(Node::Buffer { index, readonly: true })
                    }
                    Node::Bytes(_) => self.push_id(top),
                    _ => Err(self.malformed("a buffer")),
                }
            }
            op::EXT1 | op::EXT2 | op::EXT4 => {
                Err(self
                    .unsupported("extension codes have a meaning only in the process that registered them"))
            }
            byte => Err(Error::Opcode { offset: self.offset, byte }),
        }
    }
}
