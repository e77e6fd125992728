//! XALT's lines of syslog: a record in numbered blocks, each in a line that says whose it is.
//!
//! `V:4 kind:pkg syshost:H key:K crcStr:C nb:NN idx:II value:BLOCK`. Blocks have 512 bytes, the last what is left. Our own
//! lines travel so too, with a kind of their own: as one JSON list of ASCII alone, with its checksum in the line.
//!
//! Invariant: what is put together again matches its checksum; daemons that strip blanks at the ends of lines, lose
//! lines, repeat them or change their order do no harm but to the record concerned.
//!
//! Not here: the socket (`send::syslog`), the records (`xalt`, `xalt_form`).

use std::collections::HashMap;

use super::send::Piece;
use super::xalt::{ascii, crc16};

/// Bytes of a block, as XALT ships it.
const BLOCK_BYTES: usize = 512;

/// Blocks of one record at most: 64 MiB, far beyond what a node sees of a run. A hostile line could name any number.
const BLOCKS_MAX: usize = 1 << 17;

/// Records that are not whole yet, at most; beyond, the oldest are given up.
const PARTIAL_MAX: usize = 100_000;

/// What comes before the name of the cluster in the tag.
pub const TAG: &str = "XALT_LOGGING_";

/// Kind of a piece that holds our own lines.
pub const OWN_KIND: &str = "spinney";

/// The lines that `piece` becomes.
pub fn lines_of(piece: &Piece, syshost: &str) -> Vec<String> {
    let value = match piece.kind {
        OWN_KIND => ascii(&format!("[{}]", piece.text.lines().collect::<Vec<_>>().join(","))),
        _ => piece.text.clone(),
    };
    let told = value.strip_prefix("{\"crc\":\"").and_then(|rest| rest.get(..6)).map(str::to_owned);
    let crc = told.unwrap_or_else(|| format!("0x{:04X}", crc16(value.as_bytes())));
    let (kind, key) = (piece.kind, word(&piece.key));
    // All characters are ASCII, so every byte is a place to cut.
    let blocks: Vec<&str> = (0..value.len())
        .step_by(BLOCK_BYTES)
        .map(|at| &value[at..value.len().min(at + BLOCK_BYTES)])
        .collect();
    let total = blocks.len();
    let line = |(number, block)| {
        format!(
            "V:4 kind:{kind} syshost:{} key:{key} crcStr:{crc} nb:{total:02} idx:{number:02} value:{block}",
            word(syshost)
        )
    };
    blocks.into_iter().enumerate().map(line).collect()
}

/// A record that has been put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole {
    /// `pkg`, `run`, `link` or `spinney`.
    pub kind: String,
    /// The cluster.
    pub syshost: String,
    /// The record.
    pub value: String,
}

/// Records of which not all lines have come yet.
#[derive(Debug, Default)]
pub struct Partials {
    waiting: HashMap<String, Partial>,
    begun: u64,
}

#[derive(Debug)]
struct Partial {
    begun: u64,
    kind: String,
    syshost: String,
    crc: String,
    blocks: Vec<Option<String>>,
}

/// What one line of a log is.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// None of XALT's.
    Other,
    /// A block of a record.
    Block,
    /// The last block of a record.
    Whole(Whole),
    /// One of XALT's, and damaged.
    Damaged,
}

