//! Requests that a release is known to accept, and none other.
//!
//! An RPC that a server does not know is answered with `nil`, which looks like success, and an unknown op on the
//! stream makes the scheduler drop the client. So every message to a server is built here, against the fields that
//! the server's release takes.

use std::fmt;

use super::release::Release;
use super::signatures;
use crate::value::Value;

/// Who answers an op.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Peer {
    /// The scheduler, one request and one reply.
    Scheduler,
    /// The scheduler's stream of a registered client: no replies.
    Stream,
    /// A worker, at its own address.
    Worker,
    /// A nanny, at its own address.
    Nanny,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Peer::Scheduler => "the scheduler",
            Peer::Stream => "the scheduler's client stream",
            Peer::Worker => "a worker",
            Peer::Nanny => "a nanny",
        })
    }
}

/// One op and how its fields changed.
#[derive(Debug)]
pub struct Op {
    name: &'static str,
    eras: &'static [Era],
}

#[derive(Debug)]
pub(super) struct Era {
    since: Release,
    until: Release,
    fields: &'static str,
}

/// Stands for "still so in the newest release".
pub(super) const NEWEST: Release = Release::new(u16::MAX, 0, 0);

pub(super) const fn r(major: u16, minor: u16, micro: u16) -> Release {
    Release::new(major, minor, micro)
}
pub(super) const fn r4(major: u16, minor: u16, micro: u16, patch: u16) -> Release {
    Release::with_patch(major, minor, micro, patch)
}
pub(super) const fn era(since: Release, until: Release, fields: &'static str) -> Era {
    Era { since, until, fields }
}
pub(super) const fn op(name: &'static str, eras: &'static [Era]) -> Op {
    Op { name, eras }
}

impl Op {
    fn at(&self, release: Release) -> Option<&'static Era> {
        let era = self.eras.iter().rev().find(|era| era.since <= release)?;
        // A patch release between two listed ones belongs to the earlier; only the end of the last era is an end.
        let last = self.eras.last().map(|era| era.since) == Some(era.since);
        (!last || release <= era.until).then_some(era)
    }

    fn life(&self) -> Life {
        Life {
            since: self.eras.first().map(|era| era.since),
            until: self.eras.last().map(|era| era.until).filter(|until| *until != NEWEST),
        }
    }

    /// When a field that `release` lacks exists: from when on it will, or else when it did at last.
    fn field_life(&self, name: &str, release: Release) -> Life {
        // Neighbouring eras that have it are one life.
        let lives = self.eras.chunk_by(|one, next| takes(one.fields, name) == takes(next.fields, name));
        let mut lives = lives.filter_map(|eras| match eras {
            [first, .., last] | [first @ last] if takes(first.fields, name) => {
                Some((first.since, last.until))
            }
            _ => None,
        });
        let found = lives.clone().find(|(since, _)| *since > release).or_else(|| lives.next_back());
        Life {
            since: found.map(|(since, _)| since),
            until: found.map(|(_, until)| until).filter(|until| *until != NEWEST),
        }
    }
}

fn takes(fields: &str, name: &str) -> bool {
    fields.split(' ').any(|field| field == "**" || field.trim_end_matches('?') == name)
}

/// From which release to which something exists; `None` is an open end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// The first release that has it; `None` when no release does.
    pub since: Option<Release>,
    /// The last release that had it; `None` when the newest still does.
    pub until: Option<Release>,
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.since, self.until) {
            (None, _) => f.write_str("no release has it"),
            (Some(since), None) => write!(f, "it exists since {since}"),
            (Some(since), Some(until)) => write!(f, "it existed from {since} to {until}"),
        }
    }
}

