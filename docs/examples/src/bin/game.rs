//! A game for several players. A task for each game moves everybody and tells the players 20 times a second; who loses the connection
//! comes back to the same seat.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use examples::{BoxError, builder, millis_from_env, serve};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use socketmesh::id::SocketId;
use socketmesh::socket::{EncodeError, Room};
use socketmesh::{Args, EventError, Handshake, Namespace, NamespaceRef, Refusal, Result, Socket, namespace};
use tokio::time::{Instant, MissedTickBehavior, interval};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let patience = millis_from_env("PATIENCE_MS")?.unwrap_or(PATIENCE);
    let node = builder()?.namespace(app(Games { patience, running: Arc::default() })).start().await?;
    serve(node, Router::new().route("/", get(async || Html(include_str!("game.html"))))).await
}

/// Clients connect with `auth: { token }`, a secret of their own, by which they are known when they come back. They emit
///
/// - `open`: the ack is the name of a new game and the player's seat in it. The game runs on this node, and ends with its last player;
/// - `enter`, with the name of a game on any node: the ack is the player's seat, which is the same after a lost connection;
/// - `steer`, with a direction, from -1 to 1 in x and y.
///
/// In a game they hear `state` 20 times a second: who is where. They send `enter` whenever they have connected.
fn app(games: Games) -> Namespace<Player> {
    let hosted = games.clone();
    namespace("/")
        .auth(async move |handshake: Handshake| login(&handshake, games))
        .on("open", open)
        .on("enter", enter)
        .on("steer", steer)
        // What players of other nodes want: only the node that runs the game has a seat to answer with.
        .on_server_event("order", async move |order: Order| Ok(hosted.obey(&order)))
}

struct Player {
    token: Arc<str>,
    /// Those that run on this node.
    games: Games,
}

fn login(handshake: &Handshake, games: Games) -> Result<Player, Refusal> {
    #[derive(Deserialize)]
    struct Login {
        token: Arc<str>,
    }
    let Login { token } = handshake.auth()?;
    if token.len() < 16 {
        Err(Refusal::new("a token that nobody guesses, please"))
    } else {
        Ok(Player { token, games })
    }
}

async fn open(socket: Socket<Player>, (): ()) -> Result<(Room, usize)> {
    // Nobody else in the cluster opens a game of this name.
    let order = order(&socket, format!("game:{}", socket.id()).into(), Wish::Sit(socket.id()));
    let seat = socket.data().games.open(&order, socket.nsp());
    play(&socket, &order.game).await?;
    Ok((order.game, seat))
}

async fn enter(socket: Socket<Player>, game: Room) -> Result<usize> {
    let order = order(&socket, game, Wish::Sit(socket.id()));
    let seat = match socket.data().games.obey(&order) {
        Some(seat) => Some(seat),
        None => {
            let others = socket.nsp().server_side_emit_with_ack::<Option<usize>, _>("order", &order).await?;
            others.replies.into_iter().find_map(|(_node, seat)| seat)
        }
    };
    let seat = seat.ok_or_else(|| EventError::new("no_seat", "the game is over, or full"))?;
    play(&socket, &order.game).await?;
    Ok(seat)
}

/// One game at a time.
async fn play(socket: &Socket<Player>, game: &Room) -> Result<()> {
    socket.leave(socket.rooms());
    Ok(socket.join(game).await?)
}

async fn steer(socket: Socket<Player>, Args((dx, dy)): Args<(f32, f32)>) -> Result<()> {
    // Every socket is in the room of its own id as well.
    for game in socket.rooms().into_iter().filter(|room| *room != socket.id()) {
        let order = order(&socket, game, Wish::Steer(dx.clamp(-1.0, 1.0), dy.clamp(-1.0, 1.0)));
        if socket.data().games.obey(&order).is_none() {
            socket.nsp().server_side_emit("order", &order)?;
        }
    }
    Ok(())
}

/// What a player wants, for the node that runs the game.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    game: Room,
    token: Arc<str>,
    wish: Wish,
}

#[derive(Debug, Serialize, Deserialize)]
enum Wish {
    Sit(SocketId),
    Steer(f32, f32),
}

fn order(socket: &Socket<Player>, game: Room, wish: Wish) -> Order {
    Order { game, token: Arc::clone(&socket.data().token), wish }
}

