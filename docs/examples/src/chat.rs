//! A chat with rooms, as a function that gives its namespace: what `bin/chat.rs` serves and a test can start.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use socketmesh::{Args, EventError, Handshake, Namespace, Refusal, Result, Socket, namespace};

/// Somebody in the chat.
#[derive(Debug, Clone)]
pub struct Person {
    /// What others see.
    pub name: Arc<str>,
    history: History,
}

/// The chat. Clients connect with `auth: { name }`, and emit
///
/// - `join` and `leave`, with a room; the others there hear `joined` and `left`, with the room and who. The ack of `join` is
///   `{ people, said }`: who is in the room, and what was said there last;
/// - `who`, with a room: the ack is who is in it, on whichever node;
/// - `message`, with a room and a text: the others there hear `message`, and the sender's ack is what they heard;
/// - `tell`, with a name and a text: every device of that person hears `told`, and so do the sender's others;
/// - `typing`, with a room: a notice that may be dropped, because the next one follows soon.
pub fn app() -> Namespace<Person> {
    let history = History::default();
    let (heard, asked) = (history.clone(), history.clone());
    namespace("/")
        .auth(async move |handshake: Handshake| login(&handshake, history))
        // What others may know of a person.
        .describe(|person: &Person| Arc::clone(&person.name))
        .on_connect(async |socket: Socket<Person>| Ok(socket.join(devices_of(&socket.data().name)).await?))
        .on("join", join)
        .on("leave", async |socket: Socket<Person>, room: String| {
            member(&socket, &room)?;
            socket.leave(inside(&room));
            tell_room(&socket, "left", &room)
        })
        .on("who", async |socket: Socket<Person>, room: String| {
            member(&socket, &room)?;
            Ok(people(&socket, &room).await)
        })
        .on("message", message)
        .on("tell", tell)
        .on("typing", async |socket: Socket<Person>, room: String| {
            member(&socket, &room)?;
            let who = &*socket.data().name;
            Ok(socket.to(inside(&room)).volatile().emit("typing", &Args((&room, who)))?)
        })
        .on_disconnecting(async |socket: Socket<Person>, _reason| {
            for room in socket.rooms() {
                if let Some(room) = String::from(room).strip_prefix(ROOM) {
                    tell_room(&socket, "left", room)?;
                }
            }
            Ok(())
        })
        .on_server_event("said", async move |said: Said| {
            heard.add(said);
            Ok(())
        })
        .on_server_event("history", async move |room: String| Ok(asked.of(&room)))
}

fn login(handshake: &Handshake, history: History) -> Result<Person, Refusal> {
    #[derive(Deserialize)]
    struct Login {
        name: String,
    }
    let Login { name } = handshake.auth()?;
    match name.trim() {
        "" => Err(Refusal::new("what is your name?")),
        name => Ok(Person { name: name.into(), history }),
    }
}

/// A room for somebody who comes into it.
#[derive(Debug, Serialize)]
struct Found {
    people: BTreeSet<String>,
    said: Vec<Said>,
}

async fn join(socket: Socket<Person>, room: String) -> Result<Found> {
    // From here on everything that is said in the room on any node reaches this socket.
    socket.join(inside(&room)).await?;
    tell_room(&socket, "joined", &room)?;
    Ok(Found { people: people(&socket, &room).await, said: said_before(&socket, &room).await? })
}

/// One thing that was said.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Said {
    room: String,
    from: Arc<str>,
    text: String,
}

async fn message(socket: Socket<Person>, Args((room, text)): Args<(String, String)>) -> Result<Said> {
    member(&socket, &room)?;
    let said = Said { room, from: Arc::clone(&socket.data().name), text: short(text)? };
    socket.to(inside(&said.room)).emit("message", &said)?;
    socket.nsp().server_side_emit("said", &said)?;
    socket.data().history.add(said.clone());
    Ok(said)
}

/// The example `private` has the acknowledgements of the devices as well.
async fn tell(socket: Socket<Person>, Args((to, text)): Args<(String, String)>) -> Result<()> {
    let from = &socket.data().name;
    let both = socket.to(devices_of(&to)).to(devices_of(from));
    Ok(both.emit("told", &Args((&**from, &to, short(text)?)))?)
}

/// Tells the others in a room about this person.
fn tell_room(socket: &Socket<Person>, event: &str, room: &str) -> Result<()> {
    Ok(socket.to(inside(room)).emit(event, &Args((room, &*socket.data().name)))?)
}

/// Who is in a room, on whichever node and however many devices.
async fn people(socket: &Socket<Person>, room: &str) -> BTreeSet<String> {
    let devices = socket.nsp().to(inside(room)).fetch_sockets().await.found;
    devices.iter().filter_map(|device| device.data.as_str()).map(str::to_owned).collect()
}

/// What was said in a room last. Every node hears all of it; one that has just started asks the others, and who knows most is right.
async fn said_before(socket: &Socket<Person>, room: &str) -> Result<Vec<Said>> {
    let here = socket.data().history.of(room);
    if here.len() == SHOWN {
        return Ok(here);
    }
    let others = socket.nsp().server_side_emit_with_ack::<Vec<Said>, _>("history", room).await?;
    let others = others.replies.into_iter().map(|(_node, said)| said);
    Ok(others.chain([here]).max_by_key(Vec::len).unwrap_or_default())
}

/// The last that was said in all rooms, as this node heard it. It is gone with the last node: a chat that has to remember asks a
/// database here.
#[derive(Debug, Clone, Default)]
struct History(Arc<Mutex<VecDeque<Said>>>);

impl History {
    fn add(&self, said: Said) {
        let mut all = self.0.lock();
        all.push_back(said);
        if all.len() > KEPT {
            all.pop_front();
        }
    }

    fn of(&self, room: &str) -> Vec<Said> {
        let all = self.0.lock();
        let newest_first = all.iter().rev().filter(|said| said.room == room).take(SHOWN);
        let mut said: Vec<_> = newest_first.cloned().collect();
        said.reverse();
        said
    }
}

/// Rooms are heard and spoken to from within only.
fn member(socket: &Socket<Person>, room: &str) -> Result<()> {
    if socket.is_in(inside(room)) {
        Ok(())
    } else {
        Err(EventError::new("not_a_member", "join the room first"))
    }
}

fn short(text: String) -> Result<String> {
    if text.len() > MAX_TEXT {
        return Err(EventError::new("too_long", format!("at most {MAX_TEXT} bytes")));
    }
    Ok(text)
}

/// Prefixes keep the rooms of the chat and those of its people apart.
fn inside(room: &str) -> String {
    format!("{ROOM}{room}")
}

fn devices_of(name: &str) -> String {
    format!("person:{name}")
}

const ROOM: &str = "room:";
/// A few pages; what a client may send at all is a matter of `engine::Config::max_payload`.
const MAX_TEXT: usize = 10_000;
/// What a node remembers of all rooms, and what it tells of one.
const KEPT: usize = 1000;
const SHOWN: usize = 50;
