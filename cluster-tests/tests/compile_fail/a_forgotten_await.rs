use socketmesh::{Result, Socket, namespace};

async fn save(text: String) -> Result<u64> {
    Ok(text.len() as u64)
}

fn main() {
    let joins = namespace("/").on("join", async |socket: Socket, room: String| Ok(socket.join(room)));
    let saves = namespace("/").on("save", async |_: Socket, text: String| Ok(save(text)));
}
