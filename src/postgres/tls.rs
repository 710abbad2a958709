//! TLS to PostgreSQL: the system's authorities, one more if it is named, or no check at all where that was asked for.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::PostgresError;
use super::settings::PostgresSettings;
use super::url::SslMode;

/// How much of a certificate is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    Nothing,
    Authority,
    AuthorityAndName,
}

/// `postgres.verify` over the URL, since it is the older of the two; they must not contradict each other.
fn check(settings: &PostgresSettings) -> Result<Check, PostgresError> {
    let address = settings.url.address();
    match (settings.verify, address.ssl_mode) {
        (Some(false), Some(SslMode::VerifyCa | SslMode::VerifyFull)) => {
            let said = "verify: false contradicts sslmode=verify-… of postgres.url: leave one of them out";
            Err(PostgresError::Settings(said.to_owned()))
        }
        (Some(true), _) | (None, None | Some(SslMode::VerifyFull)) => Ok(Check::AuthorityAndName),
        (None, Some(SslMode::VerifyCa)) => Ok(Check::Authority),
        (None, Some(SslMode::Require)) if address.root_cert.is_some() => Ok(Check::Authority),
        (Some(false), _) | (None, Some(SslMode::Disable | SslMode::Prefer | SslMode::Require)) => Ok(Check::Nothing),
    }
}

pub(super) fn connector(settings: &PostgresSettings) -> Result<MakeRustlsConnect, PostgresError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| PostgresError::Settings(format!("url: TLS cannot be used: {error}")))?;
    let config = match check(settings)? {
        Check::AuthorityAndName => builder.with_root_certificates(authorities(settings)?).with_no_client_auth(),
        Check::Authority => {
            let roots = Arc::new(authorities(settings)?);
            let inner = WebPkiServerVerifier::builder_with_provider(roots, provider)
                .build()
                .map_err(|error| PostgresError::Settings(format!("url: sslmode=verify-ca: {error}")))?;
            let verifier = Arc::new(AnyName(inner));
            builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
        }
        Check::Nothing => {
            let verifier = Arc::new(AnyCertificate(provider));
            builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
        }
    };
    Ok(MakeRustlsConnect::new(config))
}

/// `sslrootcert` is believed alone, as by libpq; `postgres.ca_file` beside the system's authorities.
fn authorities(settings: &PostgresSettings) -> Result<RootCertStore, PostgresError> {
    let mut roots = RootCertStore::empty();
    let alone = settings.url.address().root_cert.as_deref().filter(|path| *path != Path::new("system"));
    if alone.is_none() {
        // A certificate of the system that cannot be read is none that can be relied on.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    if let Some(path) = alone {
        add(&mut roots, path, "url: sslrootcert")?;
    }
    if let Some(path) = &settings.ca_file {
        add(&mut roots, path, "ca_file")?;
    }
    Ok(roots)
}

fn add(roots: &mut RootCertStore, path: &Path, key: &str) -> Result<(), PostgresError> {
    let wrong = |said: String| PostgresError::Settings(format!("{key}: {}: {said}", path.display()));
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?;
    let before = roots.len();
    for certificate in certificates {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.len() == before { Err(wrong("holds no certificate".into())) } else { Ok(()) }
}

/// `postgres.verify = false`: any certificate will do; the signatures of the handshake still count.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// `sslmode=verify-ca`: a certificate of a known authority, whatever name it is for.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // The authority is looked at first: a wrong name is the last thing that can be wrong.
        match self.0.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            judged => judged,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_looked_at_as_libpq_does_unless_verify_says_otherwise() {
        let checked = |query: &str, verify: Option<bool>| {
            let url = format!("postgres://u@h/d{query}").parse().unwrap();
            check(&PostgresSettings { url, verify, ..PostgresSettings::default() })
        };
        for (query, expected) in [
            ("", Check::AuthorityAndName),
            ("?sslmode=prefer", Check::Nothing),
            ("?sslmode=require", Check::Nothing),
            ("?sslmode=require&sslrootcert=/ca.pem", Check::Authority),
            ("?sslmode=verify-ca", Check::Authority),
            ("?sslmode=verify-full", Check::AuthorityAndName),
        ] {
            assert_eq!(checked(query, None), Ok(expected), "{query}");
            assert_eq!(checked(query, Some(true)), Ok(Check::AuthorityAndName), "{query}");
        }
        assert_eq!(checked("?sslmode=require", Some(false)), Ok(Check::Nothing));
        assert!(checked("?sslmode=verify-full", Some(false)).unwrap_err().to_string().contains("sslmode"));
    }

    #[test]
    fn a_file_of_authorities_that_is_not_there_is_named() {
        let url = "postgres://u@h/d?sslmode=verify-ca&sslrootcert=/nowhere/ca.pem".parse().unwrap();
        let settings = PostgresSettings { url, ..PostgresSettings::default() };
        let Err(error) = connector(&settings) else { panic!() };
        assert!(error.to_string().contains("sslrootcert") && error.to_string().contains("/nowhere/ca.pem"), "{error}");
    }
}
