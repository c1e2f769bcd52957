//! What a cgroup's path says of who runs a process: a container, or a unit of systemd.

use super::container::{Container, container_of};

/// The container or unit of that cgroup v2 path, in a word and its name; `None` where the path
/// says nothing of the kind.
pub fn unit_of(cgroup: &str) -> Option<String> {
    container_of(cgroup)
        .map(|container| described(&container))
        .or_else(|| {
            let mut units = units_of(cgroup).rev();
            let unit = units.find(|unit| unit.ends_with(".service") || unit.ends_with(".scope"))?;
            Some(format!("unit {}", unescape(unit)))
        })
}

/// As much of a cgroup v2 path as leads to the container or unit that [`unit_of`] names.
pub fn unit_path(cgroup: &str) -> Option<&str> {
    let ends = cgroup.match_indices('/').map(|(at, _)| at).skip(1);
    let paths = || {
        let ends = ends.clone().chain([cgroup.len()]);
        ends.filter_map(|end| cgroup.get(..end))
    };
    if let container @ Some(_) = container_of(cgroup) {
        return paths().find(|path| container_of(path) == container);
    }
    paths()
        .filter(|path| path.ends_with(".service") || path.ends_with(".scope"))
        .last()
}

fn described(container: &Container<'_>) -> String {
    /// Ids are 64 digits, of which twelve are shown, as the managers themselves do.
    const SHOWN: usize = 12;
    let manager = container.manager;
    match (&container.name, container.id) {
        (Some(name), _) if manager == "machine" => format!("machine {name}"),
        (Some(name), _) => format!("container {name} ({manager})"),
        (None, Some(id)) => format!("container {} ({manager})", id.get(..SHOWN).unwrap_or(id)),
        (None, None) => format!("container ({manager})"),
    }
}

/// The names of all units of systemd that a cgroup v2 path leads through, the outermost first.
pub fn units_of(cgroup: &str) -> impl DoubleEndedIterator<Item = &str> {
    const KINDS: [&str; 5] = [".slice", ".service", ".scope", ".mount", ".socket"];
    let parts = cgroup.split('/').map(of_directory);
    parts.filter(|part| KINDS.iter().any(|kind| part.ends_with(kind)))
}

/// The name of the unit that has a cgroup of that name: what would mean something to the kernel has an underscore
/// before it (`cg_escape` in systemd's src/basic/cgroup-util.c).
pub fn of_directory(directory: &str) -> &str {
    directory.strip_prefix('_').unwrap_or(directory)
}

/// systemd writes a dash in a name as `\x2d`.
pub fn unescape(unit: &str) -> String {
    unit.replace("\\x2d", "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_units_and_neither() {
        let id = "0123456789abcdef".repeat(4);
        for (path, unit) in [
            (
                format!("/system.slice/docker-{id}.scope"),
                Some("container 0123456789ab (docker)"),
            ),
            (
                format!("/machine.slice/libpod-{id}.scope/container"),
                Some("container 0123456789ab (podman)"),
            ),
            (
                format!("/docker/{id}"),
                Some("container 0123456789ab (docker)"),
            ),
            (
                format!("/kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope"),
                Some("container 0123456789ab (containerd)"),
            ),
            (
                "/lxc.payload.web/system.slice/nginx.service".to_owned(),
                Some("container web (lxc)"),
            ),
            (
                "/machine.slice/machine-my\\x2dbox.scope".to_owned(),
                Some("machine my-box"),
            ),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/app-firefox-1.scope"
                    .to_owned(),
                Some("unit app-firefox-1.scope"),
            ),
            (
                "/system.slice/ssh.service".to_owned(),
                Some("unit ssh.service"),
            ),
            (
                "/system.slice/_cgroup.service".to_owned(),
                Some("unit cgroup.service"),
            ),
            ("/user.slice".to_owned(), None),
            ("/".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(unit_of(&path).as_deref(), unit, "{path}");
            assert_eq!(unit_path(&path).is_some(), unit.is_some(), "{path}");
        }
    }

    #[test]
    fn the_path_ends_with_the_container_or_unit() {
        let docker = format!("/system.slice/docker-{}.scope", "ab".repeat(32));
        let inner = format!("{docker}/init.scope");
        let of_user = "/user.slice/user-1.slice/user@1.service";
        let app = format!("{of_user}/app.slice/a.scope");
        let below = format!("{app}/deeper/still");
        for (path, unit) in [
            (&*inner, Some(&*docker)),
            (&docker, Some(&docker)),
            (&below, Some(&app)),
            (of_user, Some(of_user)),
            (
                "/lxc.payload.web/system.slice/nginx.service",
                Some("/lxc.payload.web"),
            ),
            ("/system.slice", None),
            ("/", None),
            ("", None),
        ] {
            assert_eq!(unit_path(path), unit, "{path}");
        }
    }
}
