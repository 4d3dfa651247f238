//! What a program tells through `tracing`, kept for a test to look at.

use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Level, Metadata};

/// Keeps the events that its filter lets through, each as `field=value;…`.
#[derive(Clone, Debug)]
pub struct Told {
    wanted: fn(&Metadata<'_>) -> bool,
    lines: Arc<Mutex<Vec<(Level, String)>>>,
}

impl Told {
    /// Keeps the events whose metadata are `wanted`.
    pub fn new(wanted: fn(&Metadata<'_>) -> bool) -> Self {
        Self { wanted, lines: Arc::default() }
    }

    /// What was told since the start or the last [`Told::forget`].
    pub fn lines(&self) -> Vec<(Level, String)> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets what was told.
    pub fn forget(&self) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl tracing::Subscriber for Told {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        (self.wanted)(metadata)
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        struct Text(String);
        impl Visit for Text {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                self.0.push_str(&format!("{}={value:?};", field.name()));
            }
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push((*event.metadata().level(), text.0));
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}
