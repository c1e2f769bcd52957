//! Samples for tests, with nothing in them but what is named.

use super::{Limit, LimitId, LimitSample, Origin, ProcessKey, ProcessSample};

/// A process of root's that carries nothing.
pub fn process(pid: u32) -> ProcessSample {
    let key = ProcessKey {
        pid,
        start_ticks: 1,
    };
    ProcessSample {
        key,
        parent: 1,
        name: "".into(),
        exe: "".into(),
        command: "".into(),
        uid: 0,
        user: "".into(),
        cgroup: "".into(),
        sockets: 0,
        traffic: Default::default(),
        loopback: Default::default(),
        limit: None,
        ended: false,
    }
}

/// A limit of nothing for one process.
pub fn limit(id: u32) -> LimitSample {
    LimitSample {
        id: LimitId(id),
        limit: Limit::NONE,
        children: false,
        open_ended: false,
        members: 1,
        traffic: Default::default(),
        connections: Default::default(),
        unseen_bytes: 0,
    }
}

/// A limit that root has set in process 1, for process 7.
pub fn origin(id: u32) -> Origin {
    Origin {
        id: LimitId(id),
        targets: vec!["7".to_owned()],
        children: false,
        uid: 0,
        user: "root".to_owned(),
        pid: 1,
        since_ns: 0,
        until_ns: None,
        detached: false,
        rule: None,
    }
}
