//! One request and its answer; every way in which that fails is told apart here.

use std::sync::Arc;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION, USER_AGENT};
use reqwest::{Method, StatusCode};
use rustls_platform_verifier::BuilderVerifierExt;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::settings::Settings;

/// Answers beyond this size are not read to their end.
const MOST_BYTES: usize = 64 << 20;
/// How much of an unexpected answer is shown.
const EXCERPT: usize = 300;

/// The version of dask-saturn whose requests this crate makes; servers look at it.
const DASK_SATURN: &str = "0.4.4";

/// How a request is dressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dress {
    /// As dask-saturn 0.2.x: no version, no content type.
    Old,
    /// As dask-saturn 0.3.0 and later: with its version, no content type.
    Versioned,
    /// As the public API's description has it.
    Public,
}

#[derive(Clone, Debug)]
pub(crate) struct Http {
    client: reqwest::Client,
    pub(crate) settings: Arc<Settings>,
}

/// A request that is being described.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    http: &'a Http,
    method: Method,
    segments: Vec<&'a str>,
    query: Vec<(&'static str, String)>,
    dress: Dress,
    body: Option<String>,
    /// The body is what it is, not JSON.
    raw: bool,
}

/// An answer of status 2xx.
#[derive(Debug)]
pub(crate) struct Answer {
    url: String,
    status: StatusCode,
    content_type: String,
    pub(crate) text: String,
    /// To take the token out of what is shown, should the server have repeated it.
    settings: Arc<Settings>,
}

