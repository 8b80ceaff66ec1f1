//! What a node has to say to another one, which confirms, interrupts and sends what it likes.

use std::borrow::Cow;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::tape::Tape;
use crate::cluster::fuzzing::{
    Batch, Fill, LinkId, LocalInterest, OutgoingCounts, Peer, ProtocolError, Received, Resume, Turn,
    local_interest,
};
use crate::cluster::wire::pb::{self, envelope::Kind};
use crate::cluster::wire::{Frame, Message, encode_broadcast, unsequenced};
use crate::id::Incarnation;
use crate::socket::messages::{Broadcast, Flags};

/// The links to one peer, one after another.
///
/// # Panics
///
/// When a body is delivered twice or out of order, or one that was to be sent is not accounted for.
pub fn link(data: &[u8]) -> bool {
    let mut tape = Tape::new(data);
    let now = Instant::now();
    let mut end = End {
        peer: Peer::new("b".parse().expect("a name"), Incarnation(1), LOG, now),
        local: Mutex::new(local_interest()),
        now,
        link: LinkId(0),
        up: false,
        over: false,
        written: 0,
        delivered: Mutex::new(0),
        log: 0,
    };
    while !tape.is_over() {
        end.step(&mut tape);
        end.check();
    }
    let counters = end.peer.counters();
    counters.outgoing.confirmed > 0 && counters.incoming.received > 0
}

struct End {
    peer: Peer,
    local: Mutex<LocalInterest>,
    now: Instant,
    link: LinkId,
    up: bool,
    /// The life of the peer is over, as far as this node knows.
    over: bool,
    /// The last number that was written on this link.
    written: u64,
    /// The last number of the peer's log that was delivered.
    delivered: Mutex<u64>,
    /// The peer's log, as it says itself.
    log: u64,
}

impl End {
    fn step(&mut self, tape: &mut Tape<'_>) {
        let now = self.now;
        match tape.below(32) {
            0..=5 => self.peer.push(body(tape), tape.one_in(4), now),
            6 => self.peer.push_command(body(tape), &[tape.number(), tape.number()], now),
            7 => self.local.lock().add(tape.number()),
            8 => self.local.lock().remove(tape.number()),
            9..=13 => self.fill(),
            14..=22 => self.receive(tape),
            23..=25 if !self.over => self.attach(tape),
            26 => {
                self.peer.detach(self.link);
                self.up = false;
            }
            27 => self.wait(tape.pick(&[1, 50, 500, 1000, 10_000])),
            28 => drop(self.peer.wants(&[tape.number()], now)),
            29 if !self.over => self.peer.set_dead(tape.one_in(4)),
            30 if tape.one_in(4) => self.end_or_go_on(tape),
            31 if tape.one_in(16) => self.peer.leave(),
            _ => self.wait(50),
        }
    }

    fn wait(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
        self.peer.expire(self.now);
    }

    /// As when the last link of a node is lost for long, and it comes back all the same.
    fn end_or_go_on(&mut self, tape: &mut Tape<'_>) {
        if self.over {
            self.peer.go_on(u64::from(tape.byte()));
        } else {
            self.peer.detach(self.link);
            self.up = false;
            self.peer.end();
        }
        self.over = !self.over;
    }

    fn attach(&mut self, tape: &mut Tape<'_>) {
        let resume = match tape.below(3) {
            0 => Resume::default(),
            1 => Resume { log: LOG, seq: tape.number() },
            _ => Resume { log: tape.number(), seq: tape.number() },
        };
        self.link = LinkId(self.link.0 + 1);
        self.peer.attach(self.link, tape.one_in(4), resume, self.now);
        (self.up, self.written) = (true, 0);
        let mut batch = Batch::default();
        self.peer.start(&mut batch);
        self.read(batch);
        if !tape.one_in(4) {
            self.say(unsequenced(Kind::Start(pb::Start { log: 1 + self.log % 3, first: 1 })));
        }
    }

    /// What this node writes is what another one reads.
    fn fill(&mut self) {
        for _ in 0..100 {
            let mut batch = Batch::default();
            let fill = self.peer.fill(self.link, &self.local, self.now, &mut batch);
            assert!(fill != Fill::Write || !batch.bytes.is_empty(), "there is nothing to write");
            self.read(batch);
            match fill {
                Fill::Write => {}
                Fill::Wait(until) => {
                    return assert!(until.is_none_or(|until| until > self.now), "it waits for nothing");
                }
                Fill::Last => return,
                Fill::Stale => return assert!(!self.up, "the link is forgotten"),
            }
        }
        unreachable!("there is always more to write");
    }

