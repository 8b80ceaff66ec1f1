# syntax=docker/dockerfile:1
# An application on the library. Copy this file and app.Dockerfile.dockerignore to its repository, and name its binary:
#   docker build --file app.Dockerfile --build-arg BINARY=chat --tag chat .
# The application listens on 0.0.0.0:3000 (Node::serve answers /healthz and /readyz there), stops on SIGTERM by Node::shutdown, and
# takes what it needs from its environment: Secret::from_env, a node id, a mesh address, seeds.
FROM rust:1.95-bookworm AS chef
RUN cargo install cargo-chef --locked --version 0.1.78
WORKDIR /app

# What is to be built, without the sources: the same text until a dependency changes.
FROM chef AS plan
COPY . .
RUN cargo chef prepare --recipe-path recipe.json

# The layer of the dependencies, which takes most of the time, and then the application.
FROM chef AS build
ARG BINARY
COPY --from=plan /app/recipe.json recipe.json
RUN cargo chef cook --release --locked --recipe-path recipe.json
COPY . .
RUN cargo build --release --locked --bin "$BINARY" && mv "target/release/$BINARY" /app/application

# The program `socketmesh`, for its sub-command `health` (deploy/Dockerfile).
FROM socketmesh:0.1.0 AS socketmesh

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=socketmesh /usr/local/bin/socketmesh /usr/local/bin/socketmesh
COPY --from=build /app/application /usr/local/bin/application
USER 65532:65532
EXPOSE 3000/tcp 7946/udp
# The image has no shell. Where Kubernetes asks /healthz itself, this line and the stage `socketmesh` can go.
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s \
    CMD ["/usr/local/bin/socketmesh", "health", "--http", "127.0.0.1:3000"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/application"]
