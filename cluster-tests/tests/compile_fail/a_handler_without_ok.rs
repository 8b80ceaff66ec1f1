fn main() {
    let chat = socketmesh::namespace("/").on("say", async |socket: socketmesh::Socket, text: String| {
        socket.broadcast().emit("said", &text);
    });
}
