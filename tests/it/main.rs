//! The program from outside, as a user sees it: one test binary, so that the package is linked once.

mod cli;
mod processes;
mod scene;
mod signals;
mod terminal;
