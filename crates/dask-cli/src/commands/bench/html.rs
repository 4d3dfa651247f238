//! The report as one page without anything from elsewhere.

use std::fmt::Write;
use std::time::Duration;

use super::charts;
use super::report::Report;
use crate::hist::{SHOWN, Summary};
use crate::output::{bytes, pretty};

const STYLE: &str = include_str!("report.css");
const SCRIPT: &str = include_str!("report.js");

pub(super) fn page(report: &Report, old: Option<&Report>) -> String {
    let mut page = String::new();
    let title = format!(
        "{} · Dask {} · {}",
        report.settings.shape, report.environment.scheduler_release, report.settings.model
    );
    // Writing into a String cannot fail, here and below.
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>dask-rs bench: {}</title><style>{STYLE}</style></head><body><main>",
        escape(&title)
    );
    header(&mut page, report);
    verdicts(&mut page, report);
    let lost = report.counts.failed + report.counts.missed > 0;
    let which = if lost { "Every completed request" } else { "Every request" };
    section(
        &mut page,
        "How long requests took",
        &format!(
            "{which}, the slowest on the right. Each step of the scale is ten times rarer than the one before."
        ),
        &charts::percentiles(report, old),
    );
    section(
        &mut page,
        "What they were made of",
        "Means of the requests around each percentile: what do the slow ones wait for?",
        &charts::stack(report),
    );
    section(
        &mut page,
        "Over time",
        "Latency of the requests that ended in each stretch; behind it, how many there were.",
        &charts::timeline(report),
    );
    section(&mut page, "Figures", "", &figures(report));
    if let Some(comparison) = &report.comparison {
        section(
            &mut page,
            "Beside the earlier run",
            "",
            &format!("<pre>{}</pre>", escape(&comparison.text())),
        );
    }
    if !report.errors.is_empty() {
        let rows: String = report
            .errors
            .iter()
            .map(|error| {
                format!("<tr><th>{} times</th><td>{}</td></tr>", error.count, escape(&error.message))
            })
            .collect();
        section(
            &mut page,
            "Failures",
            "Latencies above are those of completed requests only.",
            &format!("<table class=\"plain\">{rows}</table>"),
        );
    }
    section(&mut page, "Settings and surroundings", "", &settings(report));
    let _ = writeln!(
        page,
        "</main><script type=\"application/json\" id=\"data\">{}</script><script>{SCRIPT}</script></body></html>",
        in_script(&report.json().to_string())
    );
    page
}

fn header(page: &mut String, report: &Report) {
    let latency = &report.latency.corrected;
    let counts = &report.counts;
    let tile = |value: String, name: &str, bad: bool| {
        let class = if bad { "tile bad" } else { "tile" };
        format!("<div class=\"{class}\"><b>{}</b><span>{name}</span></div>", escape(&value))
    };
    let shown = |nanos: u64| pretty(Duration::from_nanos(nanos));
    let mut tiles = vec![
        tile(shown(latency.percentiles_ns.p50), "median", false),
        tile(shown(latency.percentiles_ns.p99), "p99", false),
        tile(shown(latency.max_ns), "slowest", false),
        tile(format!("{:.1}", report.throughput.requests_per_second), "requests/s", false),
        tile(format!("{:.1}", report.throughput.tasks_per_second), "tasks/s", false),
        tile(counts.failed.to_string(), "failed", counts.failed > 0),
    ];
    if report.settings.model == "open" {
        tiles.push(tile(counts.missed.to_string(), "missed", counts.missed > 0));
    }
    let _ = write!(
        page,
        "<header><h1>dask-rs bench</h1><p>{} requests of {} ({} tasks, {} each) in {} on Dask {}, {} workers, {} threads; \
         <time data-unix=\"{}\"></time></p><div class=\"tiles\">{}</div></header>",
        counts.completed,
        report.settings.shape,
        report.settings.tasks_per_request,
        bytes(report.settings.payload_bytes as u64),
        shown(report.elapsed_ns),
        escape(&report.environment.scheduler_release),
        report.environment.workers,
        report.environment.threads,
        report.started_unix_s,
        tiles.concat()
    );
}

