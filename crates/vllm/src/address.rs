//! Addresses of servers.

use reqwest::Url;

/// What an address must look like, for messages.
const EXAMPLE: &str = "write an address such as `http://HOST:8000`";

/// Checks that a text is the address of a server: `http` or `https`, without user, password, query and fragment. The error
/// says what is wrong and does not repeat the address, which may contain a secret.
pub fn check_address(address: &str) -> Result<(), String> {
    parse(address).map(drop)
}

/// The address with a path that ends with `/`, so that the paths of calls can be joined to it.
pub(crate) fn parse(address: &str) -> Result<Url, String> {
    let mut url = Url::parse(address).map_err(|e| format!("not an address ({e}); {EXAMPLE}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.query().is_some() || url.fragment().is_some() {
        return Err(format!("not the address of a server; {EXAMPLE}"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!("the address contains a user or a password; {EXAMPLE}, and name the key's variable apart"));
    }
    let path = url.path().trim_end_matches('/').trim_end_matches("/v1").to_owned();
    url.set_path(&format!("{path}/"));
    Ok(url)
}
