//! Tables as Parquet files, for data frames and databases that read them column by column.
//!
//! A column of words is a string; of counts, bytes and nanoseconds a 64-bit integer; of shares and averages, or of
//! several kinds of numbers, a float. Nothing is null.
//!
//! Not here: which tables there are (`sections`).

use std::sync::Arc;

use parquet::basic::{LogicalType, Repetition, Type as PhysicalType};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::errors::Result;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::{Type, TypePtr};

use super::sections::Section;
use super::{Cell, field_name};

/// Rows that are written, and read, at a time: 1 Mi, as most readers want it.
const ROWS_AT_ONCE: usize = 1 << 20;

/// What the values of a column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Whole,
    Number,
}

/// `section` as a file.
///
/// # Errors
/// None is known for tables of ours; the writer says what it minds.
pub(super) fn file(section: &Section) -> Result<Vec<u8>> {
    let kinds: Vec<Kind> = (0..section.columns.len()).map(|column| kind(section, column)).collect();
    let fields: Result<Vec<TypePtr>> =
        section.columns.iter().zip(&kinds).map(|(name, kind)| field(&field_name(name), *kind)).collect();
    let schema = Type::group_type_builder("table").with_fields(fields?).build()?;
    let made_by = format!("spinney {}", env!("CARGO_PKG_VERSION"));
    let properties = WriterProperties::builder().set_created_by(made_by).build();
    let mut writer = SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(properties))?;
    for rows in section.rows.chunks(ROWS_AT_ONCE) {
        let mut group = writer.next_row_group()?;
        for (column, kind) in kinds.iter().enumerate() {
            let Some(mut into) = group.next_column()? else { break };
            put(&mut into, rows.iter().map(|row| &row[column]), *kind)?;
            into.close()?;
        }
        group.close()?;
    }
    writer.into_inner()
}

fn kind(section: &Section, column: usize) -> Kind {
    let cells = || section.rows.iter().map(|row| &row[column]);
    if cells().all(|cell| whole(cell).is_some()) {
        Kind::Whole
    } else if cells().all(Cell::is_number) {
        Kind::Number
    } else {
        Kind::Text
    }
}

fn field(name: &str, kind: Kind) -> Result<TypePtr> {
    let (physical, logical) = match kind {
        Kind::Text => (PhysicalType::BYTE_ARRAY, Some(LogicalType::String)),
        Kind::Whole => (PhysicalType::INT64, None),
        Kind::Number => (PhysicalType::DOUBLE, None),
    };
    let field = Type::primitive_type_builder(name, physical).with_logical_type(logical);
    Ok(Arc::new(field.with_repetition(Repetition::REQUIRED).build()?))
}

fn put<'a>(
    into: &mut SerializedColumnWriter<'_>,
    cells: impl Iterator<Item = &'a Cell>,
    kind: Kind,
) -> Result<usize> {
    match kind {
        Kind::Text => {
            let words: Vec<ByteArray> = cells.map(|cell| cell.plain().into_bytes().into()).collect();
            into.typed::<ByteArrayType>().write_batch(&words, None, None)
        }
        Kind::Whole => {
            let numbers: Vec<i64> = cells.filter_map(whole).collect();
            into.typed::<Int64Type>().write_batch(&numbers, None, None)
        }
        Kind::Number => {
            let numbers: Vec<f64> = cells.map(number).collect();
            into.typed::<DoubleType>().write_batch(&numbers, None, None)
        }
    }
}

/// What fits a 64-bit integer; a count beyond its range, which no run reaches, is the largest there is.
fn whole(cell: &Cell) -> Option<i64> {
    match cell {
        Cell::Count(n) | Cell::Bytes(n) | Cell::Time(n) => Some(i64::try_from(*n).unwrap_or(i64::MAX)),
        Cell::Change(n) | Cell::TimeChange(n) => Some(*n),
        Cell::Text(_) | Cell::Path(_) | Cell::Share(_) | Cell::Average(_) => None,
    }
}

fn number(cell: &Cell) -> f64 {
    match cell {
        Cell::Share(n) | Cell::Average(n) => *n,
        other => whole(other).unwrap_or(0) as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::Field;

    #[test]
    fn what_was_written_is_read_by_another_reader() {
        let mut section = Section::table("t", "T", "", &["path", "calls", "99 %", "how much"]);
        let names = ["/a,\"b\"\n", "", "/é\u{fffd}"];
        for (n, name) in names.iter().enumerate() {
            let much = if n == 0 { Cell::Time(7) } else { Cell::Share(0.5) };
            section.rows.push(vec![
                Cell::Text((*name).into()),
                Cell::Count(n as u64),
                Cell::Change(-5),
                much,
            ]);
        }
        let bytes = bytes::Bytes::from(file(&section).unwrap());
        let reader = SerializedFileReader::new(bytes).unwrap();
        let schema = reader.metadata().file_metadata().schema().clone();
        let columns: Vec<&str> = schema.get_fields().iter().map(|field| field.name()).collect();
        assert_eq!(columns, ["path", "calls", "99_percent", "how_much"]);
        let rows: Vec<Vec<Field>> = reader
            .get_row_iter(None)
            .unwrap()
            .map(|row| row.unwrap().get_column_iter().map(|(_, field)| field.clone()).collect())
            .collect();
        for (n, name) in names.iter().enumerate() {
            let much = if n == 0 { 7.0 } else { 0.5 };
            let want =
                [Field::Str((*name).into()), Field::Long(n as i64), Field::Long(-5), Field::Double(much)];
            assert_eq!(rows[n], want);
        }
        assert_eq!(rows.len(), names.len());
    }

    #[test]
    fn a_table_without_rows_is_a_file_too() {
        let bytes = bytes::Bytes::from(file(&Section::table("t", "T", "", &["path"])).unwrap());
        assert_eq!(SerializedFileReader::new(bytes).unwrap().metadata().file_metadata().num_rows(), 0);
    }
}
