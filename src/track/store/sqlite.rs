//! A store in one SQLite file of mode 0600.
//!
//! A write that is broken off, by a kill or a full disk, is undone by whoever opens the file next.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, Statement, ToSql, TransactionBehavior};

use super::database::{Database, Each, Row, Table, Value};
use super::schema::{self, Dialect};
use super::{Purpose, StoreError};

/// The names of values in statements, as many as any has.
const NAMES: [&str; 12] = ["$1", "$2", "$3", "$4", "$5", "$6", "$7", "$8", "$9", "$10", "$11", "$12"];

/// The file.
#[derive(Debug)]
pub(super) struct Sqlite(Connection);

impl Sqlite {
    /// Opens `file`; to write, makes it if it is not there and brings its schema up to date. Whoever writes it is
    /// waited for.
    pub(super) fn open(file: &Path, purpose: Purpose, wait: Duration) -> Result<Self, StoreError> {
        if purpose == Purpose::Write {
            // Before SQLite does, which would let everybody read it.
            let _ = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
        }
        // Also to read: what a killed writer left must be undone first. SQLite itself makes do with less.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection =
            Connection::open_with_flags(file, flags).map_err(|error| why_not(file, error))?;
        connection.busy_timeout(wait)?;
        connection.set_prepared_statement_cache_capacity(64);
        connection.pragma_update(None, "cache_size", -cache_kib(purpose))?;
        connection.set_transaction_behavior(match purpose {
            Purpose::Write => TransactionBehavior::Immediate,
            Purpose::Read => TransactionBehavior::Deferred,
        });
        prepare(&mut connection, purpose)?;
        Ok(Sqlite(connection))
    }
}

/// What the system says: SQLite knows only that it could not.
fn why_not(file: &Path, error: rusqlite::Error) -> StoreError {
    match OpenOptions::new().read(true).write(true).open(file) {
        Err(said) if error.sqlite_error_code() == Some(ErrorCode::CannotOpen) => StoreError::Unopened(said),
        _ => error.into(),
    }
}

/// KiB of pages that are kept: the inner pages of a site's store for who writes, who looks here and there. Whoever
/// reads reads all of it once, in several connections.
fn cache_kib(purpose: Purpose) -> i64 {
    match purpose {
        Purpose::Write => 64 << 10,
        Purpose::Read => 8 << 10,
    }
}

fn prepare(connection: &mut Connection, purpose: Purpose) -> Result<(), StoreError> {
    let tables = "SELECT count(*), count(*) FILTER (WHERE name = $1) FROM sqlite_master";
    let (tables, noted): (i64, i64) =
        connection.query_row(tables, [schema::NOTED], |row| Ok((row.get(0)?, row.get(1)?)))?;
    match (tables, noted, purpose) {
        (1.., 0, _) => return Err(StoreError::Foreign),
        (0, ..) if purpose == Purpose::Read => return Err(StoreError::Foreign),
        (_, 1.., _) if schema::is_up_to_date(connection, Dialect::Sqlite)? => return Ok(()),
        _ => {}
    }
    let made = schema::bring_up_to_date(connection, Dialect::Sqlite);
    // Two that begin a store at the same moment: one makes its tables, the other finds that they are there.
    made.or_else(|error| match schema::is_up_to_date(connection, Dialect::Sqlite) {
        Ok(true) => Ok(()),
        _ => Err(error),
    })
}

impl Database for Sqlite {
    fn begin(&mut self) -> Result<(), StoreError> {
        Ok(self.0.execute_batch("BEGIN IMMEDIATE")?)
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        Ok(self.0.execute_batch("COMMIT")?)
    }

    fn roll_back(&mut self) {
        // An error may have done it already.
        let _ = self.0.execute_batch("ROLLBACK");
    }

    fn execute(&mut self, statement: &'static str, values: &[Value<'_>]) -> Result<u64, StoreError> {
        let mut statement = self.0.prepare_cached(statement)?;
        bind(&mut statement, values)?;
        Ok(statement.raw_execute()? as u64)
    }

    fn insert(&mut self, table: &'static Table, values: &[Value<'_>]) -> Result<(), StoreError> {
        self.execute(table.insert, values).map(drop)
    }

    fn settle(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn query(&mut self, query: &'static str, values: &[Value<'_>], each: Each<'_>) -> Result<(), StoreError> {
        let mut statement = self.0.prepare_cached(query)?;
        bind(&mut statement, values)?;
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            each(row)?;
        }
        Ok(())
    }
}

/// By their names: SQLite numbers what begins with `$` in the order in which a statement has it.
fn bind(statement: &mut Statement<'_>, values: &[Value<'_>]) -> rusqlite::Result<()> {
    for (name, value) in NAMES.iter().zip(values) {
        let place = statement.parameter_index(name)?;
        statement.raw_bind_parameter(place.ok_or(rusqlite::Error::InvalidQuery)?, value)?;
    }
    Ok(())
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Null => ValueRef::Null,
            Value::Integer(number) => ValueRef::Integer(*number),
            Value::Real(number) => ValueRef::Real(*number),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

impl Row for rusqlite::Row<'_> {
    fn optional(&self, column: usize) -> Result<Option<i64>, StoreError> {
        Ok(self.get(column)?)
    }

    fn real(&self, column: usize) -> Result<f64, StoreError> {
        Ok(self.get(column)?)
    }

    fn text(&self, column: usize) -> Result<&str, StoreError> {
        self.get_ref(column)?.as_str().map_err(|_| StoreError::Damaged)
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        known(&error).unwrap_or(StoreError::Sqlite(error))
    }
}

/// What our own words are for.
pub(super) fn known(error: &rusqlite::Error) -> Option<StoreError> {
    match error.sqlite_error_code()? {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Some(StoreError::Locked),
        ErrorCode::DiskFull => Some(StoreError::Full),
        ErrorCode::NotADatabase => Some(StoreError::Foreign),
        ErrorCode::DatabaseCorrupt => Some(StoreError::Damaged),
        _ => None,
    }
}
