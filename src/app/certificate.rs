//! The certificate of the TLS listener: read, checked, and replaced while connections go on.
//!
//! A new handshake takes the certificate in force; running connections keep theirs. One that cannot be
//! used never replaces one that can.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::config::Tls;

/// The certificate in force.
#[derive(Debug)]
pub(super) struct Certificate {
    settings: Tls,
    held: Arc<Held>,
    seen: Stamp,
}

#[derive(Debug)]
struct Held(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Held {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// What tells that files were replaced. Tools rename new ones over the old or swing a link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Stamp([Option<(SystemTime, u64, u64)>; 2]);

impl Stamp {
    fn of(settings: &Tls) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        let stamp = |path: &Path| {
            let meta = std::fs::metadata(path).ok()?;
            Some((meta.modified().ok()?, meta.ino(), meta.len()))
        };
        Self([stamp(&settings.certificate), stamp(&settings.key)])
    }
}

/// What came of looking at the files again.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Looked {
    /// They are as they were.
    Unchanged,
    /// A new certificate is in force; how long it is valid, or why it is not.
    Replaced(Validity),
    /// They cannot be used; the old certificate stays.
    Refused(String),
}

/// Whether a certificate's time is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Validity {
    /// Valid for so much longer.
    For(Duration),
    /// Its time is over, or has not begun.
    Not,
}

impl Certificate {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub(super) fn load(settings: Tls) -> Result<(Self, Validity), String> {
        let seen = Stamp::of(&settings);
        let (key, validity) = read(&settings, SystemTime::now())?;
        let held = Arc::new(Held(ArcSwap::from_pointee(key)));
        Ok((Self { settings, held, seen }, validity))
    }

    /// The configuration whose handshakes take the certificate in force: TLS 1.2 and 1.3, HTTP/1.1.
    ///
    /// # Errors
    /// Never for the versions that ring has.
    pub(super) fn server_config(&self) -> Result<Arc<ServerConfig>, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&self.held) as _);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// Looks whether the files were replaced, and takes what they hold now. Files that were refused are
    /// not read again until they change.
    pub(super) fn look(&mut self, now: SystemTime) -> Looked {
        let stamp = Stamp::of(&self.settings);
        if stamp == self.seen {
            return Looked::Unchanged;
        }
        self.seen = stamp;
        match read(&self.settings, now) {
            Ok((key, validity)) => {
                self.held.0.store(Arc::new(key));
                Looked::Replaced(validity)
            }
            Err(problem) => Looked::Refused(problem),
        }
    }
}

fn read(settings: &Tls, now: SystemTime) -> Result<(CertifiedKey, Validity), String> {
    let in_file = |path: &Path, problem: String| format!("{}: {problem}", path.display());
    let wrong = |problem: &str| in_file(&settings.certificate, problem.to_owned());
    let chain = CertificateDer::pem_file_iter(&settings.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| wrong(&format!("no certificate can be read: {e}")))?;
    let first = chain.first().ok_or_else(|| wrong("holds no certificate in PEM form"))?;
    let validity = validity(first, now).ok_or_else(|| wrong("the certificate cannot be read"))?;
    let key = PrivateKeyDer::from_pem_file(&settings.key)
        .map_err(|e| in_file(&settings.key, format!("no private key can be read: {e}")))?;
    let signer = ring::sign::any_supported_type(&key)
        .map_err(|e| in_file(&settings.key, format!("the private key cannot be used: {e}")))?;
    let certified = CertifiedKey::new(chain, signer);
    match certified.keys_match() {
        Ok(()) => Ok((certified, validity)),
        Err(error) => Err(in_file(&settings.key, format!("is not the certificate's key: {error}"))),
    }
}

fn validity(certificate: &CertificateDer<'_>, now: SystemTime) -> Option<Validity> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let now = i64::try_from(now.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()?;
    let (from, to) = (parsed.validity().not_before.timestamp(), parsed.validity().not_after.timestamp());
    Some(match (from..to).contains(&now) {
        true => Validity::For(Duration::from_secs(to.abs_diff(now))),
        false => Validity::Not,
    })
}

/// Less validity than this is worth a warning.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// Tells the log how long a certificate is valid.
pub(super) fn tell(validity: Validity, settings: &Tls) {
    let file = settings.certificate.display();
    match validity {
        Validity::Not => {
            tracing::error!(%file, "certificate is expired or not valid yet; clients will refuse it")
        }
        Validity::For(time) if time < SOON => {
            tracing::warn!(%file, days = time.as_secs() / 86_400, "certificate expires soon");
        }
        Validity::For(time) => tracing::info!(%file, days = time.as_secs() / 86_400, "certificate in force"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().expect("temporary folder"))
        }

        fn files(&self) -> Tls {
            Tls {
                listen: ([127, 0, 0, 1], 0).into(),
                certificate: self.0.path().join("cert.pem"),
                key: self.0.path().join("key.pem"),
            }
        }

        /// Puts a new self-signed certificate there that expires in `year`.
        fn issue(&self, year: i32) {
            let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(year, 1, 1);
            let key = rcgen::KeyPair::generate().expect("a key");
            let certificate = params.self_signed(&key).expect("signed");
            std::fs::write(self.files().certificate, certificate.pem()).expect("written");
            std::fs::write(self.files().key, key.serialize_pem()).expect("written");
        }
    }

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    #[test]
    fn an_expired_certificate_is_used_and_told() {
        let folder = Folder::new();
        folder.issue(2021);
        assert_eq!(read(&folder.files(), now()).expect("readable").1, Validity::Not);
        folder.issue(2090);
        assert!(matches!(read(&folder.files(), now()).expect("readable").1, Validity::For(_)));
    }

    #[test]
    fn broken_files_never_replace_good_ones_and_are_complained_of_once() {
        let folder = Folder::new();
        folder.issue(2090);
        let (mut certificate, _) = Certificate::load(folder.files()).expect("good");
        let good = certificate.held.0.load_full();
        assert_eq!(certificate.look(now()), Looked::Unchanged);
        for garbage in ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            std::fs::write(folder.files().certificate, garbage).expect("written");
            let Looked::Refused(problem) = certificate.look(now()) else { panic!("taken: {garbage}") };
            assert!(problem.contains("cert.pem"), "{problem}");
            assert_eq!(certificate.look(now()), Looked::Unchanged);
        }
        assert!(Arc::ptr_eq(&good, &certificate.held.0.load_full()));
        folder.issue(2091);
        assert!(matches!(certificate.look(now()), Looked::Replaced(Validity::For(_))));
        assert!(!Arc::ptr_eq(&good, &certificate.held.0.load_full()));
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let (folder, other) = (Folder::new(), Folder::new());
        folder.issue(2090);
        other.issue(2090);
        std::fs::copy(other.files().key, folder.files().key).expect("copied");
        let problem = Certificate::load(folder.files()).expect_err("refused");
        assert!(problem.contains("key.pem: is not the certificate's key"), "{problem}");
        std::fs::remove_file(folder.files().key).expect("removed");
        assert!(
            Certificate::load(folder.files()).expect_err("refused").contains("no private key can be read")
        );
    }
}
