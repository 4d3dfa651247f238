//! What has come in.

use std::collections::BTreeMap;

/// With what a request was authorized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Authorization {
    /// The right token, by the scheme `token`.
    Token,
    /// The right token, by the scheme `Bearer`.
    Bearer,
    /// A token that has expired.
    Expired,
    /// Something else.
    Wrong,
    /// Nothing.
    Missing,
}

/// A request to the HTTP API. Tokens are not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recorded {
    /// `GET`, `POST`, …
    pub method: String,
    /// The path, with leading slash.
    pub path: String,
    /// The query, by name.
    pub query: BTreeMap<String, String>,
    /// With what it was authorized.
    pub authorization: Authorization,
    /// The header `X-Dask-Saturn-Version`.
    pub version: Option<String>,
    /// The header `Content-Type`.
    pub content_type: Option<String>,
    /// The body, unless it is a certificate request.
    pub body: String,
    /// The certificate request in the body.
    pub csr: Option<CsrSummary>,
    /// The status of the answer.
    pub status: u16,
}

impl Recorded {
    /// What the request is on the wire, as one line with the cluster's id taken out: what two clients have to agree on.
    pub fn shape(&self, cluster_id: &str) -> String {
        let without_id = |text: &str| text.replace(cluster_id, "{id}");
        let query: Vec<String> = self.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        // Spaces and order in JSON do not matter.
        let body = match serde_json::from_str::<BTreeMap<String, serde_json::Value>>(&self.body) {
            Ok(body) => serde_json::to_string(&body).unwrap_or_default(),
            Err(_) => self.body.clone(),
        };
        let csr = self.csr.as_ref().map(|csr| without_id(&format!("{csr:?}"))).unwrap_or_default();
        format!(
            "{} {}?{} {:?} version={} type={} {body}{csr}",
            self.method,
            without_id(&self.path),
            query.join("&"),
            self.authorization,
            self.version.as_deref().unwrap_or("-"),
            self.content_type.as_deref().unwrap_or("-"),
        )
    }
}

/// What a certificate request says, without the key itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CsrSummary {
    /// The subject.
    pub subject: String,
    /// The algorithm and size of the key.
    pub key: String,
    /// The object identifier of the signature's algorithm.
    pub signature: String,
    /// The object identifiers of the extensions asked for, whether critical, and their content (but for that of the key
    /// identifier).
    pub extensions: Vec<String>,
}

/// A TLS connection to a scheduler.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Connection {
    /// The server name asked for.
    pub server_name: Option<String>,
    /// The protocols offered (ALPN).
    pub protocols: Vec<String>,
    /// The client's name by its certificate; `None` when the handshake failed.
    pub client: Option<String>,
    /// Why the connection was refused.
    pub refused: Option<String>,
}
