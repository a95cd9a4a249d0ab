//! A Hub on loopback with three small models, which records its requests.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rlar_net::hub::serve::{HttpRequest, HttpResponse, HubServer};
use rlar_net::hub::{Hub, HubError, HubLimits, HubSettings, ModelInfo};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

pub const ID: &str = "acme/small-model";
pub const WEIGHTS: &str = "model.safetensors";
pub const TOKEN: &str = "hf_not_for_your_eyes";

const README: &str = "---\nlicense: apache-2.0\ntags: [tiny, test]\npipeline_tag: text-generation\n\
    library_name: transformers\ndownloads: 12\nlikes: 3\n---\n# Small\n\nA small model. \u{e9}t\u{e9}.\n";

pub struct TestHub {
    pub folder: TempDir,
    pub cache: TempDir,
    pub server: HubServer,
    seen: Arc<Mutex<Vec<HttpRequest>>>,
}

/// Three million pseudorandom bytes, always the same.
pub fn weights() -> Vec<u8> {
    let mut state = 1_u64;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..3_000_000).map(next).collect()
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

pub fn put(folder: &Path, name: &str, bytes: &[u8]) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

impl TestHub {
    pub fn plain() -> Self {
        Self::with(|_| None)
    }

    pub fn with(hook: impl Fn(&HttpRequest) -> Option<HttpResponse> + Send + Sync + 'static) -> Self {
        let folder = TempDir::new().unwrap();
        let model = folder.path().join(ID);
        put(&model, "README.md", README.as_bytes());
        put(&model, "config.json", b"{\"model_type\": \"small\"}\n");
        put(&model, "empty.txt", b"");
        put(&model, "onnx/a b \u{e9}\u{1f600}+%.txt", b"a nested file\n");
        put(&model, WEIGHTS, &weights());
        let gated = "---\nlicense: mit\ngated: true\npipeline_tag: text-classification\ndownloads: 99\n---\n";
        put(&folder.path().join("acme/gated"), "README.md", gated.as_bytes());
        put(&folder.path().join("zeta/bare"), "config.json", b"{}");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let keep = seen.clone();
        let noting = move |request: &HttpRequest| {
            keep.lock().unwrap().push(request.clone());
            hook(request)
        };
        let server = HubServer::start(folder.path(), "127.0.0.1:0", Some(Box::new(noting))).unwrap();
        Self { folder, cache: TempDir::new().unwrap(), server, seen }
    }

    pub fn settings(&self) -> HubSettings {
        HubSettings {
            endpoint: self.server.endpoint(),
            cache: self.cache.path().into(),
            token: None,
            offline: false,
            symlinks: true,
            deadline: Duration::from_secs(20),
            idle_timeout: Duration::from_secs(3),
            tries: 3,
        }
    }

    pub fn hub(&self) -> Hub {
        Hub::new(self.settings()).unwrap()
    }

    pub fn offline(&self) -> Hub {
        Hub::new(HubSettings { offline: true, ..self.settings() }).unwrap()
    }

    pub fn info(&self) -> ModelInfo {
        self.hub().info(ID, "main").unwrap()
    }

    /// The requests received so far.
    pub fn seen(&self) -> Vec<HttpRequest> {
        self.seen.lock().unwrap().clone()
    }

    /// The `Range` headers of the requests for a file's bytes so far.
    pub fn bodies(&self) -> Vec<Option<String>> {
        let is_body = |r: &&HttpRequest| {
            r.method == "GET"
                && (r.path[0] == "lfs" || (r.path.iter().any(|p| p == "resolve") && !r.target.ends_with(WEIGHTS)))
        };
        self.seen().iter().filter(is_body).map(|r| r.header("range").map(str::to_owned)).collect()
    }

    pub fn forget(&self) {
        self.seen.lock().unwrap().clear();
    }

    pub fn blobs(&self) -> PathBuf {
        self.cache.path().join("models--acme--small-model/blobs")
    }

    /// The names of the cached blobs, sorted.
    pub fn blob_names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.blobs()).into_iter().flatten();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// Downloads files of the model [`ID`].
pub fn get(hub: &Hub, names: &[&str]) -> Result<PathBuf, HubError> {
    hub.download(ID, "main", names, &HubLimits::default(), &mut |_| {})
}

/// Whether a request is for the bytes of the weights.
pub fn is_weights(request: &HttpRequest) -> bool {
    request.method == "GET" && request.path[0] == "lfs"
}

/// A response that announces all bytes and ends after the first `after`.
pub fn cut_off(bytes: &[u8], after: usize) -> HttpResponse {
    let mut response = HttpResponse::new(200, bytes[..after].to_vec());
    response.length = Some(bytes.len() as u64);
    response
}

/// A reader that gives its bytes and then stalls for 20 s.
pub struct Stuck(pub Vec<u8>, pub usize);

impl Read for Stuck {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        let n = (self.0.len() - self.1).min(to.len());
        to[..n].copy_from_slice(&self.0[self.1..self.1 + n]);
        self.1 += n;
        if n == 0 {
            std::thread::sleep(Duration::from_secs(20));
        }
        Ok(n)
    }
}
