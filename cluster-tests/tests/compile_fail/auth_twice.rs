use socketmesh::{Handshake, Refusal, namespace};

struct User;

async fn login(_: Handshake) -> Result<User, Refusal> {
    Ok(User)
}

fn main() {
    let chat = namespace("/chat").auth(login).auth(login);
}
