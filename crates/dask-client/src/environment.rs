//! Settings from where Dask itself looks for them: environment variables, YAML files, scheduler files, addresses.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dask_wire::Compression;
use yaml_rust2::{Yaml, YamlLoader};

use crate::config::ClientBuilder;
use crate::error::{Error, Result};

/// Dask's own names of settings, and their values as text.
type Settings = BTreeMap<String, String>;

/// Settings that are read, in Dask's dotted form.
const ADDRESS: &str = "scheduler-address";
const CA: &str = "distributed.comm.tls.ca-file";
const CERT: &str = "distributed.comm.tls.client.cert";
const KEY: &str = "distributed.comm.tls.client.key";
#[cfg(feature = "tls")]
const MIN_TLS: &str = "distributed.comm.tls.min-version";
#[cfg(feature = "tls")]
const MAX_TLS: &str = "distributed.comm.tls.max-version";
const CIPHERS: &str = "distributed.comm.tls.ciphers";
const ENCRYPTED: &str = "distributed.comm.require-encryption";
const COMPRESSION: &str = "distributed.comm.compression";
const CONNECT: &str = "distributed.comm.timeouts.connect";
const TCP: &str = "distributed.comm.timeouts.tcp";
const HEARTBEAT: &str = "distributed.client.heartbeat";

/// YAML files beyond this size are no settings.
const LARGEST: u64 = 4 << 20;

impl ClientBuilder {
    /// Settings as a Python client on this machine would find them: Dask's YAML files (`/etc/dask` or
    /// `$DASK_ROOT_CONFIG`, `~/.config/dask`, `$DASK_CONFIG`), then environment variables over them
    /// (`DASK_SCHEDULER_ADDRESS`, `DASK_DISTRIBUTED__COMM__TLS__CA_FILE`, …). What is not set, or set to `None`, keeps its
    /// default.
    ///
    /// | setting | what it sets |
    /// | --- | --- |
    /// | `scheduler-address` | [`ClientBuilder::address`] |
    /// | `distributed.comm.timeouts.connect`, `….tcp` | [`ClientBuilder::connect_timeout`], [`ClientBuilder::tcp_timeout`] |
    /// | `distributed.comm.compression` | [`ClientBuilder::compression`]; `auto` is none |
    /// | `distributed.comm.require-encryption` | [`ClientBuilder::require_encryption`] |
    /// | `distributed.comm.tls.ca-file`, `….client.cert`, `….client.key`, `….min-version`, `….max-version` | `ClientBuilder::tls` |
    /// | `distributed.client.heartbeat` | [`ClientBuilder::heartbeat`] |
    ///
    /// A setting that Dask has and this client cannot obey is told as a warning.
    ///
    /// # Errors
    /// A file cannot be read or is no YAML, or a value is of the wrong kind; the message names it.
    pub fn from_env() -> Result<Self> {
        let variables: Vec<(String, String)> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self::from_variables(&variables)
    }

    /// As [`ClientBuilder::from_env`], with these environment variables instead of the process's own. They also say where
    /// files are looked for (`HOME`, `DASK_CONFIG`, `DASK_ROOT_CONFIG`).
    ///
    /// # Errors
    /// As [`ClientBuilder::from_env`].
    pub fn from_variables(variables: &[(String, String)]) -> Result<Self> {
        Self::from_sources(&yaml_files(variables), variables)
    }

    /// As [`ClientBuilder::from_env`], from these files and variables alone. Later files win over earlier ones and
    /// variables over files.
    ///
    /// # Errors
    /// As [`ClientBuilder::from_env`].
    pub fn from_sources(files: &[PathBuf], variables: &[(String, String)]) -> Result<Self> {
        let mut settings = Settings::new();
        for file in files {
            read_yaml(file, &mut settings)?;
        }
        for (name, value) in variables {
            if let Some(name) = name.strip_prefix("DASK_") {
                // Dask's rule: two underscores divide, and one is the same as a hyphen.
                let name = name.to_lowercase().replace("__", ".").replace('_', "-");
                match literal(value) {
                    Some(value) => drop(settings.insert(name, value)),
                    None => drop(settings.remove(&name)),
                }
            }
        }
        unheeded(&settings).iter().for_each(|warning| tracing::warn!("{warning}"));
        Self::new().apply(&settings)
    }

