//! What happens, step by step, with the command that does the same.

use std::time::Duration;

use poem::http::Method;
use serde_json::{Value, json};

use super::group::{AFTER, BEFORE, FIRST, Group, MEMBERS};
use super::stage::Stage;
use crate::base::{Clock, Result};
use crate::cli::decisions::{When, Which, reject};
use crate::cli::write_out;

/// Members who earn a promotion honestly.
const EARNED: u64 = 12;

/// Promotions that a stolen key asks for.
const STOLEN: u64 = 200;

/// How far back what went wrong is looked for.
const BACK: Duration = Duration::from_secs(600);

/// Tells the story; whether the group came out of it as it should.
///
/// # Errors
/// Those of the server.
pub async fn tell(stage: &Stage, group: &Group) -> Result<bool> {
    say(&format!("A group of {MEMBERS} members, a server on {}, and no Roblox but a fake of it.", stage.base()));
    earned(stage, group).await?;
    stolen(stage, group).await?;
    preview(stage).await?;
    revert(stage, group).await?;
    reject(stage).await?;
    close(stage).await?;
    let (before, after) = (group.holders(BEFORE), group.holders(AFTER));
    say(&format!("\nIn the group now: {before} hold {BEFORE}, {after} hold {AFTER}."));
    Ok(before as u64 == MEMBERS && after == 0)
}

async fn earned(stage: &Stage, group: &Group) -> Result<()> {
    say(&format!("\n1. A game server reports {EARNED} members with the points for {AFTER}.\n"));
    say(&format!(
        "   curl {}/roblox/events/player-activity -H 'x-grps-evaluate: true' -H 'x-grps-apply: true' …\n",
        stage.base()
    ));
    for user in FIRST..FIRST + EARNED {
        let was = group.roles_of(user).join(" + ");
        let decision = stage.snapshot(&snapshot(user, 760)).await?;
        let is = group.roles_of(user).join(" + ");
        say(&format!("   {} {:<8} on Roblox: {was}  ->  {is}", name(user), words(&decision["status"])));
    }
    Ok(())
}

async fn stolen(stage: &Stage, group: &Group) -> Result<()> {
    say(&format!("\n2. Somebody stole a game server's key and asks for {STOLEN} promotions.\n"));
    let (mut counts, mut why) = (std::collections::BTreeMap::<String, usize>::new(), String::new());
    for user in FIRST + EARNED..FIRST + EARNED + STOLEN {
        let decision = stage.snapshot(&snapshot(user, 7_900)).await?;
        *counts.entry(words(&decision["status"]).to_owned()).or_default() += 1;
        if let Some(blocked) = decision["blockedReason"].as_str() {
            why = blocked.to_owned();
        }
    }
    for (status, count) in counts {
        say(&format!("   {count:>3} {status}"));
    }
    say(&format!("   {why}"));
    say(&format!("   On Roblox {} members hold {AFTER}; everybody else is untouched.", group.holders(AFTER)));
    Ok(())
}

async fn preview(stage: &Stage) -> Result<()> {
    say("\n3. What would be taken back of the last ten minutes?\n\n   grps decisions revert --since 10m\n");
    let found = stage.ask(Method::POST, "/automation/revert", Some(&json!({ "since": ago(), "dryRun": true }))).await?;
    let rows = found["items"].as_array().map_or(&[][..], Vec::as_slice);
    for row in rows.iter().take(3) {
        let user = row["userId"].as_u64().unwrap_or_default();
        say(&format!("   {}: {} -> {}", name(user), words(&row["from"]), words(&row["to"])));
    }
    say(&format!("   … {} in all; nothing has happened yet", rows.len()));
    Ok(())
}

async fn revert(stage: &Stage, group: &Group) -> Result<()> {
    say("\n4. Take it back.\n\n   grps decisions revert --since 10m --yes\n");
    let body = json!({ "since": ago(), "dryRun": false });
    stage.ask(Method::POST, "/automation/revert", Some(&body)).await?;
    for _ in 0..100 {
        if group.holders(AFTER) == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    say(&format!("   {} members hold {BEFORE} again.", group.holders(BEFORE)));
    Ok(())
}

/// What the breaker kept back is proposed, and nobody should say yes to it by mistake.
async fn reject(stage: &Stage) -> Result<()> {
    say("\n5. Turn down what still waits for somebody to say yes.\n");
    say("   grps decisions reject --since 10m --reason \"stolen key\"\n");
    let recent = Which { since: Some(When::Ago(BACK)), ..Which::default() };
    let done = reject::all(&stage.session().await?, &recent, "stolen key").await?;
    say(&format!("   {} are rejected.", done.rejected));
    Ok(())
}

async fn close(stage: &Stage) -> Result<()> {
    say(
        "\n6. The key is replaced; automation may go on.\n\n   grps decisions breaker --close --reason \"key replaced\"\n",
    );
    let body = json!({ "open": false, "reason": "key replaced" });
    stage.ask(Method::POST, "/automation/breaker", Some(&body)).await?;
    Ok(())
}

fn snapshot(user: u64, points: u64) -> Value {
    json!({ "userId": user, "username": name(user), "rank": BEFORE, "rankPoints": points })
}

fn name(user: u64) -> String {
    format!("Player{user}")
}

/// Ten minutes ago.
fn ago() -> String {
    (Clock::system().now() - BACK).to_string()
}

fn words(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

fn say(text: &str) {
    write_out(&format!("{text}\n"));
}