/// A release lacks an op, a field or a feature that the caller asked for. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotAvailable {
    /// Anything at all.
    #[error("Dask {release} is older than {}, the oldest that this client speaks", super::OLDEST_KNOWN)]
    TooOld {
        /// The peer's release.
        release: Release,
    },
    /// The op itself.
    #[error("{peer} of Dask {release} has no op {op:?}: {life}")]
    Op {
        /// Who was to be asked.
        peer: Peer,
        /// The op's name.
        op: String,
        /// The peer's release.
        release: Release,
        /// When the op exists.
        life: Life,
    },
    /// One field of an op.
    #[error("op {op:?} of Dask {release} takes no field {field:?}: {life}")]
    Field {
        /// The op's name.
        op: &'static str,
        /// The field's name.
        field: String,
        /// The peer's release.
        release: Release,
        /// When the field exists.
        life: Life,
    },
    /// A field that the release demands was not given.
    #[error("op {op:?} of Dask {release} demands the field {field:?}, which was not given")]
    Missing {
        /// The op's name.
        op: &'static str,
        /// The field's name.
        field: String,
        /// The peer's release.
        release: Release,
    },
    /// Something that is not one op.
    #[error("Dask {release} has no {feature}: {life}")]
    Feature {
        /// What it is, in words.
        feature: &'static str,
        /// The peer's release.
        release: Release,
        /// When it exists.
        life: Life,
    },
}

fn table(peer: Peer) -> [&'static [Op]; 2] {
    match peer {
        Peer::Scheduler => [signatures::SCHEDULER, signatures::SERVER],
        Peer::Stream => [signatures::STREAM, &[]],
        Peer::Worker => [signatures::WORKER, signatures::SERVER],
        Peer::Nanny => [signatures::NANNY, signatures::SERVER],
    }
}

fn find(peer: Peer, name: &str) -> Option<&'static Op> {
    table(peer).into_iter().flatten().find(|op| op.name == name)
}

/// Every op of a peer that some release has: its name and its fields in `release` (`None`: that release lacks it).
/// What a drift check compares a new release's own signatures with.
pub fn fields_of(peer: Peer, release: Release) -> impl Iterator<Item = (&'static str, Option<&'static str>)> {
    table(peer).into_iter().flatten().map(move |op| (op.name, op.at(release).map(|era| era.fields)))
}

/// A message to a server, checked field by field against what the server's release accepts.
#[derive(Clone, Debug)]
pub struct Request {
    peer: Peer,
    op: &'static str,
    release: Release,
    spec: &'static Op,
    accepts: &'static str,
    fields: Vec<(&'static str, Value<'static>)>,
}

impl Request {
    pub(super) fn new(peer: Peer, name: &str, release: Release) -> Result<Self, NotAvailable> {
        let spec = find(peer, name);
        match spec.and_then(|spec| Some((spec, spec.at(release)?))) {
            Some((spec, era)) => {
                Ok(Self { peer, op: spec.name, release, spec, accepts: era.fields, fields: Vec::new() })
            }
            None => Err(NotAvailable::Op {
                peer,
                op: name.to_owned(),
                release,
                life: spec.map_or(Life { since: None, until: None }, Op::life),
            }),
        }
    }