impl Partials {
    /// Takes a line of a log.
    pub fn hear(&mut self, line: &str) -> Heard {
        let Some(tag) = line.find(TAG) else { return Heard::Other };
        let Some((head, block)) = line[tag..].split_once(" value:") else { return Heard::Damaged };
        let Some((_, head)) = head.split_once(" V:") else { return Heard::Damaged };
        let fields: HashMap<&str, &str> =
            head.split_whitespace().filter_map(|field| field.split_once(':')).collect();
        let number = |name: &str| fields.get(name).and_then(|text| text.parse::<usize>().ok());
        let (Some(kind), Some(key), Some(total), Some(index)) =
            (fields.get("kind"), fields.get("key"), number("nb"), number("idx"))
        else {
            return Heard::Damaged;
        };
        if index >= total || total > BLOCKS_MAX {
            return Heard::Damaged;
        }
        let crc = fields.get("crcStr").or_else(|| fields.get("crc")).copied().unwrap_or_default();
        let own_key = format!("{crc} {key}");
        self.make_room();
        self.begun += 1;
        let partial = self.waiting.entry(own_key.clone()).or_insert_with(|| Partial {
            begun: self.begun,
            kind: (*kind).to_owned(),
            syshost: fields.get("syshost").copied().unwrap_or_default().to_owned(),
            crc: crc.to_owned(),
            blocks: Vec::new(),
        });
        if partial.blocks.len() <= index {
            partial.blocks.resize(index + 1, None);
        }
        partial.blocks[index].get_or_insert_with(|| block.trim_end_matches(['\n', '\r']).to_owned());
        if partial.blocks.len() < total || partial.blocks.iter().any(Option::is_none) {
            return Heard::Block;
        }
        let partial = self.waiting.remove(&own_key).expect("it has just been looked at");
        partial.whole().map_or(Heard::Damaged, Heard::Whole)
    }

    /// How many records are not whole.
    pub fn left(&self) -> usize {
        self.waiting.len()
    }

    fn make_room(&mut self) {
        if self.waiting.len() < PARTIAL_MAX {
            return;
        }
        let middle = self.begun - PARTIAL_MAX as u64 / 2;
        self.waiting.retain(|_, partial| partial.begun > middle);
        if self.waiting.len() >= PARTIAL_MAX {
            self.waiting.clear();
        }
    }
}

impl Partial {
    /// The record, if it matches its checksum: as it came, or with the blanks that a daemon took from the ends of lines.
    fn whole(self) -> Option<Whole> {
        let blocks: Vec<String> = self.blocks.into_iter().flatten().collect();
        let longest = blocks.iter().map(String::len).max().unwrap_or(0);
        let padded = |to: usize| {
            let last = blocks.len() - 1;
            let block = |(number, block): (usize, &String)| {
                if number == last { block.clone() } else { format!("{block:to$}") }
            };
            blocks.iter().enumerate().map(block).collect::<String>()
        };
        let value =
            [0, longest, BLOCK_BYTES].into_iter().map(padded).find(|value| matches(value, &self.crc))?;
        Some(Whole { kind: self.kind, syshost: self.syshost, value })
    }
}

/// Whether `value` has the checksum that its line told; older versions of XALT tell none.
fn matches(value: &str, crc: &str) -> bool {
    if crc.is_empty() {
        return true;
    }
    let Some(told) = crc.strip_prefix("0x").and_then(|hex| u16::from_str_radix(hex, 16).ok()) else {
        return false;
    };
    let blank = match value.strip_prefix("{\"crc\":\"0x").and_then(|rest| rest.get(4..)) {
        Some(rest) => format!("{{\"crc\":\"0xFFFF{rest}"),
        None => value.to_owned(),
    };
    crc16(blank.as_bytes()) == told
}

