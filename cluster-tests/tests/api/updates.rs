//! Data of sockets that is changed from anywhere.

use std::sync::Mutex;

use cluster_tests::app::{App, connected};
use cluster_tests::messages::Messages;
use cluster_tests::on_one_and_three_nodes;
use cluster_tests::websocket::WebSocket;
use serde_json::{Value, json};
use socketmesh::{Handshake, Namespace, Refusal, RemoteSocket, Socket, namespace};

/// The data of a socket.
pub(crate) struct Player {
    team: Mutex<String>,
}

impl Player {
    fn team(&self) -> String {
        self.team.lock().map(|team| team.clone()).unwrap_or_default()
    }
}

pub(crate) fn described() -> Namespace<Player> {
    namespace("/game")
        .auth(async |_: Handshake| Ok::<_, Refusal>(Player { team: Mutex::new("none".to_owned()) }))
        .describe(|player: &Player| json!({ "team": player.team() }))
        .on_update(|player: &Player, team: String| {
            assert!(team != "panic", "an update of the tests panics");
            if let Ok(mut old) = player.team.lock() {
                *old = team;
            }
        })
        .on("team", async |socket: Socket<Player>, ()| Ok(socket.data().team()))
}

/// A client in the game on the `n`th node, and its handle.
async fn player(app: &App, n: usize) -> (WebSocket, String) {
    let mut ws = app.nodes.target.at(n).websocket().await;
    ws.send("40/game,").await;
    let id = connected(&ws.packet_text().await, "/game");
    (ws, id)
}

async fn seen_from(app: &App, n: usize, id: &str) -> RemoteSocket {
    let found = app.of(n, "/game").to(id).fetch_sockets().await;
    found.found.into_iter().next().expect("the socket is there")
}

async fn team(ws: &mut WebSocket) -> String {
    ws.send(r#"42/game,1["team"]"#).await;
    ws.packet_text().await
}

async fn data_is_updated_on_the_node_of_its_socket(app: &App) {
    let (mut ws, id) = player(app, 1).await;
    for n in 0..3 {
        let remote = seen_from(app, n, &id).await;
        let team_of = |n: usize| format!("team {n}");
        assert!(remote.update(&team_of(n)).expect("it encodes").await.missing.is_empty());
        assert_eq!(team(&mut ws).await, format!(r#"43/game,1["team {n}"]"#));
        assert_ne!(remote.data["team"], team_of(n), "what was fetched stays as it was");
        for n_th in 0..3 {
            assert_eq!(seen_from(app, n_th, &id).await.data, json!({ "team": team_of(n) }));
        }
    }
}

async fn updates_keep_their_order_among_emits_and_requests_of_their_node(app: &App) {
    let (mut ws, id) = player(app, 2).await;
    let remote = seen_from(app, 0, &id).await;
    for round in 0..20 {
        drop(remote.update(&format!("before {round}")).expect("it encodes"));
        remote.emit("updated", &()).expect("it encodes");
        assert_eq!(ws.packet_text().await, r#"42/game,["updated"]"#);
        assert_eq!(team(&mut ws).await, format!(r#"43/game,1["before {round}"]"#));
        drop(remote.update(&format!("after {round}")).expect("it encodes"));
        assert_eq!(seen_from(app, 0, &id).await.data["team"], format!("after {round}"));
    }
}

async fn many_sockets_are_updated_at_once(app: &App) {
    let mut players = [player(app, 0).await, player(app, 1).await, player(app, 2).await];
    let some = players[..2].iter().fold(app.of(1, "/game").local(), |target, (_, id)| target.to(id));
    assert!(some.update("local").expect("it encodes").await.missing.is_empty());
    let elsewhere = if app.nodes.nodes.len() == 1 { "local" } else { "none" };
    for ((ws, _), expected) in players.iter_mut().zip([elsewhere, "local", "none"]) {
        assert_eq!(team(ws).await, format!(r#"43/game,1["{expected}"]"#));
    }
    let all = players[..2].iter().fold(app.of(1, "/game").to("nobody"), |target, (_, id)| target.to(id));
    assert!(all.update("red").expect("it encodes").await.missing.is_empty());
    for ((ws, _), expected) in players.iter_mut().zip(["red", "red", "none"]) {
        assert_eq!(team(ws).await, format!(r#"43/game,1["{expected}"]"#));
    }
}

async fn an_update_that_does_not_fit_changes_nothing(app: &App) {
    let (mut ws, id) = player(app, 1).await;
    let remote = seen_from(app, 2, &id).await;
    for odd in [json!(7), json!({ "team": "red" }), Value::Null, json!("panic")] {
        assert!(remote.update(&odd).expect("it encodes").await.missing.is_empty());
    }
    assert_eq!(team(&mut ws).await, r#"43/game,1["none"]"#);
    // A namespace without on_update ignores it.
    let mut guest = app.guest_in("/other", 1).await;
    let to = app.of(0, "/other").to(guest.id());
    assert!(to.update("x").expect("it encodes").await.missing.is_empty());
    assert_eq!(guest.ask(r#"["echo",1]"#).await, "[1]");
}

on_one_and_three_nodes! {
    crate::app:
    data_is_updated_on_the_node_of_its_socket,
    updates_keep_their_order_among_emits_and_requests_of_their_node,
    many_sockets_are_updated_at_once,
    an_update_that_does_not_fit_changes_nothing,
}
