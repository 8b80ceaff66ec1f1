//! The events that one node emits arrive in the order in which they were emitted, over every transport.

use cluster_tests::app::App;
use cluster_tests::messages::Messages;
use cluster_tests::on_one_and_three_nodes;

async fn a_broadcast_and_an_emit_arrive_in_their_order(app: &App) {
    let mut guest = app.guest_in("/mixed", 0).await;
    let (of, own) = (app.of(0, "/mixed"), guest.id());
    guest.socket.join("order").await.expect("connected");
    for number in 0..200 {
        match number % 4 {
            0 => of.to("order").emit("n", &number),
            1 => guest.socket.emit("n", &number),
            2 => of.to(&own).emit("n", &number),
            _ => of.emit("n", &number),
        }
        .expect("it encodes");
    }
    for number in 0..200 {
        assert_eq!(guest.event().await, format!(r#"["n",{number}]"#));
    }
}

async fn a_broadcast_and_an_emit_arrive_in_their_order_over_polling(app: &App) {
    let (polling, socket) = app.polling_guest("/").await;
    let room = format!("order-{}", socket.id());
    socket.join(&room).await.expect("connected");
    let emit = |number: usize| {
        let target = app.of(0, "/").to(&room);
        if usize::is_multiple_of(number, 2) { target.emit("n", &number) } else { socket.emit("n", &number) }
    };
    (0..50).for_each(|number| emit(number).expect("it encodes"));
    // With a poll pending, the first goes out at once and the rest with the next poll.
    let first = polling.packets(50).await;
    let pending = polling.pending_poll().await;
    (50..100).for_each(|number| emit(number).expect("it encodes"));
    let reply = pending.reply().await;
    let mut packets: Vec<String> = reply.text().split('\x1e').map(str::to_owned).collect();
    let rest = 50 - packets.len();
    packets.extend(polling.packets(rest).await);
    let all: Vec<String> = first.into_iter().chain(packets).collect();
    assert_eq!(all, (0..100).map(|number| format!(r#"42["n",{number}]"#)).collect::<Vec<_>>());
}

async fn packets_of_one_node_reach_a_client_of_another_in_their_order(app: &App) {
    let mut guest = app.guest(1).await;
    let room = format!("order-{}", guest.id());
    guest.socket.join(&room).await.expect("connected");
    let (from, own) = (app.of(0, "/"), guest.id());
    for number in 0..300 {
        let target = if number % 2 == 0 { from.to(&room) } else { from.to(&own) };
        target.emit("n", &number).expect("it encodes");
    }
    for number in 0..300 {
        assert_eq!(guest.event().await, format!(r#"["n",{number}]"#));
    }
}

async fn an_emit_before_a_disconnect_is_delivered(app: &App) {
    for _ in 0..20 {
        let mut guest = app.guest(0).await;
        let room = format!("last-{}", guest.id());
        guest.socket.join(&room).await.expect("connected");
        guest.socket.emit("last", &1).expect("it encodes");
        app.of(0, "/").to(&room).emit("last", &2).expect("it encodes");
        guest.socket.close();
        guest.socket.emit("late", &3).expect("it encodes");
        assert_eq!(guest.event().await, r#"["last",1]"#);
        assert_eq!(guest.event().await, r#"["last",2]"#);
        assert_eq!(guest.hears().await, "41");
        assert_eq!(guest.ws.closed().await, None);
    }
}

async fn an_emit_before_a_disconnect_is_delivered_over_polling(app: &App) {
    let (polling, socket) = app.polling_guest("/").await;
    socket.emit("last", &1).expect("it encodes");
    socket.close();
    assert_eq!(polling.poll().await.outcome(), (200, "42[\"last\",1]\x1e41"));
    assert_eq!(polling.poll().await.outcome(), (200, "6\x1e1"));
    polling.gone().await;
}

on_one_and_three_nodes! {
    crate::app:
    a_broadcast_and_an_emit_arrive_in_their_order,
    a_broadcast_and_an_emit_arrive_in_their_order_over_polling,
    packets_of_one_node_reach_a_client_of_another_in_their_order,
    an_emit_before_a_disconnect_is_delivered,
    an_emit_before_a_disconnect_is_delivered_over_polling,
}
