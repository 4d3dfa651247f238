//! The line on stderr that says what is being waited for: on a terminal, and only once it takes longer than a second.

use std::io::IsTerminal;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Waiting that is shorter needs no words.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is being waited for: waits within waits share one line.
struct Waiting {
    /// The innermost wait last.
    words: Vec<String>,
    bar: Option<ProgressBar>,
}

static WAITING: Mutex<Waiting> = Mutex::new(Waiting { words: Vec::new(), bar: None });

fn waiting() -> MutexGuard<'static, Waiting> {
    WAITING.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Waiting {
    /// Shows the innermost wait, if anything is shown.
    fn refresh(&mut self) {
        match (self.words.last(), &self.bar) {
            (Some(words), Some(bar)) => bar.set_message(words.clone()),
            (None, Some(_)) => self.hide(),
            _ => (),
        }
    }

    fn hide(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// A wait in the list of waits, for as long as it lives.
struct Wait;

impl Wait {
    fn begin(what: &str) -> Self {
        let mut waiting = waiting();
        waiting.words.push(what.to_owned());
        waiting.refresh();
        Self
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let mut waiting = waiting();
        waiting.words.pop();
        waiting.refresh();
    }
}

/// Awaits something; if it takes longer than a second, a spinner says on a terminal what.
pub(crate) async fn patient<T>(quiet: bool, what: &str, work: impl IntoFuture<Output = T>) -> T {
    let _wait = Wait::begin(what);
    let mut work = std::pin::pin!(work.into_future());
    if let Ok(done) = tokio::time::timeout(PATIENCE, &mut work).await {
        return done;
    }
    {
        let mut waiting = waiting();
        if waiting.bar.is_none() {
            waiting.bar = Some(spinner(quiet));
        }
        waiting.refresh();
    }
    work.await
}

/// Takes the line away, for something else is printed now.
pub(crate) fn hide() {
    waiting().hide();
}

/// A spinner on a terminal; otherwise nothing is drawn.
pub(crate) fn spinner(quiet: bool) -> ProgressBar {
    if quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// A line on stdout that is written over itself, and never longer than the terminal is wide.
pub(crate) fn live_line() -> ProgressBar {
    let line = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
    if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
        line.set_style(style);
    }
    line
}

/// A bar on a terminal; otherwise nothing is drawn.
pub(crate) fn bar(quiet: bool, total: u64, what: &'static str) -> ProgressBar {
    if quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(total);
    if let Ok(style) = ProgressStyle::with_template("  {msg} {wide_bar} {pos}/{len}") {
        bar.set_style(style);
    }
    bar.set_message(what);
    bar
}

/// How far something is in hundredths, on a terminal; otherwise nothing is drawn.
pub(crate) fn share(quiet: bool, words: &str) -> ProgressBar {
    if quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(100);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {wide_bar} {percent}%") {
        bar.set_style(style);
    }
    bar.set_message(words.to_owned());
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}
