//! The runs that are asked about, what each counts, and what users and projects are called.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;

use ring::hmac;

use super::{Per, Wanted};
use crate::track::store::{RunRow, Store, StoreError};

/// The runs in question.
pub(super) struct Runs {
    /// By their numbers.
    rows: Vec<Option<RunRow>>,
    names: Names,
    pub(super) only: Vec<String>,
    /// Runs that began later than now: the clock of whoever ingested them was ahead. They count as begun now.
    pub(super) ahead: u64,
}

impl Runs {
    pub(super) fn read(store: &mut Store, wanted: &Wanted) -> Result<Self, StoreError> {
        // Before the words: an ingest that ends in between adds words that these runs do not have, not the reverse.
        let all = store.runs()?;
        let words = store.words()?;
        let key = if wanted.anonymous { Some(store.secret()?) } else { None };
        let names =
            Names { words, key: key.map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())) };
        let number = |name: &Option<String>| name.as_ref().map(|name| names.number(name));
        let (user, project) = (number(&wanted.user), number(&wanted.project));
        // What nobody is called is nobody's number.
        let fits = |asked: Option<Option<u32>>, word: Option<u32>| {
            asked.is_none_or(|asked| asked.is_some() && asked == word)
        };
        let mut rows = Vec::new();
        let mut ahead = 0;
        for mut run in all {
            // What is added up has a place for each word.
            if [Some(run.user), run.project].iter().flatten().any(|&word| word as usize >= names.words.len())
            {
                return Err(StoreError::Damaged);
            }
            ahead += u64::from(run.started > wanted.now);
            run.started = run.started.min(wanted.now);
            let is_wanted = wanted.since.is_none_or(|since| run.started >= since)
                && fits(user, Some(run.user))
                && fits(project, run.project);
            if is_wanted {
                rows.resize(run.id as usize, None);
                rows.push(Some(run));
            }
        }
        let only = [(&wanted.user, Per::User), (&wanted.project, Per::Project)].into_iter();
        let only = only.filter_map(|(name, per)| Some(names.told(name.as_ref()?, per))).collect();
        Ok(Runs { rows, names, only, ahead })
    }

    pub(super) fn get(&self, id: u32) -> Option<&RunRow> {
        self.rows.get(id as usize)?.as_ref()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &RunRow> {
        self.rows.iter().flatten()
    }

    /// Numbers from the first to the last, divided so that as many runs are in each of the `parts`.
    pub(super) fn ranges(&self, parts: usize) -> Vec<Range<u32>> {
        let numbers: Vec<u32> = self.all().map(|run| run.id).collect();
        let start = |part: usize| numbers.get(numbers.len() * part / parts).copied();
        let end = self.rows.len() as u32;
        (0..parts).map(|part| start(part).unwrap_or(end)..start(part + 1).unwrap_or(end)).collect()
    }

    /// How many there are, and for how many they stand.
    pub(super) fn numbers(&self) -> (usize, f64) {
        (self.all().count(), self.all().map(weight).sum())
    }

    /// What somebody is called; `-` if nobody said.
    pub(super) fn name(&self, who: Option<u32>, per: Per) -> String {
        let word = who.and_then(|who| self.names.words.get(who as usize));
        word.map_or_else(|| "-".to_owned(), |word| self.names.told(word, per))
    }
}

/// Users and projects by their numbers.
struct Names {
    words: Vec<String>,
    /// What pseudonyms are made with, if there are to be any.
    key: Option<hmac::Key>,
}

impl Names {
    fn number(&self, name: &str) -> Option<u32> {
        self.words.iter().position(|word| word == name).and_then(|place| u32::try_from(place).ok())
    }

    /// A pseudonym is always the same in one store, and cannot be made or tried out without its secret.
    fn told(&self, name: &str, per: Per) -> String {
        let Some(key) = &self.key else { return name.to_owned() };
        // A user and a project of the same name are not to be known for it.
        let kind = if per == Per::User { "user" } else { "project" };
        let tag = hmac::sign(key, format!("{kind}\0{name}").as_bytes());
        let hex: String = tag.as_ref().iter().take(5).map(|byte| format!("{byte:02x}")).collect();
        format!("{kind}-{hex}")
    }
}

/// Who a run belongs to.
pub(super) fn whose(run: &RunRow, per: Per) -> Option<u32> {
    match per {
        Per::User => Some(run.user),
        Per::Project => run.project,
    }
}

/// For how many runs one stands.
pub(super) fn weight(run: &RunRow) -> f64 {
    if run.probability > 0.0 && run.probability <= 1.0 { 1.0 / run.probability } else { 1.0 }
}

pub(super) fn node_hours(run: &RunRow) -> f64 {
    weight(run) * run.seconds * f64::from(run.nodes) / 3600.0
}

/// A run with what it counts.
pub(super) struct Counted<'runs> {
    pub(super) row: &'runs RunRow,
    pub(super) weight: f64,
    pub(super) node_hours: f64,
}

impl<'runs> Counted<'runs> {
    pub(super) fn new(row: &'runs RunRow) -> Self {
        Counted { row, weight: weight(row), node_hours: node_hours(row) }
    }
}

/// By numbers that the store gave: nobody can choose them so that they collide, and a report asks for each import.
pub(super) type NumberMap = HashMap<u32, u32, BuildHasherDefault<Mixed>>;

/// A number times an odd constant (2^64 over the golden ratio), with the well mixed upper half in the lower too.
#[derive(Debug, Default)]
pub(super) struct Mixed(u64);

impl Hasher for Mixed {
    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        let mixed = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
