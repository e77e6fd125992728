//! XALT's record of one import: reading it, writing it byte for byte, and what its hooks call.
//!
//! A JSON object with a checksum over itself: CRC-16/CCITT-FALSE, computed while its own place holds 0xFFFF.
//!
//! Not here: its settings (`config_py`), what becomes of a record (`ingest`).

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::record::{Import, Line, Process};

/// What XALT's hooks call to record an import.
pub const RECORD_PKG: &str = "xalt_record_pkg";

/// Bytes of one argument that are recorded at most: the longest path Linux has.
const ARGUMENT_BYTES_MAX: usize = 4096;

/// For a name or a path that XALT's hook could not find out.
pub const UNKNOWN: &str = "<unknown>";

/// One import as XALT has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// `python`, `R` or another.
    pub program: String,
    /// Identity of the run.
    pub xalt_run_uuid: String,
    /// Of the interpreter for Python, of the package for R.
    pub package_version: String,
    /// Name.
    pub package_name: String,
    /// Path.
    pub package_path: String,
}

/// Why a record is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PackageError {
    /// It is no JSON object with the fields of a record.
    #[error("no record of XALT's")]
    Form,
    /// It was changed, or cut.
    #[error("its checksum is wrong")]
    Checksum,
}

/// CRC-16/CCITT-FALSE: polynomial 0x1021, begun with 0xFFFF.
pub fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xFFFF, |crc: u16, &byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    })
}

/// A record whose place for the checksum holds 0xFFFF, with the checksum in it.
pub fn checked(text: &str) -> String {
    text.replacen("0xFFFF", &format!("0x{:04X}", crc16(text.as_bytes())), 1)
}

impl Package {
    /// As XALT writes it: fields in the order of its hook's arguments, other characters than ASCII as `\uXXXX`.
    pub fn to_json(&self) -> String {
        let Package { program, xalt_run_uuid, package_version, package_name, package_path } = self;
        let [program, uuid, version, name, path] =
            [program, xalt_run_uuid, package_version, package_name, package_path].map(|text| quoted(text));
        let fields = match self.program.as_str() {
            "R" => format!("\"package_name\":{name},\"package_version\":{version}"),
            _ => format!("\"package_version\":{version},\"package_name\":{name}"),
        };
        checked(&format!(
            "{{\"crc\":\"0xFFFF\",\"program\":{program},\"xalt_run_uuid\":{uuid},{fields},\"package_path\":{path}}}"
        ))
    }

    /// Reads what XALT or [`Package::to_json`] wrote.
    ///
    /// # Errors
    /// It is something else, or not whole.
    pub fn parse(text: &str) -> Result<Self, PackageError> {
        let text = text.trim();
        let package: Package = serde_json::from_str(text).map_err(|_| PackageError::Form)?;
        let crc =
            text.strip_prefix("{\"crc\":\"0x").and_then(|rest| rest.get(..4)).ok_or(PackageError::Form)?;
        let told = u16::from_str_radix(crc, 16).map_err(|_| PackageError::Form)?;
        let blank = text.replacen(crc, "FFFF", 1);
        if crc16(blank.as_bytes()) == told { Ok(package) } else { Err(PackageError::Checksum) }
    }

    /// Takes the arguments of `xalt_record_pkg`; `None` if they name no package.
    pub fn of_arguments(words: &[OsString]) -> Option<Self> {
        let mut package = Package {
            program: String::new(),
            xalt_run_uuid: String::new(),
            package_version: String::new(),
            package_name: UNKNOWN.to_owned(),
            package_path: UNKNOWN.to_owned(),
        };
        let words: Vec<String> = words.iter().map(|word| cut(&word.to_string_lossy())).collect();
        let mut pairs = words.chunks_exact(2);
        for pair in &mut pairs {
            let [key, value] = pair else { continue };
            match key.as_str() {
                "-u" | "xalt_run_uuid" => package.xalt_run_uuid.clone_from(value),
                "program" => package.program.clone_from(value),
                "package_version" => package.package_version.clone_from(value),
                "package_name" => package.package_name.clone_from(value),
                "package_path" => package.package_path.clone_from(value),
                _ => {}
            }
        }
        let is_known = package.package_name != UNKNOWN || package.package_path != UNKNOWN;
        (is_known && !package.program.is_empty()).then_some(package)
    }

    /// As our own lines say it: XALT's version is the interpreter's for Python, the package's otherwise.
    pub fn lines(&self) -> (Process, Import) {
        let is_python = self.program == "python";
        let known = |text: &str| Some(text.to_owned()).filter(|text| text != UNKNOWN && !text.is_empty());
        let (python, version) = match is_python {
            true => (self.package_version.clone(), None),
            false => (String::new(), known(&self.package_version)),
        };
        let process = Process {
            pid: 0,
            started: 0.0,
            python,
            implementation: if is_python { "cpython".to_owned() } else { self.program.clone() },
            executable: None,
            prefix: String::new(),
            base_prefix: String::new(),
            conda: false,
        };
        let (name, path) = (known(&self.package_name), known(&self.package_path));
        let name = name.or_else(|| path.clone()).unwrap_or_default();
        let flags = String::new();
        (process, Import { number: 0, name, path, version, own_us: 0, total_us: 0, flags, by: None })
    }
}

