//! `spinney top`: the nodes of the user's services on this machine as they are from moment to moment.
//!
//! [`board`] knows the figures, [`page`] how they look, [`screen`] the terminal. A service that does not answer holds up
//! nothing: looks are taken beside the screen, and each has an end.
//!
//! Not here: asking services (`services`), what they tell (`daemon::status`).

pub mod board;
pub mod page;
mod screen;

use std::time::Duration;

use self::board::{Board, Look};
pub use self::screen::{live, on_screen};
use super::{ask_all, names};
use crate::holder::messages::Wish;

/// How long a service may take to tell: 1 s. One that takes longer is shown as not answering until it does.
const PATIENCE: Duration = Duration::from_secs(1);

/// One look as text, `width` wide; and whether there was a service.
pub fn once(job: Option<&str>, width: u16) -> (String, bool) {
    let mut board = Board::default();
    board.take(look(), job);
    (page::text(&page::lines(&board, width), width), !board.jobs.is_empty())
}

/// Asks all services.
fn look() -> Look {
    let names = names();
    let answers = ask_all(&names, &Wish::Status, PATIENCE);
    Look { names, answers }
}
