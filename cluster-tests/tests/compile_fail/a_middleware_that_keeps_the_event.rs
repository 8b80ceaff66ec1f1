use socketmesh::{Incoming, Socket, namespace};

fn main() {
    let chat = namespace("/").middleware(async |_: Socket, event: Incoming| {
        println!("{}", event.name());
        Ok(())
    });
}
