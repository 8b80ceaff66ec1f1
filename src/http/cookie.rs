//! The cookie with the session id.

use std::fmt;
use std::time::Duration;

use crate::setters::setters;

/// A cookie that carries the session id. Node: option `cookie`.
///
/// ```
/// use socketmesh::http::{Config, Cookie, SameSite};
///
/// let cookie = Cookie::default().secure(true).same_site(SameSite::None).partitioned(true);
/// let config = Config::default().cookie(cookie);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cookie {
    /// The name. Default `io`.
    pub name: String,
    /// How long browsers keep it (`Max-Age`, in whole seconds). Default `None`: until they are closed.
    pub max_age: Option<Duration>,
    /// The hosts that browsers send it to (`Domain`): this one and those below it. Default `None`: the host that set it, alone.
    pub domain: Option<String>,
    /// The attribute `Path`. Default `/`.
    pub path: String,
    /// Whether scripts cannot read it (`HttpOnly`). Default true.
    pub http_only: bool,
    /// When browsers send it with requests from other sites. Default [`SameSite::Lax`].
    pub same_site: SameSite,
    /// Whether browsers send it over TLS only (`Secure`). Default false.
    pub secure: bool,
    /// Whether browsers keep one for each site that this one is embedded in (`Partitioned`, CHIPS). Default false. They accept this
    /// with `secure` only.
    pub partitioned: bool,
    /// Which cookies a browser forgets first when it has too many (`Priority`, which Chrome knows). Default `None`: it says
    /// nothing.
    pub priority: Option<CookiePriority>,
}

setters! {
    Cookie {
        name: into String,
        max_age: into Option<Duration>,
        path: into String,
        http_only: bool,
        same_site: SameSite,
        secure: bool,
        partitioned: bool,
        priority: into Option<CookiePriority>,
    }
}

/// Which cookies a browser forgets first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CookiePriority {
    /// These.
    Low,
    /// Those that say nothing are of this kind.
    Medium,
    /// These last.
    High,
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
            max_age: None,
            domain: None,
            path: "/".to_owned(),
            http_only: true,
            same_site: SameSite::Lax,
            secure: false,
            partitioned: false,
            priority: None,
        }
    }
}

impl Cookie {
    /// Sets [`domain`](field@Self::domain).
    #[must_use]
    pub fn domain(mut self, domain: impl Into<String>) -> Self {
        self.domain = Some(domain.into());
        self
    }

    /// The value of `Set-Cookie`, with its attributes in Node's order.
    pub(crate) fn header(&self, value: impl fmt::Display) -> String {
        let flag = |is_set: bool| is_set.then(String::new);
        let attributes = [
            ("Max-Age", self.max_age.map(|age| format!("={}", age.as_secs()))),
            ("Domain", self.domain.as_ref().map(|domain| format!("={domain}"))),
            ("Path", Some(format!("={}", self.path))),
            ("HttpOnly", flag(self.http_only)),
            ("Secure", flag(self.secure)),
            ("Partitioned", flag(self.partitioned)),
            ("Priority", self.priority.map(|priority| format!("={priority:?}"))),
            ("SameSite", Some(format!("={:?}", self.same_site))),
        ];
        let mut header = format!("{}={value}", self.name);
        for (name, value) in attributes {
            if let Some(value) = value {
                header.extend(["; ", name, &value]);
            }
        }
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

    #[test]
    fn a_cookie_has_every_attribute_that_it_is_given() {
        let cookie = Cookie::default()
            .name("sticky")
            .max_age(Duration::from_millis(3_600_999))
            .domain("chat.example")
            .path("/chat")
            .secure(true)
            .partitioned(true)
            .priority(CookiePriority::High)
            .same_site(SameSite::None);
        assert_eq!(
            cookie.header("abc"),
            "sticky=abc; Max-Age=3600; Domain=chat.example; Path=/chat; HttpOnly; Secure; Partitioned; Priority=High; SameSite=None"
        );
        assert_eq!(
            Cookie::default()
                .http_only(false)
                .priority(CookiePriority::Low)
                .same_site(SameSite::Strict)
                .header("a"),
            "io=a; Path=/; Priority=Low; SameSite=Strict"
        );
    }
}
