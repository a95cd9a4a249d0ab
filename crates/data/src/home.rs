//! The home folder in paths, which people write as `~`.

/// A path in which a leading `~` stands for the home folder, as in a shell: `~` and `~/…` are expanded, other paths are
/// returned as they are. The error says what is wrong with a path such as `~name/…`, or that `HOME` is not set.
pub fn expand_home(path: &str) -> Result<String, String> {
    expand_home_of(path, std::env::var("HOME").ok().as_deref())
}

/// Expands a leading `~` in a path as [`expand_home`] does, but to the folder `home` instead of `HOME`. With `None`, a
/// path that begins with `~` is an error.
pub fn expand_home_of(path: &str, home: Option<&str>) -> Result<String, String> {
    let Some(rest) = path.strip_prefix('~') else { return Ok(path.to_owned()) };
    if !rest.is_empty() && !rest.starts_with('/') {
        return Err(format!(
            "`{path}`: only `~` and `~/` stand for a home folder; write the whole path, or `./{path}` for a file of this name"
        ));
    }
    let home = home.filter(|home| !home.is_empty());
    let home = home.ok_or_else(|| format!("`{path}`: HOME is not set; write the whole path"))?;
    Ok(format!("{}{rest}", home.trim_end_matches('/')))
}