    fn apply(mut self, settings: &Settings) -> Result<Self> {
        if let Some(address) = settings.get(ADDRESS) {
            self = self.address(address);
        }
        if let Some(text) = settings.get(CONNECT) {
            self = self.connect_timeout(duration(CONNECT, text)?);
        }
        if let Some(text) = settings.get(TCP) {
            self = self.tcp_timeout(duration(TCP, text)?);
        }
        if let Some(text) = settings.get(HEARTBEAT) {
            self = self.heartbeat(duration(HEARTBEAT, text)?);
        }
        if let Some(text) = settings.get(ENCRYPTED) {
            self = self.require_encryption(flag(ENCRYPTED, text)?);
        }
        if let Some(way) = settings.get(COMPRESSION).and_then(|name| compression(name)) {
            self = self.compression(way);
        }
        #[cfg(feature = "tls")]
        if let Some(ca) = settings.get(CA) {
            let mut tls = crate::TlsConfig::new().ca(ca.as_str());
            if let Some(cert) = settings.get(CERT) {
                tls = tls.cert(cert.as_str());
            }
            if let Some(key) = settings.get(KEY) {
                tls = tls.key(key.as_str());
            }
            if let Some(text) = settings.get(MIN_TLS) {
                tls = tls.min_version(tls_version(MIN_TLS, text)?);
            }
            if let Some(text) = settings.get(MAX_TLS) {
                tls = tls.max_version(tls_version(MAX_TLS, text)?);
            }
            self = self.tls(tls);
        }
        Ok(self)
    }

    /// The address of a scheduler file, as `dask scheduler --scheduler-file` writes it.
    ///
    /// # Errors
    /// The file cannot be read, is no JSON or holds no address.
    pub fn scheduler_file(self, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = read_text(path)?;
        // JSON is YAML.
        let found = YamlLoader::load_from_str(&text).ok().and_then(|documents| {
            documents.first().and_then(|file| file["address"].as_str().map(str::to_owned))
        });
        match found {
            Some(address) => Ok(self.address(address)),
            None => Err(Error::config(format!("the scheduler file {} holds no address", path.display()))),
        }
    }
}

/// A variable's value as Dask reads it: a Python literal if it is one, else as it stands; `None` for nothing.
fn literal(text: &str) -> Option<String> {
    let bare = text.trim();
    if ["none", "null"].contains(&bare.to_lowercase().as_str()) {
        return None;
    }
    let quoted = ['"', '\''].into_iter().find_map(|quote| {
        let inside = bare.strip_prefix(quote)?.strip_suffix(quote)?;
        let mut plain = String::with_capacity(inside.len());
        let mut chars = inside.chars();
        while let Some(char) = chars.next() {
            match char {
                // More than one text: no literal.
                char if char == quote => return None,
                '\\' => plain.push(match chars.next()? {
                    'n' => '\n',
                    't' => '\t',
                    char @ ('\\' | '"' | '\'') => char,
                    _ => return None,
                }),
                char => plain.push(char),
            }
        }
        Some(plain)
    });
    Some(quoted.unwrap_or_else(|| text.to_owned()))
}

fn compression(name: &str) -> Option<Compression> {
    let all = [Compression::Lz4, Compression::Zstd, Compression::Zlib, Compression::Snappy];
    all.into_iter().find(|way| way.name() == name.trim().to_lowercase())
}

/// What is set and changes nothing here, in words.
fn unheeded(settings: &Settings) -> Vec<String> {
    let mut warnings = Vec::new();
    let set = |name: &str| settings.contains_key(name);
    if [CA, CERT, KEY].into_iter().any(set) {
        if cfg!(not(feature = "tls")) {
            warnings.push("TLS is configured, but this program was built without it".to_owned());
        } else if !set(CA) {
            warnings.push(format!("{CERT} and {KEY} count only together with {CA}, which is not set"));
        }
    }
    if let Some(ciphers) = settings.get(CIPHERS) {
        warnings
            .push(format!("{CIPHERS} is {ciphers:?}, a list for OpenSSL, which this client does not use"));
    }
    match settings.get(COMPRESSION).map(|name| name.trim().to_lowercase()) {
        Some(name) if !["auto", "false"].contains(&name.as_str()) && compression(&name).is_none() => {
            warnings.push(format!(
                "{COMPRESSION} is {name:?}, which this client cannot write; it sends as it is"
            ));
        }
        _ => (),
    }
    warnings
}

fn flag(setting: &str, text: &str) -> Result<bool> {
    match text.trim().to_lowercase().as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" | "" => Ok(false),
        _ => Err(Error::config(format!("{setting} is {text:?}, which is neither true nor false"))),
    }
}

#[cfg(feature = "tls")]
fn tls_version(setting: &str, text: &str) -> Result<crate::TlsVersion> {
    match text.trim() {
        "1.2" => Ok(crate::TlsVersion::Tls12),
        "1.3" => Ok(crate::TlsVersion::Tls13),
        _ => Err(Error::config(format!("{setting} is {text:?}; TLS of versions 1.2 and 1.3 is supported"))),
    }
}

