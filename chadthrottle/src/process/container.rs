//! Containers: which one a cgroup belongs to, and the name that its runtime has for it.

use std::{
    collections::HashMap,
    fs::File,
    io::Read,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Deserialize;
use serde_json::Value;

use super::aside::Aside;

/// A container, as a cgroup's path tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container<'a> {
    /// Whose it is: docker, podman, containerd, lxc, machine and the like.
    pub manager: &'a str,
    /// 64 hexadecimal digits, where that manager gives ids.
    pub id: Option<&'a str>,
    /// The name, where that manager puts it into the path.
    pub name: Option<String>,
}

/// The container that a cgroup v2 path leads into, the innermost where there are several.
///
/// Container managers put the id into the last part of the path: `docker-ID.scope` (also `libpod-`,
/// `crio-`, `cri-containerd-`) under systemd, `docker/ID` and the like without it.
pub fn container_of(cgroup: &str) -> Option<Container<'_>> {
    let mut parent = None;
    let mut innermost = None;
    // Without a list of the parts: the screen asks this of every process.
    for part in cgroup.split('/').filter(|part| !part.is_empty()) {
        innermost = container(part, parent).or(innermost);
        parent = Some(part);
    }
    innermost
}

fn container<'a>(part: &'a str, parent: Option<&'a str>) -> Option<Container<'a>> {
    let name = part.strip_suffix(".scope").unwrap_or(part);
    let named = |manager, name: &str| {
        Some(Container {
            manager,
            id: None,
            name: Some(super::unit::unescape(name)),
        })
    };
    if let Some(machine) = name.strip_prefix("lxc.payload.") {
        return named("lxc", machine);
    }
    if let Some(machine) = name.strip_prefix("machine-") {
        return named("machine", machine);
    }
    let (manager, id) = match name.rsplit_once('-') {
        Some((manager, id)) => (manager, id),
        None => (parent?, name),
    };
    let is_id = id.len() == ID_DIGITS && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let manager = match manager {
        "libpod" => "podman",
        "cri-containerd" => "containerd",
        other => other,
    };
    is_id.then_some(Container {
        manager,
        id: Some(id),
        name: None,
    })
}

const ID_DIGITS: usize = 64;

