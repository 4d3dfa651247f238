//! `dask-rs top`: a live screen.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use dask_client::{Client, SchedulerInfo, WorkerInfo};
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Paragraph, Row, Sparkline, Table};

use super::survey;
use crate::cli::Top;
use crate::failure::Failure;
use crate::output::bytes;

/// How many past rates are drawn.
const HISTORY: usize = 240;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Address,
    Memory,
    Busy,
}

/// What is on the screen.
struct Screen {
    title: String,
    info: Option<SchedulerInfo>,
    states: BTreeMap<String, u64>,
    /// Tasks that came into memory or went through it, each second.
    rates: Vec<u64>,
    order: Order,
    scroll: usize,
    trouble: Option<String>,
    round_trip: Duration,
}

pub(in crate::commands) async fn run(options: &Top) -> Result<u8, Failure> {
    if !std::io::stdout().is_terminal() {
        return Err(Failure::config(
            "top draws on a terminal; for data use: dask-rs workers -o json, dask-rs export",
        ));
    }
    let client = options.cluster.connect().await?;
    let mut screen = Screen {
        title: format!("{}  Dask {}", client.address(), client.release()),
        info: None,
        states: BTreeMap::new(),
        rates: Vec::new(),
        order: Order::Address,
        scroll: 0,
        trouble: None,
        round_trip: Duration::ZERO,
    };
    // Puts the terminal in order again also when we end by panic.
    let mut terminal = ratatui::init();
    let outcome = watch(&client, options, &mut screen, &mut terminal).await;
    ratatui::restore();
    client.close().await;
    outcome.map(|()| 0)
}

async fn watch(
    client: &Client,
    options: &Top,
    screen: &mut Screen,
    terminal: &mut ratatui::DefaultTerminal,
) -> Result<(), Failure> {
    let drawing = |error: std::io::Error| Failure::config(format!("cannot draw: {error}"));
    let mut next = Instant::now();
    let mut done_before: Option<(u64, Instant)> = None;
    loop {
        if Instant::now() >= next {
            next = Instant::now() + options.every;
            ask(client, screen, &mut done_before).await;
        }
        terminal.draw(|frame| draw(frame, screen)).map_err(drawing)?;
        // Keys are looked for without waiting: the runtime has one thread, which must stay free.
        while event::poll(Duration::ZERO).map_err(drawing)? {
            if let Event::Key(key) = event::read().map_err(drawing)? {
                let control = key.modifiers.contains(KeyModifiers::CONTROL);
                match key.code {
                    KeyCode::Char('q') | KeyCode::Esc => return Ok(()),
                    KeyCode::Char('c') if control => return Ok(()),
                    KeyCode::Down => screen.scroll = screen.scroll.saturating_add(1),
                    KeyCode::Up => screen.scroll = screen.scroll.saturating_sub(1),
                    KeyCode::Char('s') => {
                        screen.order = match screen.order {
                            Order::Address => Order::Memory,
                            Order::Memory => Order::Busy,
                            Order::Busy => Order::Address,
                        };
                    }
                    _ => (),
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Asks the cluster; what goes wrong is shown and tried again.
async fn ask(client: &Client, screen: &mut Screen, done_before: &mut Option<(u64, Instant)>) {
    let mark = Instant::now();
    match client.scheduler_info().await {
        Ok(info) => {
            screen.info = Some(info);
            screen.trouble = None;
        }
        Err(error) => {
            screen.trouble = Some(error.to_string());
            return;
        }
    }
    screen.round_trip = mark.elapsed();
    match survey::states(client).await {
        Ok(states) => screen.states = survey::sums(&states),
        Err(failure) => screen.trouble = Some(failure.message().to_owned()),
    }
    // Not every release counts what was ever done, so that what is done now and was not before has to do.
    let done: u64 = ["memory", "erred"].iter().filter_map(|state| screen.states.get(*state)).sum();
    let now = Instant::now();
    if let Some((before, then)) = *done_before {
        let seconds = now.duration_since(then).as_secs_f64().max(0.001);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate for the eye"
        )]
        screen.rates.push((done.saturating_sub(before) as f64 / seconds).round() as u64);
        if screen.rates.len() > HISTORY {
            screen.rates.remove(0);
        }
    }
    *done_before = Some((done, now));
}

fn draw(frame: &mut Frame<'_>, screen: &mut Screen) {
    let [head, states, chart, workers, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(5),
        Constraint::Min(3),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let count = screen.info.as_ref().map_or(0, |info| info.workers.len());
    let title = format!("  {count} workers  answered in {}", crate::output::pretty(screen.round_trip));
    frame.render_widget(Line::from(vec![Span::styled(screen.title.clone(), bold), Span::raw(title)]), head);
    frame.render_widget(Line::from(state_spans(&screen.states)), states);
    let latest = screen.rates.last().copied().unwrap_or(0);
    let spark = Sparkline::default()
        .block(Block::bordered().title(format!(" tasks done and kept: {latest}/s ")))
        .style(Style::new().fg(Color::Cyan))
        .data(&screen.rates);
    frame.render_widget(spark, chart);
    draw_workers(frame, screen, workers);
    let words = match &screen.trouble {
        Some(trouble) => Line::styled(trouble.clone(), Style::new().fg(Color::Red)),
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

/// How full a worker is, in percent.
fn fullness(worker: &WorkerInfo) -> Option<u64> {
    let (used, limit) = (worker.memory_bytes?, worker.memory_limit_bytes?);
    used.checked_mul(100)?.checked_div(limit)
}

fn draw_workers(frame: &mut Frame<'_>, screen: &mut Screen, area: ratatui::layout::Rect) {
    let mut workers: Vec<&WorkerInfo> =
        screen.info.as_ref().map(|info| info.workers.values().collect()).unwrap_or_default();
    match screen.order {
        Order::Address => (),
        Order::Memory => workers.sort_by_key(|worker| std::cmp::Reverse(worker.memory_bytes)),
        Order::Busy => workers.sort_by_key(|worker| std::cmp::Reverse(worker.executing)),
    }
    screen.scroll = screen.scroll.min(workers.len().saturating_sub(1));
    let rows = workers.iter().skip(screen.scroll).map(|worker| {
        let full = fullness(worker);
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
            Cell::from(format!("{}/{}", worker.executing.unwrap_or(0), worker.nthreads)),
            Cell::from(worker.memory_bytes.map_or_else(|| "-".to_owned(), bytes)),
            Cell::from(full.map_or_else(|| "-".to_owned(), |full| format!("{full}%")))
                .style(Style::new().fg(color)),
            Cell::from(status).style(Style::new().fg(status_color)),
            Cell::from(worker.last_seen.map_or_else(|| "-".to_owned(), super::ago)),
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
