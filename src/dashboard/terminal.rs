//! The terminal: taken over, restored on every exit, and read by a separate thread.

mod canvas;

use super::event::{Event, Key, Mouse};
use crossterm::clipboard::CopyToClipboard;
use crossterm::event::{
    self, DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture,
    Event as TermEvent, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseButton, MouseEventKind,
};
use crossterm::style::{Print, ResetColor};
use crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use crossterm::{cursor, execute};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use ratatui::buffer::Buffer;
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::mpsc::Sender;

pub use canvas::Canvas;

/// Interval in milliseconds at which the keyboard thread checks if the program has ended.
const LISTENING_CHECK: u16 = 5_000;
/// Like [`LISTENING_CHECK`], once after input.
const AFTER_INPUT: u16 = 30;
/// Time crossterm may spend looking for an event: it does not look at all with a timeout of zero, and spins
/// for the whole timeout.
const LOOK: Duration = Duration::from_micros(200);

/// True while the terminal is taken over and has to be restored.
static TAKEN: AtomicBool = AtomicBool::new(false);
/// True once a thread has panicked; nothing may be drawn any more.
static PANICKED: AtomicBool = AtomicBool::new(false);

/// Width of the terminal at standard output; `None` if it is not a terminal.
pub fn width() -> Option<u16> {
    let is_terminal = io::stdout().is_terminal();
    let size = is_terminal.then(crossterm::terminal::size)?;
    size.ok()
        .map(|(columns, _)| columns)
        .filter(|columns| *columns > 0)
}

/// The terminal, taken over until this is dropped.
pub struct Screen {
    canvas: Canvas,
}

impl Screen {
    /// Takes over the terminal: raw mode, alternate screen, no cursor. Installs a panic hook that restores it
    /// before the panic's message is printed.
    pub fn take() -> io::Result<Self> {
        let earlier = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICKED.store(true, Ordering::SeqCst);
            give_back();
            earlier(info);
        }));
        take_over()?;
        let mut screen = Self {
            canvas: Canvas::default(),
        };
        screen.fit()?;
        Ok(screen)
    }

    /// Adapts frames to the terminal after its size has changed; returns columns and rows. It opens the
    /// terminal anew, so it is not called for every frame.
    pub fn fit(&mut self) -> io::Result<(u16, u16)> {
        let size = crossterm::terminal::size()?;
        if size != self.canvas.size() {
            send(self.canvas.begin(size.0, size.1))?;
        }
        Ok(size)
    }

    /// Draws a frame; only changes are written, and a frame without changes writes nothing.
    pub fn draw(&mut self, render: impl FnOnce(&mut Buffer)) -> io::Result<()> {
        if has_panicked() {
            return Ok(());
        }
        send(self.canvas.draw(render))
    }

    /// Discards the known contents of the screen, so that the next frame is written in full.
    pub fn redraw(&mut self) -> io::Result<()> {
        let (width, height) = self.canvas.size();
        send(self.canvas.begin(width, height))
    }

    /// Copies text to the clipboard by OSC 52.
    pub fn copy(&mut self, text: &str) -> io::Result<()> {
        execute!(io::stdout(), CopyToClipboard::to_clipboard_from(text))
    }

    /// Writes the escape sequence of a notification, and rings the bell if that is wanted.
    pub fn notify(&mut self, sequence: &str, bell: bool) -> io::Result<()> {
        let bell = if bell { "\u{7}" } else { "" };
        execute!(io::stdout(), Print(sequence), Print(bell))
    }

    /// Captures or releases the mouse.
    pub fn capture_mouse(&mut self, on: bool) -> io::Result<()> {
        if on {
            execute!(io::stdout(), EnableMouseCapture)
        } else {
            execute!(io::stdout(), DisableMouseCapture)
        }
    }

    /// Restores the terminal, stops this process as Ctrl-Z does in a shell, and takes the terminal over again
    /// when it continues.
    pub fn suspend(&mut self) -> io::Result<()> {
        give_back();
        nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGSTOP)?;
        take_over()?;
        self.redraw()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Writes to the terminal, in one piece.
fn send(bytes: &[u8]) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    let mut out = io::stdout();
    out.write_all(bytes)?;
    out.flush()
}

/// Returns true if any thread has panicked since the terminal was taken over.
pub fn has_panicked() -> bool {
    PANICKED.load(Ordering::SeqCst)
}

