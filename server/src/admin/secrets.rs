//! Job: what the admin port's files hold, as it is now: tokens, certificate, whose clients' certificates are accepted.
//! Knows: that files are read again while the port is served. Must never know: who comes.

use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::config::AdminConfig;
use super::tls;
use super::token::Tokens;
use crate::exit::Failure;

/// See the module's head.
#[derive(Clone, Default)]
pub struct Secrets {
    pub tokens: Tokens,
    /// With it, TLS is spoken.
    pub acceptor: Option<TlsAcceptor>,
}

impl Secrets {
    /// Reads all files.
    ///
    /// # Errors
    /// 66 where one cannot be read, 78 where it is of no use.
    pub fn read(config: &AdminConfig) -> Result<Self, Failure> {
        let acceptor = tls::acceptor(config)?;
        Ok(Secrets { tokens: Tokens::read(config.token_file.as_deref())?, acceptor })
    }
}

/// Has them read again. Where they are is settled at the start.
pub struct Keeper {
    config: AdminConfig,
    now: watch::Sender<Secrets>,
}

impl Keeper {
    pub fn new(config: AdminConfig, secrets: Secrets) -> Self {
        Keeper { config, now: watch::Sender::new(secrets) }
    }

    /// By which those that need them see how they are.
    pub fn subscribe(&self) -> watch::Receiver<Secrets> {
        self.now.subscribe()
    }

    /// The same files as at the start, read again; nothing changes yet. `None`: there are none.
    ///
    /// # Errors
    /// As [`Secrets::read`].
    pub fn read_anew(&self) -> Result<Option<Secrets>, Failure> {
        match self.config.is_open() && self.config.certificate_file.is_none() {
            true => Ok(None),
            false => Secrets::read(&self.config).map(Some),
        }
    }

    /// These hold from now on: what that is, for a person. WebSockets whose token is gone are closed.
    pub fn replace(&self, secrets: Secrets) -> String {
        let tokens = match secrets.tokens.count() {
            0 => None,
            1 => Some("1 token".to_owned()),
            count => Some(format!("{count} tokens")),
        };
        let certificate = secrets.acceptor.is_some().then(|| "the certificate".to_owned());
        let said = tokens.into_iter().chain(certificate).collect::<Vec<_>>().join(" and ");
        self.now.send_replace(secrets);
        format!("{said} read anew")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::admin::Wanted;

    #[test]
    fn what_cannot_be_read_leaves_all_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        fs::write(&path, "0123456789abcdef\n").unwrap();
        let config = AdminConfig {
            listen: None,
            wanted: Wanted::ByName,
            hosts: Vec::new(),
            token_file: Some(path.clone()),
            certificate_file: None,
            key_file: None,
            client_ca_file: None,
            benchmark_every: None,
            has_door: false,
        };
        let keeper = Keeper::new(config.clone(), Secrets::read(&config).unwrap());
        let mut seen = keeper.subscribe();
        fs::write(&path, "0123456789abcdef\nfedcba9876543210\n").unwrap();
        let read = keeper.read_anew().unwrap().unwrap();
        assert!(!seen.has_changed().unwrap(), "nothing has changed yet");
        assert_eq!(keeper.replace(read), "2 tokens read anew");
        assert_eq!(seen.borrow_and_update().tokens.count(), 2);
        fs::write(&path, "short\n").unwrap();
        assert!(keeper.read_anew().is_err() && !seen.has_changed().unwrap());
        let open = AdminConfig { token_file: None, ..config };
        assert!(Keeper::new(open, Secrets::default()).read_anew().unwrap().is_none(), "there is nothing to read");
    }
}
