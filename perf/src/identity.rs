//! The certificate of a run's servers, made for it and gone with it.
//!
//! Clients trust it alone, by the name `localhost`. Servers get it as two files in PEM, whoever they are.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result};
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
    let made = rcgen::generate_simple_self_signed(vec![NAME.to_owned()]).context("making a certificate")?;
    let identity = Identity { certificate: folder.join("certificate.pem"), key: folder.join("key.pem") };
    std::fs::write(&identity.certificate, made.cert.pem())?;
    std::fs::write(&identity.key, made.signing_key.serialize_pem())?;
    Ok(identity)
}
