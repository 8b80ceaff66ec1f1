//! One client that sends: in a window, or at a rate.

use std::cell::RefCell;
use std::io::{self, Write as _};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use crate::client::{Batch, Sender, prefix};
use crate::clock::Timer;
use crate::options::{Events, Scenario};
use crate::packet::Stamp;
use crate::plan::{Target, To};
use crate::shared::{Phase, Shared};
use crate::traffic::{Durations, Flow, record};

/// Its state.
pub(crate) struct Source {
    pub(crate) index: u16,
    pub(crate) sender: Sender,
    pub(crate) shared: Arc<Shared>,
    pub(crate) phase: watch::Receiver<Phase>,
    pub(crate) durations: Rc<RefCell<Durations>>,
}

impl Source {
    /// Sends while the run is in that phase.
    pub(crate) async fn run(mut self, target: &Target) -> io::Result<()> {
        // The run may have ended.
        self.phase.wait_for(|phase| *phase >= Phase::Sending).await.ok();
        let shared = Arc::clone(&self.shared);
        let index = usize::from(self.index);
        let (Some(flow), Some(source)) = (shared.traffic.flows.get(index), shared.sources.get(index)) else {
            return Ok(());
        };
        let (Some(pace), Some(events)) = (shared.scenario.pace(), events(&shared.scenario)) else {
            return Ok(());
        };
        let name = match source.to {
            To::Rooms(_) => &events.room_event,
            To::Receiver => &events.direct_event,
            To::Itself => &events.echo_event,
        };
        let mut messages = Messages {
            shared: &shared,
            flow,
            to: &source.to,
            index: self.index,
            payload: pace.payload,
            kind: format!("42{}", prefix(target)),
            event: format!("[{},\"", serde_json::Value::from(name.as_str())),
            number: 0,
        };
        match pace.rate {
            Some(rate) => self.at_rate(rate, &mut messages).await,
            None => self.in_window(pace.window.into(), flow, &mut messages).await,
        }
    }

    async fn in_window(&self, window: u64, flow: &Flow, messages: &mut Messages<'_>) -> io::Result<()> {
        let mut batch = self.sender.batch();
        while self.is_sending() {
            while flow.under_way() < window && batch.len() < LARGEST_BATCH {
                messages.push(self.shared.clock.now(), &mut batch);
            }
            if batch.len() > 0 {
                self.sender.send(&mut batch).await?;
            }
            let finished = flow.finished.load(Relaxed);
            if flow.under_way() >= window && timeout(PATIENCE, flow.progress.notified()).await.is_err() {
                // They are lost, which the report says; others are sent.
                if flow.finished.load(Relaxed) == finished {
                    flow.give_up();
                }
            }
        }
        Ok(())
    }

    /// Every message has its time, whether or not the one before was sent in time.
    async fn at_rate(&self, rate: f64, messages: &mut Messages<'_>) -> io::Result<()> {
        let sources = self.shared.sources.len().max(1) as f64;
        let step = sources / rate;
        let first = self.shared.clock.now() as f64 + 1e9 * step * f64::from(self.index) / sources;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "nanoseconds of a run are few and positive"
        )]
        let at = |number: u32| (first + 1e9 * step * f64::from(number)) as u64;
        let (timer, mut batch, mut number) = (Timer::new()?, self.sender.batch(), 0);
        while self.is_sending() {
            let mut now = self.shared.clock.now();
            if now < at(number) {
                timer.sleep(Duration::from_nanos(at(number) - now)).await?;
                now = self.shared.clock.now();
            }
            while at(number) <= now && batch.len() < LARGEST_BATCH && self.is_sending() {
                record(&mut self.durations.borrow_mut().late, now - at(number));
                messages.push(at(number), &mut batch);
                number += 1;
            }
            if batch.len() > 0 {
                self.sender.send(&mut batch).await?;
            }
        }
        Ok(())
    }

    fn is_sending(&self) -> bool {
        *self.phase.borrow() == Phase::Sending
    }
}

/// Makes one message after the other.
struct Messages<'a> {
    shared: &'a Shared,
    flow: &'a Flow,
    to: &'a To,
    index: u16,
    payload: usize,
    /// Up to the id of an acknowledgement.
    kind: String,
    /// The name of the event, up to the first argument.
    event: String,
    /// How many there were.
    number: u32,
}

impl Messages<'_> {
    /// Adds a message that is to be sent at that time.
    fn push(&mut self, at: u64, batch: &mut Batch) {
        self.number += 1;
        let Self { number, kind, event, .. } = &*self;
        batch.push(|packet| {
            packet.extend_from_slice(kind.as_bytes());
            // Writing to memory does not fail.
            let (written, receivers) = match self.to {
                To::Rooms(rooms) => {
                    let room = rooms.get(*number as usize % rooms.len().max(1)).copied();
                    let room = room.unwrap_or_default();
                    let members = self.shared.traffic.members.get(room);
                    let written = write!(packet, "{event}{}{room}\",\"", self.shared.rooms);
                    (written, members.map_or(0, |members| members.load(Relaxed)))
                }
                To::Receiver => {
                    let id = self.flow.receiver.get();
                    let written = write!(packet, "{number}{event}{}\",\"", id.map_or("", String::as_str));
                    (written, u32::from(id.is_some()))
                }
                To::Itself => (write!(packet, "{number}{event}"), 1),
            };
            written.unwrap_or_default();
            Stamp { source: self.index, number: *number, at }.write(self.payload, packet);
            packet.extend_from_slice(b"\"]");
            self.flow.begin(*number, receivers);
        });
    }
}

const fn events(scenario: &Scenario) -> Option<&Events> {
    match scenario {
        Scenario::Idle(_) | Scenario::Storm(_) => None,
        Scenario::Room(room) => Some(&room.events),
        Scenario::Direct(direct) => Some(&direct.events),
        Scenario::Echo(echo) => Some(&echo.events),
    }
}

/// A window in which nothing has arrived for so long is lost.
const PATIENCE: Duration = Duration::from_secs(2);

/// What was held up is sent in pieces of this size; and what nobody receives, which is never under way.
const LARGEST_BATCH: usize = 1 << 20;
