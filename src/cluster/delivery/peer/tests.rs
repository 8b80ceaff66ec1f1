mod wire;

use std::borrow::Cow;

use tokio::time::Duration;

use super::super::batch::BATCH;
use super::super::inbound::ACK_DELAY;
use super::super::interest::local_interest;
use super::super::replay_log::MAX_AGE;
use super::*;
use bytes::BytesMut;

use crate::cluster::wire::encode_broadcast;
use crate::socket::messages::{Broadcast, Flags};

/// What `a` says to `b`, both being peers of each other in memory.
struct Pair {
    a: Peer,
    b: Peer,
    local: Mutex<LocalInterest>,
    got: Mutex<Vec<Broadcast<'static>>>,
    /// How often it was told that something is lost.
    gaps: Mutex<usize>,
    now: Instant,
    bytes: BytesMut,
}

fn broadcast(size: usize) -> Broadcast<'static> {
    Broadcast {
        namespace: "/".into(),
        selection: Cow::default(),
        text: "2[]".into(),
        attachments: vec![Bytes::from(vec![7; size])],
        flags: Flags::default(),
        number: None,
    }
}

fn receive(
    peer: &Peer,
    link: LinkId,
    frame: Frame,
    now: Instant,
    deliver: &dyn Fn(Message),
) -> Result<Received, ProtocolError> {
    let turn = Turn { _held: peer.delivery.try_lock().unwrap() };
    peer.receive(&turn, link, frame, now, deliver)
}

impl Pair {
    fn new() -> Self {
        let now = Instant::now();
        let peer = |name: &str, log| Peer::new(name.parse().unwrap(), Incarnation(1), log, now);
        let pair = Self {
            a: peer("b", 1),
            b: peer("a", 2),
            local: Mutex::new(local_interest()),
            got: Mutex::default(),
            gaps: Mutex::default(),
            now,
            bytes: BytesMut::new(),
        };
        pair.attach(LinkId(1), Resume::default());
        pair
    }

    /// A new link takes over. `b` has received the log of `a` up to there.
    fn attach(&self, link: LinkId, resume: Resume) {
        self.a.attach(link, false, resume, self.now);
        self.b.attach(link, false, Resume::default(), self.now);
    }

    fn push(&self, size: usize) {
        self.a.push(encode_broadcast(&broadcast(size)).unwrap(), false, self.now);
    }

    /// Takes one batch from `a`.
    fn fill(&mut self, link: LinkId) -> Fill {
        let mut batch = Batch::default();
        let fill = self.a.fill(link, &self.local, self.now, &mut batch);
        self.bytes.extend_from_slice(&batch.bytes);
        self.bytes.extend_from_slice(&batch.large.unwrap_or_default());
        fill
    }

    fn start(&mut self) {
        let mut batch = Batch::default();
        self.a.start(&mut batch);
        self.bytes.extend_from_slice(&batch.bytes);
    }

    /// Brings everything written to `b`.
    fn deliver(&mut self, link: LinkId) -> Result<Vec<Received>, ProtocolError> {
        let mut received = Vec::new();
        while let Some(frame) = Frame::decode(&mut self.bytes)? {
            let deliver = |message| match message {
                Message::Broadcast(broadcast) => self.got.lock().push(broadcast),
                Message::Gap { .. } => *self.gaps.lock() += 1,
                other => panic!("a broadcast, not {other:?}"),
            };
            received.push(receive(&self.b, link, frame, self.now, &deliver)?);
        }
        Ok(received)
    }

    /// A new link takes over at both ends.
    fn relink(&mut self, link: LinkId) {
        self.bytes.clear();
        self.attach(link, self.b.resume());
        self.start();
    }

    /// Brings everything that `b` has to say to `a`.
    fn acknowledge(&mut self, link: LinkId) {
        self.now += ACK_DELAY;
        let (mut batch, local) = (Batch::default(), Mutex::new(local_interest()));
        self.b.start(&mut batch);
        self.b.fill(link, &local, self.now, &mut batch);
        while let Some(frame) = Frame::decode(&mut batch.bytes).unwrap() {
            receive(&self.a, link, frame, self.now, &|_| {}).unwrap();
        }
    }

    fn got(&self) -> Vec<usize> {
        self.got.lock().iter().map(|broadcast| broadcast.attachments[0].len()).collect()
    }
}

#[test]
fn bodies_of_every_size_arrive_in_order_before_the_goodbye() {
    let mut pair = Pair::new();
    let sizes = [1, BATCH + 1, 2, 3 * BATCH, BATCH + 1];
    sizes.iter().for_each(|size| pair.push(*size));
    pair.a.leave();
    pair.start();
    while pair.fill(LinkId(1)) != Fill::Last {}
    assert_eq!(pair.deliver(LinkId(1)).unwrap().last(), Some(&Received::Goodbye));
    assert_eq!(pair.got(), sizes);
}

