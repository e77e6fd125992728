//! Everything that can be seen of the tree, by a process outside and by one inside a view, side by side.
//!
//! It is looked at once per kind of user for all tests; what they share is what was seen, not the tree, which is gone
//! by then. What may differ, and why, is [`Observed::explained`]; everything else has to be equal.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::OnceLock;

use super::tree;
use crate::actor::{Actor, Ask, at};
use crate::scene::{Scene, scenes};

/// What was seen: for each path beneath the view's root and each kind of look, the answer.
pub type Seen = BTreeMap<(String, &'static str), String>;

/// Both sides, for one kind of user.
pub struct Observed {
    /// Who looked.
    pub who: String,
    /// Their number, if they are an ordinary user made for this.
    pub uid: Option<u32>,
    /// Their supplementary groups.
    pub groups: Vec<u32>,
    /// On the plain directory.
    pub native: Seen,
    /// In the view.
    pub view: Seen,
}

/// What each kind of user sees.
pub fn observed() -> &'static [Observed] {
    static OBSERVED: OnceLock<Vec<Observed>> = OnceLock::new();
    OBSERVED.get_or_init(|| members().iter().map(|scene| Observed::of(scene, None)).collect())
}

/// A scene per kind of user, with the tree in it, and ordinary users in a group besides their own.
pub fn members() -> Vec<Scene> {
    let mut scenes = scenes();
    for scene in &mut scenes {
        if scene.uid.is_some() {
            scene.groups = vec![tree::group_of(scene)];
        }
        tree::build(scene);
    }
    scenes
}

impl Observed {
    /// Looks at the scene's tree from both sides, with this kernel feature masked if any.
    pub fn of(scene: &Scene, mask: Option<&str>) -> Self {
        let mut all = Observed::with_masks(scene, &[mask]);
        all.pop().unwrap()
    }

    /// The same for several masks, each in a view of its own.
    pub fn with_masks(scene: &Scene, masks: &[Option<&str>]) -> Vec<Self> {
        let script = script(&scene.env);
        let mut native = Actor::native(scene);
        look(&mut native, &script); // so that access times are as they will stay
        let native_seen = look(&mut native, &script);
        native.leave();
        let sides = masks.iter().map(|mask| (native_seen.clone(), look_inside(scene, &script, *mask)));
        sides.map(|(native, view)| Observed::of_sides(scene, native, view)).collect()
    }

    fn of_sides(scene: &Scene, native: Seen, view: Seen) -> Self {
        Observed {
            who: scene.who(),
            uid: scene.uid.or((!tree::is_root()).then(|| rustix::process::geteuid().as_raw())),
            groups: scene.groups.clone(),
            native,
            view,
        }
    }

    /// Fails unless everything beneath `prefix` looks the same from both sides; returns how many looks that were.
    pub fn assert_same(&self, prefix: &str) {
        let mut count = 0;
        let mut wrong = Vec::new();
        for (key, native) in self.native.iter().filter(|(key, _)| key.0.starts_with(prefix)) {
            count += 1;
            let view = &self.view[key];
            if !self.explained(key.1, native, view) {
                wrong.push(format!("{key:?}:\n  natively {native}\n  the view {view}"));
            }
        }
        assert!(wrong.is_empty(), "{}: {} of {count} differ:\n{}", self.who, wrong.len(), wrong.join("\n"));
        assert!(count > 10, "{}: only {count} looks at `{prefix}`", self.who);
    }

    /// Whether what was seen is what was to be seen: equal, or different for one of the reasons listed here.
    fn explained(&self, look: &str, native: &str, view: &str) -> bool {
        let is_equal = native == view;
        match look {
            // A user namespace knows one user and one group: others show as the overflow ids, the user's own
            // groups as its first group.
            "lstat" | "stat" | "fstat" | "fstat O_PATH" => is_equal || self.shown(native) == view,
            // A view is read-only, which the kernel says before it looks at permissions, but not of what is no
            // part of the file system's content (FIFO, socket, device).
            "access w" => view == "EROFS" || is_equal,
            // Extended attributes are not shown.
            "xattrs" | "xattr" => view == "ENOTSUP" || is_equal,
            _ => is_equal,
        }
    }

    fn shown(&self, native: &str) -> String {
        let Some(own) = self.uid else { return native.to_owned() };
        let own_group = if tree::is_root() { own } else { rustix::process::getegid().as_raw() };
        let overflow = 65_534;
        let word = |word: &str| match word.split_once('=') {
            Some(("uid", id)) if id != own.to_string() => format!("uid={overflow}"),
            Some(("gid", id)) if self.groups.iter().any(|group| id == group.to_string()) => {
                format!("gid={own_group}")
            }
            Some(("gid", id)) if id != own_group.to_string() => format!("gid={overflow}"),
            _ => word.to_owned(),
        };
        native.split(' ').map(word).collect::<Vec<_>>().join(" ")
    }

    /// What a look at a path gave inside.
    pub fn view(&self, path: &str, look: &'static str) -> &str {
        self.view.get(&(path.to_owned(), look)).unwrap_or_else(|| panic!("nobody did {look} of {path}"))
    }
}

