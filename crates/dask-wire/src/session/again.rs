//! Graphs kept to be submitted again, and what of them a next scheduler is asked for.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::dialect::{Dialect, SubmitError};
use crate::graph::{Needs, Submission, Task};
use crate::key::Key;
use crate::value::Value;

/// The graphs behind keys that are held, by the order in which they were submitted. A graph is kept for as long as one
/// of its keys is held, or one of a later graph that takes a result of it.
#[derive(Debug, Default)]
pub(super) struct Origins {
    next: u64,
    kept: BTreeMap<u64, Origin>,
}

#[derive(Debug)]
struct Origin {
    submission: Arc<Submission>,
    /// Earlier graphs whose results this one takes.
    needs: Vec<u64>,
    uses: usize,
}

/// What to do at a next scheduler.
#[derive(Debug, Default)]
pub(super) struct Again {
    /// Submissions in an order in which each finds what it takes, with their weights.
    pub(super) messages: Vec<(Value<'static>, usize)>,
    /// What these ask of workers, by the keys that are wanted again.
    pub(super) needs: Vec<(Key, Needs)>,
    /// Keys that cannot be computed again, and why.
    pub(super) lost: Vec<(Key, Arc<str>)>,
    /// The first graph that the scheduler's release cannot express.
    pub(super) error: Option<SubmitError>,
}

/// A task of one of the graphs.
type Place<'o> = (u64, &'o Key);

impl Origins {
    /// Keeps a graph that takes results of these earlier ones. Somebody has to hold it, or it is forgotten by
    /// [`Origins::sweep`].
    pub(super) fn keep(&mut self, submission: Arc<Submission>, needs: Vec<u64>) -> u64 {
        let number = self.next;
        self.next += 1;
        for needed in &needs {
            self.hold(*needed);
        }
        self.kept.insert(number, Origin { submission, needs, uses: 0 });
        number
    }

    pub(super) fn hold(&mut self, number: u64) {
        if let Some(origin) = self.kept.get_mut(&number) {
            origin.uses += 1;
        }
    }

    pub(super) fn let_go(&mut self, number: u64) {
        if let Some(origin) = self.kept.get_mut(&number) {
            origin.uses = origin.uses.saturating_sub(1);
        }
        self.sweep(number);
    }

    /// Forgets a graph that nobody uses, and those that only it used. Without recursion: loops make long chains.
    pub(super) fn sweep(&mut self, number: u64) {
        let mut unused = vec![number];
        while let Some(number) = unused.pop() {
            if self.kept.get(&number).is_none_or(|origin| origin.uses > 0) {
                continue;
            }
            for needed in self.kept.remove(&number).map(|origin| origin.needs).unwrap_or_default() {
                if let Some(origin) = self.kept.get_mut(&needed) {
                    origin.uses = origin.uses.saturating_sub(1);
                    unused.push(needed);
                }
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    /// Which tasks have to run again for these keys (each with the graph it came with), and how the dialect says so.
    pub(super) fn again<'k>(
        &self,
        open: impl IntoIterator<Item = (&'k Key, u64)>,
        dialect: Dialect,
    ) -> Again {
        let makers = self.makers();
        let mut again = Again::default();
        let mut wanted: HashSet<Place<'_>> = HashSet::new();
        for (key, number) in open {
            match makers.own(number, key) {
                Some(place) => drop(wanted.insert(place)),
                None => again.lost.push((key.clone(), "no graph of this client computes it".into())),
            }
        }
        let mut needed: BTreeMap<u64, HashSet<&Key>> = BTreeMap::new();
        // The first graph that each one must go together with, because it takes something that nobody holds: alone, the
        // scheduler would forget that again before it hears who takes it.
        let mut reach: HashMap<u64, u64> = HashMap::new();
        let mut rest: Vec<Place<'_>> = wanted.iter().copied().collect();
        while let Some((number, key)) = rest.pop() {
            if needed.entry(number).or_default().insert(key)
                && let Some(task) = makers.task((number, key))
            {
                for maker in task.dependencies().into_iter().filter_map(|key| makers.of(number, &key)) {
                    if !wanted.contains(&maker) {
                        let reach = reach.entry(number).or_insert(number);
                        *reach = maker.0.min(*reach);
                    }
                    rest.push(maker);
                }
            }
        }
        let mut round = Round { makers: &makers, wanted: &wanted, impossible: HashMap::new(), dialect };
        for group in groups(needed, &reach) {
            let parts = group.iter().filter_map(|(number, keys)| {
                self.kept.get(number).map(|origin| (*number, &*origin.submission, keys))
            });
            round.ask(parts, &mut again);
        }
        let impossible = round.impossible;
        again.lost.extend(
            wanted.iter().filter_map(|place| Some((place.1.clone(), Arc::clone(impossible.get(place)?)))),
        );
        again
    }

    fn makers(&self) -> Makers<'_> {
        let mut makers = Makers::default();
        for (number, origin) in &self.kept {
            for task in &origin.submission.tasks {
                makers.tasks.insert((*number, &task.key), task);
                makers.numbers.entry(&task.key).or_default().push(*number);
            }
        }
        makers
    }
}

/// Graphs with what is needed of them, in their order.
type Group<'o> = Vec<(u64, HashSet<&'o Key>)>;

/// Cuts graphs into groups that go as one message each, so that none reaches back beyond its group.
fn groups<'o>(needed: BTreeMap<u64, HashSet<&'o Key>>, reach: &HashMap<u64, u64>) -> Vec<Group<'o>> {
    let mut groups = Vec::new();
    let mut group = Vec::new();
    let mut back = u64::MAX;
    for (number, keys) in needed.into_iter().rev() {
        back = back.min(reach.get(&number).copied().unwrap_or(number));
        group.push((number, keys));
        if back >= number {
            group.reverse();
            groups.push(std::mem::take(&mut group));
            back = u64::MAX;
        }
    }
    groups.reverse();
    groups
}

