//! Where Saturn Cloud is, and the token that opens it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Url;
use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::error::{Error, Result};

/// The address of a Saturn Cloud installation and the token to use there.
///
/// The token shows nowhere: not in `Debug`, not in logs, not in errors.
#[derive(Clone)]
pub struct Settings {
    base_url: Url,
    token: SecretString,
    request_timeout: Duration,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("base_url", &self.base_url.as_str())
            .field("token", &"[redacted]")
            .field("request_timeout", &self.request_timeout)
            .finish()
    }
}

impl Settings {
    /// Settings to be described; what is left out is taken from the environment.
    pub fn builder() -> SettingsBuilder {
        SettingsBuilder::default()
    }

    /// Settings from the environment alone: `SATURN_BASE_URL` (else `BASE_URL`) and `SATURN_TOKEN`.
    ///
    /// # Errors
    /// One of them is missing or cannot be used.
    pub fn from_env() -> Result<Self> {
        Self::builder().build()
    }

    /// Where Saturn Cloud is, such as `https://app.community.saturnenterprise.io/`.
    pub fn base_url(&self) -> &str {
        self.base_url.as_str()
    }

    /// How long one HTTP request may take.
    pub fn request_timeout(&self) -> Duration {
        self.request_timeout
    }

    /// An URL below the base. The segments are escaped, so that an id cannot lead elsewhere.
    pub(crate) fn url(&self, segments: &[&str], query: &[(&str, String)]) -> Url {
        let mut url = self.base_url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    /// Whether requests stay on this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        is_loopback(&self.base_url)
    }

    pub(crate) fn authorization(&self) -> Result<HeaderValue> {
        // `token` is understood by every version of the server, `Bearer` by the newer ones only.
        let mut value = HeaderValue::from_str(&format!("token {}", self.token.expose_secret()))
            .map_err(|_| bad_token("it has characters that no token has"))?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// The text without the token, should a server have repeated it.
    pub(crate) fn redact(&self, text: &str) -> String {
        text.replace(self.token.expose_secret(), "[token]")
    }
}

/// Describes [`Settings`].
#[derive(Clone, Default)]
#[must_use]
pub struct SettingsBuilder {
    base_url: Option<String>,
    token: Option<SecretString>,
    token_file: Option<PathBuf>,
    allow_plain_http: bool,
    request_timeout: Option<Duration>,
}

impl fmt::Debug for SettingsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SettingsBuilder")
            .field("base_url", &self.base_url)
            .field("token_file", &self.token_file)
            .finish_non_exhaustive()
    }
}

impl SettingsBuilder {
    /// Where Saturn Cloud is. Without it: `SATURN_BASE_URL`, else `BASE_URL` of the environment.
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = Some(url.into());
        self
    }

    /// The user's or the resource's token. Without it: that of the token file, else `SATURN_TOKEN` of the environment.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(SecretString::from(token.into()));
        self
    }

    /// A JSON file `{"token": "…"}`, as `GET /api/user/token` answers.
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.token_file = Some(path.into());
        self
    }

    /// Sends the token without encryption to other machines, too, if the URL begins with `http://`. Default: only to
    /// this machine.
    pub fn allow_plain_http(mut self, allow: bool) -> Self {
        self.allow_plain_http = allow;
        self
    }

    /// How long one HTTP request may take (default 30 s).
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = Some(timeout);
        self
    }

    /// Checks and completes the settings. Nothing is sent.
    ///
    /// # Errors
    /// The URL or the token is missing or cannot be used.
    pub fn build(self) -> Result<Settings> {
        self.build_with(|name| std::env::var(name).ok())
    }

    fn build_with(self, environment: impl Fn(&str) -> Option<String>) -> Result<Settings> {
        let variable = |name: &str| environment(name).filter(|value| !value.trim().is_empty());
        let url = self.base_url.or_else(|| variable("SATURN_BASE_URL")).or_else(|| variable("BASE_URL"));
        let base_url = parse_url(url.ok_or(Error::MissingUrl)?.trim(), self.allow_plain_http)?;
        let token = match (self.token, self.token_file) {
            (Some(token), _) => token,
            (None, Some(path)) => read_token(&path)?,
            (None, None) => SecretString::from(variable("SATURN_TOKEN").ok_or(Error::MissingToken)?),
        };
        let token = token.expose_secret().trim();
        if token.is_empty() {
            return Err(Error::MissingToken);
        }
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(bad_token("it has characters that no token has; was something else copied?"));
        }
        Ok(Settings {
            base_url,
            token: SecretString::from(token),
            request_timeout: self.request_timeout.unwrap_or(Duration::from_secs(30)),
        })
    }
}

