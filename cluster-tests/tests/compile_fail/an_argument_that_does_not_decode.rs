struct Message {
    text: String,
}

fn main() {
    let chat = socketmesh::namespace("/").on("say", async |_: socketmesh::Socket, message: Message| Ok(message.text));
}
