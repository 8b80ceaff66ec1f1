fn main() {
    let chat = socketmesh::namespace("/").on("move", async |_: socketmesh::Socket, x: f32, y: f32| Ok(x + y));
}
