//! Logins with JSON Web Tokens: the claims become the data of the socket, and what is wrong with a token the client is
//! told.

use std::env;
use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::routing::post;
use examples::{BoxError, builder, serve};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, get_current_timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;
use socketmesh::{EventError, Handshake, Namespace, Refusal, Result, Socket, namespace};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let secret = env::var("JWT_SECRET").ok().ok_or("JWT_SECRET is not set; try `openssl rand -base64 32`")?;
    let key = EncodingKey::from_secret(secret.as_bytes());
    // Instead of this, ask for a password, or let somebody else issue the tokens.
    let routes =
        Router::new().route("/login/{name}", post(async move |Path(name): Path<String>| issue(name, &key)));
    let node = builder()?.namespace(app(&secret)).start().await?;
    serve(node, routes).await
}

/// What a token says of its owner.
#[derive(Debug, Clone, Deserialize, Serialize)]
struct Claims {
    sub: String,
    #[serde(default)]
    admin: bool,
    /// Seconds since 1970.
    exp: u64,
}

/// Clients connect with `auth: { token }`; no handler runs without valid claims.
fn app(secret: &str) -> Namespace<Claims> {
    let key = Arc::new(DecodingKey::from_secret(secret.as_bytes()));
    namespace("/")
        .auth(async move |handshake: Handshake| verify(&handshake, &key))
        .on("whoami", async |socket: Socket<Claims>, ()| Ok(socket.data().sub.clone()))
        .on("announce", async |socket: Socket<Claims>, text: String| {
            if !socket.data().admin {
                return Err(EventError::new("forbidden", "administrators only"));
            }
            Ok(socket.broadcast().emit("announcement", &text)?)
        })
}

/// A refusal has a message for people and data for the client's program, which can renew an expired token and connect
/// again.
fn verify(handshake: &Handshake, key: &DecodingKey) -> Result<Claims, Refusal> {
    #[derive(Deserialize)]
    struct Login {
        token: String,
    }
    let Login { token } = handshake.auth()?;
    // Exactly the algorithm of the key: a token does not choose how it is verified.
    match jsonwebtoken::decode(&token, key, &Validation::new(Algorithm::HS256)) {
        Ok(token) => Ok(token.claims),
        Err(error) if *error.kind() == ErrorKind::ExpiredSignature => {
            Err(Refusal::new("the token has expired").with_data(json!({ "code": "expired" })))
        }
        Err(_) => Err(Refusal::new("the token is not valid").with_data(json!({ "code": "invalid" }))),
    }
}

fn issue(sub: String, key: &EncodingKey) -> Result<String, String> {
    let claims = Claims { sub, admin: false, exp: get_current_timestamp() + LIFETIME };
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, key).map_err(|error| error.to_string())
}

/// In seconds. A socket outlives its token: it was asked when it connected.
const LIFETIME: u64 = 3600;
