//! Running the program on a terminal of its own.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

const COLUMNS: usize = 100;
/// What a person sees and types; generous, for tests run on busy machines.
const PATIENCE: Duration = Duration::from_secs(180);

/// The program on a terminal of 100 columns.
pub(crate) struct Terminal {
    child: Child,
    keys: File,
    seen: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Terminal {
    pub(crate) fn run(mut command: Command) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&master).expect("a terminal");
        unlockpt(&master).expect("a terminal");
        let name = ptsname(&master, Vec::new()).expect("a terminal has a name").into_string().expect("ASCII");
        let slave = File::options().read(true).write(true).open(name).expect("a terminal");
        let size = Winsize { ws_row: 40, ws_col: COLUMNS as u16, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&slave, size).expect("a terminal has a size");
        let end = || Stdio::from(OwnedFd::from(slave.try_clone().expect("a terminal")));
        command.stdin(end()).stdout(end()).stderr(end()).env("TERM", "xterm-256color");
        let child = command.spawn().expect("the program starts");
        drop(command);
        drop(slave);
        let keys = File::from(master);
        let mut screen = keys.try_clone().expect("a terminal");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&seen);
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = screen.read(&mut buffer) {
                into.lock().expect("no panic").extend_from_slice(&buffer[..count]);
            }
        });
        Self { child, keys, seen, reader }
    }

    /// Everything that was printed so far, escapes and all.
    pub(crate) fn seen(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().expect("no panic")).into_owned()
    }

    /// Waits until something stands on the screen.
    #[track_caller]
    pub(crate) fn shows(&self, text: &str) {
        let start = Instant::now();
        while !screen(&self.seen()).contains(text) {
            assert!(start.elapsed() < PATIENCE, "{text:?} does not come up:\n{}", screen(&self.seen()));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The program's process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn types(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("a terminal takes keys");
    }

    /// Waits for the end; the exit code and everything that was printed.
    #[track_caller]
    pub(crate) fn end(mut self) -> (i32, String) {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                // All was read when the terminal has ended, too; a process that was left behind may keep it open.
                let ended = Instant::now();
                while !self.reader.is_finished() && ended.elapsed() < Duration::from_secs(5) {
                    std::thread::sleep(Duration::from_millis(5));
                }
                return (status.code().unwrap_or(-1), self.seen());
            }
            if start.elapsed() > PATIENCE {
                let _ = self.child.kill();
                let _ = self.child.wait();
                panic!("it does not end: {:?}", self.seen());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// What stands on the screen after all of this was printed, as far as the program's escapes go: it scrolls never.
pub(crate) fn screen(printed: &str) -> String {
    let mut rows = vec![vec![' '; COLUMNS]; 400];
    let (mut row, mut column) = (0, 0);
    let mut chars = printed.chars();
    while let Some(c) = chars.next() {
        match c {
            '\r' => column = 0,
            '\n' => row += 1,
            '\u{1b}' => {
                let mut code = String::new();
                let last = chars.by_ref().skip(1).find(|c| {
                    let ends = c.is_ascii_alphabetic();
                    if !ends {
                        code.push(*c);
                    }
                    ends
                });
                let mut numbers = code.split(';').map(|number| number.parse::<usize>().unwrap_or(1));
                match last {
                    Some('H') => {
                        row = numbers.next().unwrap_or(1).saturating_sub(1);
                        column = numbers.next().unwrap_or(1).saturating_sub(1);
                    }
                    Some('J') => rows.iter_mut().for_each(|row| row.fill(' ')),
                    Some('K') => rows[row].fill(' '),
                    _ => (),
                }
            }
            c => {
                if column < COLUMNS {
                    rows[row.min(399)][column] = c;
                    column += 1;
                }
            }
        }
    }
    let rows = rows.into_iter().map(|row| row.into_iter().collect::<String>().trim_end().to_owned());
    rows.collect::<Vec<_>>().join("\n").trim_end().to_owned()
}
