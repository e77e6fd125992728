//! What is shown: attributes, names, links, listings, access.

use super::observed::{Observed, members, observed};

#[test]
fn bytes_are_those_that_storage_has() {
    for observed in observed() {
        observed.assert_same("plain/");
        for name in ["empty", "one", "page", "page and one", "block", "block and one", "many blocks"] {
            let length = observed.view(&format!("plain/{name}"), "bytes");
            assert!(!length.starts_with('E'), "{}: {name}: {length}", observed.who);
        }
    }
}

#[test]
fn attributes_are_those_of_storage() {
    for observed in observed() {
        observed.assert_same("times/");
        let times = observed.view("times/before 1970", "lstat");
        assert!(times.contains("mtime=-1000000.000000001"), "{times}");
        assert!(observed.view("times/beyond 32 bits", "lstat").contains("mtime=5000000000.000000123"));
        assert!(observed.view("plain/sparse", "lstat").contains("size=5368709125 "));
        assert!(observed.view("plain/hard link a", "lstat").contains(" links=3 "));
    }
}

#[test]
fn names_are_bytes() {
    for observed in observed() {
        observed.assert_same("names");
        let listed = observed.view("names", "list");
        for name in ["line\\nbreak 8", "not utf8 \\xff\\xfe\\x80 8", &"x".repeat(255)] {
            assert!(listed.contains(name), "{}: {listed}", observed.who);
        }
        let longest = format!("names/{}", "x".repeat(255));
        assert_eq!(observed.view(&longest, "absent"), "ENAMETOOLONG", "256 bytes");
    }
}

#[test]
fn symlinks_are_returned_verbatim() {
    for observed in observed() {
        observed.assert_same("links");
        let target = |name: &str| observed.view(&format!("links/{name}"), "target");
        assert_eq!(target("relative"), "`target`");
        assert_eq!(target("dangling outside"), "`/no/such/file`");
        assert_eq!(target("leaves the view"), "`/usr/../etc/hostname`");
        assert_eq!(target("not utf8"), "`\\xff\\n`");
        assert!(target("absolute").ends_with("/env/links/target`"));
        for (name, errno) in [("dangling", "ENOENT"), ("loop a", "ELOOP"), ("to itself", "ELOOP")] {
            assert_eq!(observed.view(&format!("links/{name}"), "stat"), errno, "{name}");
        }
        assert_eq!(observed.view("links/up", "bytes"), "EISDIR");
    }
}

#[test]
fn a_listing_holds_every_name_once() {
    for observed in observed() {
        observed.assert_same("directories");
        let listed = |name| observed.view(name, "list");
        assert!(listed("directories/0 names").matches(" | ").count() == 1, "`.` and `..`");
        assert!(listed("directories/1000 names").starts_with("1002 names"));
    }
}

#[test]
fn access_is_what_storage_decides() {
    for observed in observed() {
        observed.assert_same("modes");
        observed.assert_same("foreign");
        if observed.groups.is_empty() {
            continue; // root, or nobody could make files of other groups
        }
        let of_group = |what: &str, look| observed.view(&format!("foreign/my group's/{what}"), look);
        assert!(of_group("file 0640", "bytes").starts_with('`'), "readable through a supplementary group");
        assert_eq!(of_group("file 0600", "open"), "EACCES");
        assert_eq!(of_group("file 0604", "open"), "EACCES", "the group's bits count, not everybody's");
        assert_eq!(of_group("directory 0711", "list"), "EACCES", "passed, not listed");
        assert!(of_group("directory 0711/inside", "bytes").starts_with('`'));
    }
}

#[test]
fn every_other_look_at_a_tree_gives_what_the_plain_directory_gives() {
    for observed in observed() {
        observed.assert_same("");
    }
}

#[test]
fn a_kernel_that_lacks_an_optional_feature_shows_the_same() {
    let masks = ["resend", "no_opendir", "resend,no_opendir"];
    for scene in members() {
        for (observed, mask) in Observed::with_masks(&scene, &masks.map(Some)).iter().zip(masks) {
            eprintln!("without {mask}");
            observed.assert_same("");
        }
    }
}