    /// The op's name.
    pub fn op(&self) -> &'static str {
        self.op
    }

    /// Whether the release takes this field.
    pub fn accepts(&self, field: &str) -> bool {
        takes(self.accepts, field)
    }

    /// Adds a field; an error if the release does not take it.
    pub fn with(
        mut self,
        field: &'static str,
        value: impl Into<Value<'static>>,
    ) -> Result<Self, NotAvailable> {
        if !self.accepts(field) {
            return Err(NotAvailable::Field {
                op: self.op,
                field: field.to_owned(),
                release: self.release,
                life: self.spec.field_life(field, self.release),
            });
        }
        self.fields.push((field, value.into()));
        Ok(self)
    }

    /// Adds a field where the release takes it. Only for fields whose absence means the same to older releases.
    pub fn with_if_taken(mut self, field: &'static str, value: impl Into<Value<'static>>) -> Self {
        if self.accepts(field) {
            self.fields.push((field, value.into()));
        }
        self
    }

    fn check(&self) -> Result<(), NotAvailable> {
        for field in self.accepts.split(' ').filter(|field| !field.is_empty() && *field != "**") {
            let optional = field.ends_with('?');
            // The scheduler adds the client's own name to everything that comes over its stream.
            let filled_in = self.peer == Peer::Stream && field == "client";
            if !optional && !filled_in && !self.fields.iter().any(|(name, _)| *name == field) {
                return Err(NotAvailable::Missing {
                    op: self.op,
                    field: field.to_owned(),
                    release: self.release,
                });
            }
        }
        Ok(())
    }

    /// The same request, checked for a server of another release.
    ///
    /// # Errors
    /// That release lacks the op or one of the fields.
    pub fn for_release(self, release: Release) -> Result<Self, NotAvailable> {
        let mut other = Self::new(self.peer, self.op, release)?;
        for (field, value) in self.fields {
            other = other.with(field, value)?;
        }
        Ok(other)
    }

    /// The message for a request-reply connection.
    pub fn into_rpc(self) -> Result<Value<'static>, NotAvailable> {
        self.into_message(true)
    }

    /// The message for the client's stream (one element of a batch).
    pub fn into_stream(self) -> Result<Value<'static>, NotAvailable> {
        self.into_message(false)
    }

    fn into_message(self, reply: bool) -> Result<Value<'static>, NotAvailable> {
        self.check()?;
        let mut map = Vec::with_capacity(self.fields.len() + 2);
        map.push((Value::from("op"), Value::from(self.op)));
        map.extend(self.fields.into_iter().map(|(name, value)| (Value::from(name), value)));
        if reply {
            map.push((Value::from("reply"), Value::from(true)));
        }
        Ok(Value::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(peer: Peer, op: &str, release: &str) -> Result<Request, NotAvailable> {
        Request::new(peer, op, release.parse().unwrap())
    }

    #[test]
    fn an_op_that_came_later_says_when() {
        let error = request(Peer::Scheduler, "get_story", "2021.8.1").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the scheduler of Dask 2021.8.1 has no op \"get_story\": it exists since 2022.4.2"
        );
        let error = request(Peer::Scheduler, "lock_acquire", "2024.8.2").unwrap_err();
        assert!(error.to_string().ends_with("it existed from 2.30.0 to 2024.7.0"), "{error}");
        assert!(request(Peer::Scheduler, "no_such_op", "2026.8.0").is_err());
    }

    #[test]
    fn fields_are_gated_both_ways() {
        let newest = request(Peer::Scheduler, "register_worker_plugin", "2026.8.0").unwrap();
        let newest = newest.with("plugin", Value::Nil).unwrap().with("name", "p").unwrap();
        assert!(
            matches!(newest.clone().into_rpc(), Err(NotAvailable::Missing { field, .. }) if field == "idempotent")
        );
        assert!(newest.with("idempotent", false).unwrap().into_rpc().is_ok());
        let oldest = request(Peer::Scheduler, "register_worker_plugin", "2023.9.1").unwrap();
        let error = oldest.with("idempotent", false).unwrap_err();
        assert!(error.to_string().ends_with("it exists since 2023.9.2"), "{error}");
    }

    #[test]
    fn a_field_that_comes_back_says_when() {
        let life = |release: &str, field: &'static str| {
            let request = request(Peer::Scheduler, "terminate", release).unwrap();
            let error = request.with(field, true).unwrap_err().to_string();
            error.rsplit_once(": ").unwrap().1.to_owned()
        };
        assert_eq!(life("2022.5.1", "close_workers"), "it existed from 2022.6.0 to 2025.3.1");
        assert_eq!(life("2026.8.0", "close_workers"), "it existed from 2022.6.0 to 2025.3.1");
        assert_eq!(life("2022.5.1", "reason"), "it exists since 2023.8.0");
        assert_eq!(life("2022.5.1", "no_such_field"), "no release has it");
    }

    #[test]
    fn unlisted_patch_releases_and_newer_ones_are_covered() {
        assert!(request(Peer::Stream, "cancel-keys", "2023.3.2.1").is_ok());
        assert!(request(Peer::Scheduler, "cancel", "2023.3.0").is_ok());
        assert!(request(Peer::Scheduler, "cancel", "2023.3.1").is_err());
        assert!(request(Peer::Scheduler, "gather", "2031.1.0").is_ok());
        assert!(request(Peer::Scheduler, "broadcast", "2021.12.5").unwrap().accepts("workers"));
    }

    #[test]
    fn eras_are_in_order() {
        for peer in [Peer::Scheduler, Peer::Stream, Peer::Worker, Peer::Nanny] {
            for op in table(peer).into_iter().flatten() {
                assert!(op.eras.windows(2).all(|pair| pair[0].until < pair[1].since), "{}", op.name);
                assert!(op.eras.iter().all(|era| era.since <= era.until), "{}", op.name);
            }
        }
    }
}
