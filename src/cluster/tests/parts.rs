//! Every part of a mesh, ended once by itself: it begins again, or the node ends with an error.

use super::*;
use crate::cluster::tasks::ports::{ControlMessage, Part};

/// What follows the end of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// The node does all that it did before.
    GoesOn,
    /// It has failed, and says so.
    Fails,
}

const PARTS: [(Part, Then); 7] = [
    (Part::Gossip, Then::GoesOn),
    (Part::Accepting, Then::GoesOn),
    (Part::LinkWriter, Then::GoesOn),
    (Part::LinkReader, Then::GoesOn),
    (Part::Actor, Then::Fails),
    (Part::Endpoint, Then::Fails),
    (Part::Thread, Then::Fails),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_part_of_a_mesh_ends_unnoticed() {
    for (part, then) in PARTS {
        let [mut a, mut b, c] = cluster::<3>().await;
        match part {
            Part::Thread => a.mesh.running.lock().as_mut().unwrap().0.end_thread(),
            part => a.mesh.control.cast(ControlMessage::End(part)).unwrap(),
        }
        if then == Then::Fails {
            let failed = timeout(DEADLINE, a.mesh.failed()).await;
            assert!(!failed.unwrap_or_else(|_| panic!("the end of {part:?} is not noticed")).is_empty());
            assert!(!a.mesh.is_ready(), "{part:?}");
            continue;
        }
        // It accepts a newcomer, which all others see.
        let d = Node::start(config("d", &[a.address()])).await;
        timeout(DEADLINE, d.mesh.ready()).await.unwrap_or_else(|_| panic!("{part:?}: d does not join"));
        a.sees("all four", |view| settled(view, 4)).await;
        // Its links carry messages both ways.
        a.emits(&[], "there");
        assert_eq!(b.receives().await, "there", "{part:?}");
        b.emits(&[], "and back");
        assert_eq!(a.receives().await, "and back", "{part:?}");
        // It notices a death, which takes gossip and the link.
        c.mesh.kill().await;
        a.sees("c gone", |view| view.member(&id("c")).is_none()).await;
    }
}
