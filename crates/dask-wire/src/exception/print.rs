//! Exceptions as Python prints them.

use std::fmt::{self, Write};

use super::PythonError;

/// How often Python prints one frame that repeats.
const REPEATS: usize = 3;
/// How many exceptions of a group Python prints.
const GROUP_WIDTH: usize = 15;
/// How deep in groups Python prints.
const GROUP_DEPTH: usize = 10;

impl fmt::Display for PythonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut printer = Printer { out: String::new(), depth: 0, open: false };
        printer.chain(self)?;
        f.write_str(printer.out.strip_suffix('\n').unwrap_or(&printer.out))
    }
}

/// Works as Python's module `traceback` does.
struct Printer {
    out: String,
    /// In how many groups this is.
    depth: usize,
    /// Whether the frame around the last exception of a group is still open.
    open: bool,
}

impl Printer {
    fn indent(&self) -> String {
        " ".repeat(2 * self.depth)
    }

    fn emit(&mut self, text: &str, margin: char) -> fmt::Result {
        if self.depth == 0 {
            return writeln!(self.out, "{text}");
        }
        let indent = self.indent();
        text.split('\n').try_for_each(|line| writeln!(self.out, "{indent}{margin} {line}"))
    }

    fn chain(&mut self, error: &PythonError) -> fmt::Result {
        let mut chain: Vec<_> = error.chain().collect();
        while let Some(error) = chain.pop() {
            if let Some((_, words)) = error.previous() {
                self.emit(&format!("\n{words}\n"), '|')?;
            }
            if error.exceptions.is_empty() {
                self.emit(&one("Traceback", error), '|')?;
            } else if self.depth > GROUP_DEPTH {
                self.emit(&format!("... (max_group_depth is {GROUP_DEPTH})"), '|')?;
            } else {
                self.group(error)?;
            }
        }
        Ok(())
    }

    fn group(&mut self, error: &PythonError) -> fmt::Result {
        let top = self.depth == 0;
        if top {
            self.depth = 1;
        }
        let text = one("Exception Group Traceback", error);
        match text.split_once('\n').filter(|_| top && !error.traceback.is_empty()) {
            Some((first, rest)) => {
                self.emit(first, '+')?;
                self.emit(rest, '|')?;
            }
            None => self.emit(&text, '|')?,
        }
        self.open = false;
        let count = error.exceptions.len();
        for (at, inner) in error.exceptions.iter().take(GROUP_WIDTH + 1).enumerate() {
            let last = at + 1 == count.min(GROUP_WIDTH + 1);
            self.open |= last;
            let title = if at < GROUP_WIDTH { (at + 1).to_string() } else { "...".to_owned() };
            let lead = if at == 0 { "+-" } else { "  " };
            let indent = self.indent();
            writeln!(self.out, "{indent}{lead}+---------------- {title} ----------------")?;
            self.depth += 1;
            if at < GROUP_WIDTH {
                self.chain(inner)?;
            } else {
                let more = count - GROUP_WIDTH;
                let s = if more > 1 { "s" } else { "" };
                self.emit(&format!("and {more} more exception{s}"), '|')?;
            }
            if last && self.open {
                let indent = self.indent();
                writeln!(self.out, "{indent}+------------------------------------")?;
                self.open = false;
            }
            self.depth -= 1;
        }
        if top {
            self.depth = 0;
        }
        Ok(())
    }
}

/// One exception without those before it: traceback, class and message, notes.
fn one(heading: &str, error: &PythonError) -> String {
    let mut out = String::new();
    if !error.traceback.is_empty() {
        out.push_str(heading);
        out.push_str(" (most recent call last):\n");
    }
    for run in error.traceback.chunk_by(|one, next| one == next) {
        for frame in run.iter().take(REPEATS) {
            let line = format!("  File \"{}\", line {}, in {}\n", frame.file, frame.line, frame.function);
            out.push_str(&line);
        }
        if let Some(more @ 1..) = run.len().checked_sub(REPEATS) {
            let s = if more == 1 { "" } else { "s" };
            out.push_str(&format!("  [Previous line repeated {more} more time{s}]\n"));
        }
    }
    out.push_str(&error.title());
    for note in &error.notes {
        out.push('\n');
        out.push_str(note);
    }
    out
}
