fn go(socket: &socketmesh::Socket) -> socketmesh::Result<()> {
    Ok(socket.emit("move", &1.0, &2.0)?)
}

fn main() {}
