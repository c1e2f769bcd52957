//! One client: its calls, one after the other.

use std::{path::Path, time::Duration};

use serde::Serialize;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    net::unix::OwnedReadHalf,
    sync::watch,
    task::spawn_blocking,
};

use super::{
    MOST_LIMITS_OF_A_USER, Peer, Server,
    access::Standing,
    intervals::{SECOND, SHORTEST},
};
use crate::config::Others;
use crate::model::LimitId;
use crate::process::connections_of;
use crate::protocol::{
    Call, DESCRIPTION, Frames, INTERFACE, LONGEST_CALL, Left, Limited, Method, Reloaded, Reply,
    RequestError, SERVICE, SetLimit, Unmatched, Watch, frame,
};
use crate::sys::apart::apart;

/// Where the program is at home.
const URL: &str = "https://github.com/chadthrottle/chadthrottle";

/// Answers its calls until it goes, or says what cannot be understood. Gives whether it waits for an answer to that.
pub async fn serve(
    server: &Server,
    peer: &Peer,
    from: OwnedReadHalf,
    to: &mut (impl AsyncWrite + Unpin),
) -> bool {
    let mut calls = Frames::new(from, LONGEST_CALL);
    let mut others = server.0.others.subscribe();
    loop {
        let next = tokio::select! {
            next = calls.next() => next,
            // It comes again, and has another standing then.
            () = changed(peer, &mut others) => return false,
        };
        // Whoever breaks the rules of the stream is not answered: nobody knows where its next call begins.
        let Ok(Some(message)) = next else {
            return false;
        };
        let Ok(call) = serde_json::from_slice::<Call>(&message) else {
            return false;
        };
        let oneway = call.oneway;
        // A user's name in it may be looked up, which may take as long as it likes.
        let Ok(method) = spawn_blocking(move || Method::of(&call)).await else {
            return false;
        };
        let reply = match method {
            Ok(method) if let Err(error) = allowed(server, peer, &method) => Reply::refusal(&error),
            Ok(Method::Watch(asked)) => {
                watch(server, peer, &asked, calls, to).await;
                return false;
            }
            Ok(Method::Leave) => return !oneway,
            Ok(method) => match answer(server, peer, method).await {
                Ok(parameters) => Reply::of(parameters),
                Err(error) => Reply::refusal(&error),
            },
            Err(reply) => reply,
        };
        let Ok(bytes) = frame(&reply) else {
            return false;
        };
        if !oneway && to.write_all(&bytes).await.is_err() {
            return false;
        }
    }
}

