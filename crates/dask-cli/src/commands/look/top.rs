//! `dask-rs top`: a live screen.

mod draw;

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use dask_client::{Client, ErrorKind, WorkerInfo};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyModifiers};
use tokio::sync::mpsc;

use super::survey;
use crate::cli::Top;
use crate::commands::Context;
use crate::failure::Failure;
use crate::signals::stopped;

/// How many past rates are drawn.
const HISTORY: usize = 240;
/// How often keys are looked for and the screen is drawn.
const FRAME: Duration = Duration::from_millis(50);
/// The most finished tasks that are asked for at once: more in one interval are counted as so many.
const MOST: usize = 20_000;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Order {
    #[default]
    Address,
    Memory,
    Busy,
}

/// What is on the screen.
#[derive(Debug, Default)]
struct Screen {
    title: String,
    workers: Vec<Worker>,
    states: BTreeMap<String, u64>,
    /// Tasks finished in each second, also those whose results are gone already.
    rates: Vec<u64>,
    /// Tasks finished since the screen is there.
    done: u64,
    order: Order,
    scroll: usize,
    trouble: Option<String>,
    round_trip: Duration,
    /// Since when there is no answer, while one is waited for.
    asked: Option<Instant>,
}

/// What the cluster answered.
#[derive(Debug)]
struct Answer {
    workers: Vec<Worker>,
    states: BTreeMap<String, u64>,
    /// Finished since the last answer, and how many a second that is.
    done: Option<(u64, u64)>,
    round_trip: Duration,
}

/// A worker's line.
#[derive(Clone, Debug)]
struct Worker {
    address: String,
    name: String,
    executing: u64,
    threads: u64,
    memory: Option<u64>,
    limit: Option<u64>,
    status: Option<String>,
    last_seen: Option<f64>,
}

impl From<WorkerInfo> for Worker {
    fn from(info: WorkerInfo) -> Self {
        Self {
            address: info.address,
            name: info.name,
            executing: info.executing.unwrap_or(0),
            threads: info.nthreads,
            memory: info.memory_bytes,
            limit: info.memory_limit_bytes,
            status: info.status,
            last_seen: info.last_seen,
        }
    }
}

impl Worker {
    /// How full it is, in percent.
    fn fullness(&self) -> Option<u64> {
        self.memory?.checked_mul(100)?.checked_div(self.limit?)
    }
}

/// From the one who asks to the one who draws.
#[derive(Debug)]
enum News {
    Asking,
    Answered(Box<Result<Answer, String>>),
}

pub(in crate::commands) async fn run(context: Context, options: &Top) -> Result<u8, Failure> {
    if !std::io::stdout().is_terminal() {
        return Err(Failure::config(
            "top draws on a terminal; for data use: dask-rs workers -o json, dask-rs export",
        ));
    }
    let client = options.cluster.connect(context).await?;
    let mut screen =
        Screen { title: format!("{}  Dask {}", client.address(), client.release()), ..Screen::default() };
    let (sender, mut news) = mpsc::channel(4);
    // Beside the keys, which must not wait for a cluster that does not answer.
    let asking = tokio::spawn(ask_again_and_again(client.clone(), options.every, sender));
    // The terminal is put in order again when this is killed politely, and also when it ends by panic.
    let stopped = stopped();
    let outcome = match ratatui::try_init() {
        Ok(mut terminal) => tokio::select! {
            outcome = watch(&mut screen, &mut news, &mut terminal) => outcome,
            () = stopped => Ok(()),
        },
        Err(error) => Err(Failure::config(format!("cannot draw on this terminal: {error}"))),
    };
    // Of a terminal that has gone there is nothing to put in order.
    drop(ratatui::try_restore());
    asking.abort();
    client.close().await;
    outcome.map(|()| 0)
}

