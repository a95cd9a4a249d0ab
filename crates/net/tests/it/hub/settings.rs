//! Settings, read from the environment like the official client.

use std::path::Path;

use rlar_net::hub::{Hub, HubError, HubSettings};

fn read(pairs: &[(&str, &str)]) -> HubSettings {
    try_read(pairs).unwrap()
}

fn try_read(pairs: &[(&str, &str)]) -> Result<HubSettings, HubError> {
    let pairs: Vec<(String, String)> = pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    HubSettings::from_env(move |name| pairs.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone()))
}

#[test]
fn the_cache_is_where_the_official_client_has_it() {
    let cases: [(&[(&str, &str)], &str); 8] = [
        (&[("HOME", "/h")], "/h/.cache/huggingface/hub"),
        (&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")], "/x/huggingface/hub"),
        (&[("HF_HOME", "/hf"), ("XDG_CACHE_HOME", "/x")], "/hf/hub"),
        (&[("HF_HOME", "/hf"), ("HUGGINGFACE_HUB_CACHE", "/old")], "/old"),
        (&[("HF_HOME", "/hf"), ("HUGGINGFACE_HUB_CACHE", "/old"), ("HF_HUB_CACHE", "/new")], "/new"),
        (&[("HOME", "/h/"), ("HF_HOME", "~/hf")], "/h/hf/hub"),
        (&[("HF_HOME", "/hf"), ("DISK", "/d"), ("HF_HUB_CACHE", "$DISK/${DISK}x/$NO/$")], "/d//dx/$NO/$"),
        (&[("HF_HOME", "/hf"), ("HF_HUB_CACHE", "")], "/hf/hub"),
    ];
    for (pairs, cache) in cases {
        assert_eq!(read(pairs).cache, Path::new(cache), "{pairs:?}");
    }
    assert!(matches!(try_read(&[]), Err(HubError::Settings(_))), "without a home there is no cache");
}

#[test]
fn the_token_comes_from_variables_then_from_a_file() {
    let folder = tempfile::TempDir::new().unwrap();
    let home = folder.path().to_str().unwrap();
    let other = folder.path().join("other");
    std::fs::write(folder.path().join("token"), " from-file\r\n").unwrap();
    std::fs::write(&other, "from-other\n").unwrap();
    let secret = |text: &str| Some(rlar_net::Secret::new(text));
    let other = other.to_str().unwrap();
    assert_eq!(read(&[("HF_HOME", home)]).token, secret("from-file"));
    assert_eq!(read(&[("HF_HOME", home), ("HF_TOKEN_PATH", other)]).token, secret("from-other"));
    assert_eq!(read(&[("HF_HOME", home), ("HUGGING_FACE_HUB_TOKEN", "old")]).token, secret("old"));
    let both = [("HF_HOME", home), ("HUGGING_FACE_HUB_TOKEN", "old"), ("HF_TOKEN", " new\n")];
    assert_eq!(read(&both).token, secret("new"));
    assert_eq!(read(&[("HF_HOME", home), ("HF_TOKEN", "x"), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "yes")]).token, None);
    assert_eq!(read(&[("HF_HOME", "/no/such/folder")]).token, None);
    assert!(!format!("{:?}", read(&both)).contains("new"));
}

#[test]
fn endpoint_and_offline_mode_are_read() {
    let with = |more: &[(&str, &str)]| read(&[&[("HF_HOME", "/hf")], more].concat());
    assert_eq!((with(&[]).endpoint.as_str(), with(&[]).offline), ("https://huggingface.co", false));
    assert_eq!(with(&[("HF_ENDPOINT", "http://mirror:80/hub//")]).endpoint, "http://mirror:80/hub");
    assert!(with(&[("HF_HUB_OFFLINE", "On")]).offline && with(&[("TRANSFORMERS_OFFLINE", "1")]).offline);
    assert!(!with(&[("HF_HUB_OFFLINE", "0"), ("TRANSFORMERS_OFFLINE", "1")]).offline, "the first one counts");
    assert!(with(&[]).symlinks && with(&[("HF_HUB_DISABLE_SYMLINKS", "0")]).symlinks);
    assert!(!with(&[("HF_HUB_DISABLE_SYMLINKS", "true")]).symlinks);
    for endpoint in ["ftp://host", "no address", "file:///etc"] {
        let error = Hub::new(with(&[("HF_ENDPOINT", endpoint)])).unwrap_err();
        assert!(error.to_string().contains("HF_ENDPOINT"), "{error}");
    }
    let error = Hub::new(with(&[("HF_TOKEN", "a\u{1}b")])).unwrap_err().to_string();
    assert!(error.contains("HF_TOKEN") && !error.contains("a\u{1}b"), "{error}");
}
