//! Who asks, and where a request's parts are complained of.

use crate::base::{Error, Id, Result, RobloxId};
use crate::domains::audit::Actor;
use crate::domains::auth::Caller;
use crate::domains::ranks::service::Sender;
use crate::http::Context;

/// Whoever sent a request, and whom they claim to act for (`x-grps-actor`).
pub fn sender(caller: &Caller, context: &Context, claimed: Option<&str>) -> Result<Sender> {
    let claimed = claimed_actor(claimed)?;
    Ok(Sender { actor: Actor { id: caller.id.clone(), claimed }, request_id: context.request_id.to_string() })
}

fn claimed_actor(value: Option<&str>) -> Result<Option<u64>> {
    let parse = |text: &str| {
        text.parse::<RobloxId>()
            .map(RobloxId::get)
            .map_err(|error| Error::field(&["header", "x-grps-actor"], "user_id", error.detail().to_owned()))
    };
    value.filter(|text| !text.is_empty()).map(parse).transpose()
}

/// A decision's id at `place`.
pub fn decision_id(text: &str, place: &[&str]) -> Result<Id> {
    text.parse().map_err(|error: Error| Error::field(place, "decision_id", error.detail().to_owned()))
}

/// Some requests carry their cursor in the body, where most lists have it in the query.
pub fn in_body(error: Error) -> Error {
    match error.field_list() {
        [field] if field.loc == ["query", "cursor"] => {
            Error::field(&["body", "cursor"], "cursor_invalid", field.msg.clone())
        }
        _ => error,
    }
}
