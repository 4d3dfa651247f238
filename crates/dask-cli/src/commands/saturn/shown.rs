//! The progress of `dask-rs saturn up`: a bar on a terminal, otherwise lines of JSON.

use std::cell::Cell;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use saturn_cloud::{Progress, Status};
use serde_json::{Value as Json, json};

use super::super::Context;
use crate::output::{self, nanos};

/// Where progress is shown.
pub(super) struct Shown {
    lines: bool,
    bar: ProgressBar,
    cost: Cell<Option<f64>>,
    quiet: bool,
    /// Workers that were there when it was last looked.
    workers: Cell<Option<usize>>,
}

impl Shown {
    pub(super) fn new(context: Context, lines: bool) -> Self {
        let bar = if context.quiet || lines || !std::io::stderr().is_terminal() {
            ProgressBar::hidden()
        } else {
            let bar = ProgressBar::new(0);
            if let Ok(style) = ProgressStyle::with_template("  {prefix:9} {bar:20} {msg}  {elapsed}") {
                bar.set_style(style);
            }
            bar.set_prefix("starting");
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        };
        Self { lines, bar, cost: Cell::new(None), quiet: context.quiet, workers: Cell::new(None) }
    }

    pub(super) fn say(&self, text: &str) {
        let cost =
            self.cost.get().map(|cost| format!("   (about {cost:.2} USD/h when up)")).unwrap_or_default();
        self.bar.set_message(format!("{text}{cost}"));
    }

    pub(super) fn event(&self, event: &Progress) {
        if self.lines {
            output::line(&describe(event));
        }
        match event {
            Progress::Status { status, .. } => self.say(status.as_str()),
            Progress::Warning { text } => {
                self.bar.suspend(|| output::say(self.quiet, &format!("  warning   {text}")))
            }
            Progress::Components { scheduler, workers, .. } => {
                self.bar.set_length(workers.count.into());
                self.bar.set_position(workers.running_count.into());
                let scheduler = scheduler.as_ref().map_or("pending", Status::as_str);
                self.say(&format!(
                    "scheduler {scheduler}, workers {}/{}",
                    workers.running_count, workers.count
                ));
            }
            Progress::Cost { per_hour } => self.cost.set(Some(*per_hour)),
            _ => {}
        }
    }

    /// How many workers have come to the scheduler.
    pub(super) fn workers(&self, have: usize, want: usize) {
        if self.workers.replace(Some(have)) == Some(have) {
            return;
        }
        if self.lines {
            output::line(&json!({ "event": "workers", "workers": have, "wanted": want }));
        }
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        self.bar.set_length(count(want));
        self.bar.set_position(count(have.min(want)));
        self.say(&format!("scheduler running, workers {have}/{want}"));
    }

    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}

fn describe(event: &Progress) -> Json {
    match event {
        Progress::Status { status, id, elapsed } => {
            json!({ "event": "status", "status": status, "id": id, "elapsed_ns": nanos(*elapsed) })
        }
        Progress::Warning { text } => json!({ "event": "warning", "text": text }),
        Progress::Components { manager, scheduler, workers } => {
            json!({ "event": "components", "manager": manager, "scheduler": scheduler, "workers": workers })
        }
        Progress::Cost { per_hour } => json!({ "event": "cost", "per_hour_usd": per_hour }),
        Progress::Ready { id, address, elapsed } => {
            json!({ "event": "ready", "id": id, "scheduler": address, "elapsed_ns": nanos(*elapsed) })
        }
        other => json!({ "event": "other", "text": format!("{other:?}") }),
    }
}
