//! Whom to trust.

use std::path::Path;
use std::sync::Arc;

use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

/// Trusts the certificates of a file, or the public authorities where none is named.
pub(crate) fn trusting(ca: Option<&Path>) -> Result<TlsConfig, String> {
    let builder = TlsConfig::builder();
    let Some(file) = ca else {
        return Ok(builder.build());
    };
    let shown = file.display();
    let bytes = std::fs::read(file).map_err(|error| format!("the file {shown}: {error}"))?;
    let mut certificates = Vec::new();
    for item in parse_pem(&bytes) {
        match item {
            Ok(PemItem::Certificate(certificate)) => certificates.push(certificate),
            Ok(_) => {}
            Err(error) => return Err(format!("the file {shown}: {error}")),
        }
    }
    if certificates.is_empty() {
        return Err(format!("the file {shown} holds no certificate"));
    }
    let roots = RootCerts::Specific(Arc::new(certificates));
    Ok(builder.root_certs(roots).build())
}
