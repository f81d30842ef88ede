//! What is known of the live group, kept for a while.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;

use super::keys::KeyFault;
use super::mapping::{Mapping, OWNER_RANK, Roles};
use super::tables::{Counted, GROUP_SIZES};
use crate::base::metrics::Metrics;
use crate::base::{Clock, Error, Failing, Result as Done, Time};
use crate::domains::policy::{GroupSize, Policy, PolicyStore};
use crate::remote::Roblox;
use crate::remote::roblox::{Complaint, Cure, GroupInfo, KeyInfo, MAX_PAGES, Role, Settings, Trouble};
use crate::store::Store;

/// How old roles may be for ordinary work.
pub const ROLES_AGE: Duration = Duration::from_secs(300);

/// How old what is known of the key may be: its owner and its scopes change seldom.
pub(super) const KEY_AGE: Duration = Duration::from_secs(86_400);

/// How long pages of a list of roles wait for the rest: with a small share of Roblox's limits a long list takes minutes.
const PAGES_AGE: Duration = Duration::from_secs(600);

/// How long a failed question answers those who waited for it: each would wait its own time-out otherwise, one after the other.
const FAILURE_AGE: Duration = Duration::from_secs(5);

/// What a call about the group needs.
#[derive(Clone)]
pub struct Access {
    pub roblox: Roblox,
    /// `ROBLOX_GROUP_ID`.
    pub group: u64,
    /// `ROBLOX_UNIVERSE_ID`.
    pub universe: Option<u64>,
}

impl Access {
    /// None while `ROBLOX_GROUP_ID` or the key is missing.
    pub fn new(roblox: Option<&Roblox>, settings: Option<&Settings>) -> Option<Self> {
        let (roblox, settings) = roblox.zip(settings)?;
        Some(Self { roblox: roblox.clone(), group: settings.group?, universe: settings.universe })
    }
}

#[derive(Clone)]
pub(super) struct Meters {
    pub key_days: Gauge,
}

/// The live group. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Group {
    pub(super) meters: Meters,
    store: Store,
    pub(super) clock: Clock,
    access: Option<Access>,
    policy: Arc<PolicyStore>,
    size: GroupSize,
    known: Arc<Mutex<Known>>,
    /// Held while asking: whoever comes meanwhile waits for the answer instead of asking too.
    asking: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct Known {
    roles: Option<Arc<Roles>>,
    /// How many times roles were fetched.
    answers: u64,
    /// What has come so far of a list of roles.
    pages: Option<Pages>,
    /// How many questions failed, and how the last one did.
    failures: u64,
    failed: Option<(Time, Trouble)>,
    /// How many times they were to be forgotten.
    forgotten: u64,
    /// Why the group could not be read last time.
    failing: Option<Failing>,
    key: Option<(Time, Arc<KeyInfo>)>,
}

/// A group with the first pages of its roles.
#[derive(Clone)]
struct Pages {
    group: GroupInfo,
    list: Vec<Role>,
    count: usize,
    /// What asks for the next page; none before the first and after the last.
    next: Option<String>,
    began: Time,
    /// As [`Known::forgotten`] was then.
    forgotten: u64,
}

impl Group {
    /// The group, and what it tells of its size: until it is read, what it was when that was last done.
    ///
    /// # Errors
    /// Those of reading the store.
    pub async fn open(
        store: Store,
        clock: Clock,
        access: Option<Access>,
        policy: Arc<PolicyStore>,
        metrics: &Metrics,
    ) -> Done<(Self, GroupSize)> {
        let days = "Days until the Open Cloud key expires; -1 while that is not known, and for a key that does not";
        let meters = Meters { key_days: metrics.register("open_cloud_key_days", days, Gauge::default()) };
        meters.key_days.set(-1);
        let size = GroupSize::default();
        if let Some(access) = &access
            && let Some(counted) = store.get(&GROUP_SIZES, &access.group).await?
        {
            size.set(counted.members);
        }
        let (known, asking) = (Arc::default(), Arc::default());
        Ok((Self { meters, store, clock, access, policy, size: size.clone(), known, asking }, size))
    }

    /// None while `ROBLOX_GROUP_ID` or the key is missing.
    pub fn access(&self) -> Option<Access> {
        self.access.clone()
    }

