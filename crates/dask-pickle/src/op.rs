//! Opcode bytes of the pickle language, and the encoders that need no state.

pub(crate) const MARK: u8 = b'(';
pub(crate) const STOP: u8 = b'.';
pub(crate) const POP: u8 = b'0';
pub(crate) const POP_MARK: u8 = b'1';
pub(crate) const DUP: u8 = b'2';
pub(crate) const FLOAT: u8 = b'F';
pub(crate) const INT: u8 = b'I';
pub(crate) const BININT: u8 = b'J';
pub(crate) const BININT1: u8 = b'K';
pub(crate) const LONG: u8 = b'L';
pub(crate) const BININT2: u8 = b'M';
pub(crate) const NONE: u8 = b'N';
pub(crate) const PERSID: u8 = b'P';
pub(crate) const BINPERSID: u8 = b'Q';
pub(crate) const REDUCE: u8 = b'R';
pub(crate) const STRING: u8 = b'S';
pub(crate) const BINSTRING: u8 = b'T';
pub(crate) const SHORT_BINSTRING: u8 = b'U';
pub(crate) const UNICODE: u8 = b'V';
pub(crate) const BINUNICODE: u8 = b'X';
pub(crate) const APPEND: u8 = b'a';
pub(crate) const BUILD: u8 = b'b';
pub(crate) const GLOBAL: u8 = b'c';
pub(crate) const DICT: u8 = b'd';
pub(crate) const EMPTY_DICT: u8 = b'}';
pub(crate) const APPENDS: u8 = b'e';
pub(crate) const GET: u8 = b'g';
pub(crate) const BINGET: u8 = b'h';
pub(crate) const INST: u8 = b'i';
pub(crate) const LONG_BINGET: u8 = b'j';
pub(crate) const LIST: u8 = b'l';
pub(crate) const EMPTY_LIST: u8 = b']';
pub(crate) const OBJ: u8 = b'o';
pub(crate) const PUT: u8 = b'p';
pub(crate) const BINPUT: u8 = b'q';
pub(crate) const LONG_BINPUT: u8 = b'r';
pub(crate) const SETITEM: u8 = b's';
pub(crate) const TUPLE: u8 = b't';
pub(crate) const EMPTY_TUPLE: u8 = b')';
pub(crate) const SETITEMS: u8 = b'u';
pub(crate) const BINFLOAT: u8 = b'G';
pub(crate) const PROTO: u8 = 0x80;
pub(crate) const NEWOBJ: u8 = 0x81;
pub(crate) const EXT1: u8 = 0x82;
pub(crate) const EXT2: u8 = 0x83;
pub(crate) const EXT4: u8 = 0x84;
pub(crate) const TUPLE1: u8 = 0x85;
pub(crate) const TUPLE2: u8 = 0x86;
pub(crate) const TUPLE3: u8 = 0x87;
pub(crate) const NEWTRUE: u8 = 0x88;
pub(crate) const NEWFALSE: u8 = 0x89;
pub(crate) const LONG1: u8 = 0x8a;
pub(crate) const LONG4: u8 = 0x8b;
pub(crate) const BINBYTES: u8 = b'B';
pub(crate) const SHORT_BINBYTES: u8 = b'C';
pub(crate) const SHORT_BINUNICODE: u8 = 0x8c;
pub(crate) const BINUNICODE8: u8 = 0x8d;
pub(crate) const BINBYTES8: u8 = 0x8e;
pub(crate) const EMPTY_SET: u8 = 0x8f;
pub(crate) const ADDITEMS: u8 = 0x90;
pub(crate) const FROZENSET: u8 = 0x91;
pub(crate) const NEWOBJ_EX: u8 = 0x92;
pub(crate) const STACK_GLOBAL: u8 = 0x93;
pub(crate) const MEMOIZE: u8 = 0x94;
pub(crate) const FRAME: u8 = 0x95;
pub(crate) const BYTEARRAY8: u8 = 0x96;
pub(crate) const NEXT_BUFFER: u8 = 0x97;
pub(crate) const READONLY_BUFFER: u8 = 0x98;

