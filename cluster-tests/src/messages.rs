//! What a client receives on a WebSocket or a WebTransport stream.

use crate::deadline::within;

/// A message or the end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
    /// The answer to a WebSocket ping.
    Pong(Vec<u8>),
    /// The end of the connection, with its close code. A WebSocket that ended without a close frame has 1006.
    Closed(Option<u16>),
}

impl From<&str> for Received {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// A connection that carries Engine.IO packets as messages.
#[expect(async_fn_in_trait, reason = "the tests await the futures where they are made")]
pub trait Messages {
    /// Waits for the next message; heartbeats of the server are among them.
    ///
    /// # Panics
    /// Nothing arrives in time, or the server breaks the rules of the transport.
    async fn recv(&mut self) -> Received;

    /// Answers a heartbeat.
    ///
    /// # Panics
    /// The message cannot be sent in time.
    async fn pong(&mut self);

    /// Waits for the next message, which must be text.
    ///
    /// # Panics
    /// Anything else arrives, or nothing in time.
    async fn recv_text(&mut self) -> String {
        text(self.recv().await)
    }

    /// Waits for the next message that is no heartbeat. Heartbeats are answered.
    ///
    /// # Panics
    /// Nothing arrives in time.
    async fn packet(&mut self) -> Received {
        loop {
            match self.recv().await {
                Received::Text(ping) if ping == "2" => self.pong().await,
                other => return other,
            }
        }
    }

    /// Waits for the next message that is no heartbeat, which must be text.
    ///
    /// # Panics
    /// Anything else arrives, or nothing in time.
    async fn packet_text(&mut self) -> String {
        text(self.packet().await)
    }

    /// Waits until the server closes the connection, whatever it sends before, and returns the close code. Heartbeats are
    /// not answered.
    ///
    /// # Panics
    /// The server does not close it in time.
    async fn closed(&mut self) -> Option<u16> {
        within("the server to close the connection", async {
            loop {
                if let Received::Closed(code) = self.recv().await {
                    return code;
                }
            }
        })
        .await
    }
}

fn text(received: Received) -> String {
    match received {
        Received::Text(text) => text,
        other => panic!("expected text, received {other:?}"),
    }
}
