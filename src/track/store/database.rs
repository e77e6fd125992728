//! What a store needs of a database: one set of statements, with `$1` for values, for all of them.
//!
//! Not here: the statements (`adding`, `mod`), the databases (`sqlite`, `postgres`).

use super::StoreError;

/// A value for a statement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'text> {
    Null,
    Integer(i64),
    Real(f64),
    Text(&'text str),
}

impl<'text> From<Option<&'text str>> for Value<'text> {
    fn from(text: Option<&'text str>) -> Self {
        text.map_or(Value::Null, Value::Text)
    }
}

impl From<Option<i64>> for Value<'_> {
    fn from(number: Option<i64>) -> Self {
        number.map_or(Value::Null, Value::Integer)
    }
}

/// A table that many rows are added to.
#[derive(Debug)]
pub(super) struct Table {
    /// Adds one.
    pub insert: &'static str,
    /// Has PostgreSQL take many at once.
    pub copy: &'static str,
    /// What its columns hold, in the order in which both name them.
    pub columns: &'static [Column],
}

/// What a column holds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Column {
    /// 32 bits.
    Integer,
    /// 64 bits.
    Long,
    Real,
    Text,
}

/// An answer's row, valid until the next is read. Columns count from 0.
pub(super) trait Row {
    fn optional(&self, column: usize) -> Result<Option<i64>, StoreError>;
    fn real(&self, column: usize) -> Result<f64, StoreError>;
    fn text(&self, column: usize) -> Result<&str, StoreError>;

    /// A number that fits into 32 bits, as all identities do.
    fn number(&self, column: usize) -> Result<u32, StoreError> {
        self.optional(column)?.and_then(|number| u32::try_from(number).ok()).ok_or(StoreError::Damaged)
    }
}

/// What is done with each row.
pub(super) type Each<'each> = &'each mut dyn FnMut(&dyn Row) -> Result<(), StoreError>;

/// A database with the schema.
pub(super) trait Database: std::fmt::Debug + Send {
    /// Begins a transaction that is the only one that writes.
    fn begin(&mut self) -> Result<(), StoreError>;

    /// Makes what was written since [`Database::begin`] last.
    fn commit(&mut self) -> Result<(), StoreError>;

    /// Forgets it.
    fn roll_back(&mut self);

    /// Does `statement`; how many rows it changed.
    fn execute(&mut self, statement: &'static str, values: &[Value<'_>]) -> Result<u64, StoreError>;

    /// Adds a row to `table`. It may not be there before [`Database::settle`] or the end of the transaction.
    fn insert(&mut self, table: &'static Table, values: &[Value<'_>]) -> Result<(), StoreError>;

    /// Sees to it that all that was inserted is there.
    fn settle(&mut self) -> Result<(), StoreError>;

    /// Calls `each` with every row that `query` answers, one at a time.
    fn query(&mut self, query: &'static str, values: &[Value<'_>], each: Each<'_>) -> Result<(), StoreError>;
}
