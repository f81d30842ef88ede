//! The list of settings: one line each, with its default and what it does. `grps config print` shows it, the README's table is made from
//! it and checked against it (requirement P23), and a name that is not here cannot be read.

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The environment variable's name.
    pub name: &'static str,
    /// What holds when it is not set; empty for none.
    pub default: &'static str,
    pub doc: &'static str,
    pub kind: Kind,
}

/// How a value is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Plain,
    /// Never printed.
    Secret,
    /// A secret that is generated when not set.
    GeneratedSecret,
}

const fn plain(name: &'static str, default: &'static str, doc: &'static str) -> Setting {
    Setting { name, default, doc, kind: Kind::Plain }
}

const fn secret(name: &'static str, doc: &'static str) -> Setting {
    Setting { name, default: "", doc, kind: Kind::Secret }
}

const fn generated(name: &'static str, doc: &'static str) -> Setting {
    Setting { name, default: "", doc, kind: Kind::GeneratedSecret }
}

/// Every setting, in the order they are shown.
pub const SETTINGS: &[Setting] = &[
    plain("HOST", "127.0.0.1", "Address to listen on; `0.0.0.0` for all."),
    plain("PORT", "8000", "Port to listen on."),
    plain("DATA_DIR", "./data", "Where the database and the generated secrets live."),
    plain("POLICY_DIR", "./policy", "Where the policy files live; edits take effect within 2 seconds."),
    plain("APP_ENV", "", "Reads `.env.<APP_ENV>` before `.env`."),
    plain("SETTINGS_FILE", "app_settings.json", "JSON file with fallback values for these settings."),
    plain("LOG_FORMAT", "human", "`human` or `json`."),
    plain("LOG_LEVEL", "info", "`error`, `warn`, `info`, `debug`, or a filter such as `grps=debug`."),
    plain("AUTH_MODE", "compat", "`compat` takes the seeds' schemes; `strict` only requests signed with A6."),
    generated(
        "INBOUND_API_KEYS",
        "Keys of game servers (A2): `key` or `key:scope+scope`, comma-separated. Empty: open ingest, on loopback only.",
    ),
    plain("ALLOW_OPEN_INGEST", "false", "Allows an empty INBOUND_API_KEYS on an address others can reach."),
    generated(
        "AUTOMATION_SIGNATURE_SECRET",
        "Secret of `x-grps-signature` (A1). Two values, `new,old`, while rotating.",
    ),
    generated("API_KEY", "Key of the job gateway (A3)."),
    generated("HMAC_SECRET", "Secret that signs the gateway's timestamps (A3)."),
    plain(
        "GATEWAY_AUTH",
        "hmac",
        "`key`: X-API-KEY alone opens the job gateway, without X-TIMESTAMP and X-SIGNATURE. `/ws` never asks for them.",
    ),
    plain("TIMESTAMP_TOLERANCE", "60", "Seconds a signature's time may differ from ours."),
    plain("HEALTH_AUTH", "optional", "`required`: `/health` wants a credential, as the job gateway's did."),
    plain("TRUSTED_PROXIES", "", "CIDR ranges whose X-Forwarded-For is believed, comma-separated."),
    plain("RATE_LIMIT_PER_MINUTE", "0", "Requests a client may make in a window; 0 turns limits off."),
    plain("RATE_LIMIT_WINDOW_SECONDS", "60", "Length of that window."),
    plain("MAX_BODY_BYTES", "1048576", "Largest request body."),
    plain("MAX_CONNECTIONS", "10000", "Connections held open at once."),
    plain(
        "MAX_SOCKETS",
        "10000",
        "Open WebSockets at most, a quarter of them for one key; each is an open file and about 10 KB.",
    ),
    plain(
        "ALLOWED_ORIGINS",
        "https://grps.example.com,http://localhost:3000",
        "Browser origins that may call the API, comma-separated.",
    ),
    plain("CORS_ALLOW_ORIGINS", "", "The same as a JSON list; ALLOWED_ORIGINS wins."),
    plain("DOCS", "true", "Serves `/docs` and `/openapi.json`."),
    plain(
        "HEADLESS_MODE",
        "false",
        "`true` turns pages for people off; the API and its docs stay. There are none to turn off yet.",
    ),
    plain(
        "SERVICE_BASE_URL",
        "",
        "Our own address in commands that are printed; `http://127.0.0.1:$PORT` when empty. Discord, which asks bots for a web address, is \
         told it when it is public.",
    ),
    plain("JOB_QUEUE_LENGTH", "1000000", "Jobs that may wait in one queue; more are refused."),
    plain("JOB_WAITERS", "10000", "Polls and sockets that may wait for a job at the same time."),
    plain("STORE_CACHE_MB", "128", "Memory for the store's page cache; budget 2 to 4 times it."),
    plain("RECORD_CACHE_MB", "64", "Memory for recently read records."),
    plain(
        "STORE_RESERVE_MB",
        "256",
        "Disk space that is kept free: with less, writes are refused early; deletions and an orderly end go on.",
    ),
    plain("JOURNAL_KEEP_MB", "256", "History kept for restores to a point in time."),
    plain(
        "BACKUP_CRON",
        "0 4 * * *",
        "When backups are made, in UTC: minute, hour, day, month, weekday. Empty: never.",
    ),
    plain("BACKUP_DIR", "", "Where backups go; `<DATA_DIR>/backups` when empty. Another disk is better."),
    plain(
        "BACKUP_KEEP",
        "last=3,daily=7,weekly=4,monthly=6",
        "Which backups stay; also `hourly`, `yearly`. Those you named stay until you delete them. Empty: all.",
    ),
    secret("BACKUP_PASSPHRASE", "Encrypts backups. Without it they cannot be restored: keep it elsewhere too."),
    secret(
        "BACKUP_KEY",
        "The same with a key of 64 hex characters, `openssl rand -hex 32`; `BACKUP_KEY_FILE` reads it from a file.",
    ),
    plain("SCHEDULE_TZ", "UTC", "Time zone of the patterns that follow, by its IANA name, such as `Europe/Berlin`."),
    plain("REVIEW_CRON", "", "When all players are reviewed, written like BACKUP_CRON. Empty: never."),
    plain("REVIEW_APPLY", "true", "Whether decisions of these reviews take effect."),
    plain("SYNC_CRON", "", "When the experience's data store is read, written the same way. Empty: when called for."),
    plain(
        "DRIFT_CRON",
        "",
        "When the group is searched for ranks changed by hand, written the same way. Empty: never.",
    ),
    plain("SNAPSHOT_RETENTION_DAYS", "90", "Days a player's snapshots are kept."),
    plain("SNAPSHOTS_PER_PLAYER", "500", "Snapshots kept per player, newest first."),
    plain("AUDIT_RETENTION_DAYS", "365", "Days audit rows and ended decisions are kept."),
    plain("ROBLOX_GROUP_ID", "", "The group whose roles follow the ladder."),
    secret("ROBLOX_OPEN_CLOUD_API_KEY", "Open Cloud key; turns Roblox features on."),
    plain("ROBLOX_UNIVERSE_ID", "", "The experience: its data stores, bans from it, the doorbell."),
    plain("ROBLOX_DATASTORE_NAME", "", "The data store with the points."),
    plain("ROBLOX_DATASTORE_SCOPE", "global", "Its scope."),
    plain("ROBLOX_DATASTORE_PREFIX", "", "Prefix of its keys."),
    secret("DATABASE_URL", "Postgres to export to; `postgresql+asyncpg://` is understood. Checked, not used yet."),
    secret("TURNSTILE_SECRET_KEY", "Cloudflare Turnstile secret. Not used yet."),
    plain("TURNSTILE_SITE_KEY", "", "Cloudflare Turnstile site key. Not used yet."),
    secret("WEBHOOK_VERIFICATION_KEY", "Signs webhooks. None is sent yet."),
    plain("CHANNEL_ID", "", "Discord channel to read jobs from."),
    secret("DISCORD_TOKEN", "Token of the Discord bot that reads it; a person's own token is against Discord's terms."),
    plain(
        "DISCORD_POLL_SECONDS",
        "0.25",
        "Seconds between looks into the channel, at least; Discord's limits make it more, about 1.",
    ),
    plain("BURST_POLL_SECONDS", "0.05", "The same while messages come in."),
    plain("DISCORD_QUEUE", "default", "Queue for jobs from Discord."),
    plain("DISCORD_API_URL", "https://discord.com/api/v10", "Discord's address."),
    plain(
        "DOORBELL_QUEUES",
        "",
        "Queues whose new jobs ring for live game servers, comma-separated; empty: none. Needs an Open Cloud key.",
    ),
    plain("DOORBELL_TOPIC", "grps-jobs", "What their messaging topics begin with: `<DOORBELL_TOPIC>-<queue>`."),
    plain(
        "ROBLOX_ORDERED_DATASTORE",
        "",
        "Ordered data store that the best of the players' board are written to; empty: none.",
    ),
    plain("ROBLOX_ORDERED_TOP", "100", "How many of them, at most 500."),
    plain(
        "EVENTS_QUEUE",
        "",
        "Queue that gets a job for every decision that took effect or failed and for every alert; empty: none.",
    ),
    plain(
        "ROBLOX_BUDGET_PERCENT",
        "100",
        "Our share of Roblox's limits; leave some to game servers and tools that use keys of the same owner.",
    ),
    plain(
        "APPLY_INLINE_MS",
        "3000",
        "How long an applying request waits for Roblox, in milliseconds; then it answers `queued`. 0: not at all.",
    ),
    plain("ROBLOX_API_URL", "https://apis.roblox.com", "Open Cloud's address."),
    plain(
        "BASE_URL",
        "http://127.0.0.1:8000",
        "The server a worker works for; unset, the one that runs on DATA_DIR here.",
    ),
    plain("CONCURRENCY", "4", "Jobs a worker works on at the same time."),
    plain("TIMEOUT", "10", "Seconds a worker's request may take, waiting for a job included."),
    plain(
        "INITIAL_BACKOFF",
        "0.25",
        "Seconds a worker pauses at most after the first failure; doubles with each more.",
    ),
    plain("MAX_BACKOFF", "10", "The longest such pause."),
    plain("RETRIES", "5", "How often a worker tries again to tell the server how a job went."),
    secret("REDIS_URL", "Redis of a cluster; one machine needs none."),
];

/// The setting called `name`.
pub fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

/// The README's table, made from [`SETTINGS`].
pub fn markdown() -> String {
    let mut out = String::from("| setting | default | what it does |\n| --- | --- | --- |\n");
    for setting in SETTINGS {
        let default = match (setting.kind, setting.default) {
            (Kind::GeneratedSecret, _) => "generated".to_owned(),
            (_, "") => "–".to_owned(),
            (_, text) => format!("`{text}`"),
        };
        out.push_str(&format!("| `{}` | {default} | {} |\n", setting.name, setting.doc));
    }
    out
}