/// What XALT's hooks wait for before they tell of anything: the identity of the run, unless XALT itself has given one.
/// Only where they call this program: XALT's own would leave files that nobody takes away.
pub fn run_variable(run: &str) -> Option<(OsString, OsString)> {
    const NAME: &str = "XALT_RUN_UUID";
    let called = Path::new(&std::env::var_os("XALT_DIR")?).join("libexec").join(RECORD_PKG);
    let is_this = called.canonicalize().ok()? == std::env::current_exe().ok()?;
    (is_this && std::env::var_os(NAME).is_none()).then(|| (NAME.into(), run.into()))
}

/// Does what XALT's hooks ask for: notes one import in `directory`, the run's own in shared memory. Silent, whatever
/// happens.
pub fn record_pkg(directory: &Path, words: &[OsString]) {
    let Some(package) = Package::of_arguments(words) else { return };
    let (process, import) = package.lines();
    let word =
        |text: &str| text.chars().filter(|it| it.is_ascii_alphanumeric() || *it == '.').collect::<String>();
    let file = directory.join(format!("x-{}-{}.rec", word(&process.implementation), word(&process.python)));
    let mut options = OpenOptions::new();
    options.append(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    // One write each, so lines of calls at the same moment do not mix. Whoever makes the file writes its first line.
    if let Ok(mut new) = options.clone().create_new(true).open(&file) {
        let _ =
            new.write_all((Line::Process(process).to_text() + &Line::Import(import).to_text()).as_bytes());
    } else if let Ok(mut there) = options.open(&file) {
        let _ = there.write_all(Line::Import(import).to_text().as_bytes());
    }
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(ARGUMENT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// A JSON string of ASCII alone.
pub fn quoted(text: &str) -> String {
    ascii(&serde_json::to_string(text).expect("a string has a JSON form"))
}

/// A text of JSON, with other characters than ASCII as `\uXXXX`: they stand in strings alone.
pub fn ascii(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for character in text.chars() {
        match character.is_ascii() {
            true => quoted.push(character),
            false => {
                let mut pair = [0; 2];
                quoted.extend(character.encode_utf16(&mut pair).iter().map(|unit| format!("\\u{unit:04x}")));
            }
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    fn numpy() -> Package {
        let words = words(&[
            "-u",
            "9d8e",
            "program",
            "python",
            "xalt_run_uuid",
            "9d8e",
            "package_version",
            "3.11.7",
            "package_name",
            "numpy",
            "package_path",
            "/e/numpy/__init__.py",
        ]);
        Package::of_arguments(&words).unwrap()
    }

    #[test]
    fn the_checksum_is_that_of_the_catalogue() {
        assert_eq!(crc16(b"123456789"), 0x29B1);
        assert_eq!(crc16(b""), 0xFFFF);
    }

    #[test]
    fn a_record_has_the_form_that_xalt_reads() {
        let text = numpy().to_json();
        let (head, tail) = (&text[..10], &text[14..]);
        assert_eq!(head, "{\"crc\":\"0x");
        assert_eq!(
            tail,
            "\",\"program\":\"python\",\"xalt_run_uuid\":\"9d8e\",\"package_version\":\"3.11.7\",\
             \"package_name\":\"numpy\",\"package_path\":\"/e/numpy/__init__.py\"}"
        );
        let r = Package { program: "R".to_owned(), ..numpy() }.to_json();
        assert!(r.contains("\"package_name\":\"numpy\",\"package_version\""), "{r}");
    }

    #[test]
    fn a_record_comes_back_unless_it_was_changed() {
        for name in ["numpy", "é", "\u{1F600}", "a\"b\\c\nd", "$(x);`y`'z'"] {
            let package = Package { package_name: name.to_owned(), ..numpy() };
            let text = package.to_json();
            assert!(text.is_ascii());
            assert_eq!(Package::parse(&text), Ok(package));
        }
        let text = numpy().to_json();
        assert_eq!(Package::parse(&text.replace("numpy", "numpi")), Err(PackageError::Checksum));
        for other in ["", "{}", "[1]", &text[..40], "{\"crc\":\"0xé\"}"] {
            assert_eq!(Package::parse(other), Err(PackageError::Form), "{other}");
        }
    }

    #[test]
    fn odd_arguments_are_nothing_or_cut() {
        assert_eq!(Package::of_arguments(&[]), None);
        assert_eq!(Package::of_arguments(&words(&["-u"])), None);
        assert_eq!(Package::of_arguments(&words(&["program", "python", "package_name", UNKNOWN])), None);
        let long = "é".repeat(1 << 19);
        let package = Package::of_arguments(&words(&["program", "R", "package_path", &long])).unwrap();
        assert_eq!(package.package_path.len(), ARGUMENT_BYTES_MAX);
    }
}
