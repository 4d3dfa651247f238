//! Looking at a running cluster.

pub(super) mod dump;
pub(super) mod events;
pub(super) mod info;
pub(super) mod keys;
pub(super) mod logs;
pub(super) mod survey;
pub(super) mod task;
pub(super) mod tasks;
#[cfg(feature = "top")]
pub(super) mod top;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds since 1970, by this machine's clock.
pub(super) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// How long ago a time was, in words.
pub(super) fn ago(seconds_since_1970: f64) -> String {
    age(now() - seconds_since_1970)
}

/// A time span in words: `3.2 s`, `5m 20s`.
pub(super) fn age(seconds: f64) -> String {
    let span = Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default();
    if span < Duration::from_secs(60) {
        return format!("{:.1} s", span.as_secs_f64());
    }
    humantime::format_duration(Duration::from_secs(span.as_secs())).to_string()
}

/// A time as UTC: `2026-11-22 10:20:40`.
pub(super) fn clock(seconds_since_1970: f64) -> String {
    match Duration::try_from_secs_f64(seconds_since_1970) {
        Ok(since) => {
            let text = humantime::format_rfc3339_millis(UNIX_EPOCH + since).to_string();
            text.trim_end_matches('Z').replace('T', " ")
        }
        Err(_) => "-".to_owned(),
    }
}
