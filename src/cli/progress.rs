//! How long work says how far it is: a bar on a terminal, a line now and then elsewhere. Both on standard error, so that
//! standard output stays what was asked for.

use std::{
    io::{IsTerminal, Write, stderr},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

/// How often a bar shows that time passes.
const TICK: Duration = Duration::from_millis(500);

/// How often a line is written where there is no terminal: often enough to see that it lives, and a few hundred lines
/// for a whole night.
const LINE_EVERY: Duration = Duration::from_secs(60);

/// What is shown while work goes on; it goes away with this value.
#[derive(Debug)]
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    last_line: Instant,
}

impl Progress {
    /// Begins to show.
    pub(super) fn begin() -> Self {
        let bar = stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(100);
            let style = ProgressStyle::with_template("{bar:30} {pos:>3}%  {elapsed_precise}  {wide_msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Self { bar, last_line: Instant::now() }
    }

    /// Shows how many of each hundred parts are done, with a text.
    pub(super) fn show(&mut self, percent: u64, text: &str) {
        match &self.bar {
            Some(bar) => {
                bar.set_position(percent.min(100));
                bar.set_message(text.to_owned());
            }
            None if self.last_line.elapsed() >= LINE_EVERY => {
                self.last_line = Instant::now();
                // Nothing can be done about a reader that is gone.
                let _ = writeln!(stderr(), "{percent}%: {text}");
            }
            None => {}
        }
    }
}

/// Waits for work of which nobody knows how far it is, and shows that it goes on.
pub(super) async fn while_waiting<T>(text: &str, work: impl Future<Output = T>) -> T {
    let mut progress = Progress::begin();
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = tokio::time::sleep(TICK) => progress.show(0, text),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A number of bytes as people read it.
pub(super) fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}