    /// The group's roles, at most `max_age` old. Several who ask at the same time cost one question.
    ///
    /// # Errors
    /// [`Trouble`]; `Missing` without a group or a key.
    pub async fn roles(&self, max_age: Duration) -> Result<Arc<Roles>, Trouble> {
        if let Some(roles) = self.fresh(max_age) {
            return Ok(roles);
        }
        let access = self.access.as_ref().ok_or_else(no_group)?;
        let before = self.asked();
        let _turn = self.asking.lock().await;
        if let Some(answer) = self.answered(before) {
            return answer;
        }
        let forgotten = self.lock().forgotten;
        let roles = match self.ask(access).await {
            Ok(roles) => Arc::new(roles),
            Err(trouble) => {
                let mut known = self.lock();
                known.failures += 1;
                known.failed = Some((self.clock.now(), trouble.clone()));
                return Err(trouble);
            }
        };
        {
            let mut known = self.lock();
            known.answers += 1;
            // What was forgotten while the answer was under way may be what it says.
            known.roles = Some(roles.clone()).filter(|_| known.forgotten == forgotten);
        }
        self.count(access.group, roles.group.members).await;
        Ok(roles)
    }

    /// How many members there are now. Written down: what goes by shares of the group must not go by the players stored after a restart,
    /// whom a game server's key can make up, while Roblox is away.
    async fn count(&self, group: u64, members: u64) {
        if members == 0 {
            return;
        }
        self.size.set(members);
        let counted = &Counted { members };
        let write = self.store.transact(|tx| async move {
            if tx.get(&GROUP_SIZES, &group).await?.as_ref() != Some(counted) {
                tx.put(&GROUP_SIZES, &group, counted);
            }
            Ok(())
        });
        if let Err(error) = write.await {
            tracing::warn!(?error, "how many members the group has is not written down");
        }
    }

    /// How many questions were answered, and how many failed.
    fn asked(&self) -> (u64, u64) {
        let known = self.lock();
        (known.answers, known.failures)
    }

    /// What somebody else's question came to while we waited for our turn.
    fn answered(&self, (answers, failures): (u64, u64)) -> Option<Result<Arc<Roles>, Trouble>> {
        let now = self.clock.now();
        let known = self.lock();
        if let Some(roles) = known.roles.clone().filter(|_| known.answers != answers) {
            return Some(Ok(roles));
        }
        let lately = |(at, _): &&(Time, Trouble)| *at <= now && now.since(*at) < FAILURE_AGE;
        let failed = known.failed.as_ref().filter(|_| known.failures != failures).filter(lately);
        failed.map(|(_, trouble)| Err(trouble.clone()))
    }

    /// Makes the next who wants roles ask for them anew.
    pub fn forget(&self) {
        let mut known = self.lock();
        known.forgotten += 1;
        known.roles = None;
    }

    /// What is known of the key, at most `max_age` old.
    ///
    /// # Errors
    /// As [`Group::roles`].
    pub async fn key(&self, max_age: Duration) -> Result<Arc<KeyInfo>, Trouble> {
        let access = self.access.as_ref().ok_or_else(no_group)?;
        let now = self.clock.now();
        let known = self.lock().key.clone();
        if let Some((_, key)) = known.filter(|(at, _)| *at <= now && now.since(*at) < max_age) {
            return Ok(key);
        }
        let key = Arc::new(access.roblox.introspect().await?);
        let before = self.lock().key.replace((now, key.clone()));
        let faulty = |key: &KeyInfo| KeyFault::of(key, access.group, now).is_some();
        if faulty(&key) && before.is_none_or(|(_, before)| !faulty(&before)) {
            // The watch has to see when it is mended.
            access.roblox.standing().news.notify_one();
        }
        Ok(key)
    }

    /// What is wrong, as far as is known without asking: the key, as introspection or the answer to any call tells, the last look at the
    /// group, or ranks that have no role.
    pub fn failing(&self) -> Option<Failing> {
        let access = self.access.as_ref()?;
        let (failing, key, roles) = {
            let known = self.lock();
            (known.failing.clone(), known.key.clone(), known.roles.clone())
        };
        let now = self.clock.now();
        // Who is dead is refused, and introspection has the better words for it; any other fault is the smaller one.
        let dead = key.as_ref().is_some_and(|(_, key)| KeyFault::is_dead(key, now));
        let refused = access.roblox.standing().refused().filter(|_| !dead).map(|trouble| Failing::from(&trouble));
        let key = key.and_then(|(_, key)| KeyFault::of(&key, access.group, now));
        let key = key.map(|fault| Failing { what: fault.to_string(), hint: Some(fault.fix()) });
        refused.or(key).or(failing).or_else(|| mismatch(&roles?.map(&self.policy.current())))
    }

    /// Notes how the last look at the group went; whether that is news.
    pub(super) fn note(&self, failing: Option<Failing>) -> bool {
        let mut known = self.lock();
        std::mem::replace(&mut known.failing, failing.clone()) != failing
    }

    /// The policy in force, which the roles are matched with.
    pub fn policy(&self) -> Arc<Policy> {
        self.policy.current()
    }

    fn fresh(&self, max_age: Duration) -> Option<Arc<Roles>> {
        let now = self.clock.now();
        // What was fetched "later" was fetched before a clock was set back: nobody knows how old it is.
        let fresh = |roles: &Arc<Roles>| roles.fetched_at <= now && now.since(roles.fetched_at) < max_age;
        self.lock().roles.clone().filter(fresh)
    }

