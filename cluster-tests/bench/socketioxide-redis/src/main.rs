//! `socketioxide-redis-fixture REDIS`: one node. It says `listening ADDRESS` when it is ready.

use std::convert::Infallible;
use std::error::Error;

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use socketioxide::SocketIo;
use socketioxide::adapter::Adapter;
use socketioxide::extract::{AckSender, Data, SocketRef};
use socketioxide::handler::ConnectHandler as _;
use socketioxide_redis::drivers::redis::redis_client::Client;
use socketioxide_redis::{RedisAdapter, RedisAdapterCtr};
use tokio::net::TcpSocket;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let redis = std::env::args().nth(1).ok_or("the address of Redis is missing")?;
    let client = Client::open(format!("redis://{redis}?protocol=resp3"))?;
    let adapter = RedisAdapterCtr::new_with_redis(&client).await?;
    let (service, io) = SocketIo::builder().with_adapter::<RedisAdapter<_>>(adapter).build_svc();
    // Handlers are there before the client is told that it has joined: what it sends at once would reach none otherwise.
    io.ns("/", connected.with(set_up)).await?;

    let socket = TcpSocket::new_v4()?;
    socket.bind(([127, 0, 0, 1], 0).into())?;
    let listener = socket.listen(4096)?;
    println!("listening {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), service.clone());
        tokio::spawn(serving.with_upgrades());
    }
}

async fn connected<A: Adapter>(_: SocketRef<A>) {}

async fn set_up<A: Adapter>(socket: SocketRef<A>) -> Result<(), Infallible> {
    // So that others reach it by its id.
    socket.join(socket.id);
    socket.on("join", join);
    socket.on("msg", msg);
    socket.on("direct", direct);
    socket.on("echo", echo);
    Ok(())
}

async fn join<A: Adapter>(socket: SocketRef<A>, Data(room): Data<String>, ack: AckSender<A>) {
    socket.join(room);
    ack.send(&()).ok();
}

async fn msg<A: Adapter>(socket: SocketRef<A>, Data((room, payload)): Data<(String, String)>) {
    socket.to(room).emit("msg", &payload).await.ok();
}

async fn direct<A: Adapter>(
    socket: SocketRef<A>,
    Data((id, payload)): Data<(String, String)>,
    ack: AckSender<A>,
) {
    socket.to(id).emit("direct", &payload).await.ok();
    ack.send(&()).ok();
}

async fn echo<A: Adapter>(Data(payload): Data<String>, ack: AckSender<A>) {
    ack.send(&payload).ok();
}