#[test]
fn the_first_frames_are_start_and_the_snapshot_of_the_rooms() {
    let mut pair = Pair::new();
    pair.local.lock().add(5);
    assert!(pair.b.wants(&[6], pair.now), "nothing heard yet");
    pair.start();
    assert_eq!(pair.fill(LinkId(1)), Fill::Write);
    pair.deliver(LinkId(1)).unwrap();
    assert!(pair.b.wants(&[5], pair.now) && !pair.b.wants(&[6], pair.now) && pair.b.wants(&[], pair.now));
    assert_eq!(pair.fill(LinkId(1)), Fill::Wait(None));
    pair.local.lock().add(6);
    pair.fill(LinkId(1));
    pair.deliver(LinkId(1)).unwrap();
    assert!(pair.b.wants(&[6], pair.now));
    pair.b.detach(LinkId(1));
    assert!(pair.b.wants(&[7], pair.now), "a peer out of reach may have any room");
}

#[test]
fn a_body_is_acknowledged_behind_the_rooms_that_were_joined_because_of_it() {
    let mut pair = Pair::new();
    pair.start();
    pair.fill(LinkId(1));
    pair.deliver(LinkId(1)).unwrap();
    let (mut batch, local) = (Batch::default(), Mutex::new(local_interest()));
    pair.b.fill(LinkId(1), &local, pair.now, &mut batch);
    let join = encode_broadcast(&broadcast(1)).unwrap();
    pair.a.push_command(join, &[5], pair.now);
    pair.fill(LinkId(1));
    pair.deliver(LinkId(1)).unwrap();
    local.lock().add(5);
    let (mut batch, due) = (Batch::default(), pair.now + ACK_DELAY);
    pair.b.fill(LinkId(1), &local, due, &mut batch);
    let mut kinds = Vec::new();
    while let Some(frame) = Frame::decode(&mut batch.bytes).unwrap() {
        kinds.push(Message::decode(frame.body).unwrap());
    }
    assert!(
        matches!(&kinds[..], [Message::Interest(update), Message::Ack { seq: 1, .. }] if update.added == [5]),
        "{kinds:?}"
    );
}

#[test]
fn an_acknowledgement_does_not_cut_a_large_interest_update_in_two() {
    let mut pair = Pair::new();
    pair.start();
    let mut batch = Batch::default();
    pair.b.start(&mut batch);
    pair.b.push(encode_broadcast(&broadcast(1)).unwrap(), false, pair.now);
    pair.b.fill(LinkId(1), &Mutex::new(local_interest()), pair.now, &mut batch);
    while let Some(frame) = Frame::decode(&mut batch.bytes).unwrap() {
        receive(&pair.a, LinkId(1), frame, pair.now, &|_| {}).unwrap();
    }
    (0..10_000).for_each(|room| pair.local.lock().add(u64::MAX - room));
    pair.now += ACK_DELAY;
    while pair.fill(LinkId(1)) == Fill::Write {}
    let received = pair.deliver(LinkId(1)).unwrap();
    assert!(received.contains(&Received::Confirmed), "the acknowledgement follows: {received:?}");
    assert!(pair.b.wants(&[u64::MAX], pair.now) && !pair.b.wants(&[1], pair.now));
}

#[test]
fn interest_is_acknowledged_at_once_and_bodies_after_fifty_milliseconds() {
    let mut pair = Pair::new();
    pair.start();
    pair.fill(LinkId(1));
    pair.deliver(LinkId(1)).unwrap();
    let mut batch = Batch::default();
    let local = Mutex::new(local_interest());
    assert_eq!(pair.b.fill(LinkId(1), &local, pair.now, &mut batch), Fill::Write, "the interest");
    pair.push(1);
    pair.fill(LinkId(1));
    pair.deliver(LinkId(1)).unwrap();
    let due = pair.now + ACK_DELAY;
    assert_eq!(pair.b.fill(LinkId(1), &local, pair.now, &mut Batch::default()), Fill::Wait(Some(due)));
    assert_eq!(pair.b.fill(LinkId(1), &local, due, &mut batch), Fill::Write);
}

#[test]
fn a_new_link_brings_what_the_last_one_did_not_and_nothing_twice() {
    let mut pair = Pair::new();
    pair.start();
    (1..=3).for_each(|size| pair.push(size));
    pair.fill(LinkId(1));
    pair.deliver(LinkId(1)).unwrap();
    pair.push(4);
    pair.fill(LinkId(1));
    pair.bytes.clear();
    let resume = pair.b.resume();
    assert_eq!(resume, Resume { log: 1, seq: 3 });
    pair.attach(LinkId(2), Resume { seq: 2, ..resume });
    pair.start();
    pair.fill(LinkId(2));
    let received = pair.deliver(LinkId(2)).unwrap();
    assert!(received.contains(&Received::Duplicate), "{received:?}");
    assert_eq!(pair.got(), [1, 2, 3, 4]);
}

