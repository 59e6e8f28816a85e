//! The terminal: taken over, given back on every way out, and read by a thread of its own.

use super::event::{Event, Key, Mouse};
use crossterm::clipboard::CopyToClipboard;
use crossterm::event::{
    self, DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture,
    Event as TermEvent, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseButton, MouseEventKind,
};
use crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use crossterm::{cursor, execute};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use ratatui::Terminal;
use ratatui::backend::{Backend, CrosstermBackend};
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::mpsc::Sender;

/// The keyboard's thread looks so often whether anybody listens, milliseconds.
const LISTENING_CHECK: u16 = 5_000;
/// As [`LISTENING_CHECK`], once after input.
const AFTER_INPUT: u16 = 30;
/// crossterm does not look at all where it is given no time, and spins for as long as it is given.
const LOOK: Duration = Duration::from_micros(200);

/// The terminal is ours now, and has to be given back.
static TAKEN: AtomicBool = AtomicBool::new(false);
/// A thread has panicked; nothing may be drawn any more.
static PANICKED: AtomicBool = AtomicBool::new(false);

/// Columns of the terminal that standard output is; `None` where it is none.
pub fn width() -> Option<u16> {
    let is_terminal = io::stdout().is_terminal();
    let size = is_terminal.then(crossterm::terminal::size)?;
    size.ok()
        .map(|(columns, _)| columns)
        .filter(|columns| *columns > 0)
}

/// The terminal, taken over until this is dropped.
pub struct Screen {
    terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
}

impl Screen {
    /// Takes the terminal over: raw mode, alternate screen, no cursor. Installs the panic hook that
    /// gives it back before the panic's message is printed.
    pub fn take() -> io::Result<Self> {
        let earlier = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICKED.store(true, Ordering::SeqCst);
            give_back();
            earlier(info);
        }));
        take_over()?;
        // One write per frame: a frame is a few kilobytes of changes.
        let writer = BufWriter::with_capacity(64 * 1024, io::stdout());
        Ok(Self {
            terminal: Terminal::new(CrosstermBackend::new(writer))?,
        })
    }

    /// Fits the frames to the terminal, after its size has changed; returns columns and rows. Asking
    /// opens the terminal anew, so it is not done for every frame.
    pub fn fit(&mut self) -> io::Result<(u16, u16)> {
        self.terminal.autoresize()?;
        let size = self.terminal.size()?;
        Ok((size.width, size.height))
    }

    /// Draws a frame; what has not changed is not written, and a frame without changes writes nothing.
    pub fn draw(&mut self, render: impl FnOnce(&mut ratatui::Frame<'_>)) -> io::Result<()> {
        if has_panicked() {
            return Ok(());
        }
        let mut frame = self.terminal.get_frame();
        render(&mut frame);
        // Terminal::draw would write the cursor's state with every frame.
        self.terminal.flush()?;
        self.terminal.swap_buffers();
        Backend::flush(self.terminal.backend_mut())
    }

    /// Forgets what is on the screen, so that the next frame is written whole.
    pub fn redraw(&mut self) -> io::Result<()> {
        self.terminal.clear()
    }

    /// Puts text on the clipboard by OSC 52.
    pub fn copy(&mut self, text: &str) -> io::Result<()> {
        execute!(
            self.terminal.backend_mut(),
            CopyToClipboard::to_clipboard_from(text)
        )
    }

    /// Takes or releases the mouse.
    pub fn capture_mouse(&mut self, on: bool) -> io::Result<()> {
        if on {
            execute!(self.terminal.backend_mut(), EnableMouseCapture)
        } else {
            execute!(self.terminal.backend_mut(), DisableMouseCapture)
        }
    }

    /// Gives the terminal back, stops this process as a shell's Ctrl-Z does, and takes the terminal
    /// again when it goes on.
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

/// Returns true if some thread has panicked since the terminal was taken.
pub fn has_panicked() -> bool {
    PANICKED.load(Ordering::SeqCst)
}

fn take_over() -> io::Result<()> {
    enable_raw_mode()?;
    TAKEN.store(true, Ordering::SeqCst);
    // The theme decides about colour (NO_COLOR gives the monochrome one); without colour output even
    // reversed video would be dropped.
    crossterm::style::force_color_output(true);
    execute!(
        io::stdout(),
        EnterAlternateScreen,
        EnableBracketedPaste,
        cursor::Hide
    )
}

/// Leaves the terminal as it was found; harmless when done twice, and when the terminal is gone.
fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        let mut out = io::stdout();
        let _ = execute!(
            out,
            DisableMouseCapture,
            DisableBracketedPaste,
            LeaveAlternateScreen,
            cursor::Show
        );
        let _ = out.flush();
        let _ = disable_raw_mode();
    }
}

/// Starts the thread that reads the keyboard. It ends when nobody listens, and tells by closing
/// the channel that the terminal is gone.
///
/// It sleeps in a `poll` of its own: crossterm's counts whole milliseconds, and spins through the rest
/// of the last one.
pub fn read_events(events: Sender<Event>) -> io::Result<()> {
    let tty = io::stdin().as_fd().try_clone_to_owned()?;
    std::thread::Builder::new()
        .name("keyboard".into())
        .spawn(move || {
            let mut patience = LISTENING_CHECK;
            while !events.is_closed() {
                match wait(&tty, patience) {
                    // Once more after input: keys that came together are handed out one by one, and where
                    // this thread was held up, crossterm's time was over before it looked for the next.
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

/// What the terminal had to say.
enum Waited {
    Nothing,
    Input,
    Gone,
}

/// Waits for input; now and then returns without, so that the end of the program is noticed. A terminal
/// whose window was closed reports hang-up for ever: reading it would spin.
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
    if key.modifiers.contains(KeyModifiers::ALT) {
        return None;
    }
    Some(match key.code {
        KeyCode::Char(c) if key.modifiers.contains(KeyModifiers::CONTROL) => {
            Key::Ctrl(c.to_ascii_lowercase())
        }
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
        KeyCode::Backspace => Key::Backspace,
        KeyCode::F(1) => Key::F1,
        _ => return None,
    })
}
