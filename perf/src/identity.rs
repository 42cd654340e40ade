//! The certificate of a run's servers, made for it and gone with it.
//!
//! Clients trust it alone, by the name `localhost`. Servers get it as two files in PEM, whoever they are.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result};
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

/// The name that it is for.
pub const NAME: &str = "localhost";

/// Where the files are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The certificate, which is trusted by itself.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Identity {
    /// A new certificate, and its key, in the place of those: each file is always a whole one. The certificate.
    ///
    /// # Errors
    /// When it cannot be made, or written.
    pub fn renew(&self) -> Result<CertificateDer<'static>> {
        let made = rcgen::generate_simple_self_signed(vec![NAME.to_owned()]).context("making a certificate")?;
        for (path, text) in [(&self.certificate, made.cert.pem()), (&self.key, made.signing_key.serialize_pem())] {
            let new = path.with_extension("new");
            std::fs::write(&new, text).with_context(|| format!("writing {}", new.display()))?;
            std::fs::rename(&new, path).with_context(|| format!("replacing {}", path.display()))?;
        }
        Ok(made.cert.der().clone())
    }
}

static OF_THIS_RUN: OnceLock<Identity> = OnceLock::new();

/// The one of this process: made when it is first asked for.
///
/// # Errors
/// When it cannot be made, or written.
pub fn of_this_run() -> Result<Identity> {
    if let Some(identity) = OF_THIS_RUN.get() {
        return Ok(identity.clone());
    }
    let folder = std::env::temp_dir().join(format!("fanwire-perf-{}", std::process::id()));
    // Nobody else's folder, and nobody else's business.
    std::fs::DirBuilder::new().mode(0o700).create(&folder).with_context(|| format!("making {}", folder.display()))?;
    let identity = make(&folder)?;
    Ok(OF_THIS_RUN.get_or_init(|| identity).clone())
}

/// Removes the files, if there are any.
pub fn remove() {
    if let Some(folder) = OF_THIS_RUN.get().and_then(|identity| identity.key.parent()) {
        let _ = std::fs::remove_dir_all(folder);
    }
}

fn make(folder: &Path) -> Result<Identity> {
    let identity = Identity { certificate: folder.join("certificate.pem"), key: folder.join("key.pem") };
    identity.renew()?;
    Ok(identity)
}
