//! How numbers, names and tables are written for people, and fields for spreadsheets: one form for each kind, everywhere.
//!
//! A leaf: it knows no other folder, and whoever tells something may name it.
//!
//! Not here: which tables there are, and where they are printed.

pub mod columns;
pub mod csv;
pub mod names;
pub mod numbers;
pub mod position;

pub use self::columns::{Side, aligned, wrapped};
pub use self::names::{as_text, plain};
pub use self::numbers::{counted, grouped, part_of, share, size, some_of, time};
pub use self::position::line_and_column;