/// What actors see that are in views already, each against the plain directory.
pub fn side_by_side<'a>(scene: &Scene, inside: impl Iterator<Item = &'a mut Actor>) -> Vec<Observed> {
    let script = script(&scene.env);
    let mut native = Actor::native(scene);
    look(&mut native, &script); // so that access times are as they will stay
    let seen = look(&mut native, &script);
    native.leave();
    inside.map(|actor| Observed::of_sides(scene, seen.clone(), look(actor, &script))).collect()
}

/// The looks at each path: a name for the look, and what to ask.
type Script = Vec<(String, &'static str, Vec<Ask>)>;

fn look_inside(scene: &Scene, script: &Script, mask: Option<&str>) -> Seen {
    let mut inside = Actor::inside_with(scene, &[], |command| {
        if let Some(mask) = mask {
            command.env("SPINNEY_MASK", mask);
        }
    });
    let view = look(&mut inside, script);
    assert_eq!(look(&mut inside, script), view, "a second look differs from the first");
    inside.leave();
    scene.assert_nothing_left();
    view
}

fn look(actor: &mut Actor, script: &Script) -> Seen {
    let mut seen = Seen::new();
    for (path, look, asks) in script {
        asks.iter().for_each(|ask| actor.begin(ask));
        let answers: Vec<String> = asks.iter().map(|_| actor.answer()).collect();
        // Of several steps the first that fails counts.
        let telling =
            answers.iter().find(|answer| answer.starts_with('E')).unwrap_or(&answers[answers.len() - 1]);
        assert!(seen.insert((path.clone(), look), telling.clone()).is_none(), "{look} of {path} twice");
    }
    seen
}

fn script(env: &Path) -> Script {
    let mut script = Script::new();
    for path in tree::walk(env) {
        let name = path.strip_prefix(env).unwrap().to_string_lossy().into_owned();
        let bytes = at(&path);
        let Ok(attributes) = std::fs::symlink_metadata(&path) else {
            // In a directory that whoever runs the tests may not pass.
            script.extend(everywhere(&bytes).into_iter().map(|(look, ask)| (name.clone(), look, vec![ask])));
            continue;
        };
        // Of a thousand names one in fifty will do.
        if name.contains("1000 names/") && attributes.ino() % 50 != 0 {
            continue;
        }
        for (look, ask) in everywhere(&bytes) {
            script.push((name.clone(), look, vec![ask]));
        }
        let kind = attributes.file_type();
        if kind.is_dir() || kind.is_symlink() {
            script.push((name.clone(), "list", vec![Ask::List { path: bytes.clone() }]));
            script.push((name.clone(), "chdir", vec![Ask::Chdir { path: bytes.clone() }]));
            script.push((format!("{name} "), "chdir back", vec![Ask::Chdir { path: at("/") }]));
        }
        if !(kind.is_fifo() || kind.is_socket() || kind.is_char_device() || kind.is_block_device()) {
            script.extend(opened(&name, &bytes));
            if attributes.len() < 1 << 30 {
                script.push((name.clone(), "bytes", vec![Ask::ReadAll { path: bytes.clone() }]));
            }
        }
        let beneath = [&bytes[..], b"/beneath"].concat();
        script.push((name.clone(), "beneath", vec![Ask::Stat { path: beneath, follow: true }]));
        script.push((
            name.clone(),
            "absent",
            vec![Ask::Stat { path: [&bytes[..], b"no"].concat(), follow: true }],
        ));
    }
    script
}

fn everywhere(path: &[u8]) -> Vec<(&'static str, Ask)> {
    let access = |mode| Ask::Access { path: path.to_vec(), mode };
    vec![
        ("lstat", Ask::Stat { path: path.to_vec(), follow: false }),
        ("stat", Ask::Stat { path: path.to_vec(), follow: true }),
        ("target", Ask::Target { path: path.to_vec() }),
        ("access f", access(libc::F_OK)),
        ("access r", access(libc::R_OK)),
        ("access w", access(libc::W_OK)),
        ("access x", access(libc::X_OK)),
        ("xattrs", Ask::Xattrs { path: path.to_vec() }),
        ("xattr", Ask::Xattr { path: path.to_vec(), name: "user.some".to_owned() }),
    ]
}

fn opened(name: &str, path: &[u8]) -> Script {
    let open = |flags| Ask::Open { file: "f".to_owned(), path: path.to_vec(), flags };
    let fstat = Ask::Fstat { file: "f".to_owned() };
    let row = |look, asks: Vec<Ask>| (name.to_owned(), look, asks);
    vec![
        row("open", vec![open(libc::O_RDONLY)]),
        row("fstat", vec![open(libc::O_RDONLY), fstat.clone()]),
        row("open O_PATH", vec![open(libc::O_PATH)]),
        row("fstat O_PATH", vec![open(libc::O_PATH | libc::O_NOFOLLOW), fstat]),
        row("open O_DIRECTORY", vec![open(libc::O_RDONLY | libc::O_DIRECTORY)]),
        row("open O_NOFOLLOW", vec![open(libc::O_RDONLY | libc::O_NOFOLLOW)]),
    ]
}
