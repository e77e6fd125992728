//! A store in a PostgreSQL database, in the schema that the connection finds first.
//!
//! Writers take their turns by an advisory lock, which the server frees when a writer dies. Rows that are added wait
//! here until there are many, so that a row does not cost a way to the server and back.

use std::collections::HashMap;
use std::error::Error;
use std::io::{self, ErrorKind};
use std::time::Duration;

use bytes::BytesMut;
use postgres::binary_copy::BinaryCopyInWriter;
use postgres::error::SqlState;
use postgres::fallible_iterator::FallibleIterator;
use postgres::types::{Format, IsNull, ToSql, Type};
use postgres::{Client, NoTls, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::database::{Column, Database, Each, Row, Table, Value};
use super::place::Server;
use super::schema::{self, Dialect};
use super::{Purpose, StoreError};

/// The lock of writers: any number that other programs in the same database will not take.
const LOCK: &str = "7305803012479149";

/// How much waits to be added at most: some thousand rows, or as many bytes of their texts as a few long ones have.
const WAITING_ROWS_MAX: usize = 10_000;
const WAITING_BYTES_MAX: usize = 8 << 20;

/// A connection.
pub(super) struct Postgres {
    client: Client,
    statements: HashMap<&'static str, Statement>,
    /// What is to be added, by table: a few.
    waiting: Vec<(&'static Table, Vec<Vec<Owned>>)>,
    waiting_rows: usize,
    waiting_bytes: usize,
}

/// A [`Value`] that waits.
#[derive(Debug)]
enum Owned {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Postgres")
    }
}

impl Postgres {
    /// Connects; to write, brings the schema up to date. The server, and whoever writes, is waited for.
    pub(super) fn open(server: &Server, purpose: Purpose, wait: Duration) -> Result<Self, StoreError> {
        let mut config = server.config.clone();
        config.connect_timeout(wait).application_name("spinney");
        // For servers that ask for one: not in the arguments, which everybody on the machine can read.
        if let (None, Ok(password)) = (config.get_password(), std::env::var("PGPASSWORD")) {
            config.password(password);
        }
        let mut client = match &server.trust {
            None => config.connect(NoTls)?,
            Some(trust) => {
                let tls = trust.config().map_err(StoreError::Authorities)?;
                config.connect(MakeRustlsConnect::new(tls))?
            }
        };
        let wait_ms = wait.as_millis().max(1);
        client.batch_execute(&format!("SET client_min_messages = warning; SET lock_timeout = {wait_ms}"))?;
        prepare(&mut client, purpose)?;
        let (statements, waiting) = (HashMap::new(), Vec::new());
        Ok(Postgres { client, statements, waiting, waiting_rows: 0, waiting_bytes: 0 })
    }

    fn statement(&mut self, text: &'static str) -> Result<Statement, StoreError> {
        if let Some(statement) = self.statements.get(text) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(text)?;
        self.statements.insert(text, statement.clone());
        Ok(statement)
    }
}

fn prepare(client: &mut Client, purpose: Purpose) -> Result<(), StoreError> {
    let noted = client.query_one("SELECT to_regclass($1) IS NOT NULL", &[&schema::NOTED])?;
    if noted.try_get(0)? {
        if schema::is_up_to_date(client, Dialect::Postgres)? {
            return Ok(());
        }
    } else if purpose == Purpose::Read {
        return Err(StoreError::Foreign);
    }
    client.batch_execute(&format!("SELECT pg_advisory_lock({LOCK})"))?;
    let made = schema::bring_up_to_date(client, Dialect::Postgres);
    client.batch_execute(&format!("SELECT pg_advisory_unlock({LOCK})"))?;
    made
}

impl Database for Postgres {
    fn begin(&mut self) -> Result<(), StoreError> {
        Ok(self.client.batch_execute(&format!("BEGIN; SELECT pg_advisory_xact_lock({LOCK})"))?)
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.settle()?;
        Ok(self.client.batch_execute("COMMIT")?)
    }

    fn roll_back(&mut self) {
        (self.waiting, self.waiting_rows, self.waiting_bytes) = (Vec::new(), 0, 0);
        // If the connection is lost, the server does it.
        let _ = self.client.batch_execute("ROLLBACK");
    }

    fn execute(&mut self, statement: &'static str, values: &[Value<'_>]) -> Result<u64, StoreError> {
        let statement = self.statement(statement)?;
        let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as _).collect();
        Ok(self.client.execute(&statement, &values)?)
    }

    fn insert(&mut self, table: &'static Table, values: &[Value<'_>]) -> Result<(), StoreError> {
        let row: Vec<Owned> = values.iter().map(Owned::of).collect();
        self.waiting_rows += 1;
        self.waiting_bytes += row.iter().map(Owned::bytes).sum::<usize>();
        match self.waiting.iter_mut().find(|(other, _)| std::ptr::eq(*other, table)) {
            Some((_, rows)) => rows.push(row),
            None => self.waiting.push((table, vec![row])),
        }
        let is_much = self.waiting_rows >= WAITING_ROWS_MAX || self.waiting_bytes >= WAITING_BYTES_MAX;
        if is_much { self.settle() } else { Ok(()) }
    }

    fn settle(&mut self) -> Result<(), StoreError> {
        (self.waiting_rows, self.waiting_bytes) = (0, 0);
        for (table, rows) in std::mem::take(&mut self.waiting) {
            let types: Vec<Type> = table.columns.iter().map(Column::of_server).collect();
            let mut writer = BinaryCopyInWriter::new(self.client.copy_in(table.copy)?, &types);
            for row in &rows {
                writer.write_raw(row.iter().map(Owned::value))?;
            }
            writer.finish()?;
        }
        Ok(())
    }

    fn query(&mut self, query: &'static str, values: &[Value<'_>], each: Each<'_>) -> Result<(), StoreError> {
        let statement = self.statement(query)?;
        let mut rows = self.client.query_raw(&statement, values)?;
        while let Some(row) = rows.next()? {
            each(&row)?;
        }
        Ok(())
    }
}

