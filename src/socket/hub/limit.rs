//! How much a client may send: a rate and a burst, by socket or by user.
//!
//! A pace is one moment: until when what was sent so far is paid for, at the rate of the limit (GCRA, ITU-T I.371). So a limit
//! costs one moment for each socket or user, and no timer. The clock is read where a limit is for an event of that name.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How much each client of a namespace may send: so many events or bytes in a time, and a burst. What
/// [`Namespace::limit`](crate::Namespace::limit) and [`limit_event`](crate::Namespace::limit_event) take.
///
/// ```
/// use std::time::Duration;
/// use socketmesh::{Socket, namespace, socket::{Excess, Limit}};
///
/// let chat = namespace("/chat")
///     .limit(Limit::events(20).burst(60))
///     .limit(Limit::bytes(64 << 10).beyond(Excess::Disconnect))
///     .limit_event("invite", Limit::events(5).per(Duration::from_secs(60)).per_user())
///     .on("say", async |socket: Socket, text: String| Ok(socket.broadcast().emit("said", &text)?))
///     .on("invite", async |_: Socket, _: String| Ok(()));
/// ```
#[derive(Debug, Clone)]
#[must_use = "a limit is nothing until it is given to a namespace"]
pub struct Limit {
    measure: Measure,
    most: u32,
    time: Duration,
    burst: Option<u32>,
    excess: Excess,
    /// Only of events with this name.
    event: Option<Arc<str>>,
    /// Of the users of this node, if it is by user.
    users: Option<Arc<UserPaces>>,
}

/// What happens to an event beyond a [`Limit`]. No handler runs for it, and it is counted
/// (`socketmesh_socket_events_limited_total`).
///
/// ```
/// use socketmesh::socket::{Excess, Limit};
///
/// let positions = Limit::events(60).beyond(Excess::Drop);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Excess {
    /// It is dropped. Who waits for an ack, waits in vain.
    Drop,
    /// It is dropped; the ack, if one was asked for, is the error `limit_exceeded`.
    #[default]
    Refuse,
    /// The connection of the client is closed, with the reason `limit exceeded`.
    Disconnect,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Measure {
    Events,
    Bytes,
}

impl Limit {
    /// So many events of each socket in a second.
    pub const fn events(most: u32) -> Self {
        Self::of(Measure::Events, most)
    }

    /// So many bytes of each socket in a second: names and arguments of events, with their attachments. An event larger than the
    /// burst is taken when nothing else was sent for long enough.
    pub const fn bytes(most: u32) -> Self {
        Self::of(Measure::Bytes, most)
    }

    const fn of(measure: Measure, most: u32) -> Self {
        let (time, excess) = (Duration::from_secs(1), Excess::Refuse);
        Self { measure, most, time, burst: None, excess, event: None, users: None }
    }

    /// Counts for that long instead of a second.
    pub fn per(self, time: Duration) -> Self {
        Self { time, ..self }
    }

    /// Sets how much may come at once, after a pause. Without it as much as in the whole time.
    pub fn burst(self, most: u32) -> Self {
        Self { burst: Some(most), ..self }
    }

    /// Counts together what all sockets of a user send on a node: those with one key of [`Login::user`](super::Login::user). A socket
    /// without a user counts for itself.
    pub fn per_user(self) -> Self {
        Self { users: Some(Arc::default()), ..self }
    }

    /// Sets what happens beyond the limit. Default [`Excess::Refuse`].
    pub fn beyond(self, excess: Excess) -> Self {
        Self { excess, ..self }
    }

    /// The same for events of one name.
    pub(crate) fn of_event(self, event: &str) -> Self {
        Self { event: Some(event.into()), ..self }
    }

    /// Whether it lets anything pass.
    pub(crate) const fn is_nothing(&self) -> bool {
        self.most == 0 || self.time.is_zero()
    }

    pub(crate) const fn excess(&self) -> Excess {
        self.excess
    }

