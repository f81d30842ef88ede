//! `grps sign`: what a client has to send, for each scheme, with the exact text that is signed.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::{Common, print, write_out};
use crate::base::{Clock, Error, Result, Secret, Secrets};
use crate::config::{self, Config, Generated, Sources};
use crate::domains::auth::{Signable, fingerprint, message, sign};
use crate::store::DataDir;

/// The seed's snapshot, as it is shown first to everyone.
pub const SAMPLE: &str = r#"{"userId":12345678,"username":"ArcTrooper","displayName":"Arc","rank":"Volt Specialist II","rankPoints":520,"kos":84,"wos":12,"warnings":1,"recommendations":0,"punishmentStatus":null,"experience":{"universeId":987654321,"placeId":1234567890,"server":"vip-3"}}"#;

#[derive(Clone, Copy, ValueEnum)]
enum Scheme {
    /// x-grps-signature: the body's HMAC
    A1,
    /// x-grps-api-key: the key itself
    A2,
    /// X-API-KEY, X-TIMESTAMP, X-SIGNATURE: the job gateway's three headers
    A3,
    /// x-grps-signature-v2: this very request, once
    A6,
}

#[derive(Args)]
pub struct SignArgs {
    scheme: Scheme,
    #[arg(long, default_value = "POST")]
    method: String,
    /// Path with query
    #[arg(long, default_value = "/roblox/events/player-activity")]
    target: String,
    /// The request body
    #[arg(long, default_value = "", conflicts_with = "sample")]
    body: String,
    /// Use the sample snapshot as the body
    #[arg(long)]
    sample: bool,
    /// Key id to sign with: automation, gateway, operator, or the id of an inbound key (default: the first one)
    #[arg(long)]
    kid: Option<String>,
    /// Read the secret of --kid from this file instead of the configuration
    #[arg(long, value_name = "FILE")]
    secret_file: Option<std::path::PathBuf>,
    /// Print a ready curl command instead of the headers
    #[arg(long)]
    curl: bool,
}

pub fn run(args: SignArgs, common: &Common, sources: &Sources) -> Result<ExitCode> {
    let generated = Generated::load_or_create(&config::data_dir(sources)?)?;
    let config = Config::build(sources, &generated)?;
    let body = if args.sample { SAMPLE } else { &args.body };
    let (headers, signed) = headers(&args, &config, body)?;
    if args.curl {
        let base = match DataDir::owner(&config.data_dir).and_then(|owner| owner.addr) {
            Some(address) => format!("http://{address}"),
            None => config.service_base_url.clone(),
        };
        write_out(&format!("{}\n", curl(&args, &base, body, &headers)));
        return Ok(ExitCode::SUCCESS);
    }
    let shown: serde_json::Map<String, serde_json::Value> =
        headers.iter().map(|(name, value)| (name.to_string(), value.clone().into())).collect();
    print(common.json, &serde_json::json!({ "headers": shown, "signed": signed }), || {
        let lines: Vec<String> = headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        format!("{}\n\nsigned text: {signed}", lines.join("\n"))
    });
    Ok(ExitCode::SUCCESS)
}

type Headers = Vec<(&'static str, String)>;

/// The headers of the scheme, and the text whose HMAC they carry.
fn headers(args: &SignArgs, config: &Config, body: &str) -> Result<(Headers, String)> {
    let now = Clock::system().now().seconds().to_string();
    Ok(match args.scheme {
        Scheme::A1 => {
            let secret = first(&config.auth.automation, "AUTOMATION_SIGNATURE_SECRET")?;
            (vec![("x-grps-signature", sign(secret, body.as_bytes()))], body.to_owned())
        }
        Scheme::A2 => {
            let key = config.auth.inbound.first().ok_or_else(|| unset("INBOUND_API_KEYS"))?;
            (vec![("x-grps-api-key", key.secret.expose().to_owned())], String::new())
        }
        Scheme::A3 => {
            let key = first(&config.auth.gateway_key, "API_KEY")?;
            let secret = first(&config.auth.gateway_hmac, "HMAC_SECRET")?;
            let signature = sign(secret, now.as_bytes());
            let headers =
                vec![("x-api-key", key.expose().to_owned()), ("x-timestamp", now.clone()), ("x-signature", signature)];
            (headers, now)
        }
        Scheme::A6 => {
            let (kid, secret) = signer(args, config)?;
            let nonce = Secret::generate()?.expose()[..32].to_owned();
            let request = Signable { method: &args.method, target: &args.target, body: body.as_bytes() };
            let text = message(&now, &nonce, &request);
            let signature = format!("v2,{kid},{}", sign(&secret, text.as_bytes()));
            (vec![("x-grps-timestamp", now), ("x-grps-nonce", nonce), ("x-grps-signature-v2", signature)], text)
        }
    })
}

/// The key id and secret A6 signs with.
fn signer(args: &SignArgs, config: &Config) -> Result<(String, Secret)> {
    let auth = &config.auth;
    if let (Some(kid), Some(path)) = (&args.kid, &args.secret_file) {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Error::invalid("config.file_unreadable", format!("cannot read {}: {error}", path.display()))
        })?;
        return Ok((kid.clone(), Secret::new(text.trim())));
    }
    match args.kid.as_deref() {
        Some("automation") => {
            Ok(("automation".into(), first(&auth.automation, "AUTOMATION_SIGNATURE_SECRET")?.clone()))
        }
        Some("gateway") => Ok(("gateway".into(), first(&auth.gateway_hmac, "HMAC_SECRET")?.clone())),
        Some("operator") => Ok(("operator".into(), auth.operator.clone())),
        wanted => {
            let matching = |kid: &str| wanted.is_none_or(|wanted| wanted == kid);
            let keys = auth.inbound.iter().map(|key| (fingerprint(&key.secret), key.secret.clone()));
            keys.into_iter().find(|(kid, _)| matching(kid)).ok_or_else(|| {
                Error::missing("sign.key_unknown", "no inbound key has that id")
                    .hint("give --secret-file for a key made by `grps keys create`")
            })
        }
    }
}

fn first<'a>(secrets: &'a Secrets, name: &str) -> Result<&'a Secret> {
    secrets.first().ok_or_else(|| unset(name))
}

fn unset(name: &str) -> Error {
    Error::not_configured("auth.not_configured", format!("{name} is empty")).hint(format!("set {name}"))
}

/// A command for a POSIX shell; single quotes in values are escaped.
fn curl(args: &SignArgs, base: &str, body: &str, headers: &Headers) -> String {
    let quote = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let mut out = format!("curl -s -X {} {}", args.method, quote(&format!("{base}{}", args.target)));
    for (name, value) in headers {
        out += &format!(" \\\n  -H {}", quote(&format!("{name}: {value}")));
    }
    if args.sample {
        out += " \\\n  -H 'x-grps-evaluate: true'";
    }
    if !body.is_empty() {
        out += &format!(" \\\n  -H 'content-type: application/json' -d {}", quote(body));
    }
    out
}
