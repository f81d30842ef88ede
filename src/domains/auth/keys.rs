//! Keys made by `grps keys create`: stored with their secrets sealed, at most two live values each, revocable at once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::caller::{Caller, Strength};
use super::scope::Scopes;
use super::seal::{Sealed, Sealer};
use crate::base::{Clock, Error, Id, Ids, Result, Secret, Time};
use crate::domains::audit::{self, Actor};
use crate::store::{Record, Store, Table, Tx};
use crate::workers::{Next, Worker};

/// Keys by their id.
pub static KEYS: Table<String, Key> = Table::new("keys", *b"ke");

/// Keys at most. Revoked ones count, until their place is needed: then the one revoked first goes, and its audit rows stay.
pub const MAX_KEYS: usize = 1_000;

/// What every secret we make starts with, so that scanners recognise a leaked one.
const PREFIX: &str = "grps_";

/// A stored key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Key {
    /// What the owner called it, 1 to 64 characters.
    pub name: String,
    /// Scope texts; `*` for everything.
    pub scopes: Vec<String>,
    /// Whether the secret itself may travel as `x-grps-api-key` (A2), or requests must be signed (A6).
    pub compat: bool,
    /// The live secrets, newest first.
    pub sealed: Vec<Sealed>,
    pub created_at: Time,
    pub rotated_at: Option<Time>,
    pub revoked_at: Option<Time>,
    /// When each live value was last used, in the order of `sealed`; written about once a minute.
    pub last_used: Vec<Option<Time>>,
}

impl Record for Key {
    const VERSION: u8 = 1;
}

impl Key {
    fn scopes(&self) -> Result<Scopes> {
        Scopes::parse(&self.scopes.join(" "), ' ')
    }
}

/// A key's secret, shown once.
pub struct Issued {
    pub kid: String,
    pub secret: Secret,
    pub key: Key,
}

/// What a new key is to be.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub name: String,
    pub scopes: Scopes,
    pub compat: bool,
}

/// Makes, finds, rotates and revokes keys.
pub struct Keys {
    store: Store,
    clock: Clock,
    ids: Ids,
    sealer: Sealer,
    used: Mutex<HashMap<(String, usize), Time>>,
    /// Held while a key is made, so that nobody else makes one between counting and writing.
    creating: tokio::sync::Mutex<()>,
    /// Revocations so far; moves once one is on disk.
    revocations: watch::Sender<u64>,
}

impl Keys {
    pub fn new(store: Store, clock: Clock, ids: Ids, sealer: Sealer) -> Self {
        let (used, creating) = (Mutex::default(), tokio::sync::Mutex::default());
        Self { store, clock, ids, sealer, used, creating, revocations: watch::Sender::new(0) }
    }

    /// Makes a key for `by`; its secret is in the answer and nowhere else in clear.
    ///
    /// # Errors
    /// `keys.full` past [`MAX_KEYS`]; `auth.scope_missing` for more than `by` may do; `request.invalid` for its name.
    pub async fn create(&self, wanted: Wanted, by: &Caller, request_id: &str) -> Result<Issued> {
        by.may_grant(wanted.scopes)?;
        if !(1..=64).contains(&wanted.name.chars().count()) || wanted.name.chars().any(char::is_control) {
            return Err(Error::field(
                &["body", "name"],
                "string_length",
                "a key's name has 1 to 64 printable characters",
            ));
        }
        let _alone = self.creating.lock().await;
        let leaves = self.leaver().await?;
        let at = self.clock.now();
        let kid = format!("c{:08x}", self.ids.next().0 as u32);
        let secret = fresh(&kid)?;
        let key = Key {
            name: wanted.name,
            scopes: wanted.scopes.texts().into_iter().map(str::to_owned).collect(),
            compat: wanted.compat,
            sealed: vec![self.sealer.seal(&kid, &secret)?],
            created_at: at,
            rotated_at: None,
            revoked_at: None,
            last_used: vec![None],
        };
        let trail = Trail { id: self.ids.next(), at, actor: Actor::of(by.id.as_str()), request_id };
        let issued = Issued { kid, secret, key };
        self.store
            .transact(|tx| {
                let (issued, trail, leaves) = (&issued, &trail, &leaves);
                async move {
                    if let Some(kid) = leaves {
                        tx.delete(&KEYS, kid);
                    }
                    if tx.get(&KEYS, &issued.kid).await?.is_some() {
                        return Err(Error::busy("keys.id_taken", "two keys were made at once; try again"));
                    }
                    trail.leave(&tx, "key.created", &issued.kid, &issued.key);
                    tx.put(&KEYS, &issued.kid, &issued.key);
                    Ok(())
                }
            })
            .await?;
        Ok(issued)
    }

