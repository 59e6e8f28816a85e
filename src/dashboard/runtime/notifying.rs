//! Runs the command that tells somebody of a danger, beside the loop.

use crate::dashboard::event::Event;
use crate::dashboard::notice::Notice;
use crate::format;
use crate::text::Clean;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;
use tokio::sync::mpsc::Sender;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Time after which a command is ended.
const LIMIT: Duration = Duration::from_secs(10);

/// Runs commands; those in progress are ended with it.
pub(super) struct Notifier {
    running: JoinSet<()>,
    limit: Duration,
    tell: Sender<(usize, Event)>,
}

impl Notifier {
    /// Returns a notifier; `tell` gets a sentence about each command that fails, with the number of its server.
    pub(super) fn new(tell: Sender<(usize, Event)>) -> Self {
        Self {
            running: JoinSet::new(),
            limit: LIMIT,
            tell,
        }
    }

    /// Runs the command without waiting for it.
    pub(super) fn run(&mut self, server: usize, command: &str, notice: &Notice) {
        while self.running.try_join_next().is_some() {}
        let (told, limit) = (self.tell.clone(), self.limit);
        let begun = Group::begin(command, notice);
        self.running.spawn(async move {
            let failed = match begun {
                Ok(group) => group.end(limit).await.err(),
                Err(error) => Some(error.to_string()),
            };
            if let Some(why) = failed {
                let why = Clean::from(format!("notify.command: {why}"));
                let _ = told.send((server, Event::Warned(why))).await;
            }
        });
    }
}

/// A command and all processes that it starts; they are killed when this is dropped.
struct Group {
    child: tokio::process::Child,
    leader: Option<Pid>,
}

impl Group {
    /// Begins the command. What it is told stands in its environment, never in the shell's text.
    fn begin(command: &str, notice: &Notice) -> std::io::Result<Self> {
        let child = Command::new("/bin/sh")
            .args(["-c", command])
            .envs(notice.environment())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let leader = child.id().and_then(|id| i32::try_from(id).ok());
        Ok(Self {
            child,
            leader: leader.map(Pid::from_raw),
        })
    }

    /// Waits until the command ends, at most `limit`.
    async fn end(mut self, limit: Duration) -> Result<(), String> {
        let Ok(ended) = timeout(limit, self.child.wait()).await else {
            let limit = format::seconds(limit.as_secs_f64());
            return Err(format!("it did not end within {limit}, and was killed"));
        };
        let ended = ended.map_err(|error| error.to_string())?;
        // What it started in the background goes on.
        self.leader = None;
        if ended.success() {
            return Ok(());
        }
        Err(match ended.code() {
            Some(127) => "command not found (exit code 127)".to_owned(),
            Some(code) => format!("exit code {code}"),
            None => "it was killed by a signal".to_owned(),
        })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.leader {
            let _ = killpg(leader, Signal::SIGKILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::notice::News;
    use tokio::sync::mpsc::channel;

    fn notice(sentence: &str) -> Notice {
        Notice {
            news: News::Begun,
            server: "shop".into(),
            sentence: sentence.into(),
            since_epoch_ms: 0,
        }
    }

    #[tokio::test]
    async fn hostile_text_is_only_text() {
        let folder = tempfile::tempdir().unwrap();
        let planted = folder.path().join("planted");
        let (out, path) = (folder.path().join("out"), planted.display());
        let hostile =
            format!("a'\"; touch {path}; $(touch {path}) `touch {path}`\n\u{1b}]0;x\u{7} %s \\");
        let notice = notice(&hostile);
        let (tell, mut told) = channel(8);
        let mut notifier = Notifier::new(tell);
        let command = format!("printf %s \"$HTAP_TOP_SENTENCE\" > {}", out.display());
        notifier.run(1, &command, &notice);
        while notifier.running.join_next().await.is_some() {}
        let written = std::fs::read_to_string(&out).unwrap();
        assert_eq!(written, notice.sentence.as_str());
        assert!(!written.chars().any(char::is_control), "{written:?}");
        assert!(!planted.exists());
        assert!(told.try_recv().is_err(), "nothing failed");
    }

    #[tokio::test]
    async fn a_command_that_fails_or_hangs_is_told_and_ended() {
        let (tell, mut told) = channel(8);
        let mut notifier = Notifier::new(tell);
        for (command, why) in [
            ("/nowhere/at/all", "command not found"),
            ("exit 3", "exit code 3"),
            ("sleep 600 & wait", "did not end within 0.1s"),
        ] {
            if command.starts_with("sleep") {
                notifier.limit = Duration::from_millis(100);
            }
            notifier.run(2, command, &notice("x"));
            let (server, event) = told.recv().await.unwrap();
            let Event::Warned(text) = event else {
                panic!("{event:?}");
            };
            assert_eq!(server, 2);
            assert!(text.as_str().contains(why), "{text}");
        }
    }
}