/// Where Dask looks, in its order: the last found wins.
fn yaml_files(variables: &[(String, String)]) -> Vec<PathBuf> {
    let variable = |name: &str| variables.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
    let mut places = vec![PathBuf::from(variable("DASK_ROOT_CONFIG").unwrap_or("/etc/dask"))];
    if let Some(home) = variable("HOME") {
        places.push(Path::new(home).join(".config/dask"));
    }
    if let Some(place) = variable("DASK_CONFIG") {
        places.push(PathBuf::from(place));
    }
    let mut files = Vec::new();
    for place in places {
        if place.is_file() {
            files.push(place);
        } else if let Ok(entries) = std::fs::read_dir(&place) {
            let is_yaml = |path: &PathBuf| {
                let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
                extension.is_some_and(|extension| ["yaml", "yml", "json"].contains(&extension.as_str()))
            };
            let mut found: Vec<PathBuf> =
                entries.flatten().map(|entry| entry.path()).filter(is_yaml).collect();
            found.sort();
            files.extend(found);
        }
    }
    files
}

/// The text of a file of Dask's settings; `None` if it cannot be read: Python passes over those, too.
fn readable(path: &Path) -> Option<String> {
    let text = std::fs::metadata(path).and_then(|metadata| match metadata.len() {
        size if size > LARGEST => {
            Err(std::io::Error::other(format!("{size} bytes are too many for settings")))
        }
        _ => std::fs::read_to_string(path),
    });
    text.inspect_err(
        |error| tracing::warn!(path = %path.display(), %error, "settings that cannot be read are left out"),
    )
    .ok()
}

fn read_text(path: &Path) -> Result<String> {
    let cannot =
        |error: &dyn std::fmt::Display| Error::config(format!("cannot read {}: {error}", path.display()));
    let size = std::fs::metadata(path).map_err(|error| cannot(&error))?.len();
    if size > LARGEST {
        return Err(cannot(&format_args!("{size} bytes are too many for settings")));
    }
    std::fs::read_to_string(path).map_err(|error| cannot(&error))
}

fn read_yaml(path: &Path, settings: &mut Settings) -> Result<()> {
    let Some(text) = readable(path) else { return Ok(()) };
    let documents = YamlLoader::load_from_str(&text)
        .map_err(|error| Error::config(format!("{} is not YAML: {error}", path.display())))?;
    if let Some(document) = documents.first() {
        flatten(document, &mut String::new(), settings, 16);
    }
    Ok(())
}

/// Nested maps as dotted names; hyphens and underscores are the same.
fn flatten(value: &Yaml, name: &mut String, settings: &mut Settings, depth: usize) {
    let text = match value {
        Yaml::Hash(map) => {
            for (key, value) in map {
                if let (Some(key), Some(depth)) = (key.as_str(), depth.checked_sub(1)) {
                    let length = name.len();
                    if !name.is_empty() {
                        name.push('.');
                    }
                    name.push_str(&key.replace('_', "-"));
                    flatten(value, name, settings, depth);
                    name.truncate(length);
                }
            }
            return;
        }
        Yaml::String(text) | Yaml::Real(text) => text.clone(),
        Yaml::Integer(number) => number.to_string(),
        Yaml::Boolean(value) => value.to_string(),
        // `null` takes back what an earlier file set.
        Yaml::Null => {
            settings.remove(name);
            return;
        }
        _ => return,
    };
    settings.insert(name.clone(), text);
}

