//! The schema in numbered steps: one set for all databases, but for what views are written in.
//!
//! Steps are only ever added: a store says which it has, and one that has more than are known here is from a newer
//! version and is left alone.

use refinery_core::{Migrate, Migration, Runner, error::Kind};

use super::StoreError;

/// What some databases say differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
}

/// Where the steps that were made are noted.
pub(super) const NOTED: &str = "refinery_schema_history";

fn steps(dialect: Dialect) -> Result<Runner, StoreError> {
    let views = match dialect {
        Dialect::Sqlite => include_str!("schema/views_sqlite.sql"),
        Dialect::Postgres => include_str!("schema/views_postgres.sql"),
    };
    let steps = [("V1__records", include_str!("schema/records.sql")), ("V2__views_as_xalts", views)];
    let steps: Result<Vec<Migration>, _> =
        steps.iter().map(|(name, text)| Migration::unapplied(name, text)).collect();
    // All or nothing, so that no store is ever between two versions.
    Ok(Runner::new(&steps?).set_grouped(true))
}

/// Makes the steps that are missing.
pub(super) fn bring_up_to_date(to: &mut impl Migrate, dialect: Dialect) -> Result<(), StoreError> {
    steps(dialect)?.run(to)?;
    Ok(())
}

/// Whether all steps were made, without making any.
pub(super) fn is_up_to_date(of: &mut impl Migrate, dialect: Dialect) -> Result<bool, StoreError> {
    let runner = steps(dialect)?;
    let known = runner.get_migrations();
    let made = runner.get_applied_migrations(of)?;
    if made.iter().any(|step| known.iter().all(|other| other.version() != step.version())) {
        return Err(StoreError::Newer);
    }
    Ok(made.len() == known.len())
}

impl From<refinery_core::Error> for StoreError {
    fn from(error: refinery_core::Error) -> Self {
        let known = match error.kind() {
            Kind::MissingVersion(_) => Some(StoreError::Newer),
            Kind::Connection(_, cause) => {
                let of_sqlite = cause.downcast_ref().and_then(super::sqlite::known);
                of_sqlite.or_else(|| cause.downcast_ref().and_then(super::postgres::known))
            }
            _ => None,
        };
        known.unwrap_or(StoreError::Schema(error))
    }
}