/// The name of an opcode.
pub(crate) fn name(opcode: u8) -> &'static str {
    match opcode {
        MARK => "MARK",
        STOP => "STOP",
        POP => "POP",
        POP_MARK => "POP_MARK",
        DUP => "DUP",
        FLOAT => "FLOAT",
        INT => "INT",
        BININT => "BININT",
        BININT1 => "BININT1",
        LONG => "LONG",
        BININT2 => "BININT2",
        NONE => "NONE",
        PERSID => "PERSID",
        BINPERSID => "BINPERSID",
        REDUCE => "REDUCE",
        STRING => "STRING",
        BINSTRING => "BINSTRING",
        SHORT_BINSTRING => "SHORT_BINSTRING",
        UNICODE => "UNICODE",
        BINUNICODE => "BINUNICODE",
        APPEND => "APPEND",
        BUILD => "BUILD",
        GLOBAL => "GLOBAL",
        DICT => "DICT",
        EMPTY_DICT => "EMPTY_DICT",
        APPENDS => "APPENDS",
        GET => "GET",
        BINGET => "BINGET",
        INST => "INST",
        LONG_BINGET => "LONG_BINGET",
        LIST => "LIST",
        EMPTY_LIST => "EMPTY_LIST",
        OBJ => "OBJ",
        PUT => "PUT",
        BINPUT => "BINPUT",
        LONG_BINPUT => "LONG_BINPUT",
        SETITEM => "SETITEM",
        TUPLE => "TUPLE",
        EMPTY_TUPLE => "EMPTY_TUPLE",
        SETITEMS => "SETITEMS",
        BINFLOAT => "BINFLOAT",
        PROTO => "PROTO",
        NEWOBJ => "NEWOBJ",
        EXT1 => "EXT1",
        EXT2 => "EXT2",
        EXT4 => "EXT4",
        TUPLE1 => "TUPLE1",
        TUPLE2 => "TUPLE2",
        TUPLE3 => "TUPLE3",
        NEWTRUE => "NEWTRUE",
        NEWFALSE => "NEWFALSE",
        LONG1 => "LONG1",
        LONG4 => "LONG4",
        BINBYTES => "BINBYTES",
        SHORT_BINBYTES => "SHORT_BINBYTES",
        SHORT_BINUNICODE => "SHORT_BINUNICODE",
        BINUNICODE8 => "BINUNICODE8",
        BINBYTES8 => "BINBYTES8",
        EMPTY_SET => "EMPTY_SET",
        ADDITEMS => "ADDITEMS",
        FROZENSET => "FROZENSET",
        NEWOBJ_EX => "NEWOBJ_EX",
        STACK_GLOBAL => "STACK_GLOBAL",
        MEMOIZE => "MEMOIZE",
        FRAME => "FRAME",
        BYTEARRAY8 => "BYTEARRAY8",
        NEXT_BUFFER => "NEXT_BUFFER",
        READONLY_BUFFER => "READONLY_BUFFER",
        _ => "?",
    }
}

/// Writes an integer in its shortest form.
pub(crate) fn put_int(out: &mut Vec<u8>, value: i64) {
    if let Ok(small) = u8::try_from(value) {
        out.extend_from_slice(&[BININT1, small]);
    } else if let Ok(small) = u16::try_from(value) {
        out.push(BININT2);
        out.extend_from_slice(&small.to_le_bytes());
    } else if let Ok(small) = i32::try_from(value) {
        out.push(BININT);
        out.extend_from_slice(&small.to_le_bytes());
    } else {
        put_long(out, &value.to_le_bytes());
    }
}

/// Writes a little-endian two's complement integer of any size, without the bytes its sign already implies.
pub(crate) fn put_long(out: &mut Vec<u8>, le: &[u8]) {
    let mut digits = le;
    while let [rest @ .., last] = digits {
        let implied = match rest.last() {
            None => *last == 0,
            Some(next) => (*last == 0 && *next < 0x80) || (*last == 0xff && *next >= 0x80),
        };
        if !implied {
            break;
        }
        digits = rest;
    }
    match (u8::try_from(digits.len()), u32::try_from(digits.len())) {
        (Ok(len), _) => out.extend_from_slice(&[LONG1, len]),
        (_, Ok(len)) => {
            out.push(LONG4);
            out.extend_from_slice(&len.to_le_bytes());
        }
        // An integer of more than 2^32 bytes has no opcode; num-bigint cannot hold one in practice.
        _ => out.extend_from_slice(&[LONG1, 0]),
    }
    out.extend_from_slice(digits);
}