/// A duration as Dask writes it: `30s`, `100 ms`, `5 minutes`, or a bare number of seconds.
fn duration(setting: &str, text: &str) -> Result<Duration> {
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(digits);
    let scale = match unit.trim().to_lowercase().as_str() {
        "" | "s" | "sec" | "second" | "seconds" => 1.0,
        "ms" | "millisecond" | "milliseconds" => 1e-3,
        "us" | "microsecond" | "microseconds" => 1e-6,
        "m" | "min" | "minute" | "minutes" => 60.0,
        "h" | "hr" | "hour" | "hours" => 3600.0,
        "d" | "day" | "days" => 86400.0,
        "w" | "week" | "weeks" => 604_800.0,
        "ns" | "nanosecond" | "nanoseconds" => 1e-9,
        _ => f64::NAN,
    };
    let seconds = number.parse::<f64>().unwrap_or(f64::NAN) * scale;
    Duration::try_from_secs_f64(seconds).map_err(|_| {
        Error::config(format!("{setting} is {text:?}, which is no duration such as 30s or 100ms"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_variables_are_read_as_dask_does() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::write(
            path("a.yaml"),
            "scheduler-address: tcp://from-a:1\ndistributed:\n  comm:\n    timeouts:\n      connect: 3s\n  client:\n    \
             heartbeat: 250 ms\n",
        )
        .unwrap();
        std::fs::write(path("b.yaml"), "scheduler_address: tcp://from-b:2\n").unwrap();
        let files = [path("a.yaml"), path("b.yaml")];
        let builder = ClientBuilder::from_sources(&files, &[]).unwrap();
        assert_eq!(builder.address.as_deref(), Some("tcp://from-b:2"));
        assert_eq!(builder.connect_timeout, Duration::from_secs(3));
        assert_eq!(builder.heartbeat, Duration::from_millis(250));
        let variables = [
            ("DASK_SCHEDULER_ADDRESS".to_owned(), "tcp://from-env:3".to_owned()),
            ("DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT".to_owned(), "2".to_owned()),
        ];
        let builder = ClientBuilder::from_sources(&files, &variables).unwrap();
        assert_eq!(builder.address.as_deref(), Some("tcp://from-env:3"));
        assert_eq!(builder.connect_timeout, Duration::from_secs(2));
    }

    #[cfg(unix)]
    #[test]
    fn files_that_cannot_be_read_are_passed_over_as_dask_does() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::os::unix::fs::symlink("/no/such/file", path("a.yaml")).unwrap();
        std::fs::create_dir(path("b.yaml")).unwrap();
        std::fs::write(path("c.yaml"), "scheduler-address: tcp://from-c:1\n").unwrap();
        let files = [path("a.yaml"), path("b.yaml"), path("c.yaml")];
        let builder = ClientBuilder::from_sources(&files, &[]).unwrap();
        assert_eq!(builder.address.as_deref(), Some("tcp://from-c:1"));
        std::fs::write(path("d.yaml"), "scheduler-address: [").unwrap();
        let error = ClientBuilder::from_sources(&[path("d.yaml")], &[]).unwrap_err();
        assert!(error.to_string().contains("is not YAML"), "{error}");
    }

    fn from(variables: &[(&str, &str)]) -> Result<ClientBuilder> {
        let variables: Vec<(String, String)> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        ClientBuilder::from_sources(&[], &variables)
    }

    #[test]
    fn variables_are_read_as_python_literals() {
        for (text, value) in [
            ("'tcp://a:1'", Some("tcp://a:1")),
            (" \"tcp://a:1\" ", Some("tcp://a:1")),
            ("tcp://a:1", Some("tcp://a:1")),
            ("'a' 'b'", Some("'a' 'b'")),
            ("'line\\nline'", Some("line\nline")),
            ("'it\\'s'", Some("it's")),
            ("None", None),
            ("null", None),
            ("1.5", Some("1.5")),
            ("", Some("")),
        ] {
            assert_eq!(literal(text).as_deref(), value, "{text}");
        }
        let builder = from(&[("DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT", "None")]).unwrap();
        assert_eq!(builder.connect_timeout, ClientBuilder::new().connect_timeout);
    }

    #[test]
    fn every_setting_is_obeyed() {
        let builder = from(&[
            ("DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP", "'7s'"),
            ("DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION", "True"),
            ("DASK_DISTRIBUTED__COMM__COMPRESSION", "lz4"),
            ("DASK_DISTRIBUTED__CLIENT__HEARTBEAT", "1 minute"),
        ])
        .unwrap();
        assert_eq!(builder.tcp_timeout, Duration::from_secs(7));
        assert_eq!(builder.heartbeat, Duration::from_secs(60));
        assert_eq!(builder.compression, Some(Compression::Lz4));
        assert!(builder.require_encryption);
        assert!(from(&[("DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION", "maybe")]).is_err());
    }

    #[test]
    fn what_cannot_be_obeyed_is_told() {
        let warn = |name: &str, value: &str| {
            unheeded(&Settings::from([(name.to_owned(), value.to_owned())])).join("; ")
        };
        assert!(warn(CIPHERS, "HIGH").contains("HIGH"));
        assert!(warn(COMPRESSION, "blosc").contains("blosc"));
        assert_eq!(warn(COMPRESSION, "auto") + &warn(COMPRESSION, "zstd") + &warn(COMPRESSION, "False"), "");
        if cfg!(feature = "tls") {
            assert!(warn(CERT, "cert.pem").contains(CA));
            assert_eq!(warn(CA, "ca.pem"), "");
        }
    }

    #[test]
    fn mistakes_name_their_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bad.yaml");
        std::fs::write(&path, "a: [1, 2").unwrap();
        let error = ClientBuilder::from_sources(&[path], &[]).unwrap_err().to_string();
        assert!(error.contains("bad.yaml"), "{error}");
        let variables = [("DASK_DISTRIBUTED__CLIENT__HEARTBEAT".to_owned(), "often".to_owned())];
        let error = ClientBuilder::from_sources(&[], &variables).unwrap_err().to_string();
        assert!(error.contains("heartbeat") && error.contains("often"), "{error}");
        assert!(ClientBuilder::new().scheduler_file("/no/such/file").is_err());
    }
}
