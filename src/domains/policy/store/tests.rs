//! Hot reload: what a person or a script may do to the files while the server runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::*;
use crate::domains::policy::{SHIPPED, write_shipped};

struct House {
    dir: TempDir,
    clock: Clock,
    store: PolicyStore,
}

fn house() -> House {
    let dir = tempfile::tempdir().unwrap();
    write_shipped(dir.path()).unwrap();
    let clock = Clock::fake(Time(1_740_852_944_000));
    let store = PolicyStore::open(Search::only(dir.path()), clock.clone()).unwrap();
    House { dir, clock, store }
}

impl House {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn edit(&self, name: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(name)).unwrap();
        assert!(text.contains(from));
        fs::write(self.path(name), text.replace(from, to)).unwrap();
    }

    /// Two ticks: one to notice, one to take.
    fn settle(&self) -> Reload {
        self.clock.advance(Duration::from_millis(500));
        assert_eq!(self.store.reload_if_changed(), Reload::Settling);
        self.store.reload_if_changed()
    }

    fn corporal(&self) -> i64 {
        self.store.current().ladder().rank("Storm Corporal I").unwrap().required_points
    }
}

#[test]
fn an_edit_takes_effect_on_the_second_tick() {
    let house = house();
    let before = house.store.current().version().clone();
    assert_eq!(house.store.reload_if_changed(), Reload::Unchanged);
    house.edit("policy.ranks.json", "750", "800");
    let Reload::Swapped { from, to } = house.settle() else { panic!("not swapped") };
    assert_eq!((&from, &to), (&before, house.store.current().version()));
    assert_ne!(from, to);
    assert_eq!(house.corporal(), 800);
    let status = house.store.status();
    assert_eq!((status.version, status.loaded_at, status.built_in), (to, house.clock.now(), false));
    assert_eq!(status.files.len(), 4);
    assert_eq!(house.store.reload_if_changed(), Reload::Unchanged);
}

#[test]
fn a_half_written_file_keeps_the_old_set_and_is_reported_once() {
    let house = house();
    let whole = fs::read_to_string(house.path("policy.ranks.json")).unwrap();
    for cut in [0, 1, whole.len() / 2, whole.len() - 3] {
        fs::write(house.path("policy.ranks.json"), &whole[..cut]).unwrap();
        let Reload::Refused(refusal) = house.settle() else { panic!("took {cut} bytes") };
        assert!(refusal.message.contains("ends in the middle"), "{}", refusal.message);
        assert_eq!(house.store.reload_if_changed(), Reload::Unchanged);
        assert_eq!(house.store.status().last_error.as_ref(), Some(&refusal));
        assert_eq!(house.corporal(), 750);
    }
    fs::write(house.path("policy.ranks.json"), &whole).unwrap();
    assert!(matches!(house.settle(), Reload::Swapped { from, to } if from == to));
    assert_eq!(house.store.status().last_error, None);
}

#[test]
fn a_set_is_taken_whole_or_not_at_all() {
    let house = house();
    house.edit("policy.ranks.json", "750", "800");
    house.edit("policy.points.json", "500", "-500");
    assert!(matches!(house.settle(), Reload::Refused(_)));
    assert_eq!(house.corporal(), 750, "the good half is not taken either");
    assert_eq!(house.store.current().points().max_gain_per_snapshot, Some(500));
    house.edit("policy.points.json", "-500", "600");
    assert!(matches!(house.settle(), Reload::Swapped { .. }));
    assert_eq!((house.corporal(), house.store.current().points().max_gain_per_snapshot), (800, Some(600)));
}

#[test]
fn files_that_keep_changing_are_left_to_settle() {
    let house = house();
    for points in 800..805 {
        house.edit("policy.ranks.json", &house.text_points(), &points.to_string());
        assert_eq!(house.store.reload_if_changed(), Reload::Settling);
        assert_eq!(house.corporal(), 750);
    }
    assert!(matches!(house.store.reload_if_changed(), Reload::Swapped { .. }));
    assert_eq!(house.corporal(), 804);
}

impl House {
    /// What Storm Corporal I asks for in the file right now.
    fn text_points(&self) -> String {
        let text = fs::read_to_string(self.path("policy.ranks.json")).unwrap();
        let from = text.find("Storm Corporal I").unwrap();
        text[from..].chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect()
    }
}

#[test]
fn a_renamed_replacement_with_the_same_size_and_time_is_noticed() {
    let house = house();
    let path = house.path("policy.ranks.json");
    let about = fs::metadata(&path).unwrap();
    let text = fs::read_to_string(&path).unwrap().replace("750", "760");
    let side = house.path(".policy.ranks.json.swp");
    fs::write(&side, text).unwrap();
    let written: SystemTime = about.modified().unwrap();
    fs::File::options().write(true).open(&side).unwrap().set_modified(written).unwrap();
    fs::rename(&side, &path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), about.len());
    assert!(matches!(house.settle(), Reload::Swapped { .. }));
    assert_eq!(house.corporal(), 760);
}