#[derive(Debug, Clone)]
struct Games {
    /// How long a seat is kept for a player who is away.
    patience: Duration,
    running: Arc<Mutex<HashMap<Room, Seats>>>,
}

/// By the tokens of their players.
type Seats = HashMap<Arc<str>, Seat>;

#[derive(Debug, Clone, Serialize)]
struct Seat {
    number: usize,
    x: f32,
    y: f32,
    away: bool,
    #[serde(skip)]
    course: (f32, f32),
    #[serde(skip)]
    socket: SocketId,
    #[serde(skip)]
    seen: Instant,
}

impl Games {
    /// Starts a game with its first player. It runs until it has none.
    fn open(&self, order: &Order, io: NamespaceRef) -> usize {
        if let Entry::Vacant(place) = self.running.lock().entry(order.game.clone()) {
            place.insert(Seats::default());
            let (games, game) = (self.clone(), order.game.clone());
            tokio::spawn(async move {
                tokio::select! {
                    told = games.run(&game, &io) => told,
                    () = games.call_the_roll(&game, &io) => Ok(()),
                }
            });
        }
        self.obey(order).unwrap_or_default()
    }

    /// Does what a player wants; `None` if the game is not here, or has no seat for this player.
    fn obey(&self, Order { game, token, wish }: &Order) -> Option<usize> {
        let mut running = self.running.lock();
        let seats = running.get_mut(game)?;
        if let Wish::Sit(socket) = *wish {
            let number = (1..=SEATS).find(|number| seats.values().all(|seat| seat.number != *number));
            let (seen, course) = (Instant::now(), (0.0, 0.0));
            match seats.get_mut(token) {
                Some(seat) => (seat.socket, seat.seen, seat.away) = (socket, seen, false),
                None => {
                    let seat = Seat { number: number?, x: 0.5, y: 0.5, away: false, course, socket, seen };
                    seats.insert(Arc::clone(token), seat);
                }
            }
        }
        let seat = seats.get_mut(token)?;
        if let Wish::Steer(dx, dy) = *wish {
            seat.course = (dx, dy);
        }
        Some(seat.number)
    }

    /// Moves everybody, and tells the players where they are. Volatile, because an old state is worth nothing.
    async fn run(&self, game: &Room, io: &NamespaceRef) -> Result<(), EncodeError> {
        let players = io.to(game).volatile();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            let Some(state) = self.step(game) else { return Ok(()) };
            players.emit("state", &state)?;
        }
    }

    /// `None` if the game is over.
    fn step(&self, game: &Room) -> Option<Vec<Seat>> {
        let mut running = self.running.lock();
        let seats = running.get_mut(game)?.values_mut();
        Some(
            seats
                .map(|seat| {
                    seat.x = (seat.x + seat.course.0 * STEP).clamp(0.0, 1.0);
                    seat.y = (seat.y + seat.course.1 * STEP).clamp(0.0, 1.0);
                    seat.clone()
                })
                .collect(),
        )
    }

    /// Finds out who is away, however they went, and gives up their seats after a while. Who asks the whole cluster need not be told of
    /// each end of a connection, nor of the end of a node.
    async fn call_the_roll(&self, game: &Room, io: &NamespaceRef) {
        let mut rolls = interval(ROLL);
        loop {
            rolls.tick().await;
            let sockets = io.to(game).fetch_sockets().await;
            // The players of a node that did not answer may be there.
            if sockets.missing.is_empty() {
                let there: HashSet<_> = sockets.found.iter().map(|socket| socket.id).collect();
                self.note(game, &there);
            }
        }
    }

    fn note(&self, game: &Room, there: &HashSet<SocketId>) {
        let mut running = self.running.lock();
        let Some(seats) = running.get_mut(game) else { return };
        for seat in seats.values_mut() {
            seat.away = !there.contains(&seat.socket);
            if !seat.away {
                seat.seen = Instant::now();
            }
        }
        seats.retain(|_, seat| seat.seen.elapsed() < self.patience);
        if seats.is_empty() {
            running.remove(game);
        }
    }
}

const TICK: Duration = Duration::from_millis(50);
const ROLL: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(30);
const SEATS: usize = 16;
/// How far somebody comes in a tick: a fifth of the field in a second.
const STEP: f32 = 0.01;
