use socketmesh::{Handshake, Refusal, Socket, namespace};

struct User;

async fn login(_: Handshake) -> Result<User, Refusal> {
    Ok(User)
}

async fn say(_: Socket, _: String) -> socketmesh::Result<()> {
    Ok(())
}

fn main() {
    let chat = namespace("/chat").auth(login).on("say", say);
}
