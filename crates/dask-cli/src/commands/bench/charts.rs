//! Charts as SVG.

use std::fmt::Write;
use std::time::Duration;

use super::report::{Report, Stretch};
use crate::hist::Summary;
use crate::output::pretty;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 40.0;

/// Where values lie in a chart.
struct Frame {
    x: (f64, f64),
    y: (f64, f64),
}

impl Frame {
    fn x(&self, value: f64) -> f64 {
        LEFT + (value - self.x.0) / (self.x.1 - self.x.0).max(1e-12) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - (value - self.y.0) / (self.y.1 - self.y.0).max(1e-12) * (HEIGHT - TOP - BOTTOM)
    }
}

/// An empty chart with a title for those who cannot see it.
fn start(title: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\"><title>{title}</title>"
    )
}

fn label(svg: &mut String, class: &str, x: f64, y: f64, text: &str) {
    // Writing into a String cannot fail, here and below.
    let _ = write!(svg, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>");
}

fn grid_y(svg: &mut String, frame: &Frame, at: f64, text: &str) {
    let y = frame.y(at);
    let _ = write!(
        svg,
        "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>",
        WIDTH - RIGHT
    );
    label(svg, "end", LEFT - 8.0, y + 4.0, text);
}

fn grid_x(svg: &mut String, frame: &Frame, at: f64, text: &str) {
    let x = frame.x(at);
    let _ = write!(
        svg,
        "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"/>",
        HEIGHT - BOTTOM
    );
    label(svg, "middle", x, HEIGHT - BOTTOM + 18.0, text);
}

fn line(svg: &mut String, class: &str, points: &[(f64, f64)]) {
    let mut path = String::new();
    for (index, (x, y)) in points.iter().enumerate() {
        let _ = write!(path, "{}{x:.1} {y:.1}", if index == 0 { "M" } else { "L" });
    }
    let _ = write!(svg, "<path class=\"line {class}\" d=\"{path}\"/>");
}

fn nanos(value: f64) -> String {
    pretty(Duration::try_from_secs_f64(value / 1e9).unwrap_or(Duration::MAX)).replace(".00 ", " ")
}

/// 1, 2, 5, 10, 20, … between two values; at most about ten of them.
fn steps(low: f64, high: f64) -> Vec<f64> {
    let mut all = Vec::new();
    let mut decade = 10f64.powf(low.max(1.0).log10().floor());
    while decade <= high {
        all.extend([1.0, 2.0, 5.0].map(|step| step * decade));
        decade *= 10.0;
    }
    all.retain(|value| (low..=high).contains(value));
    if all.len() > 10 {
        all.retain(|value| (value.log10() - value.log10().round()).abs() < 1e-9);
    }
    all
}

/// Evenly spaced round values from 0 to a bit above `high`.
fn even(high: f64) -> Vec<f64> {
    let rough = (high / 4.0).max(1e-9);
    let magnitude = 10f64.powf(rough.log10().floor());
    let step =
        [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|step| step * magnitude).find(|step| *step >= rough);
    let step = step.unwrap_or(rough);
    (0..=6u8).map(|count| f64::from(count) * step).take_while(|value| *value < high + step).collect()
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds below 2^53 are 100 days")]
fn float(value: u64) -> f64 {
    value as f64
}

/// Duration over percentile, the last percent spread out; both axes logarithmic.
pub(super) fn percentiles(report: &Report, old: Option<&Report>) -> String {
    let curves: Vec<(&str, &str, &Summary)> = [
        Some(("total", "total", &report.latency.corrected)),
        (report.settings.model == "open").then_some(("sent", "from sending", &report.latency.uncorrected)),
        old.map(|old| ("old", "earlier run", &old.latency.corrected)),
    ]
    .into_iter()
    .flatten()
    .filter(|(_, _, summary)| summary.count > 0)
    .collect();
    let low = curves.iter().map(|(_, _, summary)| summary.min_ns).min().unwrap_or(1).max(1);
    let high = curves.iter().map(|(_, _, summary)| summary.max_ns).max().unwrap_or(1).max(low + 1);
    // As many nines as there are samples to tell them.
    let most = curves.iter().map(|(_, _, summary)| summary.count).max().unwrap_or(1);
    let nines = (float(most).log10() + 0.1).clamp(2.0, 6.0);
    let frame = Frame { x: (0.0, nines), y: ((float(low) * 0.8).log10(), (float(high) * 1.15).log10()) };
    let place = |percent: f64| -(1.0 - (percent / 100.0)).max(10f64.powf(-nines)).log10();

    let mut svg = start("Latency by percentile");
    for value in steps(float(low) * 0.8, float(high) * 1.15) {
        grid_y(&mut svg, &frame, value.log10(), &nanos(value));
    }
    for percent in [0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999, 99.9999] {
        if place(percent) <= nines - 1e-9 {
            grid_x(&mut svg, &frame, place(percent), &format!("{percent}%"));
        }
    }
    for (class, name, summary) in &curves {
        let points: Vec<(f64, f64)> = summary
            .curve
            .iter()
            .map(|(percent, nanos)| (frame.x(place(*percent)), frame.y(float((*nanos).max(1)).log10())))
            .collect();
        line(&mut svg, class, &points);
        for (percent, value) in &summary.curve {
            let _ = write!(
                svg,
                "<circle class=\"dot {class}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\"><title>{name}: {percent:.4}% within {}</title></circle>",
                frame.x(place(*percent)),
                frame.y(float((*value).max(1)).log10()),
                nanos(float(*value))
            );
        }
    }
    svg.push_str("</svg>");
    svg.push_str(&legend(curves.iter().map(|(class, name, _)| (*class, *name))));
    svg
}

/// What requests around each percentile are made of.
pub(super) fn stack(report: &Report) -> String {
    let names = [("queue", "queue"), ("submit", "submit"), ("in_memory", "in memory"), ("fetch", "fetch")];
    let parts: Vec<(f64, [u64; 4])> = report
        .composition
        .iter()
        .map(|c| (c.percentile, [c.queue_ns, c.submit_ns, c.in_memory_ns, c.fetch_ns]))
        .collect();
    let high = parts.iter().map(|(_, parts)| parts.iter().sum::<u64>()).max().unwrap_or(1).max(1);
    let row = 44.0;
    let height = TOP + row * parts.len().max(1) as f64 + BOTTOM;
    let ticks = even(float(high));
    let frame = Frame { x: (0.0, ticks.last().copied().unwrap_or(1.0).max(float(high))), y: (0.0, 1.0) };
    let title = "What requests around a percentile are made of";
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"{title}\"><title>{title}</title>"
    );
    for value in ticks {
        let x = frame.x(value);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"/>",
            height - BOTTOM
        );
        label(&mut svg, "middle", x, height - BOTTOM + 18.0, &nanos(value));
    }
    for (index, (percentile, parts)) in parts.iter().enumerate() {
        let y = TOP + row * index as f64;
        label(&mut svg, "end", LEFT - 8.0, y + row / 2.0 + 4.0, &format!("p{percentile}"));
        let mut from = 0.0;
        for ((class, name), part) in names.iter().zip(parts) {
            let to = from + float(*part);
            let _ = write!(
                svg,
                "<rect class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"><title>p{percentile}, {name}: {}</title></rect>",
                frame.x(from),
                y + 7.0,
                (frame.x(to) - frame.x(from)).max(0.0),
                row - 14.0,
                nanos(float(*part))
            );
            from = to;
        }
    }
    svg.push_str("</svg>");
    let shown = names.into_iter().filter(|(class, _)| *class != "queue" || report.settings.model == "open");
    svg.push_str(&legend(shown));
    svg
}

