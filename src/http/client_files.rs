//! The browser client, at `<path>/socket.io.min.js` and its siblings (Node: option `serveClient`).

use std::path::Path;

use hyper::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH,
    LOCATION, VARY,
};
use hyper::{HeaderMap, Response, StatusCode};

use super::body::Body;
use super::compression::Coding;
use super::config::ClientFiles;
use super::reply;

/// The version of the browser client that this node is tested with, and that [`ClientFiles::Cdn`] redirects to.
pub const CLIENT_VERSION: &str = "4.8.4";

/// Answers a request for a file of the browser client; `None` for any other request. As in Node, the method does not matter.
pub(crate) async fn serve(from: &ClientFiles, path: &str, headers: &HeaderMap) -> Option<Response<Body>> {
    let name = path.rsplit('/').next()?;
    let name = FILES.iter().copied().find(|file| *file == name)?;
    match from {
        ClientFiles::Off => None,
        ClientFiles::Cdn => redirect(name),
        ClientFiles::Folder(folder) => {
            let (folder, known) = (folder.clone(), headers.get(IF_NONE_MATCH).cloned());
            let coding = Coding::wanted(headers);
            // Reading and compressing a file would block a thread of the runtime.
            let read = move || file(&folder, name, known.as_ref(), coding);
            tokio::task::spawn_blocking(read).await.ok().flatten()
        }
    }
}

fn redirect(name: &str) -> Option<Response<Body>> {
    let mut response = reply::empty(StatusCode::FOUND);
    let location = format!("https://cdn.socket.io/{CLIENT_VERSION}/{name}");
    response.headers_mut().insert(LOCATION, HeaderValue::from_str(&location).ok()?);
    Some(response)
}

fn file(
    folder: &Path,
    name: &str,
    known: Option<&HeaderValue>,
    coding: Option<Coding>,
) -> Option<Response<Body>> {
    let etag = etag(folder);
    let is_known = known
        .and_then(|known| known.to_str().ok())
        .is_some_and(|known| known.trim_start_matches("W/") == etag);
    if is_known {
        let mut response = reply::empty(StatusCode::NOT_MODIFIED);
        response.headers_mut().insert(VARY, HeaderValue::from(ACCEPT_ENCODING));
        return Some(response);
    }
    let read = |path| std::fs::read(path).ok();
    let content = read(folder.join(name)).or_else(|| read(folder.join("dist").join(name)))?;
    let (content, etag) = match coding {
        // The tag of other bytes of the same file has to be weak.
        Some(coding) => (coding.encode(content.into()), format!("W/{etag}")),
        None => (content.into(), etag),
    };
    let mut response = Response::new(Body::from(content));
    let headers = response.headers_mut();
    let kind = if name.ends_with(".map") { "application/json" } else { "application/javascript" };
    headers.insert(CONTENT_TYPE, HeaderValue::from_str(&format!("{kind}; charset=utf-8")).ok()?);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=0"));
    headers.insert(ETAG, HeaderValue::from_str(&etag).ok()?);
    headers.insert(VARY, HeaderValue::from(ACCEPT_ENCODING));
    if let Some(coding) = coding {
        headers.insert(CONTENT_ENCODING, coding.header());
    }
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
    use hyper::header::HeaderName;

    async fn get(
        from: &ClientFiles,
        path: &str,
        headers: &[(HeaderName, &'static str)],
    ) -> Option<Response<Body>> {
        let headers = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        serve(from, path, &headers.collect()).await
    }

    #[tokio::test]
    async fn without_a_folder_the_client_comes_from_the_cdn_in_the_tested_version() {
        let response = get(&ClientFiles::Cdn, "/socket.io/socket.io.min.js", &[]).await.unwrap();
        assert_eq!(response.status(), 302);
        assert_eq!(response.headers()[LOCATION], "https://cdn.socket.io/4.8.4/socket.io.min.js");
    }

    #[tokio::test]
    async fn only_files_of_the_client_are_served() {
        for path in ["/socket.io/", "/socket.io/../Cargo.toml", "/socket.io/other.js"] {
            assert!(get(&ClientFiles::Cdn, path, &[]).await.is_none(), "{path}");
        }
    }

    #[tokio::test]
    async fn a_folder_is_served_with_its_version_as_etag() {
        let folder = std::env::temp_dir().join(format!("socketmesh-client-files-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("dist")).unwrap();
        std::fs::write(folder.join("package.json"), r#"{"version":"1.2.3"}"#).unwrap();
        std::fs::write(folder.join("dist/socket.io.js"), "io").unwrap();
        let from = ClientFiles::Folder(folder.clone());
        let response = get(&from, "/x/socket.io.js", &[]).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()[ETAG], "\"1.2.3\"");
        assert_eq!(response.headers()[VARY], "accept-encoding");
        let known = [(IF_NONE_MATCH, "W/\"1.2.3\"")];
        assert_eq!(get(&from, "/x/socket.io.js", &known).await.unwrap().status(), 304);

        let response = get(&from, "/x/socket.io.js", &[(ACCEPT_ENCODING, "br, gzip")]).await.unwrap();
        assert_eq!(response.headers()[ETAG], "W/\"1.2.3\"");
        assert_eq!(response.headers()[CONTENT_ENCODING], "gzip");
        let response = get(&from, "/x/socket.io.js", &[(ACCEPT_ENCODING, "br")]).await.unwrap();
        assert!(!response.headers().contains_key(CONTENT_ENCODING));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
