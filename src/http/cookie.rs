//! The cookie with the session id.

use std::fmt;

use crate::setters::setters;

/// A cookie that carries the session id. Node: option `cookie`.
///
/// ```
/// use socketmesh::http::{Config, Cookie, SameSite};
///
/// let cookie = Cookie::default().secure(true).same_site(SameSite::None);
/// let config = Config::default().cookie(cookie);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cookie {
    /// The name. Default `io`.
    pub name: String,
    /// The attribute `Path`. Default `/`.
    pub path: String,
    /// Whether scripts cannot read it (`HttpOnly`). Default true.
    pub http_only: bool,
    /// When browsers send it with requests from other sites. Default [`SameSite::Lax`].
    pub same_site: SameSite,
    /// Whether browsers send it over TLS only (`Secure`). Default false.
    pub secure: bool,
}

setters! {
    Cookie {
        name: into String,
        path: into String,
        http_only: bool,
        same_site: SameSite,
        secure: bool,
    }
}

/// When a browser sends a cookie with requests from other sites.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SameSite {
    /// Never.
    Strict,
    /// When the user navigates to this site.
    Lax,
    /// Always. Browsers accept this with `secure` only.
    None,
}

impl Default for Cookie {
    fn default() -> Self {
        Self {
            name: "io".to_owned(),
            path: "/".to_owned(),
            http_only: true,
            same_site: SameSite::Lax,
            secure: false,
        }
    }
}

impl Cookie {
    pub(crate) fn header(&self, value: impl fmt::Display) -> String {
        let mut header = format!("{}={value}; Path={}", self.name, self.path);
        if self.http_only {
            header.push_str("; HttpOnly");
        }
        if self.secure {
            header.push_str("; Secure");
        }
        header.push_str(match self.same_site {
            SameSite::Strict => "; SameSite=Strict",
            SameSite::Lax => "; SameSite=Lax",
            SameSite::None => "; SameSite=None",
        });
        header
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_has_nodes_defaults() {
        assert_eq!(Cookie::default().header("abc"), "io=abc; Path=/; HttpOnly; SameSite=Lax");
    }
}
