//! Who may open a socket: keys in headers and queries, tickets, strict mode; and what the refused are told.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{KEY, KEY_ESCAPED, Live, live};
use crate::harness::{Setup, TestApp};

#[tokio::test]
async fn who_may_not_is_told_so_before_the_upgrade() {
    let live = Live::new().await;
    let none = live.refused("/ws", &[], 401, "auth.credentials_missing").await;
    let hint = none["hint"].as_str().unwrap();
    assert!(["X-API-KEY", "api_key", "ticket"].iter().all(|way| hint.contains(way)), "{none}");
    live.refused("/ws", &[("x-api-key", "hunter2")], 401, "auth.gateway_key_invalid").await;
    live.refused("/ws?api_key=hunter2", &[], 401, "auth.gateway_key_invalid").await;
    live.refused("/ws?api_key=", &[], 401, "auth.gateway_key_invalid").await;
    live.refused("/ws?API_KEY=hunter2", &[], 401, "auth.credentials_missing").await;
    live.refused("/ws?ticket=hunter2", &[], 401, "auth.ticket_invalid").await;
    let mixed = format!("/ws?api_key={KEY_ESCAPED}");
    live.refused(&mixed, &[("x-api-key", "hunter2")], 401, "auth.gateway_key_invalid").await;
    let inbound = live.app.inbound_key();
    live.refused("/ws", &[("x-grps-api-key", &inbound)], 403, "auth.scope_missing").await;
    live.refused("/ws", &[("x-grps-signature", "00")], 401, "auth.scheme_not_accepted").await;
    let key = ("x-api-key", KEY);
    live.refused("/ws", &[key, ("origin", "https://evil.example")], 403, "cors.origin_not_allowed").await;
    assert!(live.try_open("/ws", &[key, ("origin", "http://localhost:3000")]).await.is_ok());
    let wrong =
        ["mode=steal", "queue=a%20b", "after=xyz", "credit=0&mode=work", "credit=101", "lease=3601", "envelope=x"];
    for query in wrong {
        let (status, body) = live.try_open(&format!("/ws?{query}"), &[key]).await.err().expect(query);
        assert_eq!(status, 422, "{query}: {body}");
    }
    // All three headers of the gateway do no harm, whatever the other two say.
    assert!(live.try_open("/ws", &[key, ("x-timestamp", "1"), ("x-signature", "00")]).await.is_ok());
}

#[tokio::test]
async fn what_is_no_handshake_gets_a_problem() {
    let live = Live::new().await;
    for method in ["GET", "HEAD"] {
        let answer = live.app.request(method, "/ws").header("x-api-key", KEY).expect(426).await;
        assert_eq!((answer.header("upgrade"), answer.header("sec-websocket-version")), ("websocket", "13"));
    }
    live.app.get("/ws").refused(401, "auth.credentials_missing").await;
    live.app.get("/ws").header("x-api-key", KEY).refused(426, "request.upgrade_required").await;
    live.app.request("POST", "/ws").header("x-api-key", KEY).refused(405, "request.method_not_allowed").await;
}