#[test]
fn the_version_changes_with_content_and_with_nothing_else() {
    let house = house();
    let version = || house.store.current().version().clone();
    let first = version();
    house.edit("policy.ranks.json", "\"mode\": \"auto\",\n", "");
    house.edit("permissions.json", "\"version\": 1,", "  \"version\"\n:\n1 ,");
    house.edit("policy.points.json", "\"$schema\": \"./schema/policy.points.schema.json\",", "");
    assert!(matches!(house.settle(), Reload::Swapped { .. }));
    assert_eq!(version(), first, "spaces, defaults and $schema are not content");
    fs::write(house.path("backend.integrations.json"), r#"{ "features": { "mirrorDatastore": true } }"#).unwrap();
    assert!(matches!(house.settle(), Reload::Swapped { .. }));
    assert!(house.store.current().integrations().features.mirror_datastore);
    assert_eq!(version(), first, "integrations hold no rules");
    let mut seen = vec![first];
    for (file, from, to) in [
        ("policy.ranks.json", "8000", "8001"),
        ("permissions.json", "\"protectedUserIds\": []", "\"protectedUserIds\": [1]"),
        ("policy.punishments.json", "\"hours\": 24", "\"hours\": 25"),
        ("policy.points.json", "60", "61"),
    ] {
        house.edit(file, from, to);
        assert!(matches!(house.settle(), Reload::Swapped { .. }));
        assert!(!seen.contains(&version()), "{file}");
        seen.push(version());
    }
    assert!(seen.iter().all(|version| version.len() == 16 && version.bytes().all(|b| b.is_ascii_hexdigit())));
}

#[test]
fn a_ladder_that_disappears_keeps_the_set_even_with_another_directory_at_hand() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for dir in [&first, &second] {
        write_shipped(dir.path()).unwrap();
    }
    let other = SHIPPED[0].1.replace("750", "700");
    fs::write(second.path().join("policy.ranks.json"), other).unwrap();
    let search = Search::all(vec![first.path().into(), second.path().into()]);
    let store = PolicyStore::open(search, Clock::fake(Time(0))).unwrap();
    fs::remove_file(first.path().join("policy.ranks.json")).unwrap();
    assert_eq!(store.reload_if_changed(), Reload::Settling);
    let Reload::Refused(refusal) = store.reload_if_changed() else { panic!("another set took over") };
    assert!(refusal.message.contains("policy.ranks_missing"), "{}", refusal.message);
    assert_eq!(store.current().ladder().rank("Storm Corporal I").unwrap().required_points, 750);
    assert_eq!(store.reload_if_changed(), Reload::Unchanged);
}

#[test]
fn without_a_directory_the_built_in_set_rules_until_one_appears() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("policy");
    let store = PolicyStore::open(Search::only(&missing), Clock::fake(Time(0))).unwrap();
    assert!(store.status().built_in);
    assert_eq!(store.reload_if_changed(), Reload::Unchanged);
    write_shipped(&missing).unwrap();
    let ranks = missing.join("policy.ranks.json");
    fs::write(&ranks, SHIPPED[0].1.replace("750", "751")).unwrap();
    assert_eq!(store.reload_if_changed(), Reload::Settling);
    assert!(matches!(store.reload_if_changed(), Reload::Swapped { .. }));
    assert!(!store.status().built_in && store.status().changed_at.is_some());
}

#[test]
fn a_start_with_a_broken_or_empty_directory_is_refused() {
    let open = |dir: &Path| PolicyStore::open(Search::only(dir), Clock::fake(Time(0))).err().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let error = open(dir.path());
    assert_eq!(error.code(), "policy.ranks_missing");
    assert!(error.hint_text().unwrap().contains("POLICY_DIR"));
    let text = "{ \"version\": 1,\n  \"rank\": [] }";
    fs::write(dir.path().join("policy.ranks.json"), text).unwrap();
    let error = open(dir.path());
    assert_eq!(error.code(), "policy.key_unknown");
    assert!(error.detail().ends_with("policy.ranks.json:2: unknown key \"rank\""), "{}", error.detail());
}

#[test]
fn a_policy_in_hand_outlives_the_swap() {
    let house = house();
    let held = house.store.current();
    house.edit("policy.ranks.json", "750", "800");
    house.settle();
    assert_eq!(held.ladder().rank("Storm Corporal I").unwrap().required_points, 750);
    assert!(!Arc::ptr_eq(&held, &house.store.current()));
}
