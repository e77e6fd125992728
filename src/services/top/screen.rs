//! The terminal while `spinney top` has it: keys, signals and looks come as news to one thread, which draws.
//!
//! Invariant: however it ends, the terminal is as it was before: after `q`, after a signal, after a panic.
//!
//! Not here: what is drawn (`page`).

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::Builder;
use std::time::Duration;

use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::layout::Rect;
use ratatui::style::Modifier;
use ratatui::text::Line;
use ratatui::{DefaultTerminal, Frame};
use rustix::event::{PollFd, PollFlags, poll};

use super::board::{Board, Look};
use super::{look, page};
use crate::enter::signals::{self, Signals};

/// Exit code after a panic, as Rust's own.
const PANICKED: i32 = 101;

/// What happens meanwhile.
enum News {
    Looked(Look),
    Typed(Event),
    /// The terminal tells nothing any more.
    Deaf,
    /// A signal that ends this process.
    Ends(i32),
    /// One that stops it.
    Stops,
    /// The terminal has another size.
    Resized,
}

/// What is shown, and from which line on.
struct Shown<'a> {
    board: Board,
    /// Whether there was a look yet.
    looked: bool,
    job: Option<&'a str>,
    interval: Duration,
    first: usize,
}

/// Shows the services, or those of `job`, until the user has seen enough, and looks anew at each `interval`.
///
/// The process must have one thread: signals are blocked from here on.
///
/// # Errors
/// The terminal cannot be had.
pub fn live(job: Option<&str>, interval: Duration) -> io::Result<()> {
    // Before any other thread, so that all have them blocked.
    let signals = Signals::block()?;
    let shown = Shown { board: Board::default(), looked: false, job, interval, first: 0 };
    if let Some(signal) = on_screen(|terminal| attend(terminal, signals, shown))?? {
        signals::suffer(signal);
    }
    Ok(())
}

/// Does `work` with the terminal, which is as it was before once that is done, or a thread panics.
///
/// # Errors
/// The terminal cannot be had.
pub fn on_screen<T>(work: impl FnOnce(DefaultTerminal) -> T) -> io::Result<T> {
    let terminal = ratatui::try_init()?;
    end_with_panics();
    let done = work(terminal);
    ratatui::restore();
    Ok(done)
}

/// Has a panic of any thread end the process, once the terminal is as it was: nobody would see it go on with a thread less.
fn end_with_panics() {
    let restore_and_tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        restore_and_tell(panic);
        // The cursor is what the end of the screen gives back, which this thread may not be the one to reach.
        let shown = File::options().write(true).open("/dev/tty").and_then(|mut tty| execute!(tty, Show));
        let _ = shown;
        std::process::exit(PANICKED);
    }));
}

/// Draws whatever is new; returns the signal that ended it, if one did.
fn attend(mut terminal: DefaultTerminal, signals: Signals, mut shown: Shown<'_>) -> io::Result<Option<i32>> {
    let (send, news) = channel();
    let (interval, looks) = (shown.interval, send.clone());
    Builder::new().name("looks".into()).spawn(move || {
        while looks.send(News::Looked(look())).is_ok() {
            std::thread::sleep(interval);
        }
    })?;
    let keys = send.clone();
    Builder::new().name("keys".into()).spawn(move || listen(&keys))?;
    Builder::new().name("signals".into()).spawn(move || watch(&signals, &send))?;
    draw(&mut terminal, &mut shown)?;
    react(&mut terminal, &mut shown, &news)
}

fn react(
    terminal: &mut DefaultTerminal,
    shown: &mut Shown<'_>,
    news: &Receiver<News>,
) -> io::Result<Option<i32>> {
    for one in news {
        match one {
            News::Looked(look) => {
                shown.board.take(look, shown.job);
                shown.looked = true;
            }
            News::Ends(signal) => return Ok(Some(signal)),
            News::Deaf => return Ok(None),
            News::Stops => stop(terminal)?,
            News::Typed(Event::Key(key)) if key.kind != KeyEventKind::Release => match wish(&key) {
                Some(Typed::Enough) => return Ok(None),
                Some(Typed::Stop) => stop(terminal)?,
                Some(Typed::Lines(lines)) => shown.first = shown.first.saturating_add_signed(lines),
                None => {}
            },
            News::Resized | News::Typed(_) => {}
        }
        draw(terminal, shown)?;
    }
    Ok(None)
}