pub(crate) fn put_float(out: &mut Vec<u8>, value: f64) {
    out.push(BINFLOAT);
    out.extend_from_slice(&value.to_be_bytes());
}

fn put_sized(out: &mut Vec<u8>, data: &[u8], short: u8, normal: u8, long: u8) {
    if let Ok(len) = u8::try_from(data.len()) {
        out.extend_from_slice(&[short, len]);
    } else if let Ok(len) = u32::try_from(data.len()) {
        out.push(normal);
        out.extend_from_slice(&len.to_le_bytes());
    } else {
        out.push(long);
        out.extend_from_slice(&(data.len() as u64).to_le_bytes());
    }
    out.extend_from_slice(data);
}

/// Writes a str from its UTF-8 (or surrogatepass UTF-8) bytes.
pub(crate) fn put_str(out: &mut Vec<u8>, utf8: &[u8]) {
    put_sized(out, utf8, SHORT_BINUNICODE, BINUNICODE, BINUNICODE8);
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, data: &[u8]) {
    put_sized(out, data, SHORT_BINBYTES, BINBYTES, BINBYTES8);
}

pub(crate) fn put_bool(out: &mut Vec<u8>, value: bool) {
    out.push(if value { NEWTRUE } else { NEWFALSE });
}

/// The opcode and operand bytes of code that is exactly one scalar-like opcode as written above.
pub(crate) fn single(code: &[u8]) -> Option<(u8, &[u8])> {
    let (&op, rest) = code.split_first()?;
    let sized = |width: usize| -> Option<&[u8]> {
        let (len, data) = rest.split_at_checked(width)?;
        let mut wide = [0; 8];
        wide.get_mut(..width)?.copy_from_slice(len);
        (u64::from_le_bytes(wide) == data.len() as u64).then_some(data)
    };
    let exact = |len: usize| (rest.len() == len).then_some(rest);
    let operand = match op {
        NONE | NEWTRUE | NEWFALSE => exact(0),
        BININT1 => exact(1),
        BININT2 => exact(2),
        BININT => exact(4),
        BINFLOAT => exact(8),
        LONG1 | SHORT_BINUNICODE | SHORT_BINBYTES => sized(1),
        LONG4 | BINUNICODE | BINBYTES => sized(4),
        BINUNICODE8 | BINBYTES8 => sized(8),
        _ => None,
    }?;
    Some((op, operand))
}

/// The texts in a template's code, in order. Template code is made of the opcodes this crate writes; at any other
/// the walk ends.
pub(crate) fn texts(code: &[u8]) -> impl Iterator<Item = &str> {
    let mut rest = code;
    std::iter::from_fn(move || {
        loop {
            let (&op, after) = rest.split_first()?;
            let sized = |width: usize| -> Option<(&[u8], &[u8])> {
                let (len, data) = after.split_at_checked(width)?;
                let mut wide = [0; 8];
                wide.get_mut(..width)?.copy_from_slice(len);
                data.split_at_checked(usize::try_from(u64::from_le_bytes(wide)).ok()?)
            };
            let (operand, next) = match op {
                BININT1 => after.split_at_checked(1),
                BININT2 => after.split_at_checked(2),
                BININT => after.split_at_checked(4),
                BINFLOAT => after.split_at_checked(8),
                LONG1 | SHORT_BINUNICODE | SHORT_BINBYTES => sized(1),
                LONG4 | BINUNICODE | BINBYTES => sized(4),
                BINUNICODE8 | BINBYTES8 | BYTEARRAY8 => sized(8),
                _ => Some((&[][..], after)),
            }?;
            rest = next;
            if matches!(op, SHORT_BINUNICODE | BINUNICODE | BINUNICODE8)
                && let Ok(text) = std::str::from_utf8(operand)
            {
                return Some(text);
            }
        }
    })
}
