//! What goes over the socket is what the interface's description says, as a parser of others reads it.

#[path = "kernel/described.rs"]
mod described;

use chadthrottle::{
    model::{
        Ability, Both, Carried, Connections, EngineInfo, Limit, LimitId, LimitSample, Origin,
        ProcessKey, ProcessSample, RuleSample, Snapshot, Traffic, Unmatched,
    },
    process::{Connection, Seen, Targets},
    protocol::{
        self, ChangeLimit, DESCRIPTION, EditRules, Edited, Examined, History, Info, Left, Limited,
        Method, Named, OfProcesses, Reloaded, Reply, RequestError, Sample, SetChildren, SetLimit,
        TakeRulesBack, Watch,
    },
    rules::edit::Edit,
    units::Rate,
};
use serde::Serialize;
use serde_json::{Value, json};
use zlink_idl::Interface;

use crate::described::Described;

fn limit() -> Limit {
    Limit {
        down: Some(Rate::MAX),
        ..Limit::NONE
    }
}

fn snapshot() -> Snapshot {
    let id = LimitId(u32::MAX);
    let traffic = Traffic {
        bytes_per_s: 0.5,
        bytes: 1 << 60,
        dropped_bytes: 1,
        dropped_bytes_per_s: 1.0,
    };
    let traffic = Both {
        down: traffic,
        up: traffic,
    };
    let bytes = Both { down: 1, up: 2 };
    Snapshot {
        sequence: 1,
        interval: std::time::Duration::from_secs(1),
        processes: vec![ProcessSample {
            key: key(),
            parent: 1,
            name: "\u{1b}".into(),
            exe: "".into(),
            command: "".into(),
            uid: 0,
            user: "root".into(),
            cgroup: "/".into(),
            sockets: 1,
            traffic,
            loopback: bytes,
            limit: Some((id, limit())),
            ended: false,
        }],
        limits: vec![LimitSample {
            id,
            limit: limit(),
            children: true,
            open_ended: false,
            members: 1,
            traffic,
            connections: Connections::default(),
            unseen_bytes: 0,
        }],
        origins: vec![Origin {
            id,
            targets: vec!["7".to_owned()],
            children: false,
            uid: 0,
            user: "root".to_owned(),
            pid: 1,
            since_ns: 1,
            until_ns: Some(2),
            detached: true,
            rule: Some("x".into()),
        }],
        rules: vec![RuleSample {
            name: "x".into(),
            targets: vec!["name:x".to_owned()],
            limit: limit(),
            share: "all".to_owned(),
            when: vec!["Mon".to_owned()],
            on: vec!["interface:x".to_owned()],
            profiles: vec!["hotel".to_owned()],
            is_on: true,
            why: "on".to_owned(),
            enabled: true,
            file: "/x".to_owned(),
            line: 1,
            limits: vec![id],
            members: 1,
            carried_today: bytes,
        }],
        profiles: vec!["hotel".to_owned()],
        profile: Some("hotel".to_owned()),
        rules_changed: true,
        ruled: Vec::new(),
        carried_by_rule: [].into(),
        unmatched: vec![Unmatched {
            id,
            words: "nothing".to_owned(),
        }],
        unattributed: bytes,
        loopback: bytes,
        warnings: vec!["rain".to_owned()],
    }
}

fn key() -> ProcessKey {
    ProcessKey {
        pid: 7,
        start_ticks: 8,
    }
}