/// Percentiles and throughput over time.
pub(super) fn timeline(report: &Report) -> String {
    let window = float(report.window_ns.max(1));
    let end = report.timeline.last().map_or(window, |stretch| float(stretch.start_ns) + window);
    let high = report.timeline.iter().map(|stretch| stretch.max_ns).max().unwrap_or(1).max(1);
    let low = report
        .timeline
        .iter()
        .filter(|stretch| stretch.completed > 0)
        .map(|stretch| stretch.p50_ns)
        .min()
        .unwrap_or(1)
        .max(1);
    let frame = Frame { x: (0.0, end), y: ((float(low) * 0.5).log10(), (float(high) * 1.15).log10()) };
    let mut svg = start("Latency and throughput over time");
    for value in steps(float(low) * 0.5, float(high) * 1.15) {
        grid_y(&mut svg, &frame, value.log10(), &nanos(value));
    }
    for value in even(end / 1e9) {
        if value * 1e9 <= end {
            grid_x(&mut svg, &frame, value * 1e9, &format!("{value} s"));
        }
    }
    // Throughput as bars behind the lines, on a scale of its own; what failed stands on what was completed.
    let ended = |stretch: &Stretch| stretch.completed + stretch.failed;
    let most = report.timeline.iter().map(ended).max().unwrap_or(1).max(1);
    let tall = |count: u64| float(count) / float(most) * (HEIGHT - TOP - BOTTOM) * 0.5;
    for stretch in &report.timeline {
        let (left, right) = (frame.x(float(stretch.start_ns)), frame.x(float(stretch.start_ns) + window));
        for (class, count, below) in
            [("bar", stretch.completed, 0), ("failed", stretch.failed, stretch.completed)]
        {
            if count == 0 {
                continue;
            }
            let _ = write!(
                svg,
                "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"><title>{:.1} requests/s, {} failed</title></rect>",
                HEIGHT - BOTTOM - tall(below + count),
                (right - left - 0.6).max(0.4),
                tall(count),
                float(stretch.completed) / (window / 1e9),
                stretch.failed
            );
        }
    }
    type Pick = fn(&Stretch) -> u64;
    let lines: [(&str, Pick); 3] = [("max", |s| s.max_ns), ("p99", |s| s.p99_ns), ("p50", |s| s.p50_ns)];
    for (class, pick) in lines {
        let points: Vec<(f64, f64)> = report
            .timeline
            .iter()
            .filter(|stretch| stretch.completed > 0)
            .map(|stretch| {
                (
                    frame.x(float(stretch.start_ns) + window / 2.0),
                    frame.y(float(pick(stretch).max(1)).log10()),
                )
            })
            .collect();
        line(&mut svg, class, &points);
    }
    svg.push_str("</svg>");
    let names = [("p50", "p50"), ("p99", "p99"), ("max", "max"), ("bar", "throughput"), ("failed", "failed")];
    let any_failed = report.timeline.iter().any(|stretch| stretch.failed > 0);
    svg.push_str(&legend(names.into_iter().filter(|(class, _)| *class != "failed" || any_failed)));
    svg
}

