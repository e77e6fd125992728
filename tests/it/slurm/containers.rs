//! Tasks that are containers: whatever starts them, in there the views are shown where they were outside.

use std::fs;
use std::path::Path;

use super::world::{NODES, World, assert_one_tree, succeed};
use crate::scene::text;

/// A root directory for containers that holds nothing but places to mount at and users, and where `view` is among these.
fn image(world: &World, view: &Path) -> String {
    let image = world.scene.home.join("image");
    for place in ["usr", "proc", "sys", "dev", "etc", "tmp", "home", "root", "run", "var"] {
        fs::create_dir_all(image.join(place)).unwrap();
    }
    fs::create_dir_all(image.join(view.strip_prefix("/").unwrap())).unwrap();
    for name in ["bin", "sbin", "lib", "lib64"] {
        std::os::unix::fs::symlink(Path::new("usr").join(name), image.join(name)).unwrap();
    }
    for name in ["passwd", "group", "hosts", "resolv.conf", "nsswitch.conf"] {
        fs::write(image.join("etc").join(name), "").unwrap();
    }
    image.to_str().unwrap().to_owned()
}

/// The words that start a container with `image` for its root that sees `view`, as a user writes them.
fn containers<'a>(view: &'a str, image: &'a str, stand_in: &'a str) -> [(&'static str, Vec<&'a str>); 4] {
    [
        ("charliecloud", vec!["ch-run", "-b", "/usr", "-b", view, image, "--"]),
        (
            "bubblewrap",
            vec![
                "bwrap",
                "--ro-bind",
                image,
                "/",
                "--ro-bind",
                "/usr",
                "/usr",
                "--proc",
                "/proc",
                "--dev",
                "/dev",
                "--unshare-all",
                "--bind",
                view,
                view,
            ],
        ),
        // Everything of the machine, and with it the views.
        (
            "bubblewrap, whole",
            vec!["bwrap", "--bind", "/", "/", "--dev", "/dev", "--unshare-pid", "--proc", "/proc"],
        ),
        ("a stand-in", vec![stand_in, image, view]),
    ]
}

/// What runtimes for containers do, without any: a root in a user namespace of its own binds what it was told, and
/// changes its root.
const STAND_IN: &str = r#"
image=$1 view=$2; shift 2
exec unshare --user --map-root-user --mount --pid --fork sh -ec '
    image=$1 view=$2; shift 2
    mount --rbind "$image" "$image"
    mount --rbind /usr "$image/usr"
    mount -t proc proc "$image/proc"
    mount --rbind "$view" "$image$view"
    exec /usr/sbin/chroot "$image" "$@"' container "$image" "$view" "$@""#;

#[test]
fn a_task_that_is_a_container_sees_the_views_where_they_are_outside() {
    let world = World::start();
    let view = world.scene.env.to_str().unwrap();
    let image = image(&world, &world.scene.env);
    let stand_in = world.script("container", STAND_IN);
    // What it imports, and what kind of mount that lies on.
    let source = format!(
        "import wood\n\
         mounts = [line.split() for line in open('/proc/self/mountinfo')]\n\
         kinds = [mount[mount.index('-') + 1] for mount in mounts if mount[4] == {view:?}]\n\
         print(wood.__file__, wood.tree7.rings, kinds[-1])"
    );
    let python = world.scene.shown("bin/python3");
    for (name, words) in containers(view, &image, &stand_in) {
        let command = [&words[..], &[&python, "-B", "-c", &source]].concat();
        let flags = ["-q", "--report", "report", "--view", view];
        let spinney = world.scene.binary.to_str().unwrap();
        let run = ["srun", "-N4", "env", "USER=user", spinney, "run", "--require", "--shared"];
        let ended = succeed(&mut world.user(&[&run[..], &flags, &["--"], &command].concat()));
        let said = text(&ended.stdout);
        let mut lines: Vec<&str> = said.lines().collect();
        lines.dedup();
        assert_eq!(said.lines().count(), NODES, "{name}: {said}{}", text(&ended.stderr));
        assert_eq!(lines.len(), 1, "{name}: {said}");
        assert!(lines[0].starts_with(view) && lines[0].ends_with("tree7 fuse.spinney"), "{name}: {said}");
        assert_one_tree(&world.report("report"), NODES);
        fs::remove_dir_all(world.scene.home.join("report")).unwrap();
        world.assert_nothing_left();
    }
}

#[test]
fn a_container_that_outlives_its_task_keeps_the_view_and_takes_it_along_in_the_end() {
    let world = World::start();
    let view = world.scene.env.to_str().unwrap();
    let cat = world.scene.shown("bin/cat");
    let file = world.scene.shown("file");
    // Left behind in the background, in namespaces of its own, it reads when the task is long gone.
    let script = world.script(
        "script",
        &format!(
            "bwrap --bind / / --dev /dev --proc /proc --unshare-pid sh -c \
             'touch here; until [ -e gate ]; do sleep 0.02; done; {cat} {file} >late' >/dev/null 2>&1 &\n\
             until [ -e here ]; do sleep 0.02; done"
        ),
    );
    let spinney = world.scene.binary.to_str().unwrap();
    let run = ["srun", "-N1", spinney, "run", "-q", "--require", "--view", view, "--", &script];
    succeed(&mut world.user(&run));
    fs::write(world.scene.home.join("gate"), "").unwrap();
    let late = world.scene.home.join("late");
    crate::scene::eventually("what it read", || {
        fs::read_to_string(&late).is_ok_and(|read| read == crate::scene::CONTENT)
    });
    world.assert_nothing_left();
}
