use socketmesh::{Ack, Socket, namespace};

fn main() {
    let chat = namespace("/").on("say", async |_: Socket, text: String, _ack: Ack| Ok(text));
}
