//! What is known of the live group, kept for a while.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::mapping::{Mapping, Roles};
use crate::base::{Clock, Time};
use crate::domains::policy::PolicyStore;
use crate::remote::Roblox;
use crate::remote::roblox::{Complaint, KeyInfo, Settings, Trouble};

/// How old roles may be for ordinary work.
pub const ROLES_AGE: Duration = Duration::from_secs(300);

/// How old what is known of the key may be: its owner and its scopes change seldom.
pub(super) const KEY_AGE: Duration = Duration::from_secs(86_400);

/// The owner's rank in every group.
const OWNER_RANK: u8 = 255;

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

/// How many members the group has, as last heard. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct GroupSize(Arc<AtomicU64>);

impl GroupSize {
    /// None while it is not known.
    pub fn members(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|members| *members > 0)
    }

    /// Notes what Roblox said.
    pub fn note(&self, members: u64) {
        self.0.store(members, Ordering::Relaxed);
    }
}

/// The live group. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Group {
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
    /// How many times they were to be forgotten.
    forgotten: u64,
    key: Option<(Time, Arc<KeyInfo>)>,
}

impl Group {
    /// `size` is told how many members the group has.
    pub fn new(clock: Clock, access: Option<Access>, policy: Arc<PolicyStore>, size: GroupSize) -> Self {
        Self { clock, access, policy, size, known: Arc::default(), asking: Arc::default() }
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
        let access = self.access.as_ref().ok_or_else(not_configured)?;
        let answers = self.lock().answers;
        let _turn = self.asking.lock().await;
        let (answered, forgotten) = {
            let known = self.lock();
            (known.roles.clone().filter(|_| known.answers != answers), known.forgotten)
        };
        if let Some(roles) = answered {
            // Somebody else's question was answered while we waited for our turn.
            return Ok(roles);
        }
        let roles = Arc::new(self.ask(access).await?);
        self.size.note(roles.group.members);
        let mut known = self.lock();
        known.answers += 1;
        // What was forgotten while the answer was under way may be what it says.
        known.roles = Some(roles.clone()).filter(|_| known.forgotten == forgotten);
        Ok(roles)
    }

    /// The policy in force matched with roles at most `max_age` old.
    ///
    /// # Errors
    /// As [`Group::roles`].
    pub async fn mapping(&self, max_age: Duration) -> Result<Mapping, Trouble> {
        Ok(self.roles(max_age).await?.map(&self.policy.current()))
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
        let access = self.access.as_ref().ok_or_else(not_configured)?;
        let now = self.clock.now();
        let known = self.lock().key.clone();
        if let Some((_, key)) = known.filter(|(at, _)| *at <= now && now.since(*at) < max_age) {
            return Ok(key);
        }
        let key = Arc::new(access.roblox.introspect().await?);
        self.lock().key = Some((now, key.clone()));
        Ok(key)
    }

    fn fresh(&self, max_age: Duration) -> Option<Arc<Roles>> {
        let now = self.clock.now();
        // What was fetched "later" was fetched before a clock was set back: nobody knows how old it is.
        let fresh = |roles: &Arc<Roles>| roles.fetched_at <= now && now.since(roles.fetched_at) < max_age;
        self.lock().roles.clone().filter(fresh)
    }

    async fn ask(&self, access: &Access) -> Result<Roles, Trouble> {
        let fetched_at = self.clock.now();
        let group = access.roblox.group(access.group).await?;
        let mut list = access.roblox.roles(access.group).await?;
        list.sort_by_key(|role| role.rank);
        let mut roles = Roles { group, list, key_owner_rank: None, fetched_at };
        roles.key_owner_rank = self.key_owner_rank(access, &roles).await;
        Ok(roles)
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

fn not_configured() -> Trouble {
    let message = "ROBLOX_GROUP_ID or ROBLOX_OPEN_CLOUD_API_KEY is not set".to_owned();
    Trouble::Missing { setting: "ROBLOX_GROUP_ID", complaint: Complaint { code: None, message } }
}