    /// The revoked key that makes room for a new one; none while there is room.
    async fn leaver(&self) -> Result<Option<String>> {
        let keys = self.list().await?;
        if keys.len() < MAX_KEYS {
            return Ok(None);
        }
        // Nothing brings a revoked key back, so it may go without a second look.
        let revoked = keys.into_iter().filter_map(|(kid, key)| Some((key.revoked_at?, kid)));
        let first = revoked.min().ok_or_else(|| {
            Error::full("keys.full", format!("there are {MAX_KEYS} live keys already"))
                .hint("a group needs a handful: revoke some; is something creating keys in a loop?")
        })?;
        Ok(Some(first.1))
    }

    /// Gives the key a new secret; the one before it stays live until the next rotation, the one before that ends now.
    ///
    /// # Errors
    /// `keys.missing`, `keys.revoked`; `auth.scope_missing` for a key that may do more than `by`, who gets to see its secret.
    pub async fn rotate(&self, kid: &str, by: &Caller, request_id: &str) -> Result<Issued> {
        let at = self.clock.now();
        let secret = fresh(kid)?;
        let sealed = self.sealer.seal(kid, &secret)?;
        let trail = Trail { id: self.ids.next(), at, actor: Actor::of(by.id.as_str()), request_id };
        let key = self
            .change(kid, &trail, "key.rotated", |key| {
                if key.revoked_at.is_some() {
                    return Err(
                        Error::conflict("keys.revoked", format!("key {kid} is revoked")).hint("create a new one")
                    );
                }
                by.may_grant(key.scopes()?)?;
                key.sealed.insert(0, sealed.clone());
                key.last_used.insert(0, None);
                key.sealed.truncate(crate::base::Secrets::MAX);
                key.last_used.truncate(crate::base::Secrets::MAX);
                key.rotated_at = Some(at);
                Ok(())
            })
            .await?;
        self.used.lock().unwrap_or_else(PoisonError::into_inner).retain(|(id, _), _| id != kid);
        Ok(Issued { kid: kid.to_owned(), secret, key })
    }

    /// Ends the key at once. Revoking twice is fine.
    ///
    /// # Errors
    /// `keys.missing`.
    pub async fn revoke(&self, kid: &str, by: &Caller, request_id: &str) -> Result<Key> {
        let at = self.clock.now();
        let trail = Trail { id: self.ids.next(), at, actor: Actor::of(by.id.as_str()), request_id };
        let edit = |key: &mut Key| {
            key.revoked_at.get_or_insert(at);
            key.sealed.clear();
            key.last_used.clear();
            Ok(())
        };
        let key = self.change(kid, &trail, "key.revoked", edit).await?;
        self.revocations.send_modify(|count| *count += 1);
        Ok(key)
    }

    /// Moves whenever a key was revoked, whichever it was.
    pub fn revocations(&self) -> watch::Receiver<u64> {
        self.revocations.subscribe()
    }

    /// Whether `kid` has the form of the ids of keys made here; credentials from the environment have other ones.
    pub fn makes(kid: &str) -> bool {
        kid.len() == 9 && kid.starts_with('c')
    }