/// Each method, and a reply to it.
fn exchanges() -> Vec<(Method, Value)> {
    fn json(reply: impl Serialize) -> Value {
        serde_json::to_value(reply).expect("JSON")
    }
    let id = LimitId(3);
    let limited = json(Limited { id, sequence: 4 });
    let engine = EngineInfo {
        attach: "link".to_owned(),
        cgroup: "/".to_owned(),
        levers: Ability::default(),
        sees_socket_use: true,
    };
    let info = Info {
        version: "1".to_owned(),
        pid: 1,
        until_idle: true,
        engine,
    };
    let left = Left {
        words: vec!["rain".to_owned()],
        failed: false,
    };
    let targets = Targets {
        processes: vec![key()],
        selectors: vec!["name:x".to_owned().try_into().expect("a selector")],
        ..Targets::default()
    };
    let set = SetLimit {
        targets,
        limit: limit(),
        for_ns: Some(1),
        detach: false,
    };
    let of = OfProcesses {
        processes: vec![key()],
    };
    let connection = Connection {
        inode: 1,
        protocol: "tcp".to_owned(),
        local: "192.0.2.7:1".parse().ok(),
        remote: "[2001:db8::7]:443".parse().ok(),
        state: String::new(),
        bytes: Some(Both { down: 1, up: 2 }),
        process: Some(key()),
        round_trip: Some(std::time::Duration::from_millis(3)),
    };
    let seen = Seen {
        connections: vec![connection],
        more: false,
    };
    let examined = Examined {
        report: json!({}),
        exit_code: 0,
    };
    let words = vec!["nothing matches".to_owned()];
    let reloaded = Reloaded {
        problems: vec!["rain".to_owned()],
    };
    vec![
        (Method::GetInfo, json(info)),
        (
            Method::Watch(Watch::default()),
            json(Sample { sample: snapshot() }),
        ),
        (
            Method::GetHistory,
            json(History {
                sequence: 1,
                seconds: vec![Both { down: 1, up: 2 }],
            }),
        ),
        (Method::SetLimit(set), limited.clone()),
        (
            Method::ChangeLimit(ChangeLimit { id, limit: limit() }),
            json!({}),
        ),
        (
            Method::SetChildren(SetChildren { id, children: true }),
            limited,
        ),
        (Method::RemoveLimit(Named { id }), json!({})),
        (Method::GetCarried(Named { id }), json(Carried::default())),
        (
            Method::GetUnmatched(Named { id }),
            json(protocol::Unmatched { words }),
        ),
        (Method::GetConnections(of), json(seen)),
        (
            Method::EditRules(EditRules {
                edit: Edit::Profile { name: None },
            }),
            json(Edited {
                problems: reloaded.problems.clone(),
                change: Some(3),
            }),
        ),
        (
            Method::TakeRulesBack(TakeRulesBack { change: 3 }),
            json(&reloaded),
        ),
        (Method::ReloadRules, json(&reloaded)),
        (Method::Doctor, json(examined)),
        (Method::Leave, json(left)),
    ]
}

#[test]
fn every_call_and_reply_is_as_described() {
    let interface = Interface::try_from(DESCRIPTION).expect("the description");
    assert_eq!(interface.name().as_str(), protocol::INTERFACE);
    let described = Described::by(&interface, true);
    let mut seen = 0;
    for (method, reply) in exchanges() {
        let call = method.call().unwrap();
        let name = call.method.rsplit('.').next().unwrap();
        let parameters = match call.parameters {
            Value::Null => json!({}),
            parameters => parameters,
        };
        described.check_call(name, &parameters);
        described.check_reply(name, &reply);
        seen += 1;
    }
    assert_eq!(
        seen,
        interface.methods().count(),
        "one is described that is not there"
    );
}

#[test]
fn every_error_is_as_described() {
    let interface = Interface::try_from(DESCRIPTION).expect("the description");
    let described = Described::by(&interface, true);
    let message = "no".to_owned();
    let all = [
        RequestError::NoLimit,
        RequestError::NoChange("x".to_owned()),
        RequestError::NotAllowed(message.clone()),
        RequestError::Failed {
            message,
            exit_code: 1,
        },
        RequestError::Gone,
    ];
    for error in &all {
        let reply = Reply::refusal(error);
        let name = reply.error.expect("an error");
        let name = name.rsplit('.').next().unwrap();
        described.check_error(name, &reply.parameters);
    }
    assert_eq!(all.len(), interface.errors().count());
}
