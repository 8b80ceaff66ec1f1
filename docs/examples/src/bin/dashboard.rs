//! A dashboard behind an application that was there before: its login, its session cookie, its layer that knows who asks. The node is
//! one more service in it.

use std::env;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Extension, Form, Router};
use examples::{BoxError, builder, http_from_env, serve_nested};
use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use socketmesh::http::Cors;
use socketmesh::socket::Login;
use socketmesh::{Handshake, Namespace, Node, Refusal, Socket, namespace};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // A page of another origin shows the dashboard as well. Cookies are sent from there if it is the same site: `status.shop.example` and
    // `www.shop.example`, or another port of this machine.
    let origin = env::var("OTHER_ORIGIN").unwrap_or_else(|_unset| "http://localhost:8080".to_owned());
    let http = http_from_env().cors(Cors::origin(&origin).credentials());
    let node = builder()?.http(http).namespace(dashboard()).start().await?;
    let shop = Arc::new(Shop::from_env(node.clone())?);
    let app = routes()
        .nest_service("/socket.io", node.service())
        .layer(from_fn_with_state(Arc::clone(&shop), session))
        .with_state(shop);
    serve_nested(node, app).await
}

/// Sockets belong to the session that the application knows from the cookie, and end with it. They hear `order`.
fn dashboard() -> Namespace<Session> {
    namespace("/dashboard")
        .login(async |client: Handshake| {
            let session = client.request().extensions().get::<Session>().cloned();
            let session = session.ok_or_else(|| Refusal::new("log in first"))?;
            let (id, left) = (session.id.clone(), session.left());
            Ok(Login::new(session).user(id).expires_in(left))
        })
        .on("whoami", async |socket: Socket<Session>, ()| Ok(socket.data().sub.clone()))
}

/// The application that was there before.
struct Shop {
    password: String,
    keys: (EncodingKey, DecodingKey),
    node: Node,
}

fn routes() -> Router<Arc<Shop>> {
    Router::new()
        .route("/", get(async || Html(include_str!("dashboard.html"))))
        .route("/login", post(log_in))
        .route("/logout", post(log_out))
        .route("/orders/{item}", post(order))
}

/// Anybody may order, and every dashboard on every node shows it.
async fn order(State(shop): State<Arc<Shop>>, Path(item): Path<String>) -> StatusCode {
    match shop.node.of("/dashboard").emit("order", &item) {
        Ok(()) => StatusCode::ACCEPTED,
        Err(_unfit) => StatusCode::BAD_REQUEST,
    }
}

#[derive(Deserialize)]
struct Credentials {
    name: String,
    password: String,
}

async fn log_in(
    State(shop): State<Arc<Shop>>,
    Form(Credentials { name, password }): Form<Credentials>,
) -> Response {
    if password != shop.password {
        return (StatusCode::FORBIDDEN, "wrong password").into_response();
    }
    match shop.cookie(&Session::new(name)) {
        Ok(cookie) => ([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Closes the connections of the session on every node, and lets it open no more for as long as its cookie would be good.
async fn log_out(State(shop): State<Arc<Shop>>, session: Option<Extension<Session>>) -> Response {
    if let Some(Extension(session)) = session {
        shop.node.user(&*session.id).block(session.left()).await;
    }
    ([(header::SET_COOKIE, "session=; Path=/; Max-Age=0")], Redirect::to("/")).into_response()
}

/// Who asks: a layer around all routes and the node. The cookie is signed, so that every node can read it.
async fn session(State(shop): State<Arc<Shop>>, mut request: Request, next: Next) -> Response {
    if let Some(session) = shop.session(request.headers()) {
        request.extensions_mut().insert(session);
    }
    next.run(request).await
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Session {
    #[serde(rename = "jti")]
    id: String,
    sub: String,
    /// Seconds since 1970.
    exp: u64,
}

impl Session {
    fn new(sub: String) -> Self {
        let now = now();
        Self { id: format!("{sub} at {}", now.as_nanos()), sub, exp: (now + LIFETIME).as_secs() }
    }

    fn left(&self) -> Duration {
        Duration::from_secs(self.exp).saturating_sub(now())
    }
}

impl Shop {
    fn from_env(node: Node) -> Result<Self, BoxError> {
        let set = |name| env::var(name).map_err(|_unset| format!("{name} is not set"));
        let secret = set("SESSION_SECRET")?;
        let keys = (EncodingKey::from_secret(secret.as_bytes()), DecodingKey::from_secret(secret.as_bytes()));
        Ok(Self { password: set("PASSWORD")?, keys, node })
    }

    /// Behind TLS it is `Secure`, too.
    fn cookie(&self, session: &Session) -> Result<String, jsonwebtoken::errors::Error> {
        let token = jsonwebtoken::encode(&Header::default(), session, &self.keys.0)?;
        Ok(format!("session={token}; Path=/; HttpOnly; SameSite=Lax; Max-Age={}", LIFETIME.as_secs()))
    }

    fn session(&self, headers: &HeaderMap) -> Option<Session> {
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
        let token =
            cookies.flat_map(|cookies| cookies.split("; ")).find_map(|one| one.strip_prefix("session="))?;
        let token = jsonwebtoken::decode(token, &self.keys.1, &Validation::default()).ok()?;
        Some(token.claims)
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
fn now() -> Duration {
    std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

const LIFETIME: Duration = Duration::from_secs(3600);