/// What a key is for.
enum Typed {
    Enough,
    /// As Ctrl-Z stops any program.
    Stop,
    /// Go down so many lines.
    Lines(isize),
}

fn wish(key: &KeyEvent) -> Option<Typed> {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('c') if control => Some(Typed::Enough),
        KeyCode::Char('z') if control => Some(Typed::Stop),
        KeyCode::Char('q') | KeyCode::Esc => Some(Typed::Enough),
        KeyCode::Down | KeyCode::Char('j') => Some(Typed::Lines(1)),
        KeyCode::Up | KeyCode::Char('k') => Some(Typed::Lines(-1)),
        KeyCode::PageDown | KeyCode::Char(' ') => Some(Typed::Lines(10)),
        KeyCode::PageUp => Some(Typed::Lines(-10)),
        KeyCode::Home => Some(Typed::Lines(isize::MIN)),
        _ => None,
    }
}

/// Stops this process, and takes the terminal again when it goes on.
fn stop(terminal: &mut DefaultTerminal) -> io::Result<()> {
    ratatui::restore();
    signals::suffer(libc::SIGTSTP);
    // Not `clear`: it asks the terminal where the cursor is, and the thread that reads keys would take the answer.
    *terminal = ratatui::try_init()?;
    Ok(())
}

fn draw(terminal: &mut DefaultTerminal, shown: &mut Shown<'_>) -> io::Result<()> {
    terminal.draw(|frame| paint(frame, shown)).map(drop)
}

/// A line at the top, one at the bottom, and between them as many as there is room for.
fn paint(frame: &mut Frame<'_>, shown: &mut Shown<'_>) {
    let Rect { width, height, .. } = frame.area();
    let lines = if shown.looked { page::lines(&shown.board, width) } else { Vec::new() };
    let room = usize::from(height.saturating_sub(2));
    shown.first = shown.first.min(lines.len().saturating_sub(room));
    let jobs = shown.board.jobs.len();
    let interval = humantime::format_duration(shown.interval);
    let top = format!("spinney top: {jobs} jobs, {} nodes, every {interval}", shown.board.n_nodes());
    let below = lines.len().saturating_sub(shown.first + room);
    let bottom = match below {
        0 => "q quit".to_owned(),
        n => format!("q quit, arrows scroll: {n} more lines"),
    };
    let mut put = |line: &Line<'_>, y: u16| {
        if y < height {
            frame.render_widget(line, Rect::new(0, y, width, 1));
        }
    };
    put(&Line::styled(top, Modifier::BOLD), 0);
    for (line, y) in lines.iter().skip(shown.first).take(room).zip(1..) {
        put(line, y);
    }
    put(&Line::styled(bottom, Modifier::DIM), height.saturating_sub(1).max(1));
}

fn listen(news: &Sender<News>) {
    loop {
        let heard = event::read().map_or(News::Deaf, News::Typed);
        let deaf = matches!(heard, News::Deaf);
        if news.send(heard).is_err() || deaf {
            return;
        }
    }
}

/// Waits for signals: all are blocked, that of a new size included, which the reader of keys therefore never sees.
fn watch(signals: &Signals, news: &Sender<News>) {
    loop {
        let mut one = [PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN)];
        if rustix::io::retry_on_intr(|| poll(&mut one, None)).is_err() {
            return;
        }
        while let Some(signal) = signals.next() {
            let one = match signal.ssi_signo.cast_signed() {
                number @ (libc::SIGTERM | libc::SIGINT | libc::SIGHUP | libc::SIGQUIT) => News::Ends(number),
                libc::SIGTSTP => News::Stops,
                libc::SIGWINCH => News::Resized,
                _ => continue,
            };
            if news.send(one).is_err() {
                return;
            }
        }
    }
}
