//! What one request is: a graph of a shape, its tasks passing a payload along.

use dask_client::{Graph, Key, Node, py};

use crate::cli::Shape;
use crate::failure::Failure;
use crate::output::bytes;

/// The graph of one request.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) shape: Shape,
    pub(super) width: u32,
    pub(super) depth: u32,
    payload: Vec<u8>,
}

/// The most bytes of one request: the client itself refuses graphs that are larger.
const MOST_BYTES: u64 = 400 << 20;
/// The widest all-to-all: a million references.
const WIDEST: u32 = 1000;

/// How many tasks of a request take the payload along.
fn carrying(shape: Shape, width: u32) -> u64 {
    match shape {
        Shape::Chain => 1,
        Shape::Map | Shape::Tree | Shape::AllToAll => width.into(),
    }
}

impl Work {
    /// Work of this shape.
    ///
    /// Fails if one request would be larger than a scheduler takes, or than this program should hold.
    pub(super) fn new(shape: Shape, width: Option<u32>, depth: u32, payload: usize) -> Result<Self, Failure> {
        let usual = match shape {
            Shape::Map | Shape::Chain => 1,
            Shape::Tree => 8,
            Shape::AllToAll => 4,
        };
        let width = width.unwrap_or(usual);
        let carried = carrying(shape, width).saturating_mul(payload as u64);
        if carried > MOST_BYTES {
            return Err(Failure::config(format!(
                "one request would carry {} (--width times --payload), where at most {} may be",
                bytes(carried),
                bytes(MOST_BYTES)
            )));
        }
        if shape == Shape::AllToAll && width > WIDEST {
            return Err(Failure::config(format!(
                "all-to-all has --width times --width references; --width may be at most {WIDEST} there"
            )));
        }
        // Not all alike: compression on the way would make a large payload a small one.
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let payload = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        })
        .flatten()
        .take(payload)
        .collect();
        Ok(Self { shape, width, depth, payload })
    }

    /// How many bytes a request carries there, and at most back.
    pub(super) fn carried(&self) -> u64 {
        carrying(self.shape, self.width).saturating_mul(self.payload.len() as u64)
    }

    pub(super) fn payload_bytes(&self) -> usize {
        self.payload.len()
    }

    /// How many tasks one request has.
    pub(super) fn tasks(&self) -> u64 {
        let (width, depth) = (u64::from(self.width), u64::from(self.depth));
        match self.shape {
            Shape::Map => width,
            Shape::Chain => depth,
            // As many leaves as the width, and a task for each pair that is combined.
            Shape::Tree => 2 * width - 1,
            Shape::AllToAll => 2 * width,
        }
    }

    /// A new graph and the keys whose results are wanted.
    pub(super) fn graph(&self) -> (Graph, Vec<Key>) {
        let mut graph = Graph::new();
        // Each task gives bytes of the payload's length.
        let leaf =
            |graph: &mut Graph| graph.add(py("builtins:bytes").arg(serde_bytes::Bytes::new(&self.payload)));
        let outputs: Vec<Node> = match self.shape {
            Shape::Map => (0..self.width).map(|_| leaf(&mut graph)).collect(),
            Shape::Chain => {
                let mut last = leaf(&mut graph);
                for _ in 1..self.depth {
                    last = graph.add(py("builtins:bytes").arg(&last));
                }
                vec![last]
            }
            Shape::Tree => {
                let mut level: Vec<Node> = (0..self.width).map(|_| leaf(&mut graph)).collect();
                while level.len() > 1 {
                    level = level
                        .chunks(2)
                        .map(|pair| match pair {
                            [one] => one.clone(),
                            pair => graph.add(py("builtins:max").arg(pair)),
                        })
                        .collect();
                }
                level
            }
            Shape::AllToAll => {
                let first: Vec<Node> = (0..self.width).map(|_| leaf(&mut graph)).collect();
                (0..self.width).map(|_| graph.add(py("builtins:max").arg(&first))).collect()
            }
        };
        (graph, outputs.iter().map(|node| node.key().clone()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn graphs_have_as_many_tasks_as_they_say() {
        for shape in [Shape::Map, Shape::Chain, Shape::Tree, Shape::AllToAll] {
            for width in [1, 2, 3, 7, 8] {
                let work = Work::new(shape, Some(width), 5, 100).unwrap();
                assert_eq!(work.graph().0.len() as u64, work.tasks(), "{shape:?} {width}");
            }
        }
        assert_eq!(Work::new(Shape::Map, None, 1, 1001).unwrap().payload.len(), 1001);
    }

    #[test]
    fn what_no_scheduler_takes_is_refused_before_it_is_built() {
        let refused = |shape, width, payload| Work::new(shape, Some(width), 1, payload).unwrap_err();
        assert!(refused(Shape::Map, 10_000, 1 << 30).message().contains("--payload"));
        assert!(refused(Shape::AllToAll, 10_000, 1).message().contains("--width"));
        assert_eq!(Work::new(Shape::Chain, None, 10_000, 1 << 20).unwrap().carried(), 1 << 20);
    }
}