    fn read(&mut self, batch: Batch) {
        let mut bytes: BytesMut = batch.bytes;
        bytes.extend_from_slice(&batch.large.unwrap_or_default());
        while let Some(frame) = Frame::decode(&mut bytes).expect("a node writes frames") {
            if frame.seq > 0 {
                assert!(frame.seq > self.written, "{} is written behind {}", frame.seq, self.written);
                self.written = frame.seq;
            }
            assert!(Message::decode(frame.body).is_ok());
        }
        assert!(bytes.is_empty());
    }

    fn receive(&mut self, tape: &mut Tape<'_>) {
        let frame = frame(tape);
        let link = if tape.one_in(16) { LinkId(self.link.0.saturating_sub(1)) } else { self.link };
        if link == self.link {
            self.say(frame);
        } else {
            let heard = self.hear(link, frame, &|_| unreachable!("an old link still brings something"));
            assert!(matches!(heard, Ok(Received::Nothing)));
        }
    }

    /// The peer says this on the current link.
    fn say(&mut self, frame: Frame) {
        let seq = frame.seq;
        if let (0, Ok(Message::Start { log, .. })) = (seq, Message::decode(frame.body.clone()))
            && self.up
            && log != self.log
        {
            self.log = log;
            *self.delivered.lock() = 0;
        }
        let deliver = |message| {
            // It has no number: it is told before what is behind it.
            if matches!(message, Message::Gap { .. }) {
                return;
            }
            let mut delivered = self.delivered.lock();
            assert!(seq > *delivered, "{seq} is delivered behind {delivered}");
            *delivered = seq;
        };
        if self.hear(self.link, frame, &deliver).is_err() {
            self.peer.detach(self.link);
            self.up = false;
        }
    }

    fn hear(&self, link: LinkId, frame: Frame, deliver: &dyn Fn(Message)) -> Result<Received, ProtocolError> {
        self.peer.receive(&turn(&self.peer), link, frame, self.now, deliver)
    }

    fn check(&self) {
        let counters = self.peer.counters();
        let OutgoingCounts { sent, confirmed, waiting, lost, unneeded, arrived, .. } = counters.outgoing;
        assert_eq!(sent, confirmed + waiting + unneeded + lost.total(), "{counters:?}");
        assert!(arrived <= lost.total() + unneeded, "{counters:?}");
        assert!(self.peer.backlog() <= 17 << 20);
        let _logged = self.peer.losses_to_log(Some(self.now));
    }
}

/// Nobody else delivers.
fn turn(peer: &Peer) -> Turn<'_> {
    match pin!(peer.turn()).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(turn) => turn,
        Poll::Pending => unreachable!("nobody else delivers"),
    }
}

fn body(tape: &mut Tape<'_>) -> Bytes {
    let size = match tape.below(64) {
        0 => 100_000,
        1 if tape.one_in(32) => 4 << 20,
        small => small,
    };
    let broadcast = Broadcast {
        namespace: "/".into(),
        selection: Cow::default(),
        text: "2[]".into(),
        attachments: vec![vec![0; size].into()],
        flags: Flags::default(),
        number: None,
    };
    encode_broadcast(&broadcast).expect("it fits a frame")
}

/// Something that the wire form can say, or nearly.
fn frame(tape: &mut Tape<'_>) -> Frame {
    let seq = if tape.one_in(3) { tape.number() } else { 0 };
    let body = match tape.below(12) {
        0 => Bytes::copy_from_slice(tape.bytes(16)),
        1..=4 => body(tape),
        _ => unsequenced(control(tape)).body,
    };
    Frame { seq, body }
}

fn control(tape: &mut Tape<'_>) -> Kind {
    match tape.below(12) {
        0 | 1 => Kind::Start(pb::Start { log: tape.number(), first: tape.number() }),
        2..=6 => {
            let lost = tape.flag().then(|| tape.number());
            Kind::Ack(pb::Ack { seq: tape.number(), interest: tape.number(), lost })
        }
        7 | 8 => Kind::Gap(pb::Gap { to: tape.number() }),
        9 | 10 => Kind::Interest(pb::Interest {
            version: tape.number(),
            snapshot: tape.flag(),
            everything: tape.one_in(8),
            added: (0..tape.below(4)).map(|_| tape.number()).collect(),
            removed: (0..tape.below(4)).map(|_| tape.number()).collect(),
        }),
        _ => Kind::Goodbye(pb::Goodbye {}),
    }
}

/// The name of the log of this node.
const LOG: u64 = 9;
