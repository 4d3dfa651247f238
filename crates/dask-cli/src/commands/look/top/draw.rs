//! The screen of `top`.

use std::collections::BTreeMap;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Paragraph, Row, Sparkline, Table};

use super::{Order, Screen, Worker};
use crate::output::bytes;

pub(super) fn draw(frame: &mut Frame<'_>, screen: &mut Screen) {
    let [head, states, chart, workers, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(5),
        Constraint::Min(3),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let count = screen.workers.len();
    let title = format!("  {count} workers  answered in {}", crate::output::pretty(screen.round_trip));
    frame.render_widget(Line::from(vec![Span::styled(screen.title.clone(), bold), Span::raw(title)]), head);
    frame.render_widget(Line::from(state_spans(&screen.states)), states);
    let latest = screen.rates.last().copied().unwrap_or(0);
    let spark = Sparkline::default()
        .block(Block::bordered().title(format!(" tasks done: {latest}/s, {} since the start ", screen.done)))
        .style(Style::new().fg(Color::Cyan))
        .data(&screen.rates);
    frame.render_widget(spark, chart);
    draw_workers(frame, screen, workers);
    // A short wait is none.
    let silent = screen.asked.map(|asked| asked.elapsed().as_secs()).filter(|seconds| *seconds >= 2);
    let trouble = match (silent, &screen.trouble) {
        (Some(seconds), _) => Some(format!("no answer for {seconds} s")),
        (None, trouble) => trouble.clone(),
    };
    let words = match trouble {
        Some(trouble) => Line::styled(trouble, Style::new().fg(Color::Red)),
        None => Line::raw(format!("q leaves  s order: {:?}  arrows scroll", screen.order)),
    };
    frame.render_widget(Paragraph::new(words), foot);
}

fn state_spans(states: &BTreeMap<String, u64>) -> Vec<Span<'static>> {
    if states.is_empty() {
        return vec![Span::raw("no tasks")];
    }
    let color = |state: &str| match state {
        "erred" | "no-worker" => Color::Red,
        "processing" => Color::Green,
        "memory" => Color::Blue,
        "waiting" | "queued" => Color::Yellow,
        _ => Color::Gray,
    };
    states
        .iter()
        .map(|(state, count)| Span::styled(format!("{state} {count}   "), Style::new().fg(color(state))))
        .collect()
}

fn draw_workers(frame: &mut Frame<'_>, screen: &mut Screen, area: ratatui::layout::Rect) {
    let mut workers: Vec<&Worker> = screen.workers.iter().collect();
    match screen.order {
        Order::Address => (),
        Order::Memory => workers.sort_by_key(|worker| std::cmp::Reverse(worker.memory)),
        Order::Busy => workers.sort_by_key(|worker| std::cmp::Reverse(worker.executing)),
    }
    screen.scroll = screen.scroll.min(workers.len().saturating_sub(1));
    let rows = workers.iter().skip(screen.scroll).map(|worker| {
        let full = worker.fullness();
        let color = match full {
            Some(80..) => Color::Red,
            Some(60..) => Color::Yellow,
            _ => Color::Reset,
        };
        let status = worker.status.clone().unwrap_or_else(|| "-".to_owned());
        let status_color = if status == "running" || status == "-" { Color::Reset } else { Color::Red };
        Row::new([
            Cell::from(worker.address.clone()),
            Cell::from(worker.name.clone()),
            Cell::from(format!("{}/{}", worker.executing, worker.threads)),
            Cell::from(worker.memory.map_or_else(|| "-".to_owned(), bytes)),
            Cell::from(full.map_or_else(|| "-".to_owned(), |full| format!("{full}%")))
                .style(Style::new().fg(color)),
            Cell::from(status).style(Style::new().fg(status_color)),
            Cell::from(worker.last_seen.map_or_else(|| "-".to_owned(), crate::commands::look::ago)),
        ])
    });
    let widths = [
        Constraint::Min(24),
        Constraint::Length(16),
        Constraint::Length(9),
        Constraint::Length(11),
        Constraint::Length(6),
        Constraint::Length(9),
        Constraint::Length(9),
    ];
    let header = Row::new(["worker", "name", "running", "memory", "full", "status", "seen"])
        .style(Style::new().add_modifier(Modifier::BOLD));
    frame.render_widget(Table::new(rows, widths).header(header), area);
}
