//! The writer of a link against its reader: whatever the one writes the other reads, in order, however the bytes are cut.

use std::collections::HashSet;
use std::ops::Range;

use proptest::prelude::*;

use super::*;
use crate::cluster::delivery::interest::room_hash;
use crate::cluster::wire::{MAX_BODY, encode_command};
use crate::socket::messages::{Command, CommandKind, Selection};

/// One of two nodes, and what it has written to the other.
struct End {
    peer: Peer,
    local: Mutex<LocalInterest>,
    /// Written, and not read yet.
    pipe: Mutex<BytesMut>,
    /// Read by the other end, as far as it is no whole frame yet.
    unread: BytesMut,
    pushed: u64,
    /// The numbers of the other end's bodies that came.
    got: Mutex<Vec<u64>>,
    rooms: HashSet<u64>,
    /// Those that sockets joined because the other end said so.
    commanded: Mutex<HashSet<u64>>,
}

struct Ends {
    ends: [End; 2],
    link: u64,
    up: bool,
    now: Instant,
}

#[derive(Debug, Clone)]
enum Step {
    Push(usize, usize),
    Command(usize, u8),
    /// The end has sockets in these rooms from now on, or not any more.
    Rooms(usize, Range<u64>, bool),
    Write(usize),
    /// That many bytes of what the end wrote arrive.
    Read(usize, usize),
    Wait(u64),
    Relink(bool),
    Down,
    Dead,
}

fn step() -> impl Strategy<Value = Step> {
    let end = || 0..2_usize;
    let size = prop_oneof![
        20 => Just(0_usize),
        40 => 0..400_usize,
        30 => BATCH - 100..BATCH + 100,
        9 => 100_000..300_000_usize,
        1 => MAX_BODY - 100..MAX_BODY - 50,
    ];
    let count = prop_oneof![
        6 => 1..9_u64,
        4 => 1000..1100_u64,
        4 => 8150..8250_u64,
        2 => 20_000..40_000_u64,
        1 => 65_500..66_000_u64,
    ];
    let rooms = (0..4_u64, count).prop_map(|(from, count)| from * 5000..from * 5000 + count);
    let bytes = prop_oneof![Just(1_usize), 1..40_usize, 1..100_000_usize, Just(usize::MAX)];
    prop_oneof![
        6 => (end(), size).prop_map(|(end, size)| Step::Push(end, size)),
        3 => (end(), any::<u8>()).prop_map(|(end, room)| Step::Command(end, room)),
        3 => (end(), rooms, any::<bool>()).prop_map(|(end, rooms, present)| Step::Rooms(end, rooms, present)),
        8 => end().prop_map(Step::Write),
        8 => (end(), bytes).prop_map(|(end, bytes)| Step::Read(end, bytes)),
        3 => prop_oneof![Just(50_u64), 0..4000_u64].prop_map(Step::Wait),
        1 => any::<bool>().prop_map(Step::Relink),
        1 => Just(Step::Down),
        1 => Just(Step::Dead),
    ]
}

