use socketmesh::{Handshake, Refusal, Socket, namespace};

struct User;

async fn login(_: Handshake) -> Result<User, Refusal> {
    Ok(User)
}

fn main() {
    let echo = async |_: Socket, text: String| Ok(text);
    let chat = namespace("/chat").on("echo", echo).auth(login);
}
