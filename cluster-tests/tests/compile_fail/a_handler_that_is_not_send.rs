use std::rc::Rc;

async fn say(socket: socketmesh::Socket, text: String) -> socketmesh::Result<()> {
    let text = Rc::new(text);
    socket.join("room").await?;
    Ok(socket.to("room").emit("said", &*text)?)
}

fn main() {
    let chat = socketmesh::namespace("/").on("say", say);
}
