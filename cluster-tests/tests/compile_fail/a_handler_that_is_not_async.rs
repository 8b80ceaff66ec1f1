use socketmesh::{Socket, namespace};

fn main() {
    let chat = namespace("/").on("say", |_: Socket, text: String| Ok(text));
}
