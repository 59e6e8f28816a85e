//! `htap-top workload`.

use super::{FAILURE, Failure, NO_CONNECTION, NO_PRIVILEGE, block_on, interrupted, print, target};
use htap_top::cli::load::{Format, Workload};
use htap_top::workload::{self, Live, WorkloadError};
use std::io::{IsTerminal, Write};

/// Runs the load and prints the report.
pub fn put_on(options: &Workload) -> Result<(), Failure> {
    let target = target(&options.server, "htap-top workload")?;
    let mut block = Block::new(options.format);
    let done = block_on(async {
        let stop = interrupted()?;
        workload::run(&target, &options.options(), stop, |live| block.show(live))
            .await
            .map_err(|error| Failure::new(code(&error), error))
    });
    block.clear();
    let summary = done?;
    match options.format {
        Format::Text => print(summary.to_string().as_bytes()),
        Format::Json => {
            let json =
                serde_json::to_string_pretty(&summary).map_err(|e| Failure::new(FAILURE, e))?;
            print(format!("{json}\n").as_bytes())
        }
    }
}

fn code(error: &WorkloadError) -> u8 {
    match error {
        WorkloadError::Connect { .. } => NO_CONNECTION,
        WorkloadError::Privilege(_) => NO_PRIVILEGE,
        WorkloadError::NoShop(_) | WorkloadError::Server { .. } => FAILURE,
    }
}

/// Lines of the terminal that are rewritten repeatedly.
struct Block {
    is_shown: bool,
    lines: usize,
}

impl Block {
    fn new(format: Format) -> Self {
        Self {
            is_shown: format == Format::Text && std::io::stdout().is_terminal(),
            lines: 0,
        }
    }

    fn show(&mut self, live: &Live) {
        if self.is_shown {
            let text = live.to_string();
            self.write(&text);
            self.lines = text.lines().count();
        }
    }

    /// Moves back to its first line and clears everything from there.
    fn clear(&mut self) {
        if self.lines > 0 {
            self.write("");
            self.lines = 0;
        }
    }

    fn write(&self, text: &str) {
        let up = match self.lines {
            0 => String::new(),
            lines => format!("\x1b[{lines}A"),
        };
        let mut stdout = std::io::stdout();
        // If the terminal is gone, a signal ends the program.
        let _ = write!(stdout, "{up}\r\x1b[J{text}").and_then(|()| stdout.flush());
    }
}
