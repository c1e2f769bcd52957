//! Calls, replies and errors, as Varlink wraps them.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{INTERFACE, SERVICE};

/// A method to call, with what it is to be called with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Interface and method.
    pub method: String,
    /// An object; it may be left out where the method takes nothing.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub parameters: Value,
    /// Whether more than one reply is wanted.
    #[serde(default, skip_serializing_if = "is_false")]
    pub more: bool,
    /// Whether none is.
    #[serde(default, skip_serializing_if = "is_false")]
    pub oneway: bool,
}

// serde has it by reference.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(value: &bool) -> bool {
    !value
}

/// An answer to a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reply<T = Value> {
    /// The error's interface and name, where it is one.
    #[serde(default = "Option::default", skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What was asked for, or what there is to know of the error.
    pub parameters: T,
    /// Whether another one follows.
    #[serde(default, skip_serializing_if = "is_false")]
    pub continues: bool,
}

impl<T> Reply<T> {
    /// The only answer, or the last one.
    pub fn of(parameters: T) -> Self {
        Self {
            error: None,
            parameters,
            continues: false,
        }
    }
}

/// Why an engine has not done what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// A limit that was removed meanwhile.
    #[error("this limit is no longer set")]
    NoLimit,
    /// Nothing is taken back: that change is not known any more, or is another thing by now.
    #[error("{0}")]
    NoChange(String),
    /// Not the caller's to do.
    #[error("{0}")]
    NotAllowed(String),
    /// Something failed; the exit code of a command that has to give up is with it.
    #[error("{message}")]
    Failed {
        /// What failed, on what, and what to do.
        message: String,
        /// Of the contract.
        exit_code: u8,
    },
    /// The engine does not understand the call.
    #[error(
        "the engine does not understand {0}: it is another version. Restart it, or update the older of both"
    )]
    NotUnderstood(String),
    /// There is no engine any more.
    #[error("the engine has stopped")]
    Gone,
    /// It is there, and says nothing. No reply: so it is told by its client.
    #[error("the engine does not answer: is it stopped, or has the machine too much to do?")]
    Silent,
}

impl RequestError {
    /// The exit code of the contract.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Failed { exit_code, .. } => *exit_code,
            Self::NotAllowed(_) => 3,
            Self::NoLimit
            | Self::NoChange(_)
            | Self::NotUnderstood(_)
            | Self::Gone
            | Self::Silent => 1,
        }
    }
}

impl Reply {
    /// The refusal of a call.
    pub fn refusal(error: &RequestError) -> Self {
        let (name, parameters) = match error {
            RequestError::NoLimit => ("NoLimit", json!({})),
            RequestError::NoChange(message) => ("NoChange", json!({ "message": message })),
            RequestError::NotAllowed(message) => ("NotAllowed", json!({ "message": message })),
            RequestError::Failed { message, exit_code } => (
                "Failed",
                json!({ "message": message, "exit_code": exit_code }),
            ),
            RequestError::NotUnderstood(what) => {
                return Self::fault("InvalidParameter", json!({ "parameter": what }));
            }
            RequestError::Gone | RequestError::Silent => ("Gone", json!({})),
        };
        Self {
            error: Some(format!("{INTERFACE}.{name}")),
            parameters,
            continues: false,
        }
    }

    /// An error that every Varlink service has.
    pub fn fault(name: &str, parameters: Value) -> Self {
        Self {
            error: Some(format!("{SERVICE}.{name}")),
            parameters,
            continues: false,
        }
    }

    /// What it says.
    ///
    /// # Errors
    /// That of the reply; [`RequestError::NotUnderstood`] where it is not what was asked for.
    pub fn read<T: DeserializeOwned>(self) -> Result<T, RequestError> {
        let Some(error) = self.error else {
            return serde_json::from_value(self.parameters)
                .map_err(|error| RequestError::NotUnderstood(format!("us ({error})")));
        };
        let text = |name: &str| {
            let value = self.parameters.get(name).and_then(Value::as_str);
            value.unwrap_or_default().to_owned()
        };
        let exit_code = || {
            let code = self.parameters.get("exit_code").and_then(Value::as_u64);
            code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
        };
        Err(match error.strip_prefix(INTERFACE).unwrap_or(&error) {
            ".NoLimit" => RequestError::NoLimit,
            ".NoChange" => RequestError::NoChange(text("message")),
            ".NotAllowed" => RequestError::NotAllowed(text("message")),
            ".Failed" => RequestError::Failed {
                message: text("message"),
                exit_code: exit_code(),
            },
            ".Gone" => RequestError::Gone,
            _ => RequestError::NotUnderstood(format!("a call ({error} {})", self.parameters)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_arrives_as_what_it_was() {
        for error in [
            RequestError::NoLimit,
            RequestError::NoChange("it is another".to_owned()),
            RequestError::NotAllowed("it is root's".to_owned()),
            RequestError::Failed {
                message: "there is no process 7".to_owned(),
                exit_code: 5,
            },
            RequestError::Gone,
        ] {
            let json = serde_json::to_string(&Reply::refusal(&error)).unwrap();
            let reply: Reply = serde_json::from_str(&json).unwrap();
            assert_eq!(reply.read::<Value>(), Err(error), "{json}");
        }
    }

    #[test]
    fn what_another_version_says_is_no_panic_and_says_what_to_do() {
        for text in [
            r#"{"error":"org.varlink.service.MethodNotFound","parameters":{"method":"x"}}"#,
            r#"{"error":"io.chadthrottle.Engine.Later","parameters":{}}"#,
            r#"{"error":"","parameters":null}"#,
            r#"{"parameters":{"other":1}}"#,
        ] {
            let reply: Reply = serde_json::from_str(text).unwrap();
            let error = reply.read::<super::super::Limited>().unwrap_err();
            assert!(error.to_string().contains("another version"), "{error}");
            assert_eq!(error.exit_code(), 1);
        }
    }
}