fn legend<'n>(entries: impl Iterator<Item = (&'n str, &'n str)>) -> String {
    let entries: String =
        entries.map(|(class, name)| format!("<span><i class=\"key {class}\"></i>{name}</span>")).collect();
    format!("<p class=\"legend\">{entries}</p>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(steps(1e6, 1.2e7), [1e6, 2e6, 5e6, 1e7]);
        assert!(steps(1.0, 1e12).len() <= 13);
        assert_eq!(even(10.0), [0.0, 2.5, 5.0, 7.5, 10.0]);
        assert!(even(0.0).len() <= 7);
    }

    #[test]
    fn what_failed_stands_on_what_was_completed() {
        let stretch = |completed, failed| Stretch { completed, failed, ..Stretch::default() };
        let report = Report { timeline: vec![stretch(30, 10), stretch(0, 20)], ..Report::default() };
        let chart = timeline(&report);
        let heights = |class: &str| -> Vec<f64> {
            let bars = chart.split("<rect ").filter(|bar| bar.starts_with(&format!("class=\"{class}\"")));
            bars.map(|bar| bar.split("height=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap())
                .collect()
        };
        let half = (HEIGHT - TOP - BOTTOM) * 0.5;
        let near = |found: &[f64], shares: &[f64]| {
            found.len() == shares.len()
                && found.iter().zip(shares).all(|(it, share)| (it - half * share).abs() < 0.1)
        };
        assert!(near(&heights("bar"), &[0.75]), "{chart}");
        assert!(near(&heights("failed"), &[0.25, 0.5]), "{chart}");
        assert!(chart.contains("</i>failed</span>"), "{chart}");
        let well = Report { timeline: vec![stretch(30, 0)], ..Report::default() };
        assert!(!timeline(&well).contains("</i>failed</span>"));
    }

    #[test]
    fn a_run_without_any_result_still_has_charts() {
        let report = Report::default();
        for chart in [percentiles(&report, None), stack(&report), timeline(&report)] {
            assert!(chart.starts_with("<svg") && chart.contains("</svg>"), "{chart}");
            assert!(!chart.contains("NaN") && !chart.contains("inf"), "{chart}");
        }
    }
}
