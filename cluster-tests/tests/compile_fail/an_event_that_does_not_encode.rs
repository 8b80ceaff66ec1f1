struct News {
    text: String,
}

fn tell(node: &socketmesh::Node, news: &News) -> socketmesh::Result<()> {
    Ok(node.of("/").emit("news", news)?)
}

fn main() {}