/// Whether that may be meant as the beginning of an id: shorter ones would be every container's.
pub fn is_id_prefix(text: &str) -> bool {
    const FEWEST: usize = 4;
    (FEWEST..=ID_DIGITS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A longer file of a runtime's is not read, in bytes.
const LONGEST: u64 = 16 << 20;

/// So many names are kept; then all are asked for again.
const MOST_KNOWN: usize = 4_096;

/// Names of containers, which their runtimes' own files have.
#[derive(Debug)]
pub struct ContainerNames {
    known: HashMap<String, Arc<str>>,
    lookups: Aside<String, Arc<str>>,
    none: Arc<str>,
}

impl ContainerNames {
    /// From the files below that root, `/` but in tests.
    pub fn of(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        Self {
            known: HashMap::new(),
            lookups: Aside::new("container-names", move |id: &String| {
                name_of(&root, id).unwrap_or_default().into()
            }),
            none: "".into(),
        }
    }

    /// The name of the container that the cgroup leads into, as far as it is known: empty until then, and where it has
    /// none.
    pub fn name(&mut self, cgroup: &str) -> Arc<str> {
        let Some(id) = container_of(cgroup).and_then(|container| container.id) else {
            return Arc::clone(&self.none);
        };
        if let Some(name) = self.known.get(id) {
            return Arc::clone(name);
        }
        if self.known.len() >= MOST_KNOWN {
            self.known.clear();
        }
        self.known.insert(id.to_owned(), Arc::clone(&self.none));
        self.lookups.ask(id.to_owned());
        Arc::clone(&self.none)
    }

    /// Whether some name is known that was not.
    pub fn has_learnt(&mut self) -> bool {
        let answers = self.lookups.answers();
        let has_learnt = answers.iter().any(|(_, name)| !name.is_empty());
        self.known.extend(answers);
        has_learnt
    }
}

/// The name of the container with that id; `None` where no file has it.
fn name_of(root: &Path, id: &str) -> Option<String> {
    of_docker(root, id)
        .or_else(|| of_podman(root, id))
        .or_else(|| of_containerd(root, id))
        .filter(|name| !name.is_empty())
}

fn of_docker(root: &Path, id: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Config {
        #[serde(rename = "Name")]
        name: String,
    }
    let path = docker_data(root)
        .join("containers")
        .join(id)
        .join("config.v2.json");
    let config: Config = serde_json::from_slice(&read(&path)?).ok()?;
    Some(config.name.trim_start_matches('/').to_owned())
}

/// Where Docker keeps its data, as its configuration says.
fn docker_data(root: &Path) -> PathBuf {
    #[derive(Deserialize)]
    struct Daemon {
        #[serde(rename = "data-root")]
        data_root: PathBuf,
    }
    let said = read(&root.join("etc/docker/daemon.json"));
    let daemon: Option<Daemon> = said.and_then(|text| serde_json::from_slice(&text).ok());
    let data = daemon.map_or_else(|| "/var/lib/docker".into(), |daemon| daemon.data_root);
    root.join(data.strip_prefix("/").unwrap_or(&data))
}

fn of_podman(root: &Path, id: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Entry {
        id: String,
        #[serde(default)]
        names: Vec<String>,
    }
    let storage = root.join("var/lib/containers/storage");
    // One directory for each storage driver: overlay-containers, vfs-containers.
    let drivers = std::fs::read_dir(storage).ok()?.flatten();
    let lists = drivers.map(|driver| driver.path().join("containers.json"));
    lists.into_iter().find_map(|list| {
        let entries: Vec<Entry> = serde_json::from_slice(&read(&list)?).ok()?;
        let entry = entries.into_iter().find(|entry| entry.id == id)?;
        entry.names.into_iter().next()
    })
}

/// Of containerd's clients, nerdctl and Kubernetes say the name in an annotation.
fn of_containerd(root: &Path, id: &str) -> Option<String> {
    const NAMES: [&str; 2] = ["nerdctl/name", "io.kubernetes.cri.container-name"];
    let tasks = root.join("run/containerd/io.containerd.runtime.v2.task");
    let namespaces = std::fs::read_dir(tasks).ok()?.flatten();
    let bundles = namespaces.map(|namespace| namespace.path().join(id).join("config.json"));
    bundles.into_iter().find_map(|bundle| {
        let config: Value = serde_json::from_slice(&read(&bundle)?).ok()?;
        let annotations = config.get("annotations")?;
        let mut names = NAMES.iter().filter_map(|name| annotations.get(name));
        Some(names.next()?.as_str()?.to_owned())
    })
}

fn read(path: &Path) -> Option<Vec<u8>> {
    // A pipe would have us wait for who writes.
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .ok()?;
    file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn id(digit: char) -> String {
        digit.to_string().repeat(ID_DIGITS)
    }

    #[test]
    fn each_runtimes_files_have_the_names_and_broken_ones_none() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            &format!("var/lib/docker/containers/{}/config.v2.json", id('a')),
            r#"{"ID":"x","Name":"/web"}"#,
        );
        write(
            "var/lib/containers/storage/overlay-containers/containers.json",
            &format!(
                r#"[{{"id":"{}","names":["db","other"]}},{{"id":"x"}}]"#,
                id('b')
            ),
        );
        write(
            &format!(
                "run/containerd/io.containerd.runtime.v2.task/k8s.io/{}/config.json",
                id('c')
            ),
            r#"{"annotations":{"io.kubernetes.cri.container-name":"cache"}}"#,
        );
        write(
            &format!("var/lib/docker/containers/{}/config.v2.json", id('d')),
            "{",
        );
        let name = |digit| name_of(root.path(), &id(digit));
        assert_eq!(name('a').as_deref(), Some("web"));
        assert_eq!(name('b').as_deref(), Some("db"));
        assert_eq!(name('c').as_deref(), Some("cache"));
        assert_eq!(name('d'), None);
        assert_eq!(name('e'), None);
        write("etc/docker/daemon.json", r#"{"data-root":"/srv/docker"}"#);
        write(
            &format!("srv/docker/containers/{}/config.v2.json", id('e')),
            r#"{"Name":"/moved"}"#,
        );
        assert_eq!(name('e').as_deref(), Some("moved"));
        assert_eq!(name('a'), None);
        write("etc/docker/daemon.json", "{");
        assert_eq!(name('a').as_deref(), Some("web"));
    }

    #[test]
    fn a_name_is_asked_for_once_and_known_when_the_file_was_read() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("var/lib/docker/containers").join(id('a'));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("config.v2.json"), r#"{"Name":"/web"}"#).unwrap();
        let mut names = ContainerNames::of(root.path());
        let cgroup = format!("/system.slice/docker-{}.scope", id('a'));
        assert_eq!(&*names.name(&cgroup), "");
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while !names.has_learnt() {
            assert!(std::time::Instant::now() < deadline);
        }
        assert_eq!(&*names.name(&cgroup), "web");
        assert_eq!(&*names.name("/system.slice/ssh.service"), "");
    }
}