    /// What a client is told, for people.
    pub(crate) const fn reason(&self) -> &'static str {
        match self.measure {
            Measure::Events => "too many events",
            Measure::Bytes => "too many bytes",
        }
    }

    /// Lets an event pass, and remembers it; otherwise returns the first of the limits that it is beyond, and it counts for none.
    /// `paces` are those of its socket.
    pub(crate) fn beyond_any<'a>(
        limits: &'a [Self],
        event: (&str, usize),
        user: Option<&Arc<str>>,
        paces: &mut [Pace],
        clock: impl Fn() -> Instant,
    ) -> Option<&'a Self> {
        let mut now = None;
        for (at, (limit, pace)) in limits.iter().zip(&mut *paces).enumerate() {
            let Some(units) = limit.units(event) else { continue };
            let now = *now.get_or_insert_with(&clock);
            if !limit.of_whom(user, pace, now, |pace| limit.takes(units, pace, now)) {
                for (limit, pace) in limits.iter().zip(paces).take(at) {
                    let back = limit.units(event).map_or(Duration::ZERO, |units| limit.takes_time(units));
                    limit.of_whom(user, pace, now, |pace| pace.give_back(back));
                }
                return Some(limit);
            }
        }
        None
    }

    /// What an event counts for; `None` if the limit is not for events of this name.
    fn units(&self, (event, bytes): (&str, usize)) -> Option<u32> {
        let is_for_it = self.event.as_deref().is_none_or(|only| only == event);
        is_for_it.then(|| match self.measure {
            Measure::Events => 1,
            Measure::Bytes => u32::try_from(bytes).unwrap_or(u32::MAX),
        })
    }

    /// Does something with the pace that counts: that of the user, if the limit is by user, or of the socket.
    fn of_whom<T>(
        &self,
        user: Option<&Arc<str>>,
        pace: &mut Pace,
        now: Instant,
        act: impl FnOnce(&mut Pace) -> T,
    ) -> T {
        match (&self.users, user) {
            (Some(users), Some(user)) => users.of(user, now, act),
            _ => act(pace),
        }
    }

    fn takes(&self, units: u32, pace: &mut Pace, now: Instant) -> bool {
        let (begins, most) =
            (pace.0.map_or(now, |paid| paid.max(now)), self.takes_time(self.burst.unwrap_or(self.most)));
        let Some(paid) = begins.checked_add(self.takes_time(units)) else { return false };
        let passes = begins == now || paid - now <= most;
        if passes {
            pace.0 = Some(paid);
        }
        passes
    }

    /// How long that much takes at the rate of the limit.
    fn takes_time(&self, units: u32) -> Duration {
        let nanos = self.time.as_nanos().saturating_mul(units.into()) / u128::from(self.most.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// Until when what a socket or a user has sent is paid for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pace(Option<Instant>);

impl Pace {
    fn give_back(&mut self, time: Duration) {
        self.0 = self.0.and_then(|paid| paid.checked_sub(time));
    }

    fn is_paid(self, now: Instant) -> bool {
        self.0.is_none_or(|paid| paid <= now)
    }
}

/// What one client sent to each namespace that has limits. It is kept when the client leaves one: who comes back at once finds its
/// burst as it left it. A client that connects anew has a pace of its own.
#[derive(Debug, Default)]
pub(crate) struct ClientPaces(Vec<(Arc<str>, Box<[Pace]>)>);

impl ClientPaces {
    /// Those of the limits of a namespace.
    pub(crate) fn of(
        &mut self,
        namespace: &Arc<str>,
        limits: &[Limit],
        clock: impl Fn() -> Instant,
    ) -> &mut [Pace] {
        let found = self.0.iter().position(|(path, _)| path == namespace);
        let at = found.unwrap_or_else(|| {
            self.make_room(clock);
            self.0.push((Arc::clone(namespace), Box::default()));
            self.0.len() - 1
        });
        let Some((_, paces)) = self.0.get_mut(at) else { return &mut [] };
        // A dynamic namespace may be described anew.
        if paces.len() != limits.len() {
            *paces = vec![Pace::default(); limits.len()].into();
        }
        paces
    }

    /// Forgets where everything is paid for, and if need be where least is owed.
    fn make_room(&mut self, clock: impl Fn() -> Instant) {
        if self.0.len() < MAX_NAMESPACES {
            return;
        }
        let now = clock();
        self.0.retain(|(_, paces)| !paces.iter().all(|pace| pace.is_paid(now)));
        let owed = |(_, paces): &(Arc<str>, Box<[Pace]>)| paces.iter().filter_map(|pace| pace.0).max();
        let least = (0..self.0.len()).min_by_key(|at| self.0.get(*at).and_then(owed));
        if let Some(least) = least.filter(|_| self.0.len() >= MAX_NAMESPACES) {
            self.0.swap_remove(least);
        }
    }
}

/// The paces of the users that sent something not long ago.
#[derive(Default)]
struct UserPaces(Mutex<Paces>);

#[derive(Default)]
struct Paces {
    of: HashMap<Arc<str>, Pace>,
    /// At how many those are forgotten that have paid for everything.
    sweep_at: usize,
}

impl UserPaces {
    fn of<T>(&self, user: &Arc<str>, now: Instant, act: impl FnOnce(&mut Pace) -> T) -> T {
        let mut paces = self.0.lock();
        if let Some(pace) = paces.of.get_mut(user) {
            return act(pace);
        }
        if paces.of.len() >= paces.sweep_at {
            paces.of.retain(|_, pace| !pace.is_paid(now));
            paces.sweep_at = (2 * paces.of.len()).max(FEW);
        }
        act(paces.of.entry(Arc::clone(user)).or_default())
    }
}

impl fmt::Debug for UserPaces {
    /// Without the keys, which may be names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserPaces").field("users", &self.0.lock().of.len()).finish()
    }
}

/// Users that are not worth looking through.
const FEW: usize = 1024;
/// Namespaces of which a client's paces are kept, those that it has left included.
const MAX_NAMESPACES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::Cell;

    fn passed(limit: &Limit, pace: &mut Pace, now: Instant, bytes: usize) -> bool {
        passed_by(limit, ("say", bytes), None, pace, now)
    }

    fn passed_by(
        limit: &Limit,
        event: (&str, usize),
        user: Option<&Arc<str>>,
        pace: &mut Pace,
        now: Instant,
    ) -> bool {
        Limit::beyond_any(std::slice::from_ref(limit), event, user, std::slice::from_mut(pace), || now)
            .is_none()
    }

    #[test]
    fn a_burst_passes_at_once_and_then_the_rate() {
        let (limit, mut pace, now) = (Limit::events(10).burst(3), Pace::default(), Instant::now());
        let at = |millis| now + Duration::from_millis(millis);
        for expected in [true, true, true, false] {
            assert_eq!(passed(&limit, &mut pace, now, 0), expected);
        }
        assert!(!passed(&limit, &mut pace, at(99), 0) && passed(&limit, &mut pace, at(100), 0));
        assert!(!passed(&limit, &mut pace, at(100), 0), "what was refused does not count");
        for expected in [true, true, true, false] {
            assert_eq!(passed(&limit, &mut pace, at(1000), 0), expected, "after a pause a burst again");
        }
    }

    #[test]
    fn an_event_larger_than_the_burst_passes_when_nothing_else_did_and_is_paid_for() {
        let (limit, mut pace, now) = (Limit::bytes(1000), Pace::default(), Instant::now());
        assert!(passed(&limit, &mut pace, now, 5000));
        assert!(!passed(&limit, &mut pace, now + Duration::from_millis(4000), 1000));
        assert!(passed(&limit, &mut pace, now + Duration::from_millis(4500), 500));
    }

    #[test]
    fn a_limit_of_one_event_does_not_count_others() {
        let (limit, mut pace, now) = (Limit::events(1).of_event("invite"), Pace::default(), Instant::now());
        assert!((0..9).all(|_| passed(&limit, &mut pace, now, 0)));
        assert!(passed_by(&limit, ("invite", 0), None, &mut pace, now));
        assert!(!passed_by(&limit, ("invite", 0), None, &mut pace, now));
    }

    #[test]
    fn the_clock_is_read_once_for_an_event_that_has_a_limit_and_for_no_other() {
        let limits = [Limit::events(9).of_event("invite"), Limit::bytes(9).of_event("invite")];
        let (mut paces, read) = ([Pace::default(); 2], Cell::new(0));
        let clock = || {
            read.set(read.get() + 1);
            Instant::now()
        };
        assert!(Limit::beyond_any(&limits, ("say", 1), None, &mut paces, clock).is_none());
        assert_eq!(read.get(), 0);
        assert!(Limit::beyond_any(&limits, ("invite", 1), None, &mut paces, clock).is_none());
        assert_eq!(read.get(), 1);
    }

    #[test]
    fn what_one_limit_refuses_counts_for_none() {
        let (now, user) = (Instant::now(), Arc::from("ann"));
        let limits = [Limit::events(3), Limit::events(2).per_user(), Limit::bytes(10).of_event("say")];
        let mut paces = [Pace::default(); 3];
        let mut refused = |event| {
            let beyond = Limit::beyond_any(&limits, event, Some(&user), &mut paces, || now);
            beyond.map(Limit::reason)
        };
        assert_eq!(refused(("say", 10)), None);
        for _ in 0..5 {
            assert_eq!(refused(("say", 10)), Some("too many bytes"));
        }
        assert_eq!(refused(("other", 10)), None);
        assert_eq!(refused(("other", 10)), Some("too many events"), "of the user");
    }

    #[test]
    fn paces_are_kept_by_namespace_for_as_many_as_a_client_may_be_in() {
        let (limits, start) = ([Limit::events(1)], Instant::now());
        let mut paces = ClientPaces::default();
        let mut passes = |n: usize, at: Instant| {
            let of = paces.of(&format!("/{n}").into(), &limits, || at);
            let passes = Limit::beyond_any(&limits, ("say", 0), None, of, || at).is_none();
            (passes, paces.0.len())
        };
        let at = |n: usize| start + Duration::from_micros(u64::try_from(n).unwrap());
        for n in 0..MAX_NAMESPACES {
            assert_eq!(passes(n, at(n)), (true, n + 1));
        }
        assert_eq!(passes(1, at(300)), (false, MAX_NAMESPACES));
        assert_eq!(passes(300, at(300)), (true, MAX_NAMESPACES), "the first has paid first");
        assert_eq!(passes(1, at(300)), (false, MAX_NAMESPACES));
        assert_eq!(passes(0, at(300)), (true, MAX_NAMESPACES));
        assert_eq!(passes(400, at(9_000_000)), (true, 1), "all others have paid");
    }

    #[test]
    fn sockets_of_one_user_are_counted_together_and_others_for_themselves() {
        let (limit, now) = (Limit::events(1).per_user(), Instant::now());
        let passes = |user: Option<&str>, pace: &mut Pace| {
            passed_by(&limit, ("say", 0), user.map(Arc::from).as_ref(), pace, now)
        };
        let (mut one, mut other) = (Pace::default(), Pace::default());
        assert!(passes(Some("ann"), &mut one) && !passes(Some("ann"), &mut other));
        assert!(passes(Some("bob"), &mut one));
        assert!(passes(None, &mut one) && !passes(None, &mut one) && passes(None, &mut other));
    }

    #[test]
    fn a_user_that_has_paid_is_forgotten() {
        let (limit, now) = (Limit::events(1).per_user(), Instant::now());
        let known_after = |users: std::ops::Range<u32>, at| {
            for user in users {
                let user = user.to_string().into();
                assert!(passed_by(&limit, ("say", 0), Some(&user), &mut Pace::default(), at));
            }
            limit.users.as_ref().map(|users| users.0.lock().of.len())
        };
        assert_eq!(known_after(0..5000, now), Some(5000));
        assert_eq!(known_after(5000..20_000, now + Duration::from_secs(2)), Some(15_000));
    }

    proptest! {
        #[test]
        fn no_more_passes_in_any_time_than_the_burst_and_what_the_rate_gives(
            pauses in proptest::collection::vec(0..400_u64, 1..80), most in 1..20_u32, burst in 1..20_u32,
        ) {
            let (limit, mut pace, start) = (Limit::events(most).burst(burst), Pace::default(), Instant::now());
            let (mut now, mut passed) = (start, Vec::new());
            for pause in pauses {
                now += Duration::from_millis(pause);
                if passed_by(&limit, ("say", 0), None, &mut pace, now) {
                    passed.push(now);
                }
            }
            for (index, from) in passed.iter().enumerate() {
                for (count, to) in passed.iter().skip(index).enumerate() {
                    let given = (*to - *from).as_secs_f64() * f64::from(most) + f64::from(burst);
                    let count = u32::try_from(count + 1).unwrap();
                    prop_assert!(f64::from(count) <= given + 1e-3, "{count} of {given}");
                }
            }
        }
    }
}
