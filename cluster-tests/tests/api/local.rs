//! What an application finds on its own node: sockets with their data, rooms, numbers; and what a handler reaches from its
//! socket.

use std::sync::Arc;

use cluster_tests::app::{App, Guest, Seen, with_plain_handlers};
use cluster_tests::messages::Messages;
use cluster_tests::on_one_and_three_nodes;
use socketmesh::socket::{Room, WrongData};
use socketmesh::{Namespace, NamespaceRef, Socket, namespace};

/// Its handlers reach everybody, another namespace, and the sockets of their node.
pub(crate) fn described(seen: &Arc<Seen>) -> Namespace {
    with_plain_handlers(namespace("/from-a-handler"), seen)
        .on("everybody", async |socket: Socket, what: String| Ok(socket.nsp().emit("said", &what)?))
        .on("others", async |socket: Socket, what: String| {
            Ok(socket.nsp().of("everybody-else").emit("said", &what)?)
        })
        .on("here", async |socket: Socket, (): ()| {
            let here: Vec<Socket> = socket.nsp().sockets()?;
            here.iter().try_for_each(|other| other.emit("said", &socket.id()))?;
            Ok((socket.node().to_string(), here.len()))
        })
}

/// One client on each of three nodes (or three on one), and one more on the first.
async fn guests(app: &App, path: &'static str) -> [Guest; 4] {
    [
        app.guest_in(path, 0).await,
        app.guest_in(path, 1).await,
        app.guest_in(path, 2).await,
        app.guest_in(path, 0).await,
    ]
}

/// Those of the guests that are on the node of this namespace.
fn at<'a>(here: &NamespaceRef, guests: &'a [Guest]) -> Vec<&'a Guest> {
    guests.iter().filter(|guest| guest.socket.node() == here.node()).collect()
}

fn ids<'a>(guests: impl IntoIterator<Item = &'a Guest>) -> Vec<String> {
    let mut ids: Vec<_> = guests.into_iter().map(Guest::id).collect();
    ids.sort();
    ids
}

fn ids_of(found: Result<Vec<Socket>, WrongData>) -> Vec<String> {
    let mut ids: Vec<_> =
        found.expect("sockets without data").iter().map(|socket| socket.id().to_string()).collect();
    ids.sort();
    ids
}

async fn the_sockets_and_rooms_of_a_node_are_there_at_once(app: &App) {
    let path = "/counted";
    let guests = guests(app, path).await;
    for guest in &guests[1..] {
        drop(guest.socket.join("red"));
    }
    drop(guests[3].socket.join("blue"));
    for n in 0..3 {
        let here = app.of(n, path);
        let (all, red): (Vec<_>, Vec<_>) = (at(&here, &guests), at(&here, &guests[1..]));
        assert_eq!(ids_of(here.sockets()), ids(all.iter().copied()));
        assert_eq!(here.local_count(), all.len());
        assert_eq!(ids_of(here.room("red").sockets()), ids(red.iter().copied()));
        assert_eq!((here.room("red").len(), here.room("red").is_empty()), (red.len(), red.is_empty()));
        for guest in &guests {
            let (id, is_here) = (guest.socket.id(), guest.socket.node() == here.node());
            let is_red = is_here && guest.id() != guests[0].id();
            assert_eq!(here.room("red").contains(id), is_red);
            assert_eq!(here.room(id).contains(id), is_here, "its own room");
            assert_eq!(here.room(id).len(), usize::from(is_here));
            let found = here.socket::<()>(id).expect("sockets without data");
            assert_eq!(found.map(|socket| socket.id()), is_here.then_some(id));
            assert_eq!(here.rooms_of(id).is_some(), is_here);
        }
        assert!(here.room("green").is_empty());
        let first = guests[0].socket.id();
        let is_here = guests[0].socket.node() == here.node();
        assert_eq!(here.rooms_of(first), is_here.then(|| vec![Room::from(first)]), "its own");
        let mut rooms: Vec<(Room, usize)> = all.iter().map(|guest| (guest.socket.id().into(), 1)).collect();
        rooms.push(("red".into(), red.len()));
        rooms.extend(at(&here, &guests[3..]).iter().map(|_| (Room::from("blue"), 1)));
        rooms.sort_unstable();
        assert_eq!(here.rooms(), rooms);
    }
}

