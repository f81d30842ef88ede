//! The health endpoints. Their shapes are the seeds' (requirements G1, G12, R6).

use poem_openapi::payload::PlainText;
use poem_openapi::{ApiResponse, Object, OpenApi};

use super::checks::{Check, Checks};
use crate::base::Error;
use crate::base::metrics::Metrics;
use crate::domains::auth::{Caller, Strength};
use crate::domains::standings::{BoardId, Standings};
use crate::http::{Area, Json};

/// The process serves.
#[derive(Debug, Object)]
struct Live {
    /// Always `ok`.
    status: String,
}

/// The answer of both seeds' `/health`.
#[derive(Debug, Object)]
struct Health {
    ok: bool,
    /// Always `ok`.
    status: String,
}

/// One part's state.
#[derive(Debug, Object)]
struct CheckView {
    name: String,
    ok: bool,
    /// Whether the server cannot serve without it.
    vital: bool,
    /// What is wrong and what still works, or what is worth knowing.
    detail: Option<String>,
}

/// Whether requests can be served, and each part's state.
#[derive(Debug, Object)]
struct Ready {
    ready: bool,
    checks: Vec<CheckView>,
}

#[derive(ApiResponse)]
enum ReadyAnswer {
    /// Everything vital works; a check that is not vital may still fail.
    #[oai(status = 200)]
    Yes(Json<Ready>),
    /// Something vital does not work.
    #[oai(status = 503)]
    No(Json<Ready>),
}

/// The portal's numbers.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
struct HealthMetrics {
    /// Players known.
    total_players: f64,
    /// Players whose row changed within the last hour.
    updated_last_hour: f64,
}

pub struct HealthApi {
    pub checks: Checks,
    pub metrics: Metrics,
    pub standings: Standings,
    /// `HEALTH_AUTH=required`.
    pub credential_required: bool,
}

/// Health
#[OpenApi(tag = "Area::Health")]
impl HealthApi {
    /// Whether the process serves
    #[oai(path = "/health/live", method = "get", operation_id = "healthLive")]
    async fn live(&self) -> Json<Live> {
        Json(Live { status: "ok".into() })
    }

    /// Whether requests can be served, check by check
    #[oai(path = "/health/ready", method = "get", operation_id = "healthReady")]
    async fn ready(&self) -> ReadyAnswer {
        let checks = self.checks.run();
        let ready = checks.iter().all(|check| check.ok || !check.vital);
        let view = |Check { name, ok, vital, detail }| CheckView { name, ok, vital, detail };
        let answer = Json(Ready { ready, checks: checks.into_iter().map(view).collect() });
        if ready { ReadyAnswer::Yes(answer) } else { ReadyAnswer::No(answer) }
    }

    /// The job gateway's health answer
    ///
    /// Open unless `HEALTH_AUTH=required`; a credential that is presented must hold.
    #[oai(path = "/health", method = "get", operation_id = "health")]
    async fn health(&self, caller: Caller) -> poem::Result<Json<Health>> {
        if self.credential_required && caller.strength == Strength::Open {
            return Err(Error::unauthenticated("auth.credentials_missing", "Missing credentials")
                .hint("HEALTH_AUTH is required here; /health/live is always open")
                .into());
        }
        Ok(Json(Health { ok: true, status: "ok".into() }))
    }

    /// Numbers for the portal
    #[oai(path = "/metrics/health", method = "get", operation_id = "metricsHealth")]
    async fn metrics_health(&self) -> Json<HealthMetrics> {
        Json(HealthMetrics {
            total_players: self.standings.len(BoardId::PLAYERS) as f64,
            updated_last_hour: self.standings.players_updated_recently() as f64,
        })
    }

    /// Metrics in the text format Prometheus scrapes
    #[oai(path = "/metrics", method = "get", operation_id = "metrics")]
    async fn metrics(&self, _caller: Caller) -> PlainText<String> {
        PlainText(self.metrics.render())
    }
}
