//! Bearer tokens from a file.

use std::error::Error;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rdkafka::client::OAuthToken;
use serde::Deserialize;

/// What a token says of itself, as far as it matters here.
#[derive(Deserialize)]
struct Claims {
    sub: Option<String>,
    /// When it expires, in seconds since the Unix epoch.
    exp: f64,
}

/// Reads the JSON web token that is in the file now.
pub(super) fn token(file: &Path) -> Result<OAuthToken, Box<dyn Error>> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("the token file {}: {error}", file.display()))?;
    parse(text.trim()).ok_or_else(|| {
        let file = file.display();
        format!("the token file {file} holds no JSON web token with an expiry (`exp`)").into()
    })
}

fn parse(token: &str) -> Option<OAuthToken> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Claims = serde_json::from_slice(&claims).ok()?;
    Some(OAuthToken {
        token: token.to_owned(),
        principal_name: claims.sub.unwrap_or_default(),
        lifetime_ms: (claims.exp * 1e3) as i64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_tells_whose_it_is_and_when_it_expires() {
        let claims = URL_SAFE_NO_PAD.encode(r#"{"sub": "alice", "exp": 1700000000}"#);
        let token = parse(&format!("e30.{claims}.c2ln")).unwrap();
        assert_eq!(
            (token.principal_name.as_str(), token.lifetime_ms),
            ("alice", 1_700_000_000_000)
        );
        for bad in ["", "opaque", "a.b.c", "e30.e30.e30"] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }
}
