//! What a cgroup's path says of who runs a process: a container, or a unit of systemd.

/// The container or unit of that cgroup v2 path, in a word and its name; `None` where the path
/// says nothing of the kind.
///
/// Container managers put the id into the last part of the path: `docker-ID.scope` (also `libpod-`,
/// `crio-`, `cri-containerd-`) under systemd, `docker/ID` and the like without it.
pub fn unit_of(cgroup: &str) -> Option<String> {
    let parts: Vec<&str> = cgroup.split('/').filter(|part| !part.is_empty()).collect();
    let container = parts.iter().enumerate().rev().find_map(|(at, part)| {
        let parent = at.checked_sub(1).and_then(|at| parts.get(at)).copied();
        container(part, parent)
    });
    container.or_else(|| {
        let unit = parts
            .iter()
            .rev()
            .find(|part| part.ends_with(".service") || part.ends_with(".scope"))?;
        Some(format!("unit {}", unescape(unit)))
    })
}

fn container(part: &str, parent: Option<&str>) -> Option<String> {
    /// Ids are 64 digits, of which twelve are shown, as the managers themselves do.
    const SHOWN: usize = 12;
    let name = part.strip_suffix(".scope").unwrap_or(part);
    if let Some(machine) = name.strip_prefix("lxc.payload.") {
        return Some(format!("container {machine} (lxc)"));
    }
    if let Some(machine) = name.strip_prefix("machine-") {
        return Some(format!("machine {}", unescape(machine)));
    }
    let (manager, id) = match name.rsplit_once('-') {
        Some((manager, id)) => (manager, id),
        None => (parent?, name),
    };
    let is_id = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let manager = match manager {
        "libpod" => "podman",
        "cri-containerd" => "containerd",
        other => other,
    };
    is_id.then(|| format!("container {} ({manager})", id.get(..SHOWN).unwrap_or(id)))
}

/// systemd writes a dash in a name as `\x2d`.
fn unescape(unit: &str) -> String {
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
            ("/user.slice".to_owned(), None),
            ("/".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(unit_of(&path).as_deref(), unit, "{path}");
        }
    }
}
