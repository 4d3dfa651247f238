//! Why a task has no result yet, in words and as a type.

use std::fmt;
use std::time::Duration;

use dask_wire::Key;

/// Why a wait for a task timed out, found by asking the cluster. See [`crate::Error::diagnosis`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Diagnosis {
    /// The scheduler did not answer when it was asked.
    SchedulerSilent,
    /// The cluster has no worker.
    NoWorkers,
    /// No worker takes tasks. Releases before 2022.5.1 do not tell that; there the task is [`Diagnosis::Assigned`].
    AllPaused {
        /// Their addresses.
        workers: Vec<String>,
    },
    /// No worker offers what a task asks for.
    NoneFits {
        /// The task: the one waited for, or one that it depends on.
        task: Key,
        /// Amounts of the resources it asks for.
        resources: Vec<(String, f64)>,
        /// The workers that alone may run it; empty if that does not matter.
        workers: Vec<String>,
        /// What there is.
        offers: Vec<Offer>,
    },
    /// It waits at the scheduler for a worker to have room.
    Queued {
        /// Other tasks of this client that wait likewise, among ten thousand of its open ones at most. How many others
        /// have in the queue Dask does not tell.
        others: u64,
        /// Tasks that workers have already.
        with_workers: u64,
        /// Threads of all workers.
        threads: u64,
    },
    /// It waits for the results of other tasks.
    Waiting {
        /// Those among them that are being executed, with their workers, as far as found.
        running: Vec<(Key, String)>,
    },
    /// A worker has it, and other tasks besides.
    Assigned {
        /// The worker's address.
        worker: String,
        /// Other tasks it has.
        others: u64,
        /// Its threads.
        threads: u64,
        /// Its status, if that is not `running`.
        status: Option<String>,
        /// How long ago the scheduler heard of it, if that is too long.
        silent: Option<Duration>,
    },
    /// A worker is executing it.
    Running {
        /// The worker's address.
        worker: String,
        /// For how long the worker has had it, where the release tells (from 2022.4.2 on).
        since: Option<Duration>,
        /// The line it is at, innermost.
        at: Option<String>,
    },
    /// The result is there; fetching it takes long.
    Fetching {
        /// The workers that hold it.
        workers: Vec<String>,
    },
    /// The scheduler does not know the task: it was forgotten, or its submission has not been taken in yet.
    Unknown,
    /// The scheduler calls its state by this name and tells no more.
    State {
        /// The state.
        state: String,
    },
}

/// What a worker offers.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Offer {
    /// The worker's address.
    pub worker: String,
    /// Its name.
    pub name: String,
    /// Amounts of named resources.
    pub resources: Vec<(String, f64)>,
    /// Its status, if that is not `running`: it takes no tasks then. Releases before 2022.5.1 do not tell.
    pub status: Option<String>,
}

impl Offer {
    fn is_meant_by(&self, workers: &[String]) -> bool {
        let host = |address: &str| {
            address
                .split("://")
                .last()
                .and_then(|place| place.rsplit_once(':'))
                .map(|(host, _)| host.to_owned())
        };
        workers.is_empty()
            || workers
                .iter()
                .any(|it| *it == self.worker || *it == self.name || Some(it) == host(&self.worker).as_ref())
    }

    fn has(&self, resources: &[(String, f64)]) -> bool {
        resources.iter().all(|(name, amount)| {
            self.resources.iter().any(|(offered, most)| offered == name && most >= amount)
        })
    }
}

impl std::error::Error for Diagnosis {}

/// The first few of a list, and how many more there are.
fn some(items: impl IntoIterator<Item = impl fmt::Display>) -> String {
    const SHOWN: usize = 5;
    let mut items = items.into_iter();
    let mut shown: Vec<String> = items.by_ref().take(SHOWN).map(|item| item.to_string()).collect();
    match items.count() {
        0 => (),
        more => shown.push(format!("{more} more")),
    }
    shown.join(", ")
}

fn amounts(resources: &[(String, f64)]) -> String {
    some(resources.iter().map(|(name, amount)| format!("{name}={amount}")))
}