#[tokio::test]
async fn a_ticket_opens_one_socket_and_not_for_long() {
    let live = Live::new().await;
    let ticket = live.ticket().await;
    let mut client = live.try_open(&format!("/ws?ticket={ticket}"), &[]).await.ok().unwrap();
    live.put("default", [r#"{"n":1}"#.to_owned()]).await;
    assert_eq!(client.text().await, r#"{"n":1}"#);
    let used = live.refused(&format!("/ws?ticket={ticket}"), &[], 401, "auth.ticket_invalid").await;
    assert!(used["hint"].as_str().unwrap().contains("POST /ws/tickets"));
    let late = live.ticket().await;
    live.app.advance(30);
    live.refused(&format!("/ws?ticket={late}"), &[], 401, "auth.ticket_invalid").await;
    live.app.post("/ws/tickets", "").key().refused(403, "auth.scope_missing").await;
    // A ticket is for sockets alone.
    let other = live.ticket().await;
    live.app.get(&format!("/job/next?ticket={other}")).refused(401, "auth.credentials_missing").await;
}

#[tokio::test]
async fn a_ticket_outlives_what_is_refused_for_another_reason() {
    let live = live(Setup::new().set("MAX_SOCKETS", "1")).await;
    let ticket = live.ticket().await;
    let target = format!("/ws?ticket={ticket}");
    let one = live.open("/ws").await;
    live.refused(&target, &[], 503, "sockets.full").await;
    drop(one);
    for method in ["HEAD", "GET"] {
        live.app.request(method, &target).expect(426).await;
    }
    live.app.get(&format!("/health?ticket={ticket}")).expect(200).await;
    assert_eq!(live.try_open(&format!("{target}&credit=0"), &[]).await.err().unwrap().0, 422);
    assert_eq!(live.try_open(&format!("{target}&after=x"), &[]).await.err().unwrap().0, 422);
    while live.app.app.sockets.open() > 0 {
        sleep(Duration::from_millis(5)).await;
    }
    assert!(live.try_open(&target, &[]).await.is_ok());
}

#[tokio::test]
async fn a_revoked_key_loses_its_sockets_and_tickets_at_once() {
    let live = Live::new().await;
    let wanted = r#"{"name":"bot","scopes":["jobs:consume"],"compat":true}"#;
    let made = live.app.post("/admin/api/keys", wanted).operator().expect(200).await.json();
    let (kid, secret) = (made["key"]["kid"].as_str().unwrap(), made["secret"].as_str().unwrap());
    let key = [("x-grps-api-key", secret)];
    let answer = live.app.post("/ws/tickets", "").header("x-grps-api-key", secret).expect(200).await.json();
    let mut tickets = vec![answer["ticket"].as_str().unwrap().to_owned()];
    let answer = live.app.post("/ws/tickets", "").header("x-grps-api-key", secret).expect(200).await.json();
    tickets.push(answer["ticket"].as_str().unwrap().to_owned());
    let mut clients = Vec::new();
    for target in ["/ws", "/ws?mode=work"] {
        clients.push(live.try_open(target, &key).await.ok().unwrap());
    }
    clients.push(live.try_open(&format!("/ws?ticket={}", tickets.remove(0)), &[]).await.ok().unwrap());
    let mut other = live.open("/ws").await;
    live.app.request("DELETE", &format!("/admin/api/keys/{kid}")).operator().expect(200).await;
    live.put("default", ["{}".to_owned()]).await;
    for client in &mut clients {
        let (code, reason) = timeout(Duration::from_secs(5), client.closed()).await.unwrap();
        assert!(code == 1008 && reason.contains("revoked"), "{code} {reason}");
    }
    live.refused(&format!("/ws?ticket={}", tickets[0]), &[], 401, "auth.ticket_invalid").await;
    live.refused("/ws", &key, 401, "auth.key_invalid").await;
    assert_eq!(other.text().await, "{}", "those of other keys go on");
}

#[tokio::test]
async fn strict_mode_takes_signatures_and_tickets_alone() {
    let live = live(Setup::new().set("AUTH_MODE", "strict")).await;
    live.refused("/ws", &[("x-api-key", KEY)], 401, "auth.strict").await;
    live.refused(&format!("/ws?api_key={KEY_ESCAPED}"), &[], 401, "auth.strict").await;
    live.app.post("/ws/tickets", "").gateway().refused(401, "auth.strict").await;
    let answer = live.app.post("/ws/tickets", "").operator().expect(200).await.json();
    let ticket = answer["ticket"].as_str().unwrap();
    assert!(live.try_open(&format!("/ws?ticket={ticket}"), &[]).await.is_ok());
}

#[tokio::test]
async fn the_gateway_can_be_opened_by_its_key_alone() {
    let app = TestApp::with(&[("GATEWAY_AUTH", "key"), ("API_KEY", KEY), ("HMAC_SECRET", "")]).await;
    app.post("/job", "{}").header("x-api-key", KEY).expect(200).await;
    app.get("/job/next").header("x-api-key", KEY).header("x-signature", "nonsense").expect(200).await;
    app.get("/job/next").header("x-api-key", "hunter2").refused(401, "auth.gateway_key_invalid").await;
    app.get(&format!("/job/next?api_key={KEY_ESCAPED}")).refused(401, "auth.credentials_missing").await;
    let hmac = TestApp::with(&[("API_KEY", KEY)]).await;
    hmac.get("/job/next").header("x-api-key", KEY).refused(401, "auth.timestamp_missing").await;
    for mode in ["key", "hmac"] {
        let off = TestApp::with(&[("GATEWAY_AUTH", mode), ("API_KEY", "")]).await;
        for target in ["/job/next", "/ws"] {
            let refused = off.get(target).header("x-api-key", KEY).refused(503, "auth.not_configured").await;
            assert!(refused.detail().contains("API_KEY"), "{}", refused.text);
        }
    }
}

#[tokio::test]
async fn past_max_sockets_the_answer_is_to_come_later() {
    let live = live(Setup::new().set("MAX_SOCKETS", "1")).await;
    let _one = live.open("/ws").await;
    let full = live.refused("/ws?mode=work", &[("x-api-key", KEY)], 503, "sockets.full").await;
    assert!(full["hint"].as_str().unwrap().contains("MAX_SOCKETS"));
    live.app.get("/health/live").expect(200).await;
}
