//! What the tokio runtime that answers says of itself.

use std::fmt;
use std::time::Duration;

use tokio::runtime::Handle;

use super::writer::Metrics;

/// Its threads and tasks. Nothing where there is none.
pub(super) fn encode(metrics: &mut Metrics<'_>) -> fmt::Result {
    let Ok(runtime) = Handle::try_current().map(|runtime| runtime.metrics()) else { return Ok(()) };
    for (name, help, value) in [
        ("socketmesh_runtime_tasks", "Tasks of the runtime that are alive", runtime.num_alive_tasks()),
        ("socketmesh_runtime_workers", "Threads of the runtime", runtime.num_workers()),
        (
            "socketmesh_runtime_global_queue_depth",
            "Tasks that wait in the queue of the whole runtime",
            runtime.global_queue_depth(),
        ),
    ] {
        metrics.gauges(name, help, [([], value)])?;
    }
    let workers = || 0..runtime.num_workers();
    let busy: Duration = workers().map(|worker| runtime.worker_total_busy_duration(worker)).sum();
    metrics.counters(
        "socketmesh_runtime_busy_seconds_total",
        "Time for which threads of the runtime ran tasks, all together",
        [([], busy.as_secs_f64())],
    )?;
    let parks: u64 = workers().map(|worker| runtime.worker_park_count(worker)).sum();
    metrics.counters(
        "socketmesh_runtime_parks_total",
        "How often a thread of the runtime had nothing to do and waited",
        [([], parks)],
    )
}
