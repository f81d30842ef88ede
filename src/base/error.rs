//! One error for the whole program. It says two things: outward, what the caller may know (`code`, `detail`, `hint`), and inward,
//! what only the log sees (`context`). `http/failure.rs` alone turns it into a status code, `cli` alone into an exit code.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in the terms a caller can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The thing asked for does not exist.
    Missing,
    /// The input breaks a rule; sending it again unchanged is pointless.
    Invalid,
    /// The input is larger than a named bound.
    TooLarge,
    /// The input contradicts what is stored (a used id, an old token).
    Conflict,
    /// The caller is known and may not do this.
    Denied,
    /// No credential, or one that does not hold.
    Unauthenticated,
    /// Too much contention right now; the same request may succeed later.
    Busy,
    /// The caller's own rate limit is used up.
    Limited,
    /// A feature is off because a setting is missing.
    NotConfigured,
    /// A vendor answered wrongly, late or not at all.
    Remote,
    /// The disk, or a bounded collection, has no room.
    Full,
    /// A fault of ours or of the machine.
    Broken,
}

/// One field-level complaint of a validation failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Where: `["body", "experience", "placeId"]`, as FastAPI's clients expect it.
    pub loc: Vec<String>,
    /// What and how to fix it, for a person.
    pub msg: String,
    /// A stable machine name such as `missing`, `int_type`, `greater_than_equal`.
    pub kind: Cow<'static, str>,
}

/// The program's error. Built with a constructor per [`Kind`], then refined with `hint`, `context`, `retry_after`.
#[derive(Clone)]
pub struct Error {
    body: Box<Body>,
}

#[derive(Clone)]
struct Body {
    kind: Kind,
    code: Cow<'static, str>,
    detail: String,
    hint: Option<String>,
    context: Option<String>,
    retry_after: Option<Duration>,
    fields: Vec<Field>,
}

macro_rules! constructors {
    ($($name:ident => $kind:ident),* $(,)?) => {
        impl Error {$(
            #[doc = concat!("An error of [`Kind::", stringify!($kind), "`] with a stable dotted `code` and an outward `detail`.")]
            pub fn $name(code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
                Self::new(Kind::$kind, code, detail)
            }
        )*}
    };
}

constructors! {
    missing => Missing, invalid => Invalid, too_large => TooLarge, conflict => Conflict, denied => Denied,
    unauthenticated => Unauthenticated, busy => Busy, limited => Limited, not_configured => NotConfigured,
    remote => Remote, full => Full,
}

impl Error {
    pub fn new(kind: Kind, code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self {
            body: Box::new(Body {
                kind,
                code: code.into(),
                detail: detail.into(),
                hint: None,
                context: None,
                retry_after: None,
                fields: Vec::new(),
            }),
        }
    }

    /// A fault of ours: the caller learns only that it was logged, `context` says what happened.
    pub fn broken(code: &'static str, context: impl fmt::Display) -> Self {
        Self::new(
            Kind::Broken,
            code,
            "The server could not complete this; the cause is in its log under this request id",
        )
        .context(context)
    }

    /// How the caller can fix it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.body.hint = Some(hint.into());
        self
    }

    /// What only the log may see.
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.body.context = Some(context.to_string());
        self
    }

    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.body.retry_after = Some(wait);
        self
    }

    #[must_use]
    pub fn fields(mut self, fields: Vec<Field>) -> Self {
        self.body.fields = fields;
        self
    }

    /// A validation failure of exactly one field.
    pub fn field(loc: &[&str], kind: &'static str, msg: impl Into<String>) -> Self {
        let msg = msg.into();
        let field =
            Field { loc: loc.iter().map(|part| part.to_string()).collect(), msg: msg.clone(), kind: kind.into() };
        Self::invalid("request.invalid", format!("{}: {msg}", loc.join("."))).fields(vec![field])
    }

    pub fn kind(&self) -> Kind {
        self.body.kind
    }

    /// A stable dotted name: `auth.signature_missing`.
    pub fn code(&self) -> &str {
        &self.body.code
    }

    pub fn detail(&self) -> &str {
        &self.body.detail
    }

    pub fn hint_text(&self) -> Option<&str> {
        self.body.hint.as_deref()
    }

    pub fn context_text(&self) -> Option<&str> {
        self.body.context.as_deref()
    }

    pub fn wait(&self) -> Option<Duration> {
        self.body.retry_after
    }

    pub fn field_list(&self) -> &[Field] {
        &self.body.fields
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error[{}]: {}", self.body.code, self.body.detail)?;
        if let Some(hint) = &self.body.hint {
            write!(f, "\n  fix: {hint}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}[{}] {}", self.body.kind, self.body.code, self.body.detail)?;
        if let Some(context) = &self.body.context {
            write!(f, " ({context})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
