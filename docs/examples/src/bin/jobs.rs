//! A job server that asks its clients. Whoever submits a job waits for the acknowledgement, which a task sends when the job is done,
//! minutes later perhaps; the job is given to a worker in an event, whose acknowledgement is the result.

use std::time::Duration;

use axum::Router;
use examples::{BoxError, builder, serve};
use socketmesh::{Ack, AckError, EventError, NamespaceRef, RawArg, RemoteSocket, Socket, namespace};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::sleep;

/// Clients of `/` emit `submit` with a job, which is anything. Those of `/workers` get `work` with a job, one at a time as a rule, and
/// acknowledge it with the result. Here anybody may do either; see the example `login` for proof.
///
/// A job is done at least once: if its worker goes away, with its connection or its node, another one does it. It is lost with the node
/// that it was submitted to, whose client learns of that by its own disconnection.
#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let (queue, jobs) = mpsc::channel(WAITING);
    let accept = queue.clone();
    let customers = namespace("/").on("submit", async move |_: Socket, work: RawArg, ack: Ack| {
        if let Err(TrySendError::Full(job)) = accept.try_send(Job { work, ack }) {
            job.ack.answer::<()>(Err(EventError::new("busy", "too many jobs are waiting")))?;
        }
        Ok(())
    });
    let workers = namespace("/workers").on_connect(async |socket: Socket| Ok(socket.join(IDLE).await?));
    let node = builder()?.namespace(customers).namespace(workers).start().await?;
    let dispatching = tokio::spawn(dispatch(node.of("/workers"), queue, jobs));
    serve(node, Router::new()).await?;
    dispatching.abort();
    Ok(())
}

struct Job {
    work: RawArg,
    /// Of the client that submitted it.
    ack: Ack,
}

/// Gives the jobs of this node, one after another, to workers of all nodes.
async fn dispatch(workers: NamespaceRef, queue: mpsc::Sender<Job>, mut jobs: mpsc::Receiver<Job>) {
    while let Some(job) = jobs.recv().await {
        if !job.ack.is_connected() {
            continue;
        }
        let worker = hire(&workers).await;
        let queue = queue.clone();
        tokio::spawn(async move {
            if let Some(job) = done_by(&worker, job).await {
                // The queue ends with the server.
                let _ended = queue.send(job).await;
            }
        });
    }
}

/// The next worker that is idle, on whichever node. Two nodes may hire the same one in the same moment: it gets both jobs.
async fn hire(workers: &NamespaceRef) -> RemoteSocket {
    loop {
        if let Some(worker) = workers.to(IDLE).fetch_sockets().await.found.pop() {
            worker.leave(IDLE).await;
            return worker;
        }
        sleep(PAUSE).await;
    }
}

/// Has a worker do a job, for as long as it takes. The job, if the worker went away.
async fn done_by(worker: &RemoteSocket, job: Job) -> Option<Job> {
    let result = worker.timeout(None).emit_with_ack::<RawArg, _>("work", &job.work).await;
    if let Err(AckError::Disconnected) = result {
        return Some(job);
    }
    worker.join(IDLE).await;
    // Whoever submitted it may have left meanwhile.
    let _gone = job.ack.answer(result.map_err(EventError::from));
    None
}

/// The room of the workers that have nothing to do.
const IDLE: &str = "idle";
/// How many jobs may wait at a node.
const WAITING: usize = 1000;
/// How soon a node looks again when everybody is busy.
const PAUSE: Duration = Duration::from_millis(250);
