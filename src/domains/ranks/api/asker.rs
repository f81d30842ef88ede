//! Who asks, and where a request's parts are complained of.

use poem::{FromRequest, Request, RequestBody};
use poem_openapi::param::Header;
use poem_openapi::registry::{MetaParamIn, MetaSchemaRef, Registry};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

use crate::base::{Error, Id, Result, RobloxId};
use crate::domains::ranks::Sender;

type Claim = Header<Option<String>>;

/// Whoever sent a request, with whom they claim to act for: a parameter of a handler, for the header `x-grps-actor`.
pub struct Claimant(pub Sender);

impl<'a> ApiExtractor<'a> for Claimant {
    const TYPES: &'static [ApiExtractorType] = Claim::TYPES;
    const PARAM_IS_REQUIRED: bool = Claim::PARAM_IS_REQUIRED;

    type ParamType = <Claim as ApiExtractor<'a>>::ParamType;
    type ParamRawType = <Claim as ApiExtractor<'a>>::ParamRawType;

    fn register(registry: &mut Registry) {
        Claim::register(registry);
    }

    fn param_in() -> Option<MetaParamIn> {
        Claim::param_in()
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        Claim::param_schema_ref()
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        options: ExtractParamOptions<Self::ParamType>,
    ) -> poem::Result<Self> {
        let Header(claimed) = Claim::from_request(request, body, options).await?;
        let mut sender = <Sender as FromRequest>::from_request(request, body).await?;
        sender.actor.claimed = claimed_actor(claimed.as_deref())?;
        Ok(Self(sender))
    }
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