async fn sockets_have_the_data_that_auth_gave_them(app: &App) {
    let path = "/room-of-strangers";
    let guest = app.guest_in(path, 1).await;
    let here = app.of(1, path);
    let refused = here.sockets::<String>().expect_err("they have no data");
    assert_eq!(refused.to_string(), "the data of these sockets is no alloc::string::String");
    assert_eq!(here.socket::<String>(guest.socket.id()).err(), Some(refused));
    assert_eq!(here.room(guest.socket.id()).sockets::<String>().err(), Some(refused));
    assert_eq!(here.sockets::<()>().map(|found| found.len()), Ok(1));
    assert!(app.of(1, "/nobody-is-there").sockets::<String>().is_ok_and(|found| found.is_empty()));
}

async fn the_sockets_of_all_nodes_are_counted(app: &App) {
    let path = "/room-to-count";
    let guests = guests(app, path).await;
    for guest in &guests[..3] {
        guest.socket.join("red").await.expect("connected");
    }
    for (n, guest) in guests.iter().take(3).enumerate() {
        let of = app.of(n, path);
        let counted = of.count().await;
        assert_eq!((counted.sockets, counted.missing.len()), (4, 0));
        assert_eq!(of.to("red").count().await.sockets, 3);
        assert_eq!(of.to("red").except(guests[1].id()).count().await.sockets, 2);
        assert_eq!(of.to(guests[3].id()).count().await.sockets, 1);
        assert_eq!(of.to("green").count().await.sockets, 0);
        assert_eq!(guest.socket.to("red").count().await.sockets, 2, "the others");
    }
}

async fn a_handler_reaches_everybody_and_other_namespaces_from_its_socket(app: &App) {
    let mut guests = guests(app, "/from-a-handler").await;
    let mut elsewhere = [app.nodes.target.at(0).websocket().await, app.nodes.target.at(1).websocket().await];
    for ws in &mut elsewhere {
        ws.send("40/everybody-else,").await;
        assert!(ws.packet_text().await.starts_with("40/everybody-else,"));
    }
    guests[1].emit(r#"["everybody","hello"]"#).await;
    for guest in &mut guests {
        assert_eq!(guest.event().await, r#"["said","hello"]"#, "the sender, too");
    }
    assert_eq!(guests[2].ask(r#"["others","psst"]"#).await, "[]");
    for ws in &mut elsewhere {
        assert_eq!(ws.packet_text().await, r#"42/everybody-else,["said","psst"]"#);
    }
    let (sender, node) = (guests[0].id(), guests[0].socket.node().clone());
    guests[0].emit(r#"7["here"]"#).await;
    let mut here = 0;
    for guest in guests.iter_mut().filter(|guest| *guest.socket.node() == node) {
        assert_eq!(guest.event().await, format!(r#"["said","{sender}"]"#));
        here += 1;
    }
    assert_eq!(guests[0].hears().await, format!(r#"43/from-a-handler,7[["{node}",{here}]]"#));
}

async fn a_node_lists_its_namespaces(app: &App) {
    let path = "/room-to-list";
    let _guest = app.guest_in(path, 2).await;
    let of = |n: usize| app.node(n).namespaces();
    let listed = of(2);
    let paths: Vec<_> = listed.iter().map(NamespaceRef::path).collect();
    assert!(paths.is_sorted() && paths.contains(&"/") && paths.contains(&path), "{paths:?}");
    let count = |namespaces: &[NamespaceRef]| {
        namespaces.iter().find(|namespace| namespace.path() == path).map(NamespaceRef::local_count)
    };
    assert_eq!(count(&listed), Some(1));
    if app.nodes.nodes.len() > 1 {
        assert_eq!(count(&of(0)), None, "nobody named it there");
    }
}

on_one_and_three_nodes! {
    crate::app:
    the_sockets_and_rooms_of_a_node_are_there_at_once,
    sockets_have_the_data_that_auth_gave_them,
    the_sockets_of_all_nodes_are_counted,
    a_handler_reaches_everybody_and_other_namespaces_from_its_socket,
    a_node_lists_its_namespaces,
}
