//! What the server answered about decisions, for people.

use serde_json::Value;

use crate::cli::session::{number, text};

/// The part of a reason that a list shows, in characters.
const REASON_SHOWN: usize = 60;

pub fn list(answer: &Value) -> String {
    let decisions = answer["decisions"].as_array().map_or(&[][..], Vec::as_slice);
    let mut out = format!("{:<16} {:<20} {:<8} {:>12} {:<32} {}\n", "id", "made", "status", "player", "what", "why");
    for one in decisions {
        let why = cut(why(one));
        let [id, at, status] = ["id", "at", "status"].map(|name| text(&one[name]));
        out += &format!("{id:<16} {at:<20} {status:<8} {:>12} {:<32} {why}\n", one["userId"].to_string(), what(one));
    }
    if decisions.is_empty() {
        out = "No such decisions.\n".to_owned();
    }
    if let Some(next) = answer["nextCursor"].as_str() {
        out += &format!("\nmore with --cursor {next}");
    }
    out
}

/// What keeps it from taking effect, else why it was made.
fn why(one: &Value) -> &str {
    let told = [&one["failure"], &one["blockedReason"], &one["effect"]["waiting"], &one["reason"]];
    told.into_iter().find_map(Value::as_str).unwrap_or_default()
}

/// As much as a list shows.
fn cut(text: &str) -> String {
    match text.char_indices().nth(REASON_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn what(one: &Value) -> String {
    let lifts = if one["lifts"] == true { "lift " } else { "" };
    let onto = one["targetRank"].as_str().map(|rank| format!(" to {rank}")).unwrap_or_default();
    format!("{lifts}{}{onto}", text(&one["action"]))
}

pub fn show(one: &Value) -> String {
    let shown = |(name, value): (&String, &Value)| {
        format!("{name:<16} {}\n", value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    };
    let apart = |name: &str| ["explain", "effect"].contains(&name);
    let known = one.as_object().into_iter().flatten().filter(|(name, value)| !apart(name) && !value.is_null());
    let mut out: String = known.map(shown).collect();
    for rule in one["explain"].as_array().into_iter().flatten() {
        let passed = if rule["passed"] == true { "ok" } else { "--" };
        out += &format!("  [{passed}] {:<16} {}\n", text(&rule["rule"]), text(&rule["text"]));
    }
    for step in one["effect"]["steps"].as_array().into_iter().flatten() {
        out += &format!("  {} {:<18} {}\n", text(&step["at"]), text(&step["step"]), text(&step["text"]));
    }
    for name in ["waiting", "hint"] {
        out += &one["effect"][name].as_str().map(|said| format!("{name:<16} {said}\n")).unwrap_or_default();
    }
    let next = match one["status"].as_str() {
        Some("proposed") => "`grps decisions approve ID` or `reject ID` settles it",
        Some("failed") => "mend what it says, then `grps decisions retry ID`",
        _ => return out,
    };
    out += &format!("{:<16} {}\n", "next", next.replace("ID", text(&one["id"])));
    out
}

pub fn results(answer: &Value) -> String {
    let one = |one: &Value| match one["error"]["detail"].as_str() {
        Some(why) => format!("{}  refused: {why}\n", text(&one["id"])),
        None => format!("{}  {}\n", text(&one["id"]), text(&one["decision"]["status"])),
    };
    answer["results"].as_array().into_iter().flatten().map(one).collect()
}

pub fn reverted(done: bool, answer: &Value) -> String {
    let mut out = String::new();
    for one in answer["items"].as_array().into_iter().flatten() {
        let side = |name: &str| one[name].as_str().unwrap_or("none").to_owned();
        let change = match text(&one["outcome"]) {
            "restore" => format!("{} -> {}", side("from"), side("to")),
            "cancel" => "does not take effect".to_owned(),
            _ => text(&one["reason"]).to_owned(),
        };
        let (user, outcome, aspect) = (one["userId"].to_string(), text(&one["outcome"]), text(&one["aspect"]));
        out += &format!("{user:>12} {outcome:<8} {aspect:<10} {change}\n");
    }
    let count = |name: &str| number(&answer[name]);
    let (restored, cancelled, waiting) = (count("restored"), count("cancelled"), count("waiting"));
    let verb = if done { "are" } else { "would be" };
    out += &format!(
        "{restored} {verb} restored, {cancelled} {verb} cancelled, {waiting} wait, {} stay.",
        count("skipped")
    );
    if !done && restored + cancelled > 0 {
        out += " Nothing has changed yet: add --yes to do it.";
    } else if waiting > 0 {
        out += " Run it again once what is queued has taken effect.";
    }
    out
}

pub fn breaker(answer: &Value) -> String {
    let state = match answer["trip"]["text"].as_str() {
        Some(why) => format!("open since {}: {why}", text(&answer["trip"]["at"])),
        None => "closed".to_owned(),
    };
    let fill = |name: &str| format!("{name:<7} {} of {}\n", answer[name]["count"], answer[name]["most"]);
    format!("{state}\n{}{}{}", fill("minute"), fill("hour"), fill("share"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_says_what_is_in_the_way() {
        let row = |extra: Value| {
            let mut one =
                json!({ "id": "1", "userId": 7, "action": "PROMOTE", "reason": "Eligible", "status": "queued" });
            extra.as_object().into_iter().flatten().for_each(|(name, value)| one[name] = value.clone());
            list(&json!({ "decisions": [one] }))
        };
        assert!(row(json!({})).ends_with("Eligible\n"));
        assert!(row(json!({ "effect": { "waiting": "the key" } })).ends_with("the key\n"));
        assert!(row(json!({ "failure": "no role" })).ends_with("no role\n"));
        assert!(row(json!({ "failure": "é".repeat(90) })).ends_with(&format!(" {}…\n", "é".repeat(REASON_SHOWN))));
    }

    #[test]
    fn what_waits_for_a_person_names_the_next_command() {
        let shown = |status: &str| show(&json!({ "id": "1a", "status": status }));
        assert!(shown("failed").contains("grps decisions retry 1a"), "{}", shown("failed"));
        assert!(shown("proposed").contains("grps decisions approve 1a"));
        assert!(!shown("applied").contains("next"));
    }
}