async fn watch(
    screen: &mut Screen,
    news: &mut mpsc::Receiver<News>,
    terminal: &mut ratatui::DefaultTerminal,
) -> Result<(), Failure> {
    let drawing = |error: std::io::Error| Failure::config(format!("cannot draw: {error}"));
    loop {
        while let Ok(news) = news.try_recv() {
            screen.hear(news);
        }
        terminal.draw(|frame| draw::draw(frame, screen)).map_err(drawing)?;
        // Keys are looked for without waiting: the runtime has one thread, which must stay free.
        while event::poll(Duration::ZERO).map_err(drawing)? {
            if let Event::Key(key) = event::read().map_err(drawing)?
                && screen.press(key)
            {
                return Ok(());
            }
        }
        tokio::time::sleep(FRAME).await;
    }
}

impl Screen {
    fn hear(&mut self, news: News) {
        match news {
            News::Asking => self.asked = Some(Instant::now()),
            News::Answered(answer) => {
                self.asked = None;
                match *answer {
                    Ok(answer) => {
                        self.workers = answer.workers;
                        self.states = answer.states;
                        self.round_trip = answer.round_trip;
                        self.trouble = None;
                        if let Some((count, rate)) = answer.done {
                            self.done = self.done.saturating_add(count);
                            self.rates.push(rate);
                        }
                        let old = self.rates.len().saturating_sub(HISTORY);
                        self.rates.drain(..old);
                    }
                    Err(trouble) => self.trouble = Some(trouble),
                }
            }
        }
    }

    /// Does what a key says; whether that is to leave.
    fn press(&mut self, key: KeyEvent) -> bool {
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return true,
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return true,
            KeyCode::Down => self.scroll = self.scroll.saturating_add(1),
            KeyCode::Up => self.scroll = self.scroll.saturating_sub(1),
            KeyCode::Char('s') => {
                self.order = match self.order {
                    Order::Address => Order::Memory,
                    Order::Memory => Order::Busy,
                    Order::Busy => Order::Address,
                };
            }
            _ => (),
        }
        false
    }
}

/// Asks the cluster; what goes wrong is told and tried again.
async fn ask_again_and_again(client: Client, every: Duration, news: mpsc::Sender<News>) {
    let (mut done, mut counter) = (Done::default(), survey::Counter::default());
    loop {
        let next = tokio::time::Instant::now() + every;
        if news.send(News::Asking).await.is_err() {
            return;
        }
        let answer =
            ask(&client, &mut done, &mut counter).await.map_err(|failure| failure.message().to_owned());
        if news.send(News::Answered(Box::new(answer))).await.is_err() {
            return;
        }
        tokio::time::sleep_until(next).await;
    }
}

async fn ask(client: &Client, done: &mut Done, counter: &mut survey::Counter) -> Result<Answer, Failure> {
    let mark = Instant::now();
    let info = client.scheduler_info().await?;
    let round_trip = mark.elapsed();
    let states = survey::sums(&counter.count(client).await?);
    let done = match done.since(client).await {
        Ok(counted) => counted,
        // Up to 2021.12.0 the scheduler stumbles over the record of a task that killed its workers.
        Err(error) if error.kind() == ErrorKind::Rpc => {
            *done = Done::default();
            None
        }
        Err(error) => return Err(error.into()),
    };
    let workers = info.workers.into_values().map(Worker::from).collect();
    Ok(Answer { workers, states, done, round_trip })
}

/// Counts finished tasks by the record of them that a scheduler keeps once it was asked for it, as the dashboard does.
#[derive(Debug, Default)]
struct Done {
    /// When the last one ended, by its worker's clock.
    last: Option<f64>,
    asked: Option<Instant>,
}