#[test]
fn what_an_older_link_still_brings_is_ignored() {
    let mut pair = Pair::new();
    pair.start();
    pair.push(1);
    pair.fill(LinkId(1));
    pair.b.attach(LinkId(2), false, Resume::default(), pair.now);
    assert!(pair.deliver(LinkId(1)).unwrap().iter().all(|received| *received == Received::Nothing));
    assert_eq!(pair.fill(LinkId(7)), Fill::Stale);
    assert!(pair.got().is_empty());
}

#[test]
fn a_body_before_the_start_of_its_log_ends_the_link() {
    let mut pair = Pair::new();
    pair.push(1);
    pair.fill(LinkId(1));
    assert!(matches!(pair.deliver(LinkId(1)), Err(ProtocolError::NoStart)));
}

#[test]
fn a_body_that_makes_no_sense_is_skipped_and_counted_in_the_sequence() {
    let mut pair = Pair::new();
    pair.start();
    pair.a.push(Bytes::from_static(&[0xff]), false, pair.now);
    pair.push(1);
    pair.fill(LinkId(1));
    assert!(pair.deliver(LinkId(1)).unwrap().contains(&Received::Malformed));
    assert_eq!((pair.got(), pair.b.resume().seq), (vec![1], 2));
}

#[test]
fn volatile_bodies_do_not_wait_for_a_link() {
    let pair = Pair::new();
    let push = |volatile| pair.a.push(Bytes::from_static(b"x"), volatile, pair.now);
    push(true);
    pair.a.detach(LinkId(1));
    push(true);
    push(false);
    let OutgoingCounts { sent, volatile_dropped, .. } = pair.a.counters().outgoing;
    assert_eq!((sent, volatile_dropped), (2, 1));
}

#[test]
fn what_a_peer_never_gets_is_counted_when_it_is_given_up_and_by_both_ends_when_it_is_back() {
    let mut pair = Pair::new();
    pair.start();
    pair.push(1);
    pair.fill(LinkId(1));
    pair.deliver(LinkId(1)).unwrap();
    pair.a.detach(LinkId(1));
    pair.push(2);
    pair.now += MAX_AGE;
    pair.a.expire(pair.now);
    let expired = pair.a.counters().outgoing.lost;
    assert_eq!(
        (expired.expired, expired.total()),
        (2, 2),
        "the first has arrived, but that was not confirmed"
    );
    pair.a.set_dead(true);
    (3..6).for_each(|size| pair.push(size));
    pair.now += MAX_AGE;
    pair.a.expire(pair.now);
    pair.push(6);
    assert_eq!(pair.a.counters().outgoing.lost, expired, "no living node wants it");
    assert_eq!(pair.a.counters().outgoing.withheld, 3);

    pair.relink(LinkId(2));
    pair.fill(LinkId(2));
    pair.deliver(LinkId(2)).unwrap();
    assert_eq!(pair.got(), [1, 6], "what is young enough arrives");
    assert_eq!(*pair.gaps.lock(), 1, "the layers above are told once, before what is behind the gap");
    pair.acknowledge(LinkId(2));
    let (OutgoingCounts { lost, arrived, .. }, missed) =
        (pair.a.counters().outgoing, pair.b.counters().incoming.missed);
    assert_eq!((lost.expired, lost.dead, arrived), (2, 3, 1));
    assert_eq!(lost.total() - arrived, missed);
}

#[test]
fn nothing_counts_for_a_life_that_is_over() {
    let pair = Pair::new();
    pair.push(1);
    pair.a.end();
    let ended = pair.a.counters();
    assert_eq!((ended.outgoing.sent, ended.outgoing.lost.dead), (1, 1));
    pair.push(1);
    pair.a.set_dead(false);
    assert_eq!((pair.a.counters(), pair.a.backlog()), (ended, 0));
}

#[test]
fn losses_are_logged_once_in_a_while_and_none_is_left_out() {
    let mut pair = Pair::new();
    pair.a.detach(LinkId(1));
    let mut logged = Vec::new();
    for _ in 0..300 {
        pair.push(1);
        pair.now += Duration::from_millis(100);
        pair.a.expire(pair.now);
        logged.extend(pair.a.losses_to_log(Some(pair.now)));
    }
    pair.a.end();
    logged.extend(pair.a.losses_to_log(None));
    // After 10 s, then every five, and at the end.
    assert_eq!(logged.len(), 6, "{logged:?}");
    assert_eq!(logged.iter().map(|losses| losses.lost.total()).sum::<u64>(), 300);
}

