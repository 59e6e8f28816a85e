//! Facts about the program, the machine and the terminal.

use super::{Section, aligned};
use crate::dashboard::theme::Depth;
use crate::pg::tls_library;
use crate::text::Clean;
use std::io::IsTerminal;

/// Variables of the environment that change what a terminal shows; none holds a secret.
const SHOWN: [&str; 8] = [
    "TERM",
    "COLORTERM",
    "TERM_PROGRAM",
    "NO_COLOR",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "PAGER",
];
/// Variables of which only their presence counts.
const PRESENT: [&str; 3] = ["TMUX", "STY", "SSH_CONNECTION"];

fn rows(pairs: &[(&str, String)]) -> String {
    let rows = pairs.iter().map(|(name, value)| {
        let value = Clean::new(value);
        vec![(*name).to_owned(), value.as_str().to_owned()]
    });
    aligned(&rows.collect::<Vec<_>>())
}

/// The program: version and build.
pub(crate) fn program() -> Section {
    let build = if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    };
    Section {
        title: "Program",
        about: "version and build",
        body: rows(&[
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("build", build.to_owned()),
            ("tls", tls_library()),
        ]),
    }
}

/// The operating system and the terminal.
pub(crate) fn machine(env: &dyn Fn(&str) -> Option<String>) -> Section {
    let mut pairs = vec![
        ("system", system()),
        ("architecture", std::env::consts::ARCH.to_owned()),
        (
            "processors",
            std::thread::available_parallelism().map_or("?".to_owned(), |n| n.to_string()),
        ),
        ("standard input", kind(std::io::stdin().is_terminal())),
        ("standard output", kind(std::io::stdout().is_terminal())),
        ("colours", format!("{:?}", Depth::detect(env))),
    ];
    for name in SHOWN {
        pairs.push((name, env(name).unwrap_or_else(|| "not set".to_owned())));
    }
    for name in PRESENT {
        let state = if env(name).is_some() {
            "set"
        } else {
            "not set"
        };
        pairs.push((name, state.to_owned()));
    }
    Section {
        title: "Machine",
        about: "operating system, terminal, locale",
        body: rows(&pairs),
    }
}

fn kind(is_terminal: bool) -> String {
    if is_terminal {
        "terminal"
    } else {
        "no terminal"
    }
    .to_owned()
}

/// `Debian GNU/Linux 12 (bookworm), Linux 6.1.0`
fn system() -> String {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .map(|name| name.trim_matches('"').to_owned());
    let kernel = nix::sys::utsname::uname().ok().map(|known| {
        let (system, release) = (known.sysname(), known.release());
        format!("{} {}", system.to_string_lossy(), release.to_string_lossy())
    });
    let parts: Vec<String> = name.into_iter().chain(kernel).collect();
    parts.join(", ")
}
