//! The admin port behind TLS, and clients' certificates there.

use std::io::Write as _;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::http::{Answer, Site};
use crate::support::tls::{Authority, Identity, written};

/// Asks as who has this certificate, if any. `None`: there is no answer.
fn ask(site: &Site, authority: &Authority, identity: Option<&Identity>) -> Option<Answer> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority.file(site.folder.path())).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some(Identity { chain, key }) => {
            let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).map(Result::unwrap).collect();
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap()
        }
    };
    let tls = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    let mut stream = StreamOwned::new(tls, site.connect());
    let origin = format!("https://localhost:{}", site.admin.port());
    let request = format!(
        "POST /api/connections/0.0.1/close HTTP/1.1\r\nHost: localhost:{}\r\nOrigin: {origin}\r\nConnection: close\r\n\
         Content-Length: 0\r\n\r\n",
        site.admin.port()
    );
    stream.write_all(request.as_bytes()).ok()?;
    Some(Answer::read(&mut stream)).filter(|answer| answer.status > 0)
}

#[test]
fn who_has_a_certificate_comes_in_and_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, others) = (Authority::new("ours"), Authority::new("others"));
    let server = ours.issue(&["localhost"]);
    let chain = written(folder.path(), "chain.pem", &server.chain);
    let key = written(folder.path(), "key.pem", &server.key);
    let ca = ours.file(folder.path());
    let with = ["--admin-certificate-file", &chain, "--admin-key-file", &key];
    let site = Site::start(&with);
    assert_eq!(ask(&site, &ours, None).expect("an answer").status, 202);
    assert_eq!(site.get("/livez").status, 0, "nothing is said in clear");
    let site = Site::start(&[&with[..], &["--admin-client-ca-file", &ca, "--admin-listen", "0.0.0.0:0"]].concat());
    assert_eq!(ask(&site, &ours, Some(&ours.issue(&["me"]))).expect("an answer").status, 202);
    assert!(ask(&site, &ours, None).is_none());
    assert!(ask(&site, &ours, Some(&others.issue(&["me"]))).is_none());
    assert!(ask(&site, &ours, Some(&ours.issue_for(&["me"], (2001, 2002)))).is_none());
}