    /// What the key may do; none when it is unknown or revoked.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn scopes(&self, kid: &str) -> Result<Option<Scopes>> {
        let stored = self.store.get(&KEYS, &kid.to_owned()).await?;
        stored.filter(|key| key.revoked_at.is_none()).map(|key| key.scopes()).transpose()
    }

    /// All keys, oldest id first; never more than [`MAX_KEYS`].
    ///
    /// # Errors
    /// Those of the store.
    pub async fn list(&self) -> Result<Vec<(String, Key)>> {
        Ok(self.store.scan(KEYS.all(), MAX_KEYS).await?.items)
    }

    /// The caller behind a secret sent as `x-grps-api-key`, if we made it. A strict key is refused by name.
    ///
    /// # Errors
    /// `auth.key_invalid`, `auth.key_strict`.
    pub async fn find_compat(&self, given: &str) -> Result<Option<Caller>> {
        let Some(kid) = given.strip_prefix(PREFIX).and_then(|rest| rest.split('_').next()) else { return Ok(None) };
        let (secrets, scopes, key) = self.open(kid).await?;
        let Some(slot) = secrets.iter().position(|secret| secret.matches(given.as_bytes())) else { return Ok(None) };
        if !key.is_some_and(|key| key.compat) {
            return Err(Error::unauthenticated("auth.key_strict", "This key must sign its requests")
                .hint("sign with x-grps-signature-v2 (`grps sign a6` shows how), or make a key with `grps keys create --compat`"));
        }
        self.note_use(kid, slot);
        Ok(Some(Caller { id: kid.to_owned(), scopes, strength: Strength::Key }))
    }

    /// The live secrets and scopes of `kid`; none when unknown or revoked.
    ///
    /// # Errors
    /// Those of the store, or of a seal that does not open.
    pub async fn live_secrets(&self, kid: &str) -> Result<(Vec<Secret>, Scopes)> {
        let (secrets, scopes, _) = self.open(kid).await?;
        Ok((secrets, scopes))
    }

    /// Remembers that the secret in `slot` was used; [`Keys::save_uses`] writes it later.
    pub fn note_use(&self, kid: &str, slot: usize) {
        let now = self.clock.now();
        self.used.lock().unwrap_or_else(PoisonError::into_inner).insert((kid.to_owned(), slot), now);
    }

    /// Writes the uses noted since the last call; returns how many.
    ///
    /// # Errors
    /// Those of the store; what was not written is noted again.
    pub async fn save_uses(&self) -> Result<usize> {
        let uses = std::mem::take(&mut *self.used.lock().unwrap_or_else(PoisonError::into_inner));
        let mut saved = 0;
        for ((kid, slot), at) in &uses {
            let done = self.store.transact(|tx| async move {
                let Some(mut key) = tx.get(&KEYS, kid).await? else { return Ok(()) };
                if let Some(last) = key.last_used.get_mut(*slot) {
                    *last = Some(*at);
                    tx.put(&KEYS, kid, &key);
                }
                Ok(())
            });
            if let Err(error) = done.await {
                self.used.lock().unwrap_or_else(PoisonError::into_inner).extend(uses);
                return Err(error);
            }
            saved += 1;
        }
        Ok(saved)
    }

    async fn open(&self, kid: &str) -> Result<(Vec<Secret>, Scopes, Option<Key>)> {
        let stored = if Self::makes(kid) { self.store.get(&KEYS, &kid.to_owned()).await? } else { None };
        let Some(key) = stored.filter(|key| key.revoked_at.is_none()) else {
            return Ok((Vec::new(), Scopes::default(), None));
        };
        let secrets = key.sealed.iter().map(|sealed| self.sealer.open(kid, sealed)).collect::<Result<Vec<_>>>()?;
        let scopes = key.scopes()?;
        Ok((secrets, scopes, Some(key)))
    }

    async fn change(
        &self,
        kid: &str,
        trail: &Trail<'_>,
        verb: &str,
        edit: impl Fn(&mut Key) -> Result<()>,
    ) -> Result<Key> {
        let (edit, id) = (&edit, &kid.to_owned());
        self.store
            .transact(|tx| async move {
                let mut key = tx.get(&KEYS, id).await?.ok_or_else(|| {
                    Error::missing("keys.missing", format!("there is no key {id}")).hint("`grps keys list` shows them")
                })?;
                edit(&mut key)?;
                trail.leave(&tx, verb, id, &key);
                tx.put(&KEYS, id, &key);
                Ok(key)
            })
            .await
    }
}

/// The worker that writes down when keys were last used.
pub struct KeyUses(pub std::sync::Arc<super::gate::Auth>);

/// How late a key's last use may show.
const SAVE_USES_EVERY: Duration = Duration::from_secs(60);

impl Worker for KeyUses {
    fn name(&self) -> &'static str {
        "key-uses"
    }

    fn tick(&mut self) -> BoxFuture<'_, Result<Next>> {
        Box::pin(async {
            self.0.keys().save_uses().await?;
            Ok(Next::After(SAVE_USES_EVERY))
        })
    }
}

/// Who changed a key, for the audit row.
struct Trail<'a> {
    id: Id,
    at: Time,
    actor: Actor,
    request_id: &'a str,
}

impl Trail<'_> {
    fn leave(&self, tx: &Tx, verb: &str, kid: &str, key: &Key) {
        let shown = serde_json::json!({ "name": key.name, "scopes": key.scopes, "compat": key.compat });
        let entry = audit::Entry::new(self.at, &self.actor, self.request_id, verb, format!("key:{kid}"));
        audit::record(tx, self.id, &entry.after(shown));
    }
}

fn fresh(kid: &str) -> Result<Secret> {
    let random = Secret::generate()?;
    Ok(Secret::new(format!("{PREFIX}{kid}_{}", random.expose())))
}