/// Waits until a client may other things than when it came.
async fn changed(peer: &Peer, others: &mut watch::Receiver<Others>) {
    if peer.standing == Standing::All || others.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The last answer of all.
pub async fn say_farewell(left: &Left, to: &mut (impl AsyncWrite + Unpin)) {
    let Ok(reply) = serde_json::to_value(left).map(Reply::of) else {
        return;
    };
    if let Ok(bytes) = frame(&reply)
        && let Err(error) = to.write_all(&bytes).await
    {
        log::debug!("a client that has left: {error}");
    }
}

fn allowed(server: &Server, peer: &Peer, method: &Method) -> Result<(), RequestError> {
    let origins = server.origins();
    peer.standing
        .allows(peer.uid, method, |id| origins.user_of(id))
}

/// Sends samples until the client goes, or the engine ends.
async fn watch(
    server: &Server,
    peer: &Peer,
    asked: &Watch,
    mut calls: Frames<OwnedReadHalf>,
    to: &mut (impl AsyncWrite + Unpin),
) {
    let shortest = match peer.standing {
        Standing::All => SHORTEST,
        // It is not theirs to keep the engine busy.
        Standing::Other(_) => SECOND,
    };
    let interval = asked.interval_ns.map_or(SECOND, Duration::from_nanos);
    // Before the engine is asked for another one, which may come at once.
    let mut samples = server
        .0
        .samples
        .with_newest(peer, asked, interval.max(SECOND));
    let _wanted = server
        .0
        .intervals
        .want(interval.max(shortest), &server.0.engine);
    let mut others = server.0.others.subscribe();
    loop {
        tokio::select! {
            () = changed(peer, &mut others) => return,
            // It has gone, or calls something that nobody could answer between samples.
            _ = calls.next() => return,
            reply = samples.next() => {
                let Some(reply) = reply else { return };
                if to.write_all(&reply).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn to_json(reply: impl Serialize) -> Result<Value, RequestError> {
    serde_json::to_value(reply).map_err(|error| RequestError::Failed {
        message: format!("putting a reply into words: {error}"),
        exit_code: 1,
    })
}

/// The newest sample may have been taken before it was set, or after.
fn limited(server: &Server, id: LimitId) -> Limited {
    let sequence = server.sequence();
    Limited { id, sequence }
}

async fn answer(server: &Server, peer: &Peer, method: Method) -> Result<Value, RequestError> {
    let engine = &server.0.engine;
    match method {
        Method::GetInfo => to_json(&server.0.info),
        Method::SetLimit(set) => {
            let mut targets = set.targets.clone();
            if peer.standing != Standing::All {
                targets.of_user = Some(peer.uid);
                if server.origins().count_of(peer.uid) >= MOST_LIMITS_OF_A_USER {
                    return Err(RequestError::NotAllowed(format!(
                        "you have set {MOST_LIMITS_OF_A_USER} limits, which is as many as a user without root may: end \
                         one first"
                    )));
                }
            }
            let before = server.0.handover.taken_back(peer.uid, &set);
            if let Some(before) = &before {
                before.complete(&mut targets).await;
            }
            let set_now = engine.set_limit(targets.clone(), set.limit).await;
            let id = match (set_now, before.clone()) {
                (Err(error), Some(before)) => {
                    server.0.handover.awaits(before);
                    return Err(error.into());
                }
                (set_now, _) => set_now?,
            };
            let limited = limited(server, id);
            let time = set.for_ns.map(Duration::from_nanos);
            let set = SetLimit { targets, ..set };
            let serial = server
                .change(|origins| origins.add(id, set, peer, before.as_ref(), limited.sequence));
            if let Some(time) = time {
                server.end_after(serial, time);
            }
            to_json(limited)
        }
        Method::ChangeLimit(change) => {
            engine.change_limit(change.id, change.limit).await?;
            server.change(|origins| origins.change(change.id, change.limit));
            Ok(json!({}))
        }
        Method::SetChildren(set) => {
            let id = engine.set_children(set.id, set.children).await?;
            let limited = limited(server, id);
            server.change(|origins| origins.rename(set.id, id, set.children, limited.sequence));
            to_json(limited)
        }
        Method::RemoveLimit(named) => {
            engine.remove_limit(named.id).await?;
            server.change(|origins| origins.remove(named.id));
            Ok(json!({}))
        }
        Method::GetCarried(named) => to_json(engine.carried(named.id).await?),
        Method::GetUnmatched(named) => {
            let words = engine.unmatched(named.id).await?;
            to_json(Unmatched { words })
        }
        Method::GetConnections(of) => {
            let of_user = (peer.standing != Standing::All).then_some(peer.uid);
            let look = move || {
                let root = Path::new("/proc");
                apart(&[], || connections_of(root, &of.processes, of_user))
            };
            let seen = server.0.looks.look(peer.standing, look).await?;
            to_json(seen.unwrap_or_default())
        }
        Method::GetHistory => {
            let history = server.past().seen_by(peer.uid, peer.standing);
            to_json(history)
        }
        Method::Doctor => {
            let same = server.clone();
            let look = move || (same.0.doctor.0)();
            to_json(server.0.looks.look(peer.standing, look).await?)
        }
        Method::EditRules(edit) => to_json(server.edit_rules(edit.edit).await?),
        Method::TakeRulesBack(back) => {
            let problems = server.take_rules_back(back.change).await?;
            to_json(Reloaded { problems })
        }
        Method::ReloadRules => {
            let problems = server.reload_rules().await;
            to_json(Reloaded { problems })
        }
        Method::ServiceInfo => Ok(json!({
            "vendor": "ChadThrottle",
            "product": "chadthrottle",
            "version": server.0.info.version,
            "url": URL,
            "interfaces": [SERVICE, INTERFACE],
        })),
        Method::Description(interface) if interface == INTERFACE => {
            Ok(json!({ "description": DESCRIPTION }))
        }
        Method::Description(interface) => Err(RequestError::NotUnderstood(interface)),
        // Answered elsewhere: by more than one reply, and when all is over.
        Method::Watch(_) | Method::Leave => Err(RequestError::NotUnderstood("more".to_owned())),
    }
}
