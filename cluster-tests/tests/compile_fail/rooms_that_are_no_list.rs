use socketmesh::Socket;

fn greet(socket: Socket) {
    socket.to((1..3).map(|number| format!("room-{number}"))).emit("hello", &()).ok();
}

fn main() {}