/// A room as a number spread over the tables, as a hash is.
fn hash(room: u64) -> u64 {
    room.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn commanded(room: u8) -> String {
    format!("commanded-{room}")
}

impl Ends {
    fn new() -> Self {
        let now = Instant::now();
        let end = |name: &str, log| End {
            peer: Peer::new(name.parse().unwrap(), Incarnation(1), log, now),
            local: Mutex::new(local_interest()),
            pipe: Mutex::default(),
            unread: BytesMut::new(),
            pushed: 0,
            got: Mutex::default(),
            rooms: HashSet::new(),
            commanded: Mutex::default(),
        };
        let mut ends = Self { ends: [end("b", 1), end("a", 2)], link: 0, up: false, now };
        ends.relink(false);
        ends
    }

    fn relink(&mut self, relayed: bool) {
        self.clear_pipes();
        self.link += 1;
        let resumes = [self.ends[1].peer.resume(), self.ends[0].peer.resume()];
        for (end, resume) in self.ends.iter().zip(resumes) {
            end.peer.attach(LinkId(self.link), relayed, resume, self.now);
            let mut batch = Batch::default();
            end.peer.start(&mut batch);
            end.pipe.lock().extend_from_slice(&batch.bytes);
        }
        self.up = true;
    }

    fn down(&mut self) {
        self.clear_pipes();
        self.ends.iter().for_each(|end| end.peer.detach(LinkId(self.link)));
        self.up = false;
    }

    fn clear_pipes(&mut self) {
        for end in &mut self.ends {
            end.pipe.lock().clear();
            end.unread.clear();
        }
    }

    fn play(&mut self, step: Step) {
        let now = self.now;
        match step {
            Step::Push(end, size) => {
                let end = &mut self.ends[end];
                let text = end.pushed.to_string().into();
                end.peer.push(encode_broadcast(&Broadcast { text, ..broadcast(size) }).unwrap(), false, now);
                end.pushed += 1;
            }
            Step::Command(end, room) => {
                let end = &mut self.ends[end];
                let kind = CommandKind::Join(vec![end.pushed.to_string().into(), commanded(room).into()]);
                let body =
                    encode_command(&Command { namespace: "/".into(), selection: Selection::default(), kind });
                end.peer.push_command(body.unwrap(), &[room_hash("/", &commanded(room))], now);
                end.pushed += 1;
            }
            Step::Rooms(end, rooms, present) => {
                let End { local, rooms: known, .. } = &mut self.ends[end];
                for room in rooms {
                    if present && known.insert(room) {
                        local.get_mut().add(hash(room));
                    } else if !present && known.remove(&room) {
                        local.get_mut().remove(hash(room));
                    }
                }
            }
            Step::Write(end) => drop(self.ends[end].write(self.link, now)),
            Step::Read(end, bytes) => self.read(end, bytes),
            Step::Wait(ms) => {
                self.now += Duration::from_millis(ms);
                self.ends.iter().for_each(|end| end.peer.expire(self.now));
            }
            Step::Relink(relayed) => self.relink(relayed),
            Step::Down => self.down(),
            Step::Dead => {
                self.down();
                self.ends.iter().for_each(|end| end.peer.set_dead(true));
            }
        }
    }

    fn read(&mut self, from: usize, bytes: usize) {
        let [first, second] = &mut self.ends;
        let (writer, reader) = if from == 0 { (first, second) } else { (second, first) };
        let mut pipe = writer.pipe.lock();
        let count = bytes.min(pipe.len());
        let arrived = pipe.split_to(count);
        writer.unread.unsplit(arrived);
        drop(pipe);
        while let Some(frame) = Frame::decode(&mut writer.unread).expect("a whole frame") {
            let deliver = |message| reader.deliver(message, self.link, self.now);
            let received = receive(&reader.peer, LinkId(self.link), frame, self.now, &deliver);
            assert!(!matches!(received.expect("the protocol is kept"), Received::Malformed));
        }
    }

    /// Brings everything to its end.
    fn settle(&mut self) {
        self.relink(false);
        let mut quiet = 0;
        while quiet < 3 {
            let written = [0, 1].map(|end| self.ends[end].write(self.link, self.now) == Fill::Write);
            self.read(0, usize::MAX);
            self.read(1, usize::MAX);
            quiet = if written.contains(&true) { 0 } else { quiet + 1 };
            self.now += ACK_DELAY;
        }
    }

    /// What must hold at every moment.
    fn check(&self) {
        for (end, other) in self.pairs() {
            let OutgoingCounts { sent, confirmed, waiting, lost, .. } = end.peer.counters().outgoing;
            assert_eq!(sent, confirmed + waiting + lost.total());
            let joined = other.commanded.lock();
            assert!(joined.iter().all(|room| end.peer.wants(&[*room], self.now)), "joined, and not known");
        }
    }

    /// What must hold when nothing is on its way any more.
    fn check_settled(&self) {
        for (end, other) in self.pairs() {
            let got = other.got.lock();
            assert!(got.is_sorted_by(|a, b| a < b), "in order, each once");
            let OutgoingCounts { sent, waiting, lost, arrived, .. } = end.peer.counters().outgoing;
            let missed = other.peer.counters().incoming.missed;
            assert_eq!((sent, waiting), (end.pushed, 0));
            assert_eq!((got.len() as u64 + missed, lost.total() - arrived), (end.pushed, missed));
            let knows = |room: &u64| other.peer.wants(&[hash(*room)], self.now);
            assert!(end.rooms.iter().all(knows));
            assert!((0..90_000).filter(|room| !end.rooms.contains(room)).all(|room| !knows(&room)));
        }
    }

    fn pairs(&self) -> [(&End, &End); 2] {
        let [first, second] = &self.ends;
        [(first, second), (second, first)]
    }
}

impl End {
    fn write(&self, link: u64, now: Instant) -> Fill {
        let mut batch = Batch::default();
        let fill = self.peer.fill(LinkId(link), &self.local, now, &mut batch);
        let mut pipe = self.pipe.lock();
        pipe.extend_from_slice(&batch.bytes);
        pipe.extend_from_slice(&batch.large.unwrap_or_default());
        fill
    }

    /// The writer goes on during a delivery.
    fn deliver(&self, message: Message, link: u64, now: Instant) {
        self.write(link, now);
        let number = match message {
            Message::Broadcast(Broadcast { text, attachments, .. }) => {
                assert!(attachments[0].iter().all(|byte| *byte == 7), "not what was written");
                text.to_string()
            }
            Message::Command(Command { kind: CommandKind::Join(rooms), .. }) => {
                let room = rooms[1].with_name(|name| room_hash("/", name));
                if self.commanded.lock().insert(room) {
                    self.local.lock().add(room);
                }
                rooms[0].to_string()
            }
            // What was pushed out of the log before it was sent.
            Message::Gap { .. } => return,
            other => panic!("nothing else was sent: {other:?}"),
        };
        self.got.lock().push(number.parse().unwrap());
        self.write(link, now);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn whatever_the_writer_of_a_link_writes_the_reader_reads_in_order_and_exactly(
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let mut ends = Ends::new();
        for step in steps {
            ends.play(step);
            ends.check();
        }
        ends.settle();
        ends.check_settled();
    }
}
