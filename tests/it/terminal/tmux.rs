//! A terminal with a shell in it, using tmux.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of a test")]

use crate::it::server::Patience;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub struct Terminal {
    folder: tempfile::TempDir,
    /// Ends the terminal when this process is gone, however that happened.
    lifeline: Child,
    /// Output of `stty -a` before anything ran.
    pub settings: String,
}

impl Terminal {
    /// Opens a terminal of this size with a shell that has its own home folder.
    pub fn open(width: u16, height: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("config/htap-top/queries")).unwrap();
        let tmux = |arguments: &[&str]| tmux(folder.path(), arguments);
        let home = folder.path().display();
        let shell = format!(
            "exec env -i HOME={home} XDG_CONFIG_HOME={home}/config XDG_STATE_HOME={home}/state PATH=/usr/bin:/bin \
             TERM=$TERM LANG=C.UTF-8 PS1='$ ' bash --norc --noprofile"
        );
        let (width, height) = (width.to_string(), height.to_string());
        tmux(&["new-session", "-d", "-x", &width, "-y", &height, &shell]);
        tmux(&["set-option", "-g", "status", "off"]);
        tmux(&["resize-window", "-x", &width, "-y", &height]);
        let lifeline = Command::new("sh")
            .args(["-c", "cat > /dev/null; tmux -S \"$0\" kill-server"])
            .arg(folder.path().join("tmux"))
            .process_group(0)
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut terminal = Self {
            folder,
            lifeline,
            settings: String::new(),
        };
        terminal.until("the prompt", |screen| screen.starts_with('$'));
        terminal.settings = terminal.settings_after();
        terminal
    }

    /// Writes a file into the program's configuration folder.
    pub fn config_file(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join("config/htap-top").join(name), text).unwrap();
    }

    /// Writes a custom panel.
    pub fn own_panel(&self, name: &str, title: &str, sql: &str) {
        let front = format!(
            "-- title = \"{title}\"\n-- pool = \"olap\"\n-- interval = \"1s\"\n-- about = \"a test\"\n"
        );
        self.config_file(&format!("queries/{name}.sql"), &format!("{front}{sql}\n"));
    }

    /// Folder of the program's state.
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        tmux(self.folder.path(), arguments)
    }

    /// Types a line.
    pub fn line(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
        self.keys("Enter");
    }

    /// Presses a key by tmux's name for it, or several letters.
    pub fn keys(&self, keys: &str) {
        self.tmux(&["send-keys", keys]);
    }

    /// Presses Escape and waits until `text` is gone. A key that follows at once may arrive in one piece with Escape, and
    /// the two are Alt with that key.
    pub fn escape(&self, text: &str) {
        self.keys("Escape");
        self.until("the end of the popup", |screen| !screen.contains(text));
    }

    /// Runs the program, then prints its exit code.
    pub fn run(&self, arguments: &str) {
        self.run_with("", arguments);
    }

    /// The same with these variables in its environment.
    pub fn run_with(&self, environment: &str, arguments: &str) {
        // In two words, so that the typed line is not taken for the answer.
        self.line(&format!(
            "clear; {environment} '{}' {arguments}; echo exit''=$?",
            env!("CARGO_BIN_EXE_htap-top")
        ));
    }

    /// Process id of the program that runs in the shell.
    pub fn program(&self) -> i32 {
        let shell = self.format("#{pane_pid}");
        let found = Command::new("pgrep").args(["-P", &shell]).output().unwrap();
        String::from_utf8_lossy(&found.stdout)
            .trim()
            .parse()
            .unwrap()
    }

    pub fn resize(&self, width: u16, height: u16) {
        self.tmux(&[
            "resize-window",
            "-x",
            &width.to_string(),
            "-y",
            &height.to_string(),
        ]);
    }

    /// Returns tmux's information about the terminal.
    pub fn format(&self, format: &str) -> String {
        self.tmux(&["display-message", "-p", format])
            .trim()
            .to_owned()
    }

    /// Returns the contents of the screen.
    pub fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Waits until the screen satisfies the condition.
    pub fn until(&self, what: &str, good: impl Fn(&str) -> bool) -> String {
        let patience = Patience::begin();
        loop {
            let screen = self.screen();
            if good(&screen) {
                return screen;
            }
            assert!(patience.lasts(), "{what} did not come:\n{screen}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Output of `stty -a` in the shell now.
    pub fn settings_after(&self) -> String {
        let file = self.folder.path().join("stty");
        let _ = std::fs::remove_file(&file);
        self.line(&format!(
            "clear; stty -a > '{0}.new' && mv '{0}.new' '{0}'",
            file.display()
        ));
        let patience = Patience::begin();
        loop {
            if let Ok(text) = std::fs::read_to_string(&file) {
                // The size belongs to the window and is not a setting.
                return text.lines().skip(1).collect();
            }
            assert!(patience.lasts(), "no shell:\n{}", self.screen());
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        drop(self.lifeline.stdin.take());
        let _ = self.lifeline.wait();
    }
}

fn tmux(folder: &Path, arguments: &[&str]) -> String {
    let ended = Command::new("tmux")
        .arg("-u")
        .arg("-S")
        .arg(folder.join("tmux"))
        .args(["-f", "/dev/null"])
        .args(arguments)
        .env_remove("TMUX")
        .output()
        .unwrap_or_else(|error| panic!("no tmux ({error}): run apt-get install tmux"));
    assert!(
        ended.status.success(),
        "tmux {arguments:?}: {}",
        String::from_utf8_lossy(&ended.stderr)
    );
    String::from_utf8_lossy(&ended.stdout).into_owned()
}