    /// Asks for the group and its roles, from the page on where the last attempt was held up.
    async fn ask(&self, access: &Access) -> Result<Roles, Trouble> {
        let mut pages = match self.pages() {
            Some(pages) => pages,
            None => self.begin(access).await?,
        };
        loop {
            let listed = match access.roblox.roles_page(access.group, pages.next.as_deref()).await {
                Ok(listed) => listed,
                Err(trouble) => {
                    // What will not pass by itself may be the page's fault: the next attempt begins anew.
                    if trouble.cure() != Cure::Time {
                        self.lock().pages = None;
                    }
                    return Err(trouble);
                }
            };
            pages.list.extend(listed.items);
            (pages.next, pages.count) = (listed.next, pages.count + 1);
            let over = pages.next.is_none() || pages.count >= MAX_PAGES;
            // Noted page by page: whoever asks may stop waiting at any time.
            self.lock().pages = Some(pages.clone()).filter(|_| !over);
            if over {
                break;
            }
        }
        if pages.next.is_some() {
            return Err(Trouble::Unreadable("a list of roles that ends"));
        }
        let Pages { group, mut list, began, .. } = pages;
        // A role that was made or deleted while the list was read moves the others from page to page: what was said last of each counts.
        let mut met = HashSet::new();
        list.reverse();
        list.retain(|role| met.insert(role.id));
        list.sort_by_key(|role| (role.rank, role.id));
        let mut roles = Roles { group, list, key_owner_rank: None, fetched_at: began };
        roles.key_owner_rank = self.key_owner_rank(access, &roles).await;
        Ok(roles)
    }

    /// The pages that wait for the rest, if they can still be used.
    fn pages(&self) -> Option<Pages> {
        let now = self.clock.now();
        let mut known = self.lock();
        let forgotten = known.forgotten;
        let fresh =
            |pages: &Pages| pages.forgotten == forgotten && pages.began <= now && now.since(pages.began) < PAGES_AGE;
        known.pages = known.pages.take().filter(fresh);
        known.pages.clone()
    }

    async fn begin(&self, access: &Access) -> Result<Pages, Trouble> {
        let (began, forgotten) = (self.clock.now(), self.lock().forgotten);
        let group = access.roblox.group(access.group).await?;
        let pages = Pages { group, list: Vec::new(), count: 0, next: None, began, forgotten };
        self.lock().pages = Some(pages.clone());
        Ok(pages)
    }

    /// None when the key does not say whose it is, or that could not be found out: then Roblox's refusal will tell.
    async fn key_owner_rank(&self, access: &Access, roles: &Roles) -> Option<u8> {
        let owner = self.key(KEY_AGE).await.ok()?.owner?;
        if roles.group.owner == Some(owner) {
            return Some(OWNER_RANK);
        }
        let held = access.roblox.membership(access.group, owner).await.ok()?.map(|member| member.roles);
        let ranks = held.into_iter().flatten().filter_map(|role| roles.role(role)).map(|role| role.rank);
        Some(ranks.max().unwrap_or(0))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ranks of the ladder and punishment roles that do not match, in a sentence.
fn mismatch(mapping: &Mapping) -> Option<Failing> {
    let problems = mapping.problems();
    let first = problems.first()?;
    let what = match problems.len() {
        1 => format!("{}: {}", first.name, first.trouble),
        count => format!(
            "{count} ranks or punishment roles do not match the group, such as {}: {}",
            first.name, first.trouble
        ),
    };
    Some(Failing { what, hint: Some(first.trouble.fix().to_owned()) })
}

/// As a caller of ours is told.
pub fn refused(trouble: &Trouble) -> Error {
    if *trouble == no_group() {
        return not_configured();
    }
    let error = Error::remote("roblox.failed", trouble.what());
    let error = match trouble.hint() {
        Some(hint) => error.hint(hint),
        None if trouble.cure() == Cure::Time => {
            error.hint("try again in a minute; status.roblox.com tells whether Roblox is well")
        }
        None => error,
    };
    match trouble.wait() {
        Some(wait) => error.retry_after(wait),
        None => error,
    }
}

/// What a caller is told who wants something of a group where there is none.
pub fn not_configured() -> Error {
    let detail = "ROBLOX_GROUP_ID and ROBLOX_OPEN_CLOUD_API_KEY are needed for this";
    Error::not_configured("roblox.not_configured", detail)
        .hint("set what is missing in the environment or in .env, and restart; `grps config print` shows what is set")
}

fn no_group() -> Trouble {
    let message = "ROBLOX_GROUP_ID or ROBLOX_OPEN_CLOUD_API_KEY is not set".to_owned();
    Trouble::Missing { setting: "ROBLOX_GROUP_ID", complaint: Complaint { code: None, message } }
}
