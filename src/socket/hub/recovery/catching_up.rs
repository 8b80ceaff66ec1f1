//! How a client that is back gets what it missed: every node is asked, and who is answered late asks again.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::super::registry::NamespaceRegistry;
use super::claimed::Claimed;
use super::{LOOK, PATIENCE};
use crate::socket::messages::recovery::{Number, Origin};
use crate::socket::messages::{Recover, RecoveryMessage};
use crate::socket::recovery::{MARGIN, Membership, Position, Recovering, TooMuch, Unrecovered};

impl NamespaceRegistry {
    /// Collects what the client missed, from every node. Who is answered late asks again.
    pub(super) async fn catch_up(
        &self,
        mut claimed: Claimed,
        mut position: Position,
    ) -> Result<Claimed, (Box<Claimed>, Unrecovered)> {
        // A client may say a position that it had in an earlier session. Nothing that old is kept of a session that is older.
        if claimed.state.age < claimed.records.retention {
            claimed.state.start.iter().for_each(|(origin, number)| {
                position.advance(Number { origin: *origin, number: *number });
            });
        }
        if claimed.state.forgotten.is_some_and(|over| over < claimed.records.retention) {
            return Err((Box::new(claimed), Unrecovered::TooMuch));
        }
        if claimed.state.login.is_some_and(|left| left.is_zero()) {
            return Err((Box::new(claimed), Unrecovered::Login));
        }
        let mut now = Instant::now();
        let deadline = now + PATIENCE;
        loop {
            match ask_all(&claimed, &position, now, deadline).await {
                Ok(true) => return Ok(claimed),
                Ok(false) if Instant::now() < deadline => {}
                Ok(false) => return Err((Box::new(claimed), Unrecovered::Unanswered)),
                Err(why) => return Err((Box::new(claimed), why)),
            }
            let asked = std::mem::replace(&mut now, Instant::now());
            claimed.begin_again(now.saturating_duration_since(asked));
        }
    }
}

/// Asks every node what the client missed, and waits. Returns whether the answers are what it missed: an age that was told late lets
/// the first packets after a join pass for earlier ones, and one that left meanwhile may have told its heir more behind the answer of
/// that.
async fn ask_all(
    claimed: &Claimed,
    position: &Position,
    now: Instant,
    deadline: Instant,
) -> Result<bool, Unrecovered> {
    let Claimed { keeping, records, id, state, .. } = claimed;
    let membership = Membership::new(state.socket, state.age, &state.rooms, now).with_left(&state.left, now);
    let limit = records.settings.max_replay;
    let asked = keeping.peers.members();
    let origins = asked.iter().map(|(node, incarnation)| Origin::of(node, *incarnation));
    {
        let mut journal = records.journal();
        if journal.recoveries() >= RECOVERIES {
            return Err(Unrecovered::Busy);
        }
        let back = Recovering::new(membership, position.clone(), origins, limit, keeping.waiting());
        journal.begin(*id, back, now).map_err(|TooMuch| Unrecovered::TooMuch)?;
    }
    let recover = RecoveryMessage::Recover(Recover {
        id: *id,
        namespace: Arc::clone(&records.path),
        socket: state.socket,
        age: state.age,
        rooms: state.rooms.clone(),
        left: state.left.clone(),
        after: position.to_vec(),
        limit: limit as u64,
        interest: keeping.peers.version(),
    });
    asked.iter().for_each(|(node, _)| keeping.peers.tell(node, &recover));
    if !all_answered(claimed, deadline).await? {
        return Ok(false);
    }
    let last = records.journal().recovering(*id).and_then(|back| back.last_answer());
    let is_late = last.is_some_and(|last| last.saturating_duration_since(now) > MARGIN);
    let is_new = |(_, age): &(_, Duration)| *age < records.retention;
    Ok(!is_late || !state.rooms.iter().any(is_new))
}

/// Waits until every node that lives has answered, with everything that was missed. Returns whether all that were asked did, nothing is
/// lost of that, and no member has come meanwhile, which was not asked.
async fn all_answered(claimed: &Claimed, deadline: Instant) -> Result<bool, Unrecovered> {
    let Claimed { keeping, records, id, .. } = claimed;
    let mut all = true;
    loop {
        let answer = records.answers.notified();
        {
            let mut journal = records.journal();
            let back = journal.recovering(*id).ok_or(Unrecovered::Unanswered)?;
            let lives = keeping.lives();
            for origin in back.waits_for().to_vec() {
                if !lives(origin) {
                    back.gone(origin);
                    all = false;
                }
            }
            if back.has_failed() {
                return Err(Unrecovered::TooMuch);
            }
            let is_whole = all && back.is_whole(&keeping.others());
            if back.is_complete() && is_whole && back.is_lacking() {
                return Err(Unrecovered::TooMuch);
            }
            if back.is_complete() || back.has_gap() {
                return Ok(is_whole);
            }
        }
        if Instant::now() >= deadline {
            return Err(Unrecovered::Unanswered);
        }
        let _woken = timeout(LOOK, answer).await;
    }
}

/// How many clients may come back to a namespace of a node at once.
const RECOVERIES: usize = 4096;