impl Done {
    /// How many finished since the last time, and how many a second: also those whose results were released meanwhile.
    async fn since(&mut self, client: &Client) -> dask_client::Result<Option<(u64, u64)>> {
        let limit = if self.last.is_some() { MOST } else { 1 };
        let records = client.task_stream(self.last, None, Some(limit)).await?;
        let ends =
            records.iter().map(|record| record.startstops.iter().map(|it| it.stop).fold(0.0, f64::max));
        let before = self.last;
        let fresh = ends.clone().filter(|end| before.is_none_or(|before| *end > before)).count();
        // Of a cluster that has not finished anything yet, everything that comes is new.
        self.last = Some(ends.fold(before.unwrap_or(0.0), f64::max));
        let now = Instant::now();
        let since = self.asked.replace(now).map(|then| now.duration_since(then).as_secs_f64().max(0.001));
        let Some(seconds) = since.filter(|_| before.is_some()) else { return Ok(None) };
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate for the eye"
        )]
        let rate = (fresh as f64 / seconds).round() as u64;
        Ok(Some((fresh as u64, rate)))
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use serde_json::json;

    use super::*;

    fn screen() -> Screen {
        let worker = |number: u64, status: &str| Worker {
            address: format!("tcp://10.0.0.1:400{number}"),
            name: number.to_string(),
            executing: 1,
            threads: 4,
            memory: Some(number << 29),
            limit: Some(number << 30),
            status: Some(status.to_owned()),
            last_seen: None,
        };
        let workers = vec![worker(1, "running"), worker(2, "paused")];
        let states = serde_json::from_value(json!({ "memory": 7, "processing": 2 })).unwrap();
        let mut screen =
            Screen { title: "tcp://10.0.0.1:8786  Dask 2026.8.0".to_owned(), ..Screen::default() };
        let round_trip = Duration::from_micros(410);
        let answer = Answer { workers, states, done: Some((24, 12)), round_trip };
        screen.hear(News::Answered(Box::new(Ok(answer))));
        screen
    }

    fn drawn(screen: &mut Screen, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw::draw(frame, screen)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn workers_states_and_the_rate_are_on_the_screen() {
        let text = drawn(&mut screen(), 120, 20);
        for words in [
            "tcp://10.0.0.1:8786  Dask 2026.8.0  2 workers  answered in 410 us",
            "memory 7   processing 2",
            "tasks done: 12/s, 24 since the start",
            "tcp://10.0.0.1:4001",
            "1/4",
            "512.0 MiB",
            "50%",
            "paused",
            "q leaves  s order: Address  arrows scroll",
        ] {
            assert!(text.contains(words), "{words} in\n{text}");
        }
    }

    #[test]
    fn a_small_or_empty_screen_is_drawn_as_well() {
        for (width, height) in [(1, 1), (20, 5), (40, 9)] {
            drawn(&mut screen(), width, height);
            drawn(&mut Screen::default(), width, height);
        }
        assert!(drawn(&mut Screen::default(), 60, 20).contains("no tasks"));
    }

    #[test]
    fn keys_scroll_order_and_leave() {
        let mut screen = screen();
        let press = |screen: &mut Screen, code| screen.press(KeyEvent::new(code, KeyModifiers::NONE));
        assert!(!press(&mut screen, KeyCode::Char('s')));
        assert!(drawn(&mut screen, 120, 20).contains("s order: Memory"));
        for _ in 0..5 {
            press(&mut screen, KeyCode::Down);
        }
        let text = drawn(&mut screen, 120, 20);
        assert!(text.contains(":4002") != text.contains(":4001"), "one worker is left: {text}");
        assert!(press(&mut screen, KeyCode::Char('q')) && press(&mut screen, KeyCode::Esc));
        assert!(screen.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)));
    }

    #[test]
    fn trouble_and_waiting_are_told() {
        let mut screen = screen();
        screen.hear(News::Answered(Box::new(Err("the scheduler has gone".to_owned()))));
        assert!(drawn(&mut screen, 120, 20).contains("the scheduler has gone"));
        screen.hear(News::Asking);
        screen.asked = Instant::now().checked_sub(Duration::from_secs(5));
        assert!(drawn(&mut screen, 120, 20).contains("no answer for "));
    }

    #[test]
    fn the_history_is_bounded() {
        let mut screen = Screen::default();
        for rate in 0..1000 {
            let (states, round_trip) = (BTreeMap::new(), Duration::ZERO);
            let answer = Answer { workers: Vec::new(), states, done: Some((1, rate)), round_trip };
            screen.hear(News::Answered(Box::new(Ok(answer))));
        }
        assert_eq!((screen.rates.len(), screen.rates.last()), (HISTORY, Some(&999)));
    }
}
