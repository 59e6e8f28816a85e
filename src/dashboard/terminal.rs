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
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ratatui::Terminal;
use ratatui::backend::{Backend, CrosstermBackend};
use std::fs::File;
use std::io::{self, BufWriter, Stdout, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::mpsc::Sender;

/// The terminal is ours now, and has to be given back.
static TAKEN: AtomicBool = AtomicBool::new(false);
/// A thread has panicked; nothing may be drawn any more.
static PANICKED: AtomicBool = AtomicBool::new(false);

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

    /// Columns and rows.
    pub fn size(&self) -> io::Result<(u16, u16)> {
        let size = self.terminal.size()?;
        Ok((size.width, size.height))
    }

    /// Draws a frame; what has not changed is not written, and a frame without changes writes nothing.
    pub fn draw(&mut self, render: impl FnOnce(&mut ratatui::Frame<'_>)) -> io::Result<()> {
        if has_panicked() {
            return Ok(());
        }
        self.terminal.autoresize()?;
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

/// Whether some thread has panicked since the terminal was taken.
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
pub fn read_events(events: Sender<Event>) -> io::Result<()> {
    let tty = File::open("/dev/tty")?;
    std::thread::Builder::new()
        .name("keyboard".into())
        .spawn(move || {
            while !events.is_closed() {
                match event::poll(Duration::from_millis(250)) {
                    Ok(false) if is_gone(&tty) => return,
                    Ok(false) => continue,
                    Ok(true) => {}
                    Err(_) => return,
                }
                let Ok(read) = event::read() else { return };
                if let Some(event) = translate(read)
                    && events.blocking_send(event).is_err()
                {
                    return;
                }
                if is_gone(&tty) {
                    return;
                }
            }
        })?;
    Ok(())
}

/// A terminal whose window was closed reports hang-up for ever; reading it would spin.
fn is_gone(tty: &File) -> bool {
    let mut fds = [PollFd::new(tty.as_fd(), PollFlags::empty())];
    let hung_up = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
    match poll(&mut fds, PollTimeout::ZERO) {
        Ok(_) => fds
            .iter()
            .any(|fd| fd.revents().is_some_and(|seen| seen.intersects(hung_up))),
        Err(_) => true,
    }
}

fn translate(event: TermEvent) -> Option<Event> {
    match event {
        TermEvent::Key(key) if key.kind != KeyEventKind::Release => {
            translate_key(key).map(Event::KeyPressed)
        }
        TermEvent::Paste(text) => Some(Event::Pasted(text)),
        TermEvent::Resize(width, height) => Some(Event::Resized { width, height }),
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
