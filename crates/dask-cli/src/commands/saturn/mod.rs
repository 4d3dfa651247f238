//! `dask-rs saturn`

pub(crate) mod cli;
mod emulate;
mod look;
mod shown;
mod up;

use saturn_cloud::{Error, Settings};

use super::Context;
use crate::failure::{CONFIG, CONNECT, Failure, UNHEALTHY, UNUSABLE, code_of};
use cli::{Account, Saturn};

pub(super) async fn run(context: Context, command: Saturn) -> Result<u8, Failure> {
    match command {
        Saturn::Sizes(account) => look::sizes(context, &account).await,
        Saturn::Up(options) => up::run(context, &options).await,
        Saturn::Status(one) => look::status(context, &one).await,
        Saturn::Scale(options) => look::scale(&options).await,
        Saturn::Adapt(options) => look::adapt(&options).await,
        Saturn::Logs(options) => look::logs(context, &options).await,
        Saturn::Down(options) => look::down(context, &options).await,
        Saturn::List(account) => look::list(context, &account).await,
        Saturn::Emulate(options) => emulate::run(context, options).await,
    }
}

impl Account {
    fn settings(&self) -> Result<Settings, Failure> {
        let mut builder =
            Settings::builder().allow_plain_http(self.allow_plain_http).request_timeout(self.request_timeout);
        if let Some(url) = &self.url {
            builder = builder.base_url(url);
        }
        if let Some(file) = &self.token_file {
            builder = builder.token_file(file);
        }
        Ok(builder.build()?)
    }

    fn saturn(&self) -> Result<saturn_cloud::Saturn, Failure> {
        Ok(saturn_cloud::Saturn::new(self.settings()?)?)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(code(&error), error.to_string())
    }
}

fn code(error: &Error) -> u8 {
    match error {
        Error::MissingUrl
        | Error::BadUrl { .. }
        | Error::PlainHttp { .. }
        | Error::MissingToken
        | Error::BadToken { .. }
        | Error::TokenFile { .. }
        | Error::BadOption { .. }
        | Error::WrongSize { .. }
        | Error::SizeDisabled { .. } => CONFIG,
        Error::Unreachable { .. }
        | Error::NoAnswer { .. }
        | Error::RequestTimeout { .. }
        | Error::Unencrypted { .. }
        | Error::Untrusted { .. }
        | Error::CertificateRefused { .. }
        | Error::ShortChain { .. }
        | Error::BadChain { .. }
        | Error::WrongAuthority { .. }
        | Error::SchedulerUnreachable { .. } => CONNECT,
        Error::ClusterFailed { .. }
        | Error::ClusterStopped { .. }
        | Error::NotReady { .. }
        | Error::ClusterDied { .. }
        | Error::TooFewWorkers { .. } => UNHEALTHY,
        Error::Starting { source, .. }
        | Error::Connecting { source, .. }
        | Error::NotClosed { source, .. }
        | Error::MaybeCreated { source, .. } => code(source),
        Error::Dask { source, .. } => code_of(source.kind()),
        _ => UNUSABLE,
    }
}