/// A text without what separates fields.
pub fn word(text: &str) -> String {
    let is_plain = |character: &char| character.is_ascii_alphanumeric() || ".-_".contains(*character);
    let plain: String = text.chars().filter(is_plain).collect();
    if plain.is_empty() { "unknown".to_owned() } else { plain }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(text: &str) -> Piece {
        Piece { kind: OWN_KIND, file: String::new(), key: "k-1".to_owned(), text: text.to_owned() }
    }

    fn logged(text: &str) -> Vec<String> {
        let lines = lines_of(&piece(text), "frontier");
        lines.iter().map(|line| format!("Nov 21 10:00:00 n1 {TAG}frontier: {line}")).collect()
    }

    /// What `lines` become, in this order.
    fn heard(lines: &[String]) -> Option<Whole> {
        let mut partials = Partials::default();
        lines.iter().find_map(|line| match partials.hear(line) {
            Heard::Whole(whole) => Some(whole),
            _ => None,
        })
    }

    #[test]
    fn lines_have_the_form_that_xalt_reads() {
        let pkg = Piece { kind: "pkg", text: "{\"crc\":\"0x1234\",\"a\":\"b\"}".to_owned(), ..piece("") };
        assert_eq!(
            lines_of(&pkg, "frontier"),
            [format!("V:4 kind:pkg syshost:frontier key:k-1 crcStr:0x1234 nb:01 idx:00 value:{}", pkg.text)]
        );
        let lines = lines_of(&piece(&"x".repeat(1200)), "a b:c'\n");
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| line.starts_with("V:4 kind:spinney syshost:abc key:k-1 crcStr:0x")));
        assert!(lines[2].contains(" nb:03 idx:02 value:"));
        let value = |line: &String| line.split_once("value:").unwrap().1.len();
        assert_eq!(lines.iter().map(value).collect::<Vec<_>>(), [512, 512, 178]);
    }

    #[test]
    fn blocks_come_back_whatever_a_daemon_does_to_lines() {
        let text = format!("[\"a\",\"{}é\u{1F600} value: V:4 key:x\"]\n[\"b\"]\n", " ".repeat(1500));
        let lines = logged(&text);
        let expected = ascii(&format!("[{}]", text.trim_end().replace('\n', ",")));
        let told = heard(&lines).unwrap();
        assert_eq!(
            (told.value.as_str(), told.kind.as_str(), told.syshost.as_str()),
            (&*expected, "spinney", "frontier")
        );
        let stripped: Vec<String> = lines.iter().map(|line| line.trim_end().to_owned()).collect();
        assert_ne!(stripped, lines);
        let reversed: Vec<String> = lines.iter().rev().cloned().collect();
        let doubled: Vec<String> = lines.iter().flat_map(|line| [line.clone(), line.clone()]).collect();
        for changed in [stripped, reversed, doubled] {
            assert_eq!(heard(&changed).map(|whole| whole.value), Some(expected.clone()));
        }
        let mut other = logged("[\"c\"]");
        other.extend(lines.clone());
        assert!(heard(&other).is_some());
        for lost in 0..lines.len() {
            let mut fewer = lines.clone();
            fewer.remove(lost);
            assert_eq!(heard(&fewer), None, "line {lost}");
            let mut changed = lines.clone();
            changed[lost] = changed[lost].replacen("value: ", "value:x", 1).replacen("value:[", "value:{", 1);
            assert!(heard(&changed).is_none_or(|whole| whole.value == expected), "line {lost}");
        }
    }

    #[test]
    fn hostile_lines_cost_nothing() {
        let mut partials = Partials::default();
        let cases = [
            ("", Heard::Other),
            ("kind:pkg key:k nb:1 idx:0 value:x", Heard::Other), // no tag
            ("XALT_LOGGING_h", Heard::Damaged),
            ("XALT_LOGGING_h V:4 kind:pkg key:k nb:1 idx:1 value:x", Heard::Damaged), // beyond the end
            ("XALT_LOGGING_h V:4 kind:pkg key:k nb:99999999999 idx:99999999998 value:x", Heard::Damaged),
            ("XALT_LOGGING_h V:4 kind:pkg key:k nb:0 idx:0 value:x", Heard::Damaged),
            ("XALT_LOGGING_h V:4 kind:pkg key:k nb:-1 idx:0 value:x", Heard::Damaged),
            ("XALT_LOGGING_h V:4 kind:pkg key:k crcStr:0xZZZZ nb:1 idx:0 value:x", Heard::Damaged),
            ("XALT_LOGGING_h V:4 kind:pkg key:k crcStr:0x0000 nb:1 idx:0 value:x", Heard::Damaged),
        ];
        for (line, expected) in cases {
            assert_eq!(partials.hear(line), expected, "{line}");
        }
        assert_eq!(partials.left(), 0);
        for number in 0..=PARTIAL_MAX {
            partials.hear(&format!("XALT_LOGGING_h V:4 kind:pkg key:{number} nb:2 idx:0 value:x"));
        }
        assert!(partials.left() <= PARTIAL_MAX);
    }
}
