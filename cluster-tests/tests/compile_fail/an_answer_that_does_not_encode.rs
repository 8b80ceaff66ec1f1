struct Receipt {
    id: u64,
}

fn main() {
    let chat = socketmesh::namespace("/").on("buy", async |_: socketmesh::Socket, id: u64| Ok(Receipt { id }));
}