#[test]
fn a_silent_peer_may_have_joined_any_room_until_it_is_heard_again() {
    let mut pair = Pair::new();
    pair.start();
    pair.fill(LinkId(1));
    pair.deliver(LinkId(1)).unwrap();
    assert!(!pair.b.wants(&[5], pair.now));
    pair.now += Duration::from_millis(SILENCE - 1);
    assert!(!pair.b.wants(&[5], pair.now));
    pair.now += Duration::from_millis(1);
    assert!(pair.b.wants(&[5], pair.now), "its link is there, and may be cut");
    pair.b.heard(pair.now);
    assert!(!pair.b.wants(&[5], pair.now), "a pong");
    pair.now += Duration::from_millis(SILENCE);
    pair.push(1);
    pair.fill(LinkId(1));
    pair.deliver(LinkId(1)).unwrap();
    assert!(!pair.b.wants(&[5], pair.now), "a body");
}

#[test]
fn on_a_relayed_link_something_is_said_before_silence_is_assumed() {
    let mut pair = Pair::new();
    pair.a.attach(LinkId(2), true, Resume::default(), pair.now);
    pair.b.attach(LinkId(2), true, Resume::default(), pair.now);
    pair.start();
    for _ in 0..20 {
        let until = loop {
            match pair.fill(LinkId(2)) {
                Fill::Wait(until) => break until.unwrap(),
                fill => assert_eq!(fill, Fill::Write),
            }
        };
        pair.deliver(LinkId(2)).unwrap();
        assert!(until - pair.now <= Duration::from_millis(SILENCE / 2));
        pair.now = until;
        assert!(!pair.b.wants(&[5], pair.now));
    }
}

/// Delivering to a hundred thousand sockets must not hold up a thread that writes.
#[test]
fn the_writer_goes_on_during_a_delivery_and_does_not_acknowledge_it() {
    let mut pair = Pair::new();
    pair.start();
    pair.push(1);
    pair.fill(LinkId(1));
    pair.now += Duration::from_secs(1);
    let local = Mutex::new(local_interest());
    let acknowledged = |now| {
        let mut batch = Batch::default();
        pair.b.fill(LinkId(1), &local, now, &mut batch);
        let frames = std::iter::from_fn(|| Frame::decode(&mut batch.bytes).unwrap());
        let messages = frames.map(|frame| Message::decode(frame.body).unwrap());
        messages
            .filter_map(|message| if let Message::Ack { seq, .. } = message { Some(seq) } else { None })
            .max()
    };
    let mut bytes = std::mem::take(&mut pair.bytes);
    let delivered = std::cell::Cell::new(0);
    while let Some(frame) = Frame::decode(&mut bytes).unwrap() {
        let deliver = |_| {
            let during = std::thread::scope(|scope| {
                let (sender, during) = std::sync::mpsc::channel();
                scope.spawn(move || sender.send(acknowledged(pair.now)));
                during.recv_timeout(Duration::from_secs(20)).expect("the writer waits for the delivery")
            });
            assert!(during.is_none_or(|seq| seq == 0), "{during:?}");
            delivered.set(delivered.get() + 1);
        };
        receive(&pair.b, LinkId(1), frame, pair.now, &deliver).unwrap();
    }
    assert_eq!((delivered.get(), acknowledged(pair.now + ACK_DELAY)), (1, Some(1)));
}

/// Otherwise a slow delivery would stop the heartbeats, and a busy node would look dead.
#[test]
fn the_control_actor_does_not_wait_for_a_delivery() {
    let mut pair = Pair::new();
    pair.start();
    pair.push(1);
    pair.fill(LinkId(1));
    let mut delivered = 0;
    while let Some(frame) = Frame::decode(&mut pair.bytes).unwrap() {
        let seen = Mutex::new(None);
        let deliver = |_| {
            *seen.lock() = Some(pair.b.resume().seq);
            pair.b.detach(LinkId(1));
            pair.b.attach(LinkId(2), false, Resume::default(), pair.now);
        };
        receive(&pair.b, LinkId(1), frame, pair.now, &deliver).unwrap();
        if let Some(seq) = seen.into_inner() {
            assert_eq!(seq, 1, "what is being delivered is not asked for again");
            delivered += 1;
        }
    }
    assert_eq!(delivered, 1);
}

#[test]
fn what_a_peer_never_got_leaves_no_presumption() {
    let mut pair = Pair::new();
    pair.a.detach(LinkId(1));
    for room in 0..100 {
        pair.a.push_command(encode_broadcast(&broadcast(1)).unwrap(), &[room], pair.now);
    }
    pair.a.expire(pair.now + Duration::from_secs(5));
    assert_eq!(pair.a.interest.lock().presumed.len(), 100, "it may still get them");
    pair.now += MAX_AGE;
    pair.a.expire(pair.now);
    assert_eq!(pair.a.interest.lock().presumed.len(), 0);
}
