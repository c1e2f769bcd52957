//! The methods, with their parameters and replies.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{Call, INTERFACE, Reply, SERVICE};
use crate::{
    model::{Both, EngineInfo, Limit, LimitId, ProcessKey, Snapshot},
    process::Targets,
    rules::edit::Edit,
};

/// A call that is understood.
#[derive(Clone, Debug, PartialEq)]
pub enum Method {
    /// What the engine is, and what it found out about the machine.
    GetInfo,
    /// Samples, one after the other.
    Watch(Watch),
    /// What was carried in the last quarter of an hour.
    GetHistory,
    /// A limit for processes.
    SetLimit(SetLimit),
    /// Other rates for a limit.
    ChangeLimit(ChangeLimit),
    /// A limit that holds for children too, or no longer.
    SetChildren(SetChildren),
    /// The end of a limit.
    RemoveLimit(Named),
    /// What a limit's members have carried.
    GetCarried(Named),
    /// What of a limit matches nothing.
    GetUnmatched(Named),
    /// The connections of processes.
    GetConnections(OfProcesses),
    /// What the machine can do, as the engine sees it.
    Doctor,
    /// A change to the rules.
    EditRules(EditRules),
    /// A change to the rules that is taken back.
    TakeRulesBack(TakeRulesBack),
    /// A look at the files of rules.
    ReloadRules,
    /// The end of the connection, and of what belongs to it.
    Leave,
    /// Of every service: who it is.
    ServiceInfo,
    /// Of every service: an interface's description.
    Description(String),
}

/// `Watch`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watch {
    /// Nanoseconds between samples; a second where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval_ns: Option<u64>,
    /// Whether only what is the caller's own is wanted, whatever else it may see.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub own: Option<bool>,
    /// Which lists are wanted, and all where it is left out: the others are empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fields: Option<Vec<Field>>,
}

/// A list of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// All processes.
    Processes,
    /// The limits.
    Limits,
    /// Who has set them.
    Origins,
    /// What of them matches nothing.
    Unmatched,
    /// The rules, and the profiles.
    Rules,
}

impl Watch {
    /// Has a sample hold nothing but the lists that are wanted.
    pub fn cut(&self, sample: &mut Snapshot) {
        let Some(fields) = &self.fields else { return };
        if !fields.contains(&Field::Processes) {
            sample.processes.clear();
        }
        if !fields.contains(&Field::Limits) {
            sample.limits.clear();
        }
        if !fields.contains(&Field::Origins) {
            sample.origins.clear();
        }
        if !fields.contains(&Field::Unmatched) {
            sample.unmatched.clear();
        }
        if !fields.contains(&Field::Rules) {
            sample.rules.clear();
            sample.profiles.clear();
        }
    }
}

/// `SetLimit`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetLimit {
    /// For whom.
    pub targets: Targets,
    /// How much.
    pub limit: Limit,
    /// Nanoseconds after which it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ns: Option<u64>,
    /// Whether it goes on when the connection has ended.
    #[serde(default)]
    pub detach: bool,
}

/// `EditRules`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EditRules {
    /// What to change.
    pub edit: Edit,
}

/// Reply to `EditRules`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edited {
    /// As those of [`Reloaded`].
    pub problems: Vec<String>,
    /// By which the change is taken back; `None`: it was so already.
    pub change: Option<u64>,
}

/// `TakeRulesBack`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TakeRulesBack {
    /// Which change.
    pub change: u64,
}

/// Reply to `TakeRulesBack` and `ReloadRules`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// What is wrong with the files: where something is, the rules in force have stayed as they were.
    pub problems: Vec<String>,
}

/// `ChangeLimit`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeLimit {
    /// Which.
    pub id: LimitId,
    /// How much from now on.
    pub limit: Limit,
}

/// `SetChildren`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetChildren {
    /// Which.
    pub id: LimitId,
    /// Whether it is to hold for them.
    pub children: bool,
}

/// Parameters that name a limit and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// Which.
    pub id: LimitId,
}

/// `GetConnections`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfProcesses {
    /// Which.
    pub processes: Vec<ProcessKey>,
}

/// Reply to `Doctor`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Examined {
    /// What `doctor --json` says.
    pub report: Value,
    /// And what it exits with.
    pub exit_code: u8,
}

/// Reply with a limit's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limited {
    /// Its name from now on.
    pub id: LimitId,
    /// Samples after this one know of it.
    pub sequence: u64,
}

/// Reply to `GetInfo`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// Of the program.
    pub version: String,
    /// The engine's process.
    pub pid: u32,
    /// Whether it ends with its last client.
    pub until_idle: bool,
    /// What it found out about the machine.
    pub engine: EngineInfo,
}

/// Reply to `Watch`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// One picture of all processes.
    pub sample: Snapshot,
}