impl Column {
    fn of_server(&self) -> Type {
        match self {
            Column::Integer => Type::INT4,
            Column::Long => Type::INT8,
            Column::Real => Type::FLOAT8,
            Column::Text => Type::TEXT,
        }
    }
}

impl Owned {
    fn of(value: &Value<'_>) -> Self {
        match *value {
            Value::Null => Owned::Null,
            Value::Integer(number) => Owned::Integer(number),
            Value::Real(number) => Owned::Real(number),
            Value::Text(text) => Owned::Text(text.to_owned()),
        }
    }

    fn value(&self) -> Value<'_> {
        match self {
            Owned::Null => Value::Null,
            Owned::Integer(number) => Value::Integer(*number),
            Owned::Real(number) => Value::Real(*number),
            Owned::Text(text) => Value::Text(text),
        }
    }

    fn bytes(&self) -> usize {
        if let Owned::Text(text) = self { text.len() } else { 0 }
    }
}

impl ToSql for Value<'_> {
    fn to_sql(&self, of: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match (self, of) {
            (Value::Null, _) => Ok(IsNull::Yes),
            (Value::Integer(number), &Type::INT4) => i32::try_from(*number)?.to_sql(of, out),
            (Value::Integer(number), _) => number.to_sql(of, out),
            (Value::Real(number), _) => number.to_sql(of, out),
            (Value::Text(text), _) => text.to_sql(of, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true // The columns are those of our own schema.
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Binary
    }

    postgres::types::to_sql_checked!();
}

impl Row for postgres::Row {
    fn optional(&self, column: usize) -> Result<Option<i64>, StoreError> {
        match *self.columns()[column].type_() {
            Type::INT4 => Ok(self.try_get::<_, Option<i32>>(column)?.map(i64::from)),
            _ => Ok(self.try_get(column)?),
        }
    }

    fn real(&self, column: usize) -> Result<f64, StoreError> {
        Ok(self.try_get(column)?)
    }

    fn text(&self, column: usize) -> Result<&str, StoreError> {
        Ok(self.try_get(column)?)
    }
}

impl From<postgres::Error> for StoreError {
    fn from(error: postgres::Error) -> Self {
        known(&error).unwrap_or(StoreError::Postgres(error))
    }
}

/// What our own words are for.
pub(super) fn known(error: &postgres::Error) -> Option<StoreError> {
    if let Some(code) = error.code() {
        return match *code {
            SqlState::LOCK_NOT_AVAILABLE => Some(StoreError::Locked),
            SqlState::DISK_FULL => Some(StoreError::Full),
            SqlState::ADMIN_SHUTDOWN | SqlState::CRASH_SHUTDOWN => Some(StoreError::Lost),
            _ => None,
        };
    }
    if error.is_closed() {
        return Some(StoreError::Lost);
    }
    let said: &io::Error = error.source()?.downcast_ref()?;
    if [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset, ErrorKind::UnexpectedEof].contains(&said.kind()) {
        return Some(StoreError::Lost);
    }
    match said.get_ref()?.downcast_ref()? {
        rustls::Error::InvalidCertificate(why) => Some(StoreError::Untrusted(why.clone())),
        _ => None,
    }
}
