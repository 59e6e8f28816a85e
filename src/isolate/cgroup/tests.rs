//! Groups of version 2 in a made-up tree; version 1 has its test with a real server.

use super::*;
use tempfile::TempDir;

/// A tree with the groups `slice/server`, in the form of version 2.
struct Tree(TempDir);

impl Tree {
    fn new(slice: &[(&str, &str)], server: &[(&str, &str)]) -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        tree.group(
            "",
            &[("cgroup.procs", ""), ("cgroup.controllers", "cpu memory")],
        );
        tree.group("slice", slice);
        tree.group("slice/server", server);
        tree
    }

    /// As systemd has it.
    fn usual() -> Self {
        Self::new(
            &[
                ("cgroup.type", "domain"),
                ("cgroup.procs", ""),
                ("cgroup.controllers", "cpuset cpu io"),
                ("cgroup.subtree_control", "cpu"),
            ],
            &[
                ("cgroup.type", "domain"),
                ("cgroup.procs", "7\n"),
                ("cgroup.controllers", "cpu"),
                ("cpu.weight", "200\n"),
            ],
        )
    }

    fn group(&self, name: &str, files: &[(&str, &str)]) {
        let folder = self.path(name);
        fs::create_dir_all(&folder).unwrap();
        for (file, text) in files {
            fs::write(folder.join(file), text).unwrap();
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn plan(&self, home: &str, limit: Option<&str>) -> Result<Group, String> {
        let hierarchy = Hierarchy::in_folder(self.0.path());
        let home = self.path(home);
        let (parent, competitors) = of_version_2(&hierarchy, &home, 2)?;
        let enable = needs_enabling(&parent)?;
        let share = "25%".parse().unwrap();
        Ok(Group {
            hierarchy,
            folder: parent.join("htap-top-olap-7"),
            weight: share::in_unit_of_version_2(competitors.weight(share), competitors),
            quota_us: limit.map(|limit| share::quota_us(limit.parse().unwrap(), 2)),
            enable,
            formula: competitors.formula(share),
            home,
        })
    }
}

#[test]
fn a_group_is_made_beside_the_server_s_and_removed() {
    let tree = Tree::usual();
    let group = tree.plan("slice/server", Some("40%")).unwrap();
    let steps = group.steps().join("\n");
    for part in [
        "slice/htap-top-olap-7",
        "67 to its cpu.weight (200 of the server's group × 0.25 / 0.75)",
    ] {
        assert!(steps.contains(part), "{steps}");
    }
    group.prepare().unwrap();
    assert_eq!(tree.read("slice/htap-top-olap-7/cpu.weight"), "67");
    assert_eq!(tree.read("slice/htap-top-olap-7/cpu.max"), "16000 20000");
    let mut group = group;
    group.set_weight(33.4).unwrap();
    assert_eq!(tree.read("slice/htap-top-olap-7/cpu.weight"), "33");
    let process = Process {
        pid: 12,
        started: 1,
    };
    group.enter(process).unwrap();
    assert_eq!(tree.read("slice/htap-top-olap-7/cgroup.procs"), "12");
    let place = tree.path("slice/server");
    group.leave(process, place.to_str().unwrap()).unwrap();
    assert_eq!(tree.read("slice/server/cgroup.procs"), "12");
    // Its own group is gone: it goes to the server's.
    fs::write(tree.path("slice/server/cgroup.procs"), "").unwrap();
    group.leave(process, "/no/such/group").unwrap();
    assert_eq!(tree.read("slice/server/cgroup.procs"), "12");
    // The kernel removes a group with its files, and only an empty one; here they are in the way.
    fs::write(tree.path("slice/server/cgroup.procs"), "").unwrap();
    fs::write(tree.path("slice/htap-top-olap-7/cgroup.procs"), "13\n").unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while tree.read("slice/server/cgroup.procs") != "13" {
                std::thread::yield_now();
            }
            for file in ["cgroup.procs", "cpu.weight", "cpu.max"] {
                fs::remove_file(tree.path("slice/htap-top-olap-7").join(file)).unwrap();
            }
        });
        group.remove().unwrap();
    });
    assert!(!tree.path("slice/htap-top-olap-7").exists());
    group.remove().unwrap();
}

#[test]
fn nothing_else_is_ever_removed() {
    let tree = Tree::usual();
    let mut group = tree.plan("slice/server", None).unwrap();
    group.folder = tree.path("slice/other");
    fs::create_dir(&group.folder).unwrap();
    assert!(group.remove().is_err());
    assert!(group.folder.exists());
}

#[test]
fn the_controller_is_enabled_where_that_is_possible() {
    let tree = Tree::usual();
    let control = tree.path("slice/cgroup.subtree_control");
    fs::write(&control, "memory").unwrap();
    let group = tree.plan("slice/server", None).unwrap();
    assert!(
        group.steps()[0].contains("write +cpu to"),
        "{:?}",
        group.steps()
    );
    group.prepare().unwrap();
    assert_eq!(tree.read("slice/cgroup.subtree_control"), "+cpu");
    // A group with processes has no groups with controllers.
    fs::write(&control, "").unwrap();
    fs::write(tree.path("slice/cgroup.procs"), "5\n").unwrap();
    let why = tree.plan("slice/server", None).unwrap_err();
    assert!(
        why.contains("processes of its own") && why.contains("DelegateSubgroup"),
        "{why}"
    );
    fs::write(tree.path("slice/cgroup.controllers"), "memory").unwrap();
    let why = tree.plan("slice/server", None).unwrap_err();
    assert!(why.contains("has no cpu controller"), "{why}");
}

/// In the root there is no group of the server to compete with, only processes.
#[test]
fn at_the_root_single_processes_compete() {
    let tree = Tree::usual();
    fs::write(tree.path("cgroup.subtree_control"), "cpu").unwrap();
    let group = tree.plan("", None).unwrap();
    assert_eq!(
        (group.rounded(), group.folder),
        (67, tree.path("htap-top-olap-7"))
    );
    // The root of a container has a type; what is above it is not visible.
    fs::write(tree.path("cgroup.type"), "domain").unwrap();
    let why = tree.plan("", None).unwrap_err();
    assert!(why.contains("uppermost group"), "{why}");
}

#[test]
fn hierarchies_are_found_in_the_list_of_mounts() {
    let mounts = "\
30 1 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
32 30 0:28 /docker/x /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct
33 30 0:29 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset
broken";
    let first = Hierarchy::find(mounts, Version::One).unwrap();
    assert_eq!(first.mount, Path::new("/sys/fs/cgroup/cpu,cpuacct"));
    for (path, folder) in [
        ("/docker/x", Some("/sys/fs/cgroup/cpu,cpuacct")),
        ("/docker/x/pg", Some("/sys/fs/cgroup/cpu,cpuacct/pg")),
        ("/docker/xy", None),
        ("/docker/x/../y", None),
    ] {
        assert_eq!(
            first.folder(path).as_deref(),
            folder.map(Path::new),
            "{path}"
        );
    }
    let second = Hierarchy::find(mounts, Version::Two).unwrap();
    assert_eq!(second.mount, Path::new("/sys/fs/cgroup/unified"));
    assert_eq!(
        second.folder("/").as_deref(),
        Some(Path::new("/sys/fs/cgroup/unified"))
    );
    assert_eq!(Hierarchy::find("", Version::One), None);
}
