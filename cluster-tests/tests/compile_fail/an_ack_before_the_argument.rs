use socketmesh::{Ack, Socket, namespace};

fn main() {
    let chat = namespace("/").on("say", async |_: Socket, ack: Ack, text: String| Ok(ack.send(&text)?));
}
