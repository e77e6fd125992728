//! Random trees and random operations on them, by a process outside and one inside a view.
//!
//! A failure names its seed; the same seed makes the same tree and the same operations.

use std::fs;
use std::path::{Path, PathBuf};

use super::tree::{pattern, set_times};
use crate::actor::{Actor, Ask, at};
use crate::scene::{Scene, scenes};

/// Seeds that are tried each time.
const SEEDS: std::ops::Range<u64> = 1..4;
/// Operations for each.
const OPERATIONS: usize = 1500;

/// Numbers that look random: xorshift64*.
pub struct Dice(u64);

impl Dice {
    /// The numbers of this seed, which is above 0.
    pub fn new(seed: u64) -> Self {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// One below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).unwrap() % limit
    }

    /// One of these.
    pub fn one<'t, T>(&mut self, of: &'t [T]) -> &'t T {
        &of[self.below(of.len())]
    }
}

/// Fills `root`, and returns every path in it and some that are not there.
fn grow(root: &Path, dice: &mut Dice, uid: Option<u32>) -> Vec<PathBuf> {
    let mut directories = vec![root.to_owned()];
    let mut paths = Vec::new();
    for i in 0..150 {
        let path =
            dice.one(&directories).join(format!("{} {i}", ["a", "\u{e9}", "\n", "x\\"][dice.below(4)]));
        match dice.below(5) {
            0 => {
                fs::create_dir(&path).unwrap();
                directories.push(path.clone());
            }
            1 => std::os::unix::fs::symlink(dice.one(&directories), &path).unwrap(),
            2 => std::os::unix::fs::symlink(path.with_file_name(format!("a {}", dice.below(150))), &path)
                .unwrap(),
            _ => {
                let length = [0, 1, 4096, 131_072, 300_000][dice.below(5)] + dice.below(3);
                fs::write(&path, pattern(length, i)).unwrap();
                // Of some the versions stay too young to be trusted for ever, since they lie in the future.
                let modified = if dice.below(3) == 0 { 4_000_000_000 } else { 1_000_000_000 };
                set_times(&path, modified + 10, 1, modified, 1);
                let mode = [0o644, 0o600, 0o000, 0o755][dice.below(4)];
                fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
            }
        }
        std::os::unix::fs::lchown(&path, uid, uid).unwrap();
        paths.push(path);
    }
    let absent: Vec<_> = (0..20).map(|i| dice.one(&directories).join(format!("absent {i}"))).collect();
    paths.extend(directories);
    paths.extend(absent);
    paths
}

fn operation(dice: &mut Dice, paths: &[PathBuf]) -> Vec<Ask> {
    let path = at(dice.one(paths));
    let file = || "f".to_owned();
    match dice.below(6) {
        0 => vec![Ask::Stat { path, follow: dice.below(2) == 0 }],
        1 => {
            let (offset, length) = (dice.below(320_000) as u64, dice.below(200_000) as u64 + 1);
            let open = Ask::Open { file: file(), path, flags: libc::O_RDONLY };
            vec![open, Ask::Read { file: file(), offset, length }, Ask::Fstat { file: file() }]
        }
        2 => vec![Ask::List { path }],
        3 => vec![Ask::Target { path }],
        4 => vec![Ask::Access { path, mode: [libc::F_OK, libc::R_OK, libc::X_OK][dice.below(3)] }],
        _ => vec![Ask::StatNow { path }],
    }
}

/// Without what may differ: access times that reading outside moves, and owners within a user namespace.
fn comparable(said: &str) -> String {
    let word = |word: &&str| !["uid=", "gid=", "atime="].iter().any(|varying| word.starts_with(varying));
    if said.starts_with("mode=") {
        said.split(' ').filter(word).collect::<Vec<_>>().join(" ")
    } else {
        said.to_owned()
    }
}

fn compare(scene: &Scene, seed: u64) {
    let mut dice = Dice::new(seed);
    let root = scene.env.join(format!("seed {seed}"));
    fs::create_dir(&root).unwrap();
    let paths = grow(&root, &mut dice, scene.uid);
    let (mut native, mut view) = (Actor::native(scene), Actor::inside(scene, &["--cache-bytes", "1MiB"]));
    for i in 0..OPERATIONS {
        for ask in operation(&mut dice, &paths) {
            let (outside, inside) = (native.ask(&ask), view.ask(&ask));
            assert_eq!(
                comparable(&outside),
                comparable(&inside),
                "{}: seed {seed}, {i}: {ask:?}",
                scene.who()
            );
        }
    }
    native.leave();
    view.leave();
}

#[test]
fn random_operations_give_what_the_plain_directory_gives() {
    for scene in scenes() {
        SEEDS.for_each(|seed| compare(&scene, seed));
        scene.assert_nothing_left();
    }
}
