//! What can go wrong when a pickle is written, read or converted.

use std::fmt;

/// Why a pickle could not be written, read or converted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A message from serde or from a `Serialize`/`Deserialize` implementation.
    #[error("{0}")]
    Message(String),
    /// A value is nested deeper than the limit allows.
    #[error("nested deeper than {limit} levels")]
    Depth {
        /// The limit that was met.
        limit: usize,
    },
    /// A value that refers to another task's result was asked for as a standalone pickle.
    #[error("refers to the result of task {key:?}, so it cannot be pickled on its own")]
    Reference {
        /// The key of the task.
        key: String,
    },
    /// A value that contains a call to be evaluated on a worker was asked for as a standalone pickle.
    #[error("contains a call of {callable} to be evaluated on a worker, so it cannot be pickled on its own")]
    Call {
        /// The name of what is called.
        callable: String,
    },
    /// A dict key or set member of a kind that Python cannot hash.
    #[error("{kind} is not hashable, so it can be neither a dict key nor a set member")]
    Unhashable {
        /// The Python kind.
        kind: &'static str,
    },
    /// A name that cannot be the name of an importable object.
    #[error("{name:?} names no importable object; expected \"module:qualname\"")]
    Name {
        /// The name as it was given.
        name: String,
    },
    /// A value of another kind was needed.
    #[error("expected {expected}, found {found}")]
    Kind {
        /// What was needed.
        expected: String,
        /// What was there.
        found: String,
    },
    /// The pickle ends inside an opcode, or a declared size is larger than what is left.
    #[error("at byte {offset}: {opcode} needs {needed} bytes, but {left} are left")]
    Truncated {
        /// Offset of the opcode.
        offset: usize,
        /// Name of the opcode.
        opcode: &'static str,
        /// Bytes needed.
        needed: u64,
        /// Bytes left.
        left: usize,
    },
    /// A byte that is no opcode.
    #[error("at byte {offset}: 0x{byte:02x} is no pickle opcode")]
    Opcode {
        /// Offset of the byte.
        offset: usize,
        /// The byte.
        byte: u8,
    },
    /// An opcode's operand or the stack is not what the opcode needs.
    #[error("at byte {offset}: {opcode} expected {expected}")]
    Malformed {
        /// Offset of the opcode.
        offset: usize,
        /// Name of the opcode.
        opcode: &'static str,
        /// What it needs.
        expected: &'static str,
    },
    /// An opcode this reader refuses on purpose.
    #[error("at byte {offset}: {opcode} is not supported: {reason}")]
    Unsupported {
        /// Offset of the opcode.
        offset: usize,
        /// Name of the opcode.
        opcode: &'static str,
        /// Why.
        reason: &'static str,
    },
    /// The pickle is larger than a limit allows.
    #[error("at byte {offset}: {opcode} exceeds the limit of {limit} {what}")]
    Limit {
        /// Offset of the opcode.
        offset: usize,
        /// Name of the opcode.
        opcode: &'static str,
        /// What is limited.
        what: &'static str,
        /// The limit that was met.
        limit: usize,
    },
    /// A conversion visited more items than the limit allows (shared values count each time they are reached).
    #[error("holds more than {limit} items once shared values are expanded")]
    Items {
        /// The limit that was met.
        limit: usize,
    },
    /// A Python object with no conversion to plain data.
    #[error("a Python object of {class} has no conversion to {expected}")]
    Object {
        /// Module and name of its class or callable.
        class: String,
        /// What was asked for.
        expected: String,
    },
    /// An out-of-band buffer that was not passed to the reader.
    #[error("out-of-band buffer {index} is missing; {given} were given")]
    Buffer {
        /// Index of the buffer.
        index: usize,
        /// How many were given.
        given: usize,
    },
}

impl serde::ser::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Error::Message(message.to_string())
    }
}

impl serde::de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Error::Message(message.to_string())
    }
}
