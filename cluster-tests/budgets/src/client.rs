//! A client that costs next to nothing: its bytes are made before they are needed, and it looks only at the lengths of what comes.

use socketmesh::Node;
use socketmesh::fuzzing::operations::connect;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

/// A connection with a session.
pub(crate) struct Client {
    stream: DuplexStream,
    /// What was read and not used yet begins at `used`.
    read: Vec<u8>,
    used: usize,
}

impl Client {
    fn open(node: &Node) -> Self {
        Self { stream: connect(node), read: Vec::with_capacity(64 << 10), used: 0 }
    }

    /// A client with a WebSocket, in the namespace `/`, and the id of its socket.
    pub(crate) async fn websocket(node: &Node) -> (Self, String) {
        let mut client = Self::open(node);
        client.upgrade("").await;
        let _open = client.frame().await;
        client.enter().await
    }

    /// One whose session is at `owner`, and whose WebSocket passes through `edge`.
    pub(crate) async fn spliced(owner: &Node, edge: &Node) -> (Self, String) {
        let (_polling, sid) = Self::polling(owner, owner).await;
        let mut client = Self::open(edge);
        client.upgrade(&format!("&sid={sid}")).await;
        client.send(&frame("2probe")).await;
        let _probed = client.frame().await;
        client.send(&frame("5")).await;
        client.enter().await
    }

    /// One that polls `edge`, whose session is at `owner`, and the id of the session. It is in no namespace yet.
    pub(crate) async fn polling(owner: &Node, edge: &Node) -> (Self, String) {
        let mut opening = Self::open(owner);
        opening.send(&get("")).await;
        let answer = opening.answer().await;
        let sid = text_after(&answer, "\"sid\":\"");
        (Self::open(edge), sid)
    }

    async fn enter(mut self) -> (Self, String) {
        self.send(&frame("40")).await;
        let connected = self.frame().await;
        let id = text_after(&connected, "\"sid\":\"");
        (self, id)
    }

    async fn upgrade(&mut self, sid: &str) {
        let request = format!(
            "GET /socket.io/?EIO=4&transport=websocket{sid} HTTP/1.1\r\nHost: node\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        );
        self.send(request.as_bytes()).await;
        let head = self.head().await;
        let answer = self.take(head);
        assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the node reads");
    }

    /// The next frame of a WebSocket.
    pub(crate) async fn frame(&mut self) -> String {
        self.at_least(2).await;
        let length = usize::from(self.rest()[1]);
        let (header, length) = match length {
            126 => {
                self.at_least(4).await;
                (4, usize::from(self.rest()[2]) << 8 | usize::from(self.rest()[3]))
            }
            _ => (2, length),
        };
        self.at_least(header + length).await;
        self.used += header;
        self.take(length)
    }

    /// The body of the next answer.
    pub(crate) async fn answer(&mut self) -> String {
        let head = self.head().await;
        let head = self.take(head).to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 200"), "{head}");
        let length = text_after(&head, "content-length: ").parse().expect("a length");
        self.at_least(length).await;
        self.take(length)
    }

    /// Waits for a head, and returns its length.
    async fn head(&mut self) -> usize {
        loop {
            let end = self.rest().windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                return end + 4;
            }
            self.at_least(self.rest().len() + 1).await;
        }
    }

    async fn at_least(&mut self, length: usize) {
        while self.rest().len() < length {
            let read = self.stream.read_buf(&mut self.read).await.expect("the node writes");
            assert!(
                read > 0,
                "the node closed the connection after {:?}",
                String::from_utf8_lossy(self.rest())
            );
        }
    }

    fn rest(&self) -> &[u8] {
        &self.read[self.used..]
    }

    fn take(&mut self, length: usize) -> String {
        let taken = String::from_utf8_lossy(&self.rest()[..length]).into_owned();
        self.used += length;
        if self.used == self.read.len() {
            self.read.clear();
            self.used = 0;
        }
        taken
    }
}

/// A text of less than 64 KiB as the frame of a client. A mask of zeros leaves it as it is.
pub(crate) fn frame(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("a short text");
    let header = match u8::try_from(length) {
        Ok(length @ ..126) => vec![0x81, 0x80 | length],
        _ => [&[0x81, 0x80 | 126], &length.to_be_bytes()[..]].concat(),
    };
    [&header[..], &[0; 4], text.as_bytes()].concat()
}

/// A request that polls. `sid` is the end of its query.
pub(crate) fn get(sid: &str) -> Vec<u8> {
    request("GET", sid, "")
}

/// A request that brings packets.
pub(crate) fn post(sid: &str, packets: &str) -> Vec<u8> {
    request("POST", sid, packets)
}

/// With the headers of a browser.
fn request(method: &str, sid: &str, body: &str) -> Vec<u8> {
    let content = match body.len() {
        0 => String::new(),
        length => format!("Content-Type: text/plain;charset=UTF-8\r\nContent-Length: {length}\r\n"),
    };
    format!(
        "{method} /socket.io/?EIO=4&transport=polling&t=PZx1yA2{sid} HTTP/1.1\r\nHost: chat.example.org\r\n\
         Connection: keep-alive\r\n\
         User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n\
         Accept: */*\r\nOrigin: https://chat.example.org\r\nReferer: https://chat.example.org/\r\n\
         Accept-Language: en-US,en;q=0.9\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n{content}\r\n{body}"
    )
    .into_bytes()
}

/// What follows `key`, up to the next quote or end of line.
fn text_after(text: &str, key: &str) -> String {
    let (_, rest) = text.split_once(key).unwrap_or_else(|| panic!("{key} is missing in {text}"));
    rest.split(['"', '\r']).next().unwrap_or_default().to_owned()
}