/// One round of asking for everything, from the first graph to the last.
struct Round<'r, 'o> {
    makers: &'r Makers<'o>,
    wanted: &'r HashSet<Place<'o>>,
    impossible: HashMap<Place<'o>, Arc<str>>,
    dialect: Dialect,
}

impl<'o> Round<'_, 'o> {
    /// Asks for what is needed of these graphs, with one message.
    fn ask<'p>(
        &mut self,
        parts: impl Iterator<Item = (u64, &'o Submission, &'p HashSet<&'o Key>)>,
        again: &mut Again,
    ) where
        'o: 'p,
    {
        let mut tasks: Vec<(Place<'o>, &'o Task)> = Vec::new();
        let mut here: HashSet<&'o Key> = HashSet::new();
        let mut wanted: Vec<Key> = Vec::new();
        let mut fifo_timeout = None;
        for (number, submission, keys) in parts {
            let mut possible: Vec<(usize, usize, Place<'o>, &'o Task)> = Vec::new();
            for ((at, task), place) in submission.tasks.iter().enumerate().zip(submission.order()) {
                if keys.contains(&task.key) {
                    possible.push((place, at, (number, &task.key), task));
                }
            }
            // After everything that each depends on.
            possible.sort_unstable_by_key(|(place, ..)| *place);
            possible.retain(|(_, _, place, task)| match self.why_not(number, task) {
                Some(why) => {
                    self.impossible.insert(*place, why.into());
                    false
                }
                None => true,
            });
            possible.sort_unstable_by_key(|(_, at, ..)| *at);
            let mine: HashSet<&Key> = possible.iter().map(|(_, _, (_, key), _)| *key).collect();
            let is_wanted = |key: &&Key| mine.contains(*key) && self.wanted.contains(&(number, *key));
            wanted.extend(submission.wanted.iter().filter(is_wanted).cloned());
            // The same key may stand in several of them: one task, which whoever wants it shares.
            possible.retain(|(_, _, (_, key), _)| here.insert(key));
            tasks.extend(possible.into_iter().map(|(_, _, place, task)| (place, task)));
            fifo_timeout = fifo_timeout.or(submission.fifo_timeout);
        }
        if tasks.is_empty() {
            return;
        }
        let mut part = Submission::new(tasks.iter().map(|(_, task)| Task::clone(task)).collect(), wanted);
        part.fifo_timeout = fifo_timeout;
        match self.dialect.submit(&part) {
            Ok(message) => {
                again.messages.push((message, part.size()));
                if let Some(needs) = part.needs() {
                    again.needs.extend(part.wanted.into_iter().map(|key| (key, Arc::clone(&needs))));
                }
            }
            Err(error) => {
                let why: Arc<str> = format!("the next scheduler's release cannot express it: {error}").into();
                self.impossible.extend(tasks.into_iter().map(|(place, _)| (place, Arc::clone(&why))));
                again.error.get_or_insert(error);
            }
        }
    }

    /// Why a task of this graph cannot run again.
    fn why_not(&self, number: u64, task: &Task) -> Option<String> {
        task.dependencies().into_iter().find_map(|needs| match self.makers.of(number, &needs) {
            Some(maker) => {
                let why = self.impossible.get(&maker)?;
                Some(format!("it takes the result of {needs}, which cannot be computed again ({why})"))
            }
            None => Some(format!(
                "it takes the result of {needs}, which this client did not compute; scatter or fetch that again, and \
                 submit this anew"
            )),
        })
    }
}

/// Where each key is computed. The same key may stand in several graphs.
#[derive(Default)]
struct Makers<'o> {
    tasks: HashMap<Place<'o>, &'o Task>,
    /// Ascending.
    numbers: HashMap<&'o Key, Vec<u64>>,
}

impl<'o> Makers<'o> {
    fn task(&self, place: Place<'_>) -> Option<&'o Task> {
        self.tasks.get(&place).copied()
    }

    /// The task of this graph.
    fn own(&self, number: u64, key: &Key) -> Option<Place<'o>> {
        Some((number, &self.tasks.get(&(number, key))?.key))
    }

    /// The task that a task of this graph refers to: of the same graph, or the newest of an earlier one.
    fn of(&self, number: u64, key: &Key) -> Option<Place<'o>> {
        self.own(number, key).or_else(|| {
            let earlier = self.numbers.get(key)?.iter().rev().find(|other| **other < number)?;
            self.own(*earlier, key)
        })
    }
}
