//! Where a Dask server listens.

use std::fmt;
use std::str::FromStr;

/// How to reach a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scheme {
    /// Plain TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// WebSocket.
    Ws,
    /// WebSocket over TLS.
    Wss,
}

impl Scheme {
    /// The scheme's name in an address.
    pub fn name(self) -> &'static str {
        match self {
            Scheme::Tcp => "tcp",
            Scheme::Tls => "tls",
            Scheme::Ws => "ws",
            Scheme::Wss => "wss",
        }
    }

    /// Whether the bytes are encrypted.
    pub fn is_encrypted(self) -> bool {
        matches!(self, Scheme::Tls | Scheme::Wss)
    }
}

/// The address of a scheduler, worker or nanny: `tcp://10.0.0.1:8786`, `tls://scheduler.internal:8786`,
/// `ws://[::1]:8786`. A bare `host:port` means `tcp`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Address {
    scheme: Scheme,
    host: String,
    port: u16,
}

/// The port of a scheduler that was given none, as in Dask.
const DEFAULT_PORT: u16 = 8786;

impl Address {
    /// How to reach it.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host's name or IP address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `host:port`, with brackets around an IPv6 address.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Whether the host is this machine, going by its name alone.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost"
            || self.host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.name(), self.authority())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text is not the address of a Dask server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not the address of a Dask server ({why}); expected something like tcp://10.0.0.1:8786")]
pub struct BadAddress {
    text: String,
    why: &'static str,
}

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let refuse = |why| BadAddress { text: text.to_owned(), why };
        let (scheme, rest) = match text.trim().split_once("://") {
            None => (Scheme::Tcp, text.trim()),
            Some(("tcp", rest)) => (Scheme::Tcp, rest),
            Some(("tls", rest)) => (Scheme::Tls, rest),
            Some(("ws", rest)) => (Scheme::Ws, rest),
            Some(("wss", rest)) => (Scheme::Wss, rest),
            Some(("http" | "https", _)) => {
                return Err(refuse("that is the dashboard's protocol, not the scheduler's"));
            }
            Some(_) => return Err(refuse("the protocols are tcp, tls, ws and wss")),
        };
        let rest = rest.trim_end_matches('/');
        let (host, port) = if let Some(rest) = rest.strip_prefix('[') {
            let (host, after) = rest.split_once(']').ok_or_else(|| refuse("the bracket is not closed"))?;
            let port = match after.strip_prefix(':') {
                Some(port) => Some(port),
                None if after.is_empty() => None,
                None => return Err(refuse("after the bracket only a port may follow")),
            };
            (host, port)
        } else {
            match rest.rsplit_once(':') {
                Some((host, _)) if host.contains(':') => {
                    return Err(refuse("an IPv6 address needs brackets"));
                }
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            }
        };
        if host.is_empty() || host.contains(['/', '@', '?', '#', ' ']) {
            return Err(refuse("there is no host name in it"));
        }
        let port = match port {
            Some(port) => {
                port.parse().ok().filter(|port| *port != 0).ok_or_else(|| refuse("the port is no port"))?
            }
            None => DEFAULT_PORT,
        };
        Ok(Self { scheme, host: host.to_owned(), port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_dask_writes_them() {
        for (text, shown) in [
            ("tcp://10.0.0.1:8786", "tcp://10.0.0.1:8786"),
            ("127.0.0.1:1234", "tcp://127.0.0.1:1234"),
            ("tls://scheduler.internal:443", "tls://scheduler.internal:443"),
            ("ws://[::1]:8786/", "ws://[::1]:8786"),
            ("wss://host", "wss://host:8786"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), shown);
        }
        assert!("tcp://127.0.0.9:1".parse::<Address>().unwrap().is_loopback());
        assert!(!"tcp://10.0.0.9:1".parse::<Address>().unwrap().is_loopback());
    }

    #[test]
    fn other_texts_say_what_is_wrong() {
        for (text, why) in [
            ("http://localhost:8787", "dashboard"),
            ("inproc://1/2", "tcp, tls"),
            ("tcp://:8786", "no host"),
            ("tcp://host:port", "no port"),
            ("tcp://host:0", "no port"),
            ("::1:8786", "brackets"),
            ("", "no host"),
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