fn verdicts(page: &mut String, report: &Report) {
    if report.thresholds.is_empty() {
        return;
    }
    page.push_str("<ul class=\"verdicts\">");
    for verdict in &report.thresholds {
        let class = if verdict.crossed { "bad" } else { "good" };
        let _ = write!(page, "<li class=\"{class}\">{}</li>", escape(&verdict.words));
    }
    page.push_str("</ul>");
}

fn section(page: &mut String, title: &str, words: &str, content: &str) {
    let _ = write!(page, "<section><h2>{title}</h2>");
    if !words.is_empty() {
        let _ = write!(page, "<p>{words}</p>");
    }
    let _ = write!(page, "{content}</section>");
}

fn figures(report: &Report) -> String {
    let mut rows = String::new();
    let mut row = |name: &str, summary: &Summary| {
        let shown = |nanos: u64| format!("<td>{}</td>", pretty(Duration::from_nanos(nanos)));
        let cells: String = summary.percentiles_ns.all().map(shown).concat();
        let _ = write!(
            rows,
            "<tr><th>{name}</th>{}{cells}{}</tr>",
            shown(summary.mean_ns),
            shown(summary.max_ns)
        );
    };
    row("total", &report.latency.corrected);
    if report.settings.model == "open" {
        row("total, from sending", &report.latency.uncorrected);
        row("queue", &report.phases.queue);
    }
    row("submit", &report.phases.submit);
    row("in memory", &report.phases.in_memory);
    row("fetch", &report.phases.fetch);
    let header: String = SHOWN.iter().map(|name| format!("<th>{name}</th>")).collect();
    format!(
        "<div class=\"wide\"><table><tr><th></th><th>mean</th>{header}<th>max</th></tr>{rows}</table></div>"
    )
}

fn settings(report: &Report) -> String {
    let (settings, environment, traffic) = (&report.settings, &report.environment, &report.traffic);
    let duration = |nanos: Option<u64>| {
        nanos.map_or_else(|| "-".to_owned(), |nanos| pretty(Duration::from_nanos(nanos)))
    };
    let rate = settings.rate_per_second.map_or_else(|| "-".to_owned(), |rate| format!("{rate} requests/s"));
    let build = if environment.debug_build { " (debug build)" } else { "" };
    let rows = [
        ("model", settings.model.clone()),
        ("rate", rate),
        ("duration", duration(settings.duration_ns)),
        ("warm-up", duration(Some(settings.warmup_ns))),
        ("in flight, at most", settings.in_flight.to_string()),
        ("payload of a task", bytes(settings.payload_bytes as u64)),
        ("planned, sent", format!("{}, {}", report.counts.planned, report.counts.sent)),
        ("late sends", report.counts.late.to_string()),
        ("scheduler", environment.scheduler.clone()),
        ("release, dialect", format!("{}, {}", environment.scheduler_release, environment.dialect)),
        ("this program", format!("{}{build}", environment.client_version)),
        ("this machine", format!("{} {}, {} processors", environment.os, environment.arch, environment.cpus)),
        ("sent", format!("{} in {} messages", bytes(traffic.bytes_out), traffic.messages_out)),
        ("received", format!("{} in {} messages", bytes(traffic.bytes_in), traffic.messages_in)),
    ];
    let rows: String = rows
        .iter()
        .map(|(name, value)| format!("<tr><th>{name}</th><td>{}</td></tr>", escape(value)))
        .collect();
    format!("<table class=\"plain\">{rows}</table>")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// JSON that cannot end the script element it stands in.
fn in_script(json: &str) -> String {
    json.replace("</", "<\\/").replace("<!--", "<\\!--")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_comes_from_elsewhere_and_texts_are_no_markup() {
        let mut report = Report::default();
        let message = "</script><script>alert(1)</script>".to_owned();
        report.errors.push(super::super::report::Counted { message, count: 1 });
        assert!(page(&report, None).contains("<p>Every request,"));
        report.counts.failed = 1;
        let page = page(&report, None);
        assert!(page.contains("<p>Every completed request,"), "{page}");
        assert!(!page.contains("alert(1)</script>"), "{page}");
        assert!(!page.contains("src=") && !page.contains("href=") && !page.contains("@import"), "{page}");
        assert_eq!(page.matches("</script>").count(), 2);
    }
}
