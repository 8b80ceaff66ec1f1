async fn say(_: socketmesh::Socket, text: &'static str) -> socketmesh::Result<()> {
    drop(text);
    Ok(())
}

fn main() {
    let chat = socketmesh::namespace("/").on("say", say);
}
