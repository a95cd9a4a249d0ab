//! In which form a server takes passes, and who reads its results.

use std::sync::{Arc, OnceLock};

use crate::codec::{Body, Codec};
use crate::json_codec::JsonCodec;
use crate::protobuf_codec::ProtobufCodec;

/// In which form a server takes passes: given, or found out at the first one. Clones share what was found.
#[derive(Clone, Debug)]
pub(crate) struct ServerCodec {
    known: Arc<OnceLock<Arc<dyn Codec>>>,
}

impl ServerCodec {
    /// Not known yet.
    pub fn unknown() -> Self {
        Self { known: Arc::new(OnceLock::new()) }
    }

    /// Given by the caller.
    pub fn given(codec: Arc<dyn Codec>) -> Self {
        Self { known: Arc::new(OnceLock::from(codec)) }
    }

    /// The codec, once it is known.
    pub fn known(&self) -> Option<Arc<dyn Codec>> {
        self.known.get().cloned()
    }

    /// What a pass is written by, one after the other until the server takes it. JSON comes first: servers that do not take it
    /// refuse it as such, while those that take only JSON may refuse anything else as wrong JSON.
    pub fn candidates(&self) -> Vec<Arc<dyn Codec>> {
        self.known()
            .map_or_else(|| vec![Arc::new(JsonCodec) as Arc<dyn Codec>, Arc::new(ProtobufCodec)], |known| vec![known])
    }

    /// Keeps in mind what the server has taken.
    pub fn found(&self, codec: &Arc<dyn Codec>) {
        let _ = self.known.set(codec.clone());
    }

    /// The media type that results are asked for in, for the header `Accept`.
    pub fn accept(&self) -> &'static str {
        self.known().map_or(JsonCodec.media_type(), |codec| codec.media_type())
    }

    /// What reads a result, by its media type; `None` if nothing does.
    pub fn reader(&self, body: &Body) -> Option<Arc<dyn Codec>> {
        let all: [Arc<dyn Codec>; 2] = [Arc::new(JsonCodec), Arc::new(ProtobufCodec)];
        self.known().into_iter().chain(all).find(|codec| body.has_type(codec.media_type()))
    }
}