/// Reply to `GetHistory`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// The last sample that it knows of.
    pub sequence: u64,
    /// IP bytes in each second up to that sample, oldest first: 900 at most.
    pub seconds: Vec<Both<u64>>,
}

/// Reply to `Leave`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// What there is to say of the engine's end, where it ends.
    pub words: Vec<String>,
    /// Whether something could not be undone.
    pub failed: bool,
}

/// Reply to `GetUnmatched`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unmatched {
    /// A line for each selector that matches nothing.
    pub words: Vec<String>,
}

/// A call's parameters.
///
/// # Errors
/// Where they are not those of the method: the reply that says so.
pub fn parameters<T: DeserializeOwned>(call: &Call) -> Result<T, Reply> {
    let given = match &call.parameters {
        Value::Null => json!({}),
        given => given.clone(),
    };
    serde_json::from_value(given).map_err(|error| {
        Reply::fault(
            "InvalidParameter",
            json!({ "parameter": error.to_string() }),
        )
    })
}

impl Method {
    /// What a call asks for.
    ///
    /// # Errors
    /// Where it cannot be understood: the reply that says so.
    pub fn of(call: &Call) -> Result<Self, Reply> {
        let (interface, method) = call.method.rsplit_once('.').unwrap_or(("", &call.method));
        let not_found = || {
            let method = call.method.clone();
            Reply::fault("MethodNotFound", json!({ "method": method }))
        };
        match interface {
            INTERFACE => {}
            SERVICE => {
                return match method {
                    "GetInfo" => Ok(Self::ServiceInfo),
                    "GetInterfaceDescription" => {
                        #[derive(Deserialize)]
                        struct Interface {
                            interface: String,
                        }
                        let Interface { interface } = parameters(call)?;
                        Ok(Self::Description(interface))
                    }
                    _ => Err(not_found()),
                };
            }
            interface => {
                let parameters = json!({ "interface": interface });
                return Err(Reply::fault("InterfaceNotFound", parameters));
            }
        }
        let method = match method {
            "GetInfo" => Self::GetInfo,
            "GetHistory" => Self::GetHistory,
            "Doctor" => Self::Doctor,
            "Leave" => Self::Leave,
            "Watch" => Self::Watch(parameters(call)?),
            "SetLimit" => Self::SetLimit(parameters(call)?),
            "ChangeLimit" => Self::ChangeLimit(parameters(call)?),
            "SetChildren" => Self::SetChildren(parameters(call)?),
            "RemoveLimit" => Self::RemoveLimit(parameters(call)?),
            "GetCarried" => Self::GetCarried(parameters(call)?),
            "GetUnmatched" => Self::GetUnmatched(parameters(call)?),
            "EditRules" => Self::EditRules(parameters(call)?),
            "TakeRulesBack" => Self::TakeRulesBack(parameters(call)?),
            "ReloadRules" => Self::ReloadRules,
            "GetConnections" => Self::GetConnections(parameters(call)?),
            _ => return Err(not_found()),
        };
        match method {
            Self::Watch(_) if !call.more => Err(Reply::fault("ExpectedMore", json!({}))),
            method => Ok(method),
        }
    }

    /// The call that asks for it.
    ///
    /// # Errors
    /// Where it is nothing that JSON can have.
    pub fn call(&self) -> serde_json::Result<Call> {
        let (method, parameters) = match self {
            Self::GetInfo => ("GetInfo", Value::Null),
            Self::GetHistory => ("GetHistory", Value::Null),
            Self::Doctor => ("Doctor", Value::Null),
            Self::Leave => ("Leave", Value::Null),
            Self::Watch(watch) => ("Watch", serde_json::to_value(watch)?),
            Self::SetLimit(limit) => ("SetLimit", serde_json::to_value(limit)?),
            Self::ChangeLimit(change) => ("ChangeLimit", serde_json::to_value(change)?),
            Self::SetChildren(children) => ("SetChildren", serde_json::to_value(children)?),
            Self::RemoveLimit(named) => ("RemoveLimit", serde_json::to_value(named)?),
            Self::GetCarried(named) => ("GetCarried", serde_json::to_value(named)?),
            Self::GetUnmatched(named) => ("GetUnmatched", serde_json::to_value(named)?),
            Self::EditRules(edit) => ("EditRules", serde_json::to_value(edit)?),
            Self::TakeRulesBack(back) => ("TakeRulesBack", serde_json::to_value(back)?),
            Self::ReloadRules => ("ReloadRules", Value::Null),
            Self::GetConnections(of) => ("GetConnections", serde_json::to_value(of)?),
            Self::ServiceInfo => return Ok(service_call("GetInfo", Value::Null)),
            Self::Description(interface) => {
                let parameters = json!({ "interface": interface });
                return Ok(service_call("GetInterfaceDescription", parameters));
            }
        };
        Ok(Call {
            method: format!("{INTERFACE}.{method}"),
            parameters,
            more: matches!(self, Self::Watch(_)),
            oneway: false,
        })
    }
}