fn take_over() -> io::Result<()> {
    enable_raw_mode()?;
    TAKEN.store(true, Ordering::SeqCst);
    // The theme decides on colours (NO_COLOR selects the monochrome one); if crossterm's colour output were
    // off, reversed video would be dropped, too.
    crossterm::style::force_color_output(true);
    execute!(
        io::stdout(),
        EnterAlternateScreen,
        EnableBracketedPaste,
        cursor::Hide
    )
}

/// Restores the terminal; harmless if called twice or if the terminal is gone.
fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        let mut out = io::stdout();
        let _ = execute!(
            out,
            ResetColor,
            DisableMouseCapture,
            DisableBracketedPaste,
            LeaveAlternateScreen,
            cursor::Show
        );
        let _ = out.flush();
        let _ = disable_raw_mode();
    }
}

/// Starts the thread that reads the keyboard. It ends when the receiver is dropped, and closes the channel if
/// the terminal is gone.
///
/// It sleeps in its own `poll`, because crossterm's counts whole milliseconds and spins through the rest of
/// the last one.
pub fn read_events(events: Sender<Event>) -> io::Result<()> {
    let tty = io::stdin().as_fd().try_clone_to_owned()?;
    std::thread::Builder::new()
        .name("keyboard".into())
        .spawn(move || {
            let mut patience = LISTENING_CHECK;
            while !events.is_closed() {
                match wait(&tty, patience) {
                    // Once more after input: crossterm returns keys that arrived together one by one, and if
                    // this thread was delayed, its timeout was over before it looked for the next.
                    Waited::Nothing if patience == LISTENING_CHECK => continue,
                    Waited::Nothing => patience = LISTENING_CHECK,
                    Waited::Gone => return,
                    Waited::Input => patience = AFTER_INPUT,
                }
                loop {
                    match event::poll(LOOK) {
                        Ok(true) => {}
                        Ok(false) => break,
                        Err(_) => return,
                    }
                    let Ok(read) = event::read() else { return };
                    if let Some(event) = translate(read)
                        && events.blocking_send(event).is_err()
                    {
                        return;
                    }
                }
            }
        })?;
    Ok(())
}

/// Result of waiting for input.
enum Waited {
    Nothing,
    Input,
    Gone,
}

/// Waits for input; returns now and then without any, so that the end of the program is noticed. A terminal
/// whose window was closed reports a hang-up forever; reading it would spin.
fn wait(tty: &OwnedFd, patience_ms: u16) -> Waited {
    let mut fds = [PollFd::new(tty.as_fd(), PollFlags::POLLIN)];
    let hung_up = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
    match poll(&mut fds, patience_ms) {
        Ok(0) | Err(Errno::EINTR) => Waited::Nothing,
        Ok(_) => {
            let [tty] = &fds;
            if tty.revents().is_some_and(|seen| seen.intersects(hung_up)) {
                Waited::Gone
            } else {
                Waited::Input
            }
        }
        Err(_) => Waited::Gone,
    }
}

fn translate(event: TermEvent) -> Option<Event> {
    match event {
        TermEvent::Key(key) if key.kind != KeyEventKind::Release => {
            translate_key(key).map(Event::KeyPressed)
        }
        TermEvent::Paste(text) => Some(Event::Pasted(text)),
        TermEvent::Mouse(mouse) => {
            let action = match mouse.kind {
                MouseEventKind::Down(MouseButton::Left) => Mouse::Click,
                MouseEventKind::ScrollDown => Mouse::ScrollDown,
                MouseEventKind::ScrollUp => Mouse::ScrollUp,
                _ => return None,
            };
            Some(Event::MouseUsed {
                action,
                x: mouse.column,
                y: mouse.row,
            })
        }
        _ => None,
    }
}

fn translate_key(key: KeyEvent) -> Option<Key> {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    if key.modifiers.contains(KeyModifiers::ALT) {
        return match key.code {
            KeyCode::Char(c) if !control => Some(Key::Alt(c)),
            _ => None,
        };
    }
    Some(match key.code {
        KeyCode::Char(c) if control => Key::Ctrl(c.to_ascii_lowercase()),
        KeyCode::Char(c) => Key::Char(c),
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Esc,
        KeyCode::Tab => Key::Tab,
        KeyCode::BackTab => Key::BackTab,
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::Left => Key::Left,
        KeyCode::Right => Key::Right,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Insert => Key::Insert,
        KeyCode::Delete => Key::Delete,
        KeyCode::Backspace => Key::Backspace,
        KeyCode::F(number @ 1..=12) => Key::F(number),
        _ => return None,
    })
}
