//! The browser client, at `<path>/socket.io.min.js` and its siblings (Node: option `serveClient`).

use std::path::Path;

use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH, LOCATION};
use hyper::{Method, Request, Response, StatusCode};

use super::body::Body;
use super::config::ClientFiles;
use super::reply;

/// The version of the browser client that this node is tested with, and the CDN serves.
pub const CLIENT_VERSION: &str = "4.8.4";

/// Answers a request for a file of the browser client; `None` if it is for something else.
pub(crate) fn serve<B>(from: &ClientFiles, request: &Request<B>) -> Option<Response<Body>> {
    let name = request.uri().path().rsplit('/').next()?;
    let name = FILES.iter().copied().find(|file| *file == name)?;
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return None;
    }
    match from {
        ClientFiles::Off => None,
        ClientFiles::Cdn => redirect(name),
        ClientFiles::Folder(folder) => file(folder, name, request.headers().get(IF_NONE_MATCH)),
    }
}

fn redirect(name: &str) -> Option<Response<Body>> {
    let mut response = reply::empty(StatusCode::FOUND);
    let location = format!("https://cdn.socket.io/{CLIENT_VERSION}/{name}");
    response.headers_mut().insert(LOCATION, HeaderValue::from_str(&location).ok()?);
    Some(response)
}

fn file(folder: &Path, name: &str, known: Option<&HeaderValue>) -> Option<Response<Body>> {
    let etag = etag(folder);
    let is_known = known
        .and_then(|known| known.to_str().ok())
        .is_some_and(|known| known.trim_start_matches("W/") == etag);
    if is_known {
        return Some(reply::empty(StatusCode::NOT_MODIFIED));
    }
    let read = |path| std::fs::read(path).ok();
    let content = read(folder.join(name)).or_else(|| read(folder.join("dist").join(name)))?;
    let mut response = Response::new(Body::from(content));
    let headers = response.headers_mut();
    let kind = if name.ends_with(".map") { "application/json" } else { "application/javascript" };
    headers.insert(CONTENT_TYPE, HeaderValue::from_str(&format!("{kind}; charset=utf-8")).ok()?);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=0"));
    headers.insert(ETAG, HeaderValue::from_str(&etag).ok()?);
    Some(response)
}

/// The version of the package in `folder`, or of the client this node is tested with.
fn etag(folder: &Path) -> String {
    #[derive(serde::Deserialize)]
    struct Package {
        version: String,
    }
    let read = |path| std::fs::read(path).ok().and_then(|json| serde_json::from_slice::<Package>(&json).ok());
    let package = read(folder.join("package.json")).or_else(|| read(folder.join("../package.json")));
    format!("\"{}\"", package.map_or_else(|| CLIENT_VERSION.to_owned(), |package| package.version))
}

const FILES: [&str; 8] = [
    "socket.io.js",
    "socket.io.js.map",
    "socket.io.min.js",
    "socket.io.min.js.map",
    "socket.io.esm.min.js",
    "socket.io.esm.min.js.map",
    "socket.io.msgpack.min.js",
    "socket.io.msgpack.min.js.map",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str) -> Request<()> {
        Request::builder().uri(path).body(()).unwrap()
    }

    #[test]
    fn without_a_folder_the_client_comes_from_the_cdn_in_the_tested_version() {
        let response = serve(&ClientFiles::Cdn, &get("/socket.io/socket.io.min.js")).unwrap();
        assert_eq!(response.status(), 302);
        assert_eq!(response.headers()[LOCATION], "https://cdn.socket.io/4.8.4/socket.io.min.js");
    }

    #[test]
    fn only_files_of_the_client_are_served() {
        for path in ["/socket.io/", "/socket.io/../Cargo.toml", "/socket.io/other.js"] {
            assert!(serve(&ClientFiles::Cdn, &get(path)).is_none(), "{path}");
        }
    }

    #[test]
    fn a_folder_is_served_with_its_version_as_etag() {
        let folder = std::env::temp_dir().join(format!("socketmesh-client-files-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("dist")).unwrap();
        std::fs::write(folder.join("package.json"), r#"{"version":"1.2.3"}"#).unwrap();
        std::fs::write(folder.join("dist/socket.io.js"), "io").unwrap();
        let from = ClientFiles::Folder(folder.clone());
        let response = serve(&from, &get("/x/socket.io.js")).unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()[ETAG], "\"1.2.3\"");
        let mut again = get("/x/socket.io.js");
        again.headers_mut().insert(IF_NONE_MATCH, HeaderValue::from_static("W/\"1.2.3\""));
        assert_eq!(serve(&from, &again).unwrap().status(), 304);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
