//! The opcode writer: append-only, protocol 4.

use std::collections::HashMap;

use num_bigint::BigInt;

use crate::op;

/// Writes one pickle of protocol 4, opcode by opcode.
///
/// The methods mirror the opcodes and do not check the stack: whoever calls them keeps it balanced.
/// Names of importable objects are memoized, so a name used often costs two bytes after its first use.
///
/// ```
/// let mut pickler = dask_pickle::Pickler::new();
/// pickler.global("operator", "add").int(1).int(2).tuple2().reduce();
/// let pickle = pickler.finish();
/// assert_eq!(pickle.last(), Some(&b'.'));
/// ```
#[derive(Debug, Clone)]
pub struct Pickler {
    code: Vec<u8>,
    globals: HashMap<(Box<str>, Box<str>), u32>,
    strings: HashMap<Box<str>, u32>,
    bytes: HashMap<Box<[u8]>, u32>,
    memo: u32,
}

impl Default for Pickler {
    fn default() -> Self {
        Self::new()
    }
}

macro_rules! opcodes {
    ($($(#[$doc:meta])* $name:ident => $op:ident;)*) => {$(
        $(#[$doc])*
        pub fn $name(&mut self) -> &mut Self {
            self.code.push(op::$op);
            self
        }
    )*};
}

impl Pickler {
    /// Starts a pickle.
    pub fn new() -> Self {
        Self {
            code: vec![op::PROTO, 4],
            globals: HashMap::new(),
            strings: HashMap::new(),
            bytes: HashMap::new(),
            memo: 0,
        }
    }

    /// Ends the pickle: the one object left on the stack is its value.
    pub fn finish(mut self) -> Vec<u8> {
        self.code.push(op::STOP);
        self.code
    }

    /// Bytes written so far.
    pub fn written(&self) -> usize {
        self.code.len()
    }

    opcodes! {
        /// Pushes `None`.
        none => NONE;
        /// Marks the start of a run of items.
        mark => MARK;
        /// Makes a tuple of everything since the mark.
        tuple_from_mark => TUPLE;
        /// Pushes `()`.
        empty_tuple => EMPTY_TUPLE;
        /// Makes a tuple of the top item.
        tuple1 => TUPLE1;
        /// Makes a tuple of the top two items.
        tuple2 => TUPLE2;
        /// Makes a tuple of the top three items.
        tuple3 => TUPLE3;
        /// Pushes `[]`.
        empty_list => EMPTY_LIST;
        /// Appends everything since the mark to the list below it.
        appends_from_mark => APPENDS;
        /// Appends the top item to the list below it.
        append => APPEND;
        /// Pushes `{}`.
        empty_dict => EMPTY_DICT;
        /// Sets the keys and values since the mark in the dict below it.
        setitems_from_mark => SETITEMS;
        /// Sets the top value under the key below it in the dict below both.
        setitem => SETITEM;
        /// Pushes `set()`.
        empty_set => EMPTY_SET;
        /// Adds everything since the mark to the set below it.
        additems_from_mark => ADDITEMS;
        /// Makes a frozenset of everything since the mark.
        frozenset_from_mark => FROZENSET;
        /// Calls the callable below the tuple of arguments on top.
        reduce => REDUCE;
        /// Applies the state on top to the object below it.
        build => BUILD;
        /// Replaces the persistent id on top by what the reader has for it.
        persistent => BINPERSID;
        /// Makes `cls.__new__(cls, *args)` of a class and a tuple of arguments.
        newobj => NEWOBJ;
        /// Makes `cls.__new__(cls, *args, **kwargs)` of a class, a tuple and a dict.
        newobj_ex => NEWOBJ_EX;
    }

    /// Pushes a bool.
    pub fn bool(&mut self, value: bool) -> &mut Self {
        op::put_bool(&mut self.code, value);
        self
    }

    /// Pushes an int.
    pub fn int(&mut self, value: i64) -> &mut Self {
        op::put_int(&mut self.code, value);
        self
    }

    /// Pushes an int of up to 128 bits.
    pub fn int128(&mut self, value: i128) -> &mut Self {
        match i64::try_from(value) {
            Ok(small) => op::put_int(&mut self.code, small),
            Err(_) => op::put_long(&mut self.code, &value.to_le_bytes()),
        }
        self
    }

    /// Pushes an int of any size.
    pub fn bigint(&mut self, value: &BigInt) -> &mut Self {
        match i64::try_from(value) {
            Ok(small) => op::put_int(&mut self.code, small),
            Err(_) => op::put_long(&mut self.code, &value.to_signed_bytes_le()),
        }
        self
    }

    /// Pushes a float.
    pub fn float(&mut self, value: f64) -> &mut Self {
        op::put_float(&mut self.code, value);
        self
    }

    /// Pushes a str.
    pub fn str(&mut self, value: &str) -> &mut Self {
        op::put_str(&mut self.code, value.as_bytes());
        self
    }

    /// Pushes a str and remembers it: its second and later uses take two to five bytes. For dict keys.
    pub fn str_memo(&mut self, value: &str) -> &mut Self {
        if let Some(&index) = self.strings.get(value) {
            return self.get(index);
        }
        self.str(value);
        let index = self.memoize();
        self.strings.insert(value.into(), index);
        self
    }

    /// Pushes a str from UTF-8 that may contain lone surrogates (what Python's `surrogatepass` writes).
    pub fn str_surrogate(&mut self, bytes: &[u8]) -> &mut Self {
        op::put_str(&mut self.code, bytes);
        self
    }

    /// Pushes bytes.
    pub fn bytes(&mut self, value: &[u8]) -> &mut Self {
        op::put_bytes(&mut self.code, value);
        self
    }

    /// Pushes bytes and remembers them: their second and later uses take two to five bytes.
    pub fn bytes_memo(&mut self, value: &[u8]) -> &mut Self {
        if let Some(&index) = self.bytes.get(value) {
            return self.get(index);
        }
        self.bytes(value);
        let index = self.memoize();
        self.bytes.insert(value.into(), index);
        self
    }

    /// Pushes a bytearray (as a call, since its opcode is of protocol 5).
    pub fn byte_array(&mut self, value: &[u8]) -> &mut Self {
        self.global("builtins", "bytearray").bytes(value).tuple1().reduce()
    }

    /// Pushes an importable object. `qualname` may be dotted (`Class.method`).
    pub fn global(&mut self, module: &str, qualname: &str) -> &mut Self {
        let name: (Box<str>, Box<str>) = (module.into(), qualname.into());
        if let Some(&index) = self.globals.get(&name) {
            return self.get(index);
        }
        self.str_memo(module).str(qualname);
        self.code.push(op::STACK_GLOBAL);
        let index = self.memoize();
        self.globals.insert(name, index);
        self
    }

    /// Appends code that uses no memo.
    pub(crate) fn fragment(&mut self, code: &[u8]) {
        self.code.extend_from_slice(code);
    }

    fn memoize(&mut self) -> u32 {
        self.code.push(op::MEMOIZE);
        let index = self.memo;
        self.memo = self.memo.saturating_add(1);
        index
    }

    fn get(&mut self, index: u32) -> &mut Self {
        match u8::try_from(index) {
            Ok(small) => self.code.extend_from_slice(&[op::BINGET, small]),
            Err(_) => {
                self.code.push(op::LONG_BINGET);
                self.code.extend_from_slice(&index.to_le_bytes());
            }
        }
        self
    }
}