fn service_call(method: &str, parameters: Value) -> Call {
    Call {
        method: format!("{SERVICE}.{method}"),
        parameters,
        more: false,
        oneway: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{protocol::DESCRIPTION, units::Rate};
    use chadthrottle_common::scope::Scope;

    fn all() -> Vec<Method> {
        let id = LimitId(3);
        let limit = Limit {
            down: Some(Rate::MIN),
            up: None,
            scope: Scope::INTERNET,
            reject: true,
        };
        let key = ProcessKey {
            pid: 7,
            start_ticks: 8,
        };
        vec![
            Method::GetInfo,
            Method::Watch(Watch {
                interval_ns: Some(1),
                own: Some(true),
                fields: Some(vec![Field::Limits, Field::Origins]),
            }),
            Method::Watch(Watch::default()),
            Method::SetLimit(SetLimit {
                targets: Targets {
                    processes: vec![key],
                    ..Targets::default()
                },
                limit,
                for_ns: Some(9),
                detach: true,
            }),
            Method::ChangeLimit(ChangeLimit { id, limit }),
            Method::SetChildren(SetChildren { id, children: true }),
            Method::RemoveLimit(Named { id }),
            Method::GetCarried(Named { id }),
            Method::GetUnmatched(Named { id }),
            Method::GetConnections(OfProcesses {
                processes: vec![key],
            }),
            Method::EditRules(EditRules {
                edit: Edit::Remove {
                    name: "x".to_owned(),
                },
            }),
            Method::TakeRulesBack(TakeRulesBack { change: 7 }),
            Method::ReloadRules,
            Method::GetHistory,
            Method::Doctor,
            Method::Leave,
            Method::ServiceInfo,
            Method::Description("x".to_owned()),
        ]
    }

    #[test]
    fn every_call_arrives_as_what_it_was_and_is_described() {
        for method in all() {
            let call = method.call().unwrap();
            let json = serde_json::to_string(&call).unwrap();
            let read = Method::of(&serde_json::from_str(&json).unwrap());
            assert_eq!(read.unwrap(), method, "{json}");
            if let Some(name) = call.method.strip_prefix("io.chadthrottle.Engine.") {
                let line = format!("\nmethod {name}(");
                assert!(DESCRIPTION.contains(&line), "{name} is not described");
            }
        }
        let described = DESCRIPTION.matches("\nmethod ").count();
        assert_eq!(described, 15, "one is described that is not there");
    }

    #[test]
    fn calls_that_cannot_be_understood_say_why() {
        for (call, error, why) in [
            (
                r#"{"method":"io.chadthrottle.Engine.Fly"}"#,
                "MethodNotFound",
                "Fly",
            ),
            (
                r#"{"method":"io.other.Fly"}"#,
                "InterfaceNotFound",
                "io.other",
            ),
            (r#"{"method":"GetInfo"}"#, "InterfaceNotFound", ""),
            (r#"{"method":""}"#, "InterfaceNotFound", ""),
            (
                r#"{"method":"io.chadthrottle.Engine.Watch"}"#,
                "ExpectedMore",
                "",
            ),
            (
                r#"{"method":"io.chadthrottle.Engine.Watch","more":true,"parameters":{"fields":["sums"]}}"#,
                "InvalidParameter",
                "sums",
            ),
            (
                r#"{"method":"io.chadthrottle.Engine.RemoveLimit"}"#,
                "InvalidParameter",
                "missing field `id`",
            ),
            (
                r#"{"method":"io.chadthrottle.Engine.RemoveLimit","parameters":{"id":-1}}"#,
                "InvalidParameter",
                "-1",
            ),
            (
                r#"{"method":"io.chadthrottle.Engine.RemoveLimit","parameters":{"id":1,"x":2}}"#,
                "InvalidParameter",
                "`x`",
            ),
            (
                r#"{"method":"io.chadthrottle.Engine.ChangeLimit","parameters":{"id":1,"limit":{"down":5}}}"#,
                "InvalidParameter",
                "a rate is 1000 to",
            ),
            (
                r#"{"method":"io.chadthrottle.Engine.ChangeLimit","parameters":{"id":1,"limit":{"scope":"sea"}}}"#,
                "InvalidParameter",
                "default, internet, local or all",
            ),
        ] {
            let reply = Method::of(&serde_json::from_str(call).unwrap()).unwrap_err();
            let name = format!("{SERVICE}.{error}");
            assert_eq!(reply.error.as_ref(), Some(&name), "{call}");
            let parameters = reply.parameters.to_string();
            assert!(parameters.contains(why), "{parameters}");
        }
    }
}