fn bad_token(reason: &str) -> Error {
    Error::BadToken { reason: reason.to_owned() }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let ip = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host.ends_with(".localhost")
        || ip.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn parse_url(text: &str, allow_plain_http: bool) -> Result<Url> {
    let bad = |reason: &str| Error::BadUrl { url: text.to_owned(), reason: reason.to_owned() };
    // What is wrong is told without the text where it may hold a password.
    let url = Url::parse(text).map_err(|error| match text.contains('@') {
        true => Error::BadUrl { url: "(not shown)".to_owned(), reason: error.to_string() },
        false => bad(&error.to_string()),
    })?;
    if !url.username().is_empty() || url.password().is_some() {
        let reason = "it must not hold a user or a password; the token is all that is needed".to_owned();
        return Err(Error::BadUrl { url: "(not shown)".to_owned(), reason });
    }
    match url.scheme() {
        "https" => {}
        "http" if allow_plain_http || is_loopback(&url) => {}
        "http" => return Err(Error::PlainHttp { url: text.to_owned() }),
        _ => return Err(bad("it does not begin with https://")),
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(bad("there is no host in it"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(bad("it must end before the ? or #; give the part up to the host name"));
    }
    Ok(url)
}

fn read_token(path: &Path) -> Result<SecretString> {
    #[derive(Deserialize)]
    struct TokenFile {
        token: String,
    }
    let bad = |reason: String| Error::TokenFile { path: path.to_owned(), reason };
    let text = std::fs::read(path).map_err(|error| bad(error.to_string()))?;
    // The parser's own words are not passed on: they may quote the token.
    let file: TokenFile = serde_json::from_slice(&text)
        .map_err(|_| bad("it does not hold a JSON object with the text \"token\"".to_owned()))?;
    Ok(SecretString::from(file.token))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: fn(&str) -> Option<String> = |_| None;

    fn url(text: &str) -> Result<Settings> {
        Settings::builder().base_url(text).token("t0ken").build_with(NOTHING)
    }

    #[test]
    fn the_environment_fills_the_gaps() {
        let environment = |name: &str| match name {
            "BASE_URL" => Some("https://old.example".to_owned()),
            "SATURN_TOKEN" => Some("abc\n".to_owned()),
            _ => None,
        };
        let settings = Settings::builder().build_with(environment).unwrap();
        assert_eq!(settings.base_url(), "https://old.example/");
        assert_eq!(settings.authorization().unwrap(), "token abc");
        let both = |name: &str| match name {
            "SATURN_BASE_URL" => Some("https://new.example".to_owned()),
            name => environment(name),
        };
        assert_eq!(Settings::builder().build_with(both).unwrap().base_url(), "https://new.example/");
        let settings =
            Settings::builder().base_url("https://mine.example").token("x").build_with(both).unwrap();
        assert_eq!(settings.base_url(), "https://mine.example/");
        assert_eq!(settings.authorization().unwrap(), "token x");
    }

    #[test]
    fn what_is_missing_is_named() {
        assert!(matches!(Settings::builder().token("x").build_with(NOTHING), Err(Error::MissingUrl)));
        let builder = Settings::builder().base_url("https://a.example");
        assert!(matches!(builder.clone().build_with(NOTHING), Err(Error::MissingToken)));
        assert!(matches!(builder.token("  ").build_with(NOTHING), Err(Error::MissingToken)));
    }

    #[test]
    fn urls_that_cannot_be_used_are_refused() {
        for bad in [
            "app.example",
            "ftp://a.example",
            "https://",
            "https://u:secret@a.example",
            "https://a.example/?x=1",
        ] {
            let error = url(bad).unwrap_err();
            assert!(matches!(error, Error::BadUrl { .. }), "{bad}: {error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        assert!(matches!(url("http://a.example"), Err(Error::PlainHttp { .. })));
        let allowed = Settings::builder().base_url("http://a.example").token("x").allow_plain_http(true);
        assert!(allowed.build_with(NOTHING).is_ok());
        for good in
            ["http://127.0.0.1:8080", "http://[::1]:1", "http://localhost:1/", "https://a.example/sub"]
        {
            assert!(url(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn paths_keep_the_base_and_ids_cannot_leave_it() {
        let settings = url("https://a.example/sub").unwrap();
        let made = settings.url(&["api", "dask_clusters", "../x?y"], &[("is_external", "true".to_owned())]);
        assert_eq!(made.as_str(), "https://a.example/sub/api/dask_clusters/..%2Fx%3Fy?is_external=true");
        let settings = url("https://a.example").unwrap();
        assert_eq!(settings.url(&["api", "x"], &[]).as_str(), "https://a.example/api/x");
    }

    #[test]
    fn the_token_shows_nowhere() {
        let settings =
            Settings::builder().base_url("https://a.example").token("s3cret").build_with(NOTHING).unwrap();
        assert!(!format!("{settings:?}").contains("s3cret"));
        assert!(!format!("{:?}", Settings::builder().token("s3cret")).contains("s3cret"));
        assert!(!format!("{:?}", settings.authorization().unwrap()).contains("s3cret"));
        assert_eq!(settings.redact("bad token s3cret!"), "bad token [token]!");
        let error = Settings::builder()
            .base_url("https://a.example")
            .token("s3 cret")
            .build_with(NOTHING)
            .unwrap_err();
        assert!(!error.to_string().contains("s3"), "{error}");
    }

    #[test]
    fn token_files_are_read_and_never_quoted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token.json");
        let builder = || Settings::builder().base_url("https://a.example").token_file(&path);
        assert!(matches!(builder().build_with(NOTHING), Err(Error::TokenFile { .. })));
        std::fs::write(&path, r#"{"token": "0123abc", "other": 1}"#).unwrap();
        assert_eq!(builder().build_with(NOTHING).unwrap().authorization().unwrap(), "token 0123abc");
        std::fs::write(&path, "0123abc").unwrap();
        let error = builder().build_with(NOTHING).unwrap_err();
        assert!(
            matches!(error, Error::TokenFile { .. }) && !error.to_string().contains("0123abc"),
            "{error}"
        );
    }
}