fn count(n: u64, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

impl fmt::Display for Diagnosis {
    /// In lines of a heading and a text, the last one saying what can be done.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |heading: &str, text: &str| write!(f, "\n  {heading:<13} {text}");
        match self {
            Diagnosis::SchedulerSilent => {
                line("scheduler", "does not answer, either")?;
                line(
                    "next",
                    "look whether its process is alive and its event loop busy, and at the network between",
                )
            }
            Diagnosis::NoWorkers => {
                line("workers", "none")?;
                line("next", "start workers, or wait for those that are starting")
            }
            Diagnosis::AllPaused { workers } => {
                line(&count(workers.len() as u64, "worker"), &format!("all paused: {}", some(workers)))?;
                line(
                    "next",
                    "free memory (release results) or add workers: a worker pauses when its memory is nearly full",
                )
            }
            Diagnosis::NoneFits { task, resources, workers, offers } => {
                line("task", &task.to_string())?;
                if !resources.is_empty() {
                    line("it asks for", &format!("resources {}", amounts(resources)))?;
                }
                if !workers.is_empty() {
                    line("it asks for", &format!("workers {}", some(workers)))?;
                }
                if resources.is_empty() && workers.is_empty() {
                    line("it asks for", "something that its submitter knows")?;
                }
                let offer = |offer: &Offer| {
                    let offers = match offer.resources.as_slice() {
                        [] => "nothing".to_owned(),
                        resources => amounts(resources),
                    };
                    let status = offer.status.as_ref().map(|status| format!(", but is {status}"));
                    format!("{} ({}) offers {offers}{}", offer.worker, offer.name, status.unwrap_or_default())
                };
                // It would fit if it took tasks.
                let asleep = |offer: &&Offer| {
                    offer.status.is_some() && offer.is_meant_by(workers) && offer.has(resources)
                };
                let asleep = offers.iter().find(asleep);
                line(&count(offers.len() as u64, "worker"), &some(offers.iter().map(offer)))?;
                let next = match (asleep, resources.as_slice()) {
                    (Some(Offer { worker, status: Some(status), .. }), _) if status == "paused" => format!(
                        "{worker} would fit: free its memory (release results), for which it pauses, or add such a worker"
                    ),
                    (Some(Offer { worker, .. }), _) => format!("wait for {worker}, or add such a worker"),
                    (None, []) => "start such a worker, or allow other workers".to_owned(),
                    (None, resources) => {
                        format!(
                            "start a worker with --resources \"{}\", or submit without resources",
                            amounts(resources)
                        )
                    }
                };
                line("next", &next)
            }
            Diagnosis::Queued { others, with_workers, threads } => {
                line(
                    "queued",
                    &format!(
                        "with {} of this client; workers have {with_workers} on {}",
                        count(*others, "other task"),
                        count(*threads, "thread")
                    ),
                )?;
                line("next", "wait longer, add workers, or give it a higher priority")
            }
            Diagnosis::Waiting { running } => {
                match running.as_slice() {
                    [] => line("waiting", "for the results of other tasks, none of which is being executed")?,
                    running => {
                        let running =
                            some(running.iter().map(|(key, worker)| format!("{key} (runs on {worker})")));
                        line("waiting", &format!("for the results of {running}"))?;
                    }
                }
                line("next", "wait longer, or look at what those tasks do")
            }
            Diagnosis::Assigned { worker, others, threads, status, silent } => {
                line(
                    "assigned",
                    &format!(
                        "to {worker}, with {} on {}",
                        count(*others, "other task"),
                        count(*threads, "thread")
                    ),
                )?;
                if let Some(status) = status {
                    line("its status", status)?;
                }
                match silent {
                    Some(silent) => {
                        line("last heard of", &format!("{silent:.0?} ago"))?;
                        line(
                            "next",
                            "look whether that worker is alive; the scheduler gives its tasks to others when it is gone",
                        )
                    }
                    None => line("next", "wait longer, or add workers"),
                }
            }
            Diagnosis::Running { worker, since, at } => {
                let since = since.map(|since| format!(", for {since:.1?}")).unwrap_or_default();
                line("running", &format!("on {worker}{since}"))?;
                if let Some(at) = at {
                    line("at", at)?;
                }
                line("next", "wait longer, or look at what it does")
            }
            Diagnosis::Fetching { workers } => {
                line("finished", &format!("its result lies on {}", some(workers)))?;
                line("next", "wait longer: fetching it takes its time")
            }
            Diagnosis::Unknown => {
                line("scheduler", "does not know the task: it was forgotten, or not yet taken in")?;
                line("next", "submit it again, or wait longer after submitting very large graphs")
            }
            Diagnosis::State { state } => {
                line("state", state)?;
                line("next", "wait longer")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_is_asked_for_what_there_is_and_what_next() {
        let offers = vec![Offer {
            worker: "tcp://10.0.3.7:41233".into(),
            name: "a".into(),
            resources: Vec::new(),
            status: None,
        }];
        let resources = vec![("GPU".to_owned(), 1.0)];
        let text =
            Diagnosis::NoneFits { task: Key::from("train-41"), resources, workers: Vec::new(), offers }
                .to_string();
        let expected = "\n  task          train-41\n  it asks for   resources GPU=1\n  1 worker      tcp://10.0.3.7:41233 (a) \
                        offers nothing\n  next          start a worker with --resources \"GPU=1\", or submit without resources";
        assert_eq!(text, expected);
    }

    #[test]
    fn long_lists_are_cut() {
        assert_eq!(some(1..=7), "1, 2, 3, 4, 5, 2 more");
    }
}
