//! Tasks of QUIC that run with the mesh, and in which whoever gives them something to do may take a turn: what is written to a
//! stream goes out at once then, and the thread of the mesh need not be woken for it.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use parking_lot::Mutex;
use tokio::runtime::Handle;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A task of QUIC. Its waker stands for the task that runs with the mesh.
pub(super) struct Driver {
    /// `None` when it has ended.
    task: Mutex<Option<Task>>,
    waker: Mutex<Option<Waker>>,
    mesh: Handle,
}

impl Driver {
    /// To be called on the runtime of the mesh.
    pub(super) fn spawn(task: Task) {
        let (task, waker) = (Mutex::new(Some(task)), Mutex::default());
        let hosted = Hosted(Arc::new(Self { task, waker, mesh: Handle::current() }));
        tokio::spawn(poll_fn(move |cx| hosted.poll(cx)));
    }

    fn poll(self: &Arc<Self>, task: &mut Option<Task>) -> Poll<()> {
        // Taken out, so that nobody polls what has panicked.
        let Some(mut polled) = task.take() else { return Poll::Ready(()) };
        let waker = Waker::from(Arc::clone(self));
        let ended = polled.as_mut().poll(&mut Context::from_waker(&waker));
        if ended.is_pending() {
            *task = Some(polled);
        }
        ended
    }

    /// Does now what the task was woken for, unless the mesh is at it.
    fn take_turn(self: &Arc<Self>) {
        let Some(mut task) = self.task.try_lock() else { return self.wake_task() };
        // Timers that are made here belong to the mesh.
        let _mesh = self.mesh.enter();
        if self.poll(&mut task).is_ready() {
            self.wake_task();
        }
    }

    fn wake_task(&self) {
        let waker = self.waker.lock().clone();
        waker.into_iter().for_each(Waker::wake);
    }
}

/// The part that the runtime of the mesh holds. The task ends with it: its own wakers would keep it for ever.
struct Hosted(Arc<Driver>);

impl Hosted {
    fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let Self(driver) = self;
        driver.waker.lock().get_or_insert_with(|| cx.waker().clone()).clone_from(cx.waker());
        let mut task = driver.task.lock();
        driver.poll(&mut task)
    }
}

impl Drop for Hosted {
    fn drop(&mut self) {
        // A statement of its own, so that nothing is locked while the task is dropped.
        let task = self.0.task.lock().take();
        drop(task);
    }
}

impl Wake for Driver {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let before = WOKEN.with_borrow_mut(|woken| {
            let woken = woken.as_mut()?;
            Some(woken.replace(Arc::clone(self)))
        });
        match before {
            None => self.wake_task(),
            Some(Some(other)) if !Arc::ptr_eq(&other, self) => other.wake_task(),
            Some(_) => {}
        }
    }
}

/// Polls the future, and then the task of QUIC that it woke, unless the mesh is at it.
pub(crate) async fn at_once<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        let _turn = Turn::begin();
        future.as_mut().poll(cx)
    })
    .await
}

/// While there is one, this thread wakes no task of QUIC, but polls it in the end.
struct Turn;

impl Turn {
    fn begin() -> Self {
        WOKEN.set(Some(None));
        Self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        match WOKEN.take().flatten() {
            Some(driver) if thread::panicking() => driver.wake_task(),
            Some(driver) => driver.take_turn(),
            None => {}
        }
    }
}

thread_local! {
    /// In a [`Turn`], the task that was woken last.
    static WOKEN: RefCell<Option<Option<Arc<Driver>>>> = const { RefCell::new(None) };
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::runtime::Builder;
    use tokio::task::yield_now;

    use super::*;

    /// What a task does that never ends.
    #[derive(Default)]
    struct Probe {
        polls: AtomicUsize,
        waker: Mutex<Option<Waker>>,
    }

    impl Probe {
        fn polls(&self) -> usize {
            self.polls.load(Ordering::Relaxed)
        }

        fn wake(&self) {
            self.waker.lock().as_ref().unwrap().wake_by_ref();
        }
    }

    async fn spawn(probe: &Arc<Probe>) {
        let probe = Arc::clone(probe);
        Driver::spawn(Box::pin(poll_fn(move |cx| {
            probe.polls.fetch_add(1, Ordering::Relaxed);
            *probe.waker.lock() = Some(cx.waker().clone());
            Poll::Pending
        })));
        yield_now().await;
    }

    #[tokio::test]
    async fn what_is_woken_in_a_turn_is_polled_in_it_and_not_again() {
        let probe = Arc::default();
        spawn(&probe).await;
        assert_eq!(probe.polls(), 1);
        at_once(async { probe.wake() }).await;
        assert_eq!(probe.polls(), 2);
        yield_now().await;
        assert_eq!(probe.polls(), 2);
        probe.wake();
        assert_eq!(probe.polls(), 2, "outside of a turn it is polled with the others");
        yield_now().await;
        assert_eq!(probe.polls(), 3);
    }

    #[tokio::test]
    async fn of_several_that_are_woken_in_a_turn_none_is_forgotten() {
        let probes = [Arc::default(), Arc::default()];
        for probe in &probes {
            spawn(probe).await;
        }
        at_once(async { probes.iter().for_each(|probe| probe.wake()) }).await;
        yield_now().await;
        assert_eq!(probes.map(|probe| probe.polls()), [2, 2]);
    }

    #[tokio::test]
    async fn a_task_that_the_mesh_polls_is_left_to_it() {
        let probe = Arc::default();
        spawn(&probe).await;
        let waker = probe.waker.lock().clone().unwrap();
        let (task, waiting) = (Mutex::new(None), Mutex::new(Some(waker)));
        let driver = Arc::new(Driver { task, waker: waiting, mesh: Handle::current() });
        let polled = driver.task.lock();
        driver.take_turn();
        drop(polled);
        yield_now().await;
        assert_eq!(probe.polls(), 2, "the waker of the mesh was called");
    }

    #[test]
    fn the_task_ends_with_its_runtime_although_it_holds_its_waker() {
        let (runtime, probe) = (Builder::new_current_thread().build().unwrap(), Arc::default());
        runtime.block_on(spawn(&probe));
        drop(runtime);
        assert_eq!(Arc::strong_count(&probe), 1);
    }
}