impl Http {
    /// `pool`: whether connections are kept for further requests.
    pub(crate) fn new(settings: Settings, pool: bool) -> Result<Self> {
        let failed = |reason: String| Error::Crypto { what: "set up HTTPS", reason };
        // A provider of its own: no other part of the program need have installed one.
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(error.to_string()))?
            .with_platform_verifier()
            .map_err(|error| failed(error.to_string()))?
            .with_no_client_auth();
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .timeout(settings.request_timeout())
            .connect_timeout(settings.request_timeout().min(std::time::Duration::from_secs(10)))
            // A redirect would turn POST into GET, and could take the token elsewhere.
            .redirect(reqwest::redirect::Policy::none());
        if !pool {
            builder = builder.pool_max_idle_per_host(0);
        }
        if settings.is_loopback() {
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|error| failed(in_full(&error)))?;
        Ok(Self { client, settings: Arc::new(settings) })
    }

    pub(crate) fn get<'a>(&'a self, dress: Dress, segments: &[&'a str]) -> Request<'a> {
        self.request(Method::GET, dress, segments)
    }

    pub(crate) fn post<'a>(&'a self, dress: Dress, segments: &[&'a str]) -> Request<'a> {
        self.request(Method::POST, dress, segments)
    }

    pub(crate) fn delete<'a>(&'a self, dress: Dress, segments: &[&'a str]) -> Request<'a> {
        self.request(Method::DELETE, dress, segments)
    }

    fn request<'a>(&'a self, method: Method, dress: Dress, segments: &[&'a str]) -> Request<'a> {
        let segments = ["api", "dask_clusters"].into_iter().chain(segments.iter().copied()).collect();
        Request { http: self, method, segments, query: Vec::new(), dress, body: None, raw: false }
    }
}

impl Request<'_> {
    pub(crate) fn query(mut self, name: &'static str, value: impl ToString) -> Self {
        self.query.push((name, value.to_string()));
        self
    }

    pub(crate) fn query_if(self, name: &'static str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    pub(crate) fn json(mut self, body: &impl Serialize) -> Result<Self> {
        let text = serde_json::to_string(body)
            .map_err(|error| Error::BadOption { option: "the request's body", reason: error.to_string() })?;
        self.body = Some(text);
        Ok(self)
    }

    pub(crate) fn raw(mut self, body: String) -> Self {
        self.body = Some(body);
        self.raw = true;
        self
    }

    /// Sends it once and reads the answer, all within the request timeout.
    pub(crate) async fn send(self) -> Result<Answer> {
        let settings = &self.http.settings;
        let url = settings.url(&self.segments, &self.query);
        let shown = url.to_string();
        tracing::debug!(method = %self.method, url = %shown, "asking Saturn Cloud");
        let mut request = self
            .http
            .client
            .request(self.method, url)
            .header(AUTHORIZATION, settings.authorization()?)
            .header(USER_AGENT, concat!("saturn-cloud-rs/", env!("CARGO_PKG_VERSION")));
        if self.dress == Dress::Versioned {
            request = request.header("X-Dask-Saturn-Version", DASK_SATURN);
        }
        if self.dress == Dress::Public && self.body.is_some() && !self.raw {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(body) = self.body {
            request = request.body(body);
        }
        let failed = |error: reqwest::Error| transport(settings, &shown, error);
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status();
        let header = |name| {
            let value: Option<&reqwest::header::HeaderValue> = response.headers().get(name);
            value.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        let (content_type, location) = (header(CONTENT_TYPE), header(LOCATION));
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if bytes.len() + chunk.len() > MOST_BYTES {
                let reason = format!("it is larger than {} MiB", MOST_BYTES >> 20);
                return Err(Error::BadReply { url: shown, reason });
            }
            bytes.extend_from_slice(&chunk);
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        tracing::debug!(url = %shown, %status, bytes = bytes.len(), "Saturn Cloud answered");
        let answer = Answer { url: shown, status, content_type, text, settings: Arc::clone(settings) };
        if status.is_success() { Ok(answer) } else { Err(answer.into_error(&location)) }
    }
}

/// A request that did not get an answer.
fn transport(settings: &Settings, url: &str, error: reqwest::Error) -> Error {
    let url = url.to_owned();
    if error.is_timeout() && !error.is_connect() {
        return Error::RequestTimeout { url, after: settings.request_timeout() };
    }
    let sent = !error.is_connect();
    let reason = settings.redact(&in_full(&error.without_url()));
    if sent { Error::NoAnswer { url, reason } } else { Error::Unreachable { url, reason } }
}

/// An error with its causes, which reqwest does not show by itself.
fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

impl Answer {
    /// The JSON in it.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(&self.text).map_err(|error| {
            if self.looks_like_json() { self.bad(error.to_string()) } else { self.not_saturn() }
        })
    }

    /// An error about this answer.
    pub(crate) fn bad(&self, reason: impl Into<String>) -> Error {
        Error::BadReply { url: self.url.clone(), reason: self.settings.redact(&reason.into()) }
    }

    /// Fails when a page for people was answered where something else was asked for.
    pub(crate) fn no_page(self) -> Result<Self> {
        if self.is_page() { Err(self.not_saturn()) } else { Ok(self) }
    }

    fn looks_like_json(&self) -> bool {
        self.text.trim_start().starts_with(['{', '['])
    }

    fn is_page(&self) -> bool {
        self.content_type.starts_with("text/html") || self.text.trim_start().starts_with('<')
    }

    fn not_saturn(&self) -> Error {
        let what = match self.content_type.split(';').next().unwrap_or_default().trim() {
            _ if self.is_page() => "a web page".to_owned(),
            "" if self.text.is_empty() => "nothing".to_owned(),
            "" => "text".to_owned(),
            kind => format!("text of type {kind}"),
        };
        let text = self.settings.redact(&self.text);
        let excerpt = if self.is_page() { title(&text) } else { excerpt(&text) };
        Error::NotSaturn { url: self.url.clone(), status: self.status.as_u16(), what, excerpt }
    }

    fn into_error(mut self, location: &str) -> Error {
        self.text = self.settings.redact(&self.text);
        let location = self.settings.redact(location);
        let message = self.message();
        let url = self.url.clone();
        let spoken = message.clone().unwrap_or_else(|| match self.is_page() {
            true => title(&self.text),
            false => excerpt(&self.text),
        });
        match self.status.as_u16() {
            300..=399 if !location.is_empty() => Error::Redirected { url, location },
            401 if spoken.to_ascii_lowercase().contains("expired") => {
                Error::TokenExpired { url, message: spoken }
            }
            401 => Error::Unauthorized { url, message: spoken },
            403 => Error::Forbidden { url, message: spoken },
            // Saturn says in JSON what is missing. Others have just never heard of such a path.
            404 if message.is_none() => self.not_saturn(),
            404 => Error::NotFound { url, message: spoken },
            status => Error::Server { url, status, message: spoken },
        }
    }

    /// The `message` of an error body.
    fn message(&self) -> Option<String> {
        let body: serde_json::Value = serde_json::from_str(&self.text).ok()?;
        let body = body.as_object()?;
        let text = body.get("message").or_else(|| body.get("error")).or_else(|| body.get("detail"));
        Some(match text {
            Some(serde_json::Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => excerpt(&self.text),
        })
    }
}

fn excerpt(text: &str) -> String {
    let text = text.trim();
    match text.char_indices().nth(EXCERPT) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// The title of a web page; the rest of it says nothing to a reader of errors.
fn title(page: &str) -> String {
    let lower = page.to_ascii_lowercase();
    let start = lower.find("<title>").map(|at| at + "<title>".len());
    let found = start.and_then(|start| {
        let end = lower.get(start..)?.find("</title>")?;
        page.get(start..start + end)
    });
    excerpt(found.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, content_type: &str, text: &str) -> Answer {
        Answer {
            url: "https://a.example/api".to_owned(),
            status: StatusCode::from_u16(status).unwrap(),
            content_type: content_type.to_owned(),
            text: text.to_owned(),
            settings: settings(),
        }
    }

    fn settings() -> Arc<Settings> {
        Arc::new(Settings::builder().base_url("https://a.example").token("s3cret").build().unwrap())
    }

    #[test]
    fn the_token_is_taken_out_of_errors_and_nothing_out_of_answers() {
        let body = r#"{"name": "s3cret"}"#;
        let read: serde_json::Value = answer(200, "application/json", body).json().unwrap();
        assert_eq!(read["name"], "s3cret");
        let error = answer(200, "application/json", body).json::<u32>().unwrap_err();
        assert!(!error.to_string().contains("s3cret"), "{error}");
        for (status, text) in
            [(200, "<title>s3cret</title>"), (500, "<title>s3cret</title>"), (404, "<title>s3cret</title>")]
        {
            let answer = answer(status, "text/html", text);
            let error = if status == 200 { answer.not_saturn() } else { answer.into_error("") };
            let text = error.to_string();
            assert!(text.contains("[token]") && !text.contains("s3cret"), "{text}");
        }
        let error = answer(302, "", "").into_error("https://b.example/?token=s3cret");
        assert!(error.to_string().contains("https://b.example/?token=[token]"), "{error}");
    }

    #[test]
    fn each_refusal_is_an_error_of_its_own() {
        let error = |status, text| answer(status, "application/json", text).into_error("");
        assert!(
            matches!(error(401, r#"{"message": "no"}"#), Error::Unauthorized { message, .. } if message == "no")
        );
        assert!(matches!(error(401, r#"{"message": "Token has EXPIRED"}"#), Error::TokenExpired { .. }));
        assert!(matches!(error(403, "{}"), Error::Forbidden { .. }));
        assert!(matches!(error(404, r#"{"message": "no such"}"#), Error::NotFound { .. }));
        assert!(matches!(error(500, "Internal Server Error"), Error::Server { status: 500, .. }));
        assert!(
            matches!(error(422, r#"{"message": {"n": ["bad"]}}"#), Error::Server { message, .. } if message.contains("bad"))
        );
        let page = "<!doctype html><html><head><title>Welcome</title></head></html>";
        let text = answer(404, "text/html; charset=utf-8", page).into_error("").to_string();
        assert!(
            text.contains("a web page") && text.contains("Welcome") && !text.contains("doctype"),
            "{text}"
        );
        assert!(
            matches!(answer(302, "", "").into_error("/login"), Error::Redirected { location, .. } if location == "/login")
        );
    }

    #[test]
    fn a_page_is_not_taken_for_json() {
        let error = answer(200, "text/html", "<html></html>").json::<serde_json::Value>().unwrap_err();
        assert!(matches!(error, Error::NotSaturn { .. }), "{error}");
        let error = answer(200, "application/json", r#"{"a": 1"#).json::<serde_json::Value>().unwrap_err();
        assert!(matches!(error, Error::BadReply { .. }), "{error}");
        assert!(answer(200, "application/x-pem-file", "-----BEGIN").no_page().is_ok());
        assert!(answer(200, "", " <html>").no_page().is_err());
    }

    #[test]
    fn long_answers_are_cut_at_a_character() {
        let text = "ä".repeat(1000);
        assert_eq!(excerpt(&text).chars().count(), EXCERPT + 1);
    }
}
