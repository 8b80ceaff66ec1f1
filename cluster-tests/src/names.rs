//! A name server for tests, as Docker and Kubernetes have one: what a name stands for can change.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::UdpSocket;
use tokio::task::JoinSet;

/// A running name server, which ends with the value.
#[derive(Debug)]
pub struct Names {
    /// Where it answers.
    pub addr: SocketAddr,
    known: Known,
    _answering: JoinSet<()>,
}

type Known = Arc<Mutex<BTreeMap<String, Vec<Ipv4Addr>>>>;

impl Names {
    /// Starts one that knows no names.
    ///
    /// # Panics
    /// No port of the loopback interface is free.
    pub async fn start() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port on loopback");
        let addr = socket.local_addr().expect("an address");
        let known = Known::default();
        let (asked, mut answering) = (Arc::clone(&known), JoinSet::new());
        answering.spawn(async move {
            let mut query = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut query).await {
                let known = asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
                if let Some(answer) = query.get(..length).and_then(|query| answer(query, &known)) {
                    socket.send_to(&answer, from).await.ok();
                }
            }
        });
        Self { addr, known, _answering: answering }
    }

    /// From now on the name stands for these addresses.
    pub fn set(&self, name: &str, addresses: &[Ipv4Addr]) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), addresses.to_vec());
    }
}

/// The answer to a query with one question (RFC 1035, section 4.1): the addresses of the name if it asks for them, for a second.
fn answer(query: &[u8], known: &BTreeMap<String, Vec<Ipv4Addr>>) -> Option<Vec<u8>> {
    let (head, mut rest) = query.split_at_checked(12)?;
    let mut labels = Vec::new();
    loop {
        let (length, after) = rest.split_first()?;
        let (label, after) = after.split_at_checked(usize::from(*length))?;
        rest = after;
        if label.is_empty() {
            break;
        }
        labels.push(String::from_utf8_lossy(label).to_lowercase());
    }
    let question = query.get(12..query.len() - rest.len() + 4)?;
    let addresses = known.get(&labels.join("."));
    let asked = rest.get(..2)? == [0, 1];
    let found = addresses.filter(|_| asked).map_or(&[][..], Vec::as_slice);
    // An answer with authority: no error, or no such name.
    let code = if addresses.is_some() { 0 } else { 3 };
    let mut answer = head.get(..2)?.to_vec();
    answer.extend([0x85, 0x80 | code, 0, 1]);
    answer.extend(u16::try_from(found.len()).ok()?.to_be_bytes());
    answer.extend([0; 4]);
    answer.extend(question);
    for address in found {
        // The name is that of the question.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_for_addresses_is_answered_with_those_of_the_name() {
        let query =
            |kind| [&[7, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 3][..], b"App", &[0, 0, kind, 0, 1]].concat();
        let known = BTreeMap::from([("app".to_owned(), vec![Ipv4Addr::new(127, 0, 0, 9)])]);
        let found = answer(&query(1), &known).unwrap();
        assert_eq!(found[..8], [7, 9, 0x85, 0x80, 0, 1, 0, 1]);
        assert_eq!(found[found.len() - 6..], [0, 4, 127, 0, 0, 9]);
        assert_eq!(answer(&query(28), &known).unwrap()[6..8], [0, 0], "none of the other kind");
        assert_eq!(answer(&query(1), &BTreeMap::new()).unwrap()[3], 0x83);
        assert_eq!(answer(&query(1)[..15], &known), None);
    }
}
