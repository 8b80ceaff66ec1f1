//! A thread of the generator: a runtime of its own, and its share of the clients.

use std::cell::RefCell;
use std::future::pending;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{sleep, timeout};

use crate::client::{Client, Sender};
use crate::options::Scenario;
use crate::packet::Packet;
use crate::plan::{Planned, Role, Target};
use crate::shared::{Phase, Shared};
use crate::source::Source;
use crate::traffic::{Counts, Durations, Receiver, record};

/// What the clients of a thread share.
struct Worker {
    shared: Arc<Shared>,
    counts: Arc<Counts>,
    phase: watch::Receiver<Phase>,
    /// How many connect at once.
    permits: Semaphore,
    durations: Rc<RefCell<Durations>>,
}

/// Runs clients until the run has ended.
pub(crate) fn work(
    clients: Vec<Planned>,
    shared: Arc<Shared>,
    counts: Arc<Counts>,
    mut phase: watch::Receiver<Phase>,
) -> io::Result<Durations> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let connecting = shared.common.connecting / usize::from(shared.common.threads);
    let worker = Rc::new(Worker {
        shared,
        counts,
        phase: phase.clone(),
        permits: Semaphore::new(connecting.max(1)),
        durations: Rc::default(),
    });
    let tasks = LocalSet::new();
    for client in clients {
        tasks.spawn_local(Rc::clone(&worker).run(client));
    }
    // Ended, or given up.
    tasks.block_on(&runtime, phase.wait_for(|phase| *phase == Phase::Ended)).map(drop).ok();
    drop(tasks);
    Ok(worker.durations.take())
}

impl Worker {
    async fn run(self: Rc<Self>, planned: Planned) {
        let target = Target { common: Arc::clone(&self.shared.common), home: planned.home };
        if planned.role == Role::Storm {
            return self.storm(&target).await;
        }
        let connected = {
            let _permit = self.permits.acquire().await;
            // In a box, which is freed then: many clients do nothing afterwards.
            Box::pin(self.connect(&target, planned.role)).await
        };
        let client = match connected {
            Ok(client) => client,
            Err(error) => return self.failed(&error),
        };
        if let Role::Source(index) = planned.role {
            spawn_local(Rc::clone(&self).send(index, client.sender(), target));
        }
        count(&self.counts.connected);
        if let Role::Stuck(_) = planned.role {
            return pending().await;
        }
        if let Err(error) = self.receive(client, planned.home).await {
            count(&self.counts.disconnected);
            self.shared.traffic.complain(|| format!("a client was disconnected: {error}"));
        }
    }

    /// Connects and does what belongs to it.
    async fn connect(&self, target: &Target, role: Role) -> io::Result<Client> {
        let began = self.shared.clock.now();
        let mut client = timeout(CONNECT_TIMEOUT, Client::connect(target)).await??;
        record(&mut self.durations.borrow_mut().connect, self.shared.clock.now() - began);
        let traffic = &self.shared.traffic;
        if let (Role::Member(room) | Role::Stuck(room), Scenario::Room(asked)) = (role, &self.shared.scenario)
        {
            let name = format!("{}{room}", self.shared.rooms);
            timeout(CONNECT_TIMEOUT, client.ask(&asked.events.join_event, &name)).await??;
        }
        if let Role::Member(room) = role
            && let Some(members) = traffic.members.get(room)
        {
            members.fetch_add(1, Relaxed);
        }
        if let Role::Receiver(source) = role
            && let Some(flow) = traffic.flows.get(source)
        {
            // Each source has one.
            flow.receiver.set(client.id.clone()).ok();
        }
        Ok(client)
    }

    async fn send(self: Rc<Self>, index: usize, sender: Sender, target: Target) {
        let Ok(index) = u16::try_from(index) else { return };
        let (shared, durations) = (Arc::clone(&self.shared), Rc::clone(&self.durations));
        let source = Source { index, sender, shared, phase: self.phase.clone(), durations };
        if let Err(error) = source.run(&target).await {
            self.shared.traffic.complain(|| format!("a sender could not send: {error}"));
        }
    }

    async fn receive(&self, mut client: Client, home: usize) -> io::Result<()> {
        let mut receiver = Receiver::new(home);
        loop {
            let mut read_at = None;
            client
                .receive(|packet| {
                    if let Packet::Stamped(stamp) = packet {
                        // One look at the clock for all that was read at once.
                        let now = *read_at.get_or_insert_with(|| self.shared.clock.now());
                        let counting = (&self.shared.traffic, &*self.counts);
                        receiver.receive(stamp, now, counting, &mut self.durations.borrow_mut());
                    }
                })
                .await?;
        }
    }

    async fn storm(&self, target: &Target) {
        let mut phase = self.phase.clone();
        // The run may have ended.
        phase.wait_for(|phase| *phase >= Phase::Sending).await.ok();
        while *phase.borrow() == Phase::Sending {
            match Box::pin(self.connect(target, Role::Storm)).await {
                Ok(_client) => count(&self.counts.connected),
                Err(error) => {
                    self.failed(&error);
                    sleep(AFTER_FAILURE).await;
                }
            }
        }
    }

    fn failed(&self, error: &io::Error) {
        count(&self.counts.failed);
        self.shared.traffic.complain(|| format!("a client could not connect: {error}"));
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// The deadline for a connection, and for a room.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// A server that refuses everybody is not asked without a pause.
const AFTER_FAILURE: Duration = Duration::from_millis(10);
