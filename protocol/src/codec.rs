//! Messages as bytes: one message a binary websocket frame, MessagePack with named fields, so that either side may
//! add optional fields and ignore unknown ones.

use serde::{Serialize, de::DeserializeOwned};

/// The largest frame either side sends or accepts, bytes.
pub const MAX_FRAME: usize = 4 * 1024 * 1024;

/// The largest piece of log in one message, bytes.
pub const MAX_LOG_CHUNK: usize = 32 * 1024;

/// Unacknowledged bytes of log that one job may have under way.
pub const LOG_WINDOW: u64 = 8 * MAX_LOG_CHUNK as u64;

/// Why bytes are not a message, or a message cannot become bytes.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The frame is larger than [`MAX_FRAME`].
    #[error("a frame of {0} bytes is larger than the limit of {MAX_FRAME}")]
    TooLarge(usize),
    /// The bytes are not a message of this protocol.
    #[error("not a message of this protocol")]
    Decode(#[source] rmp_serde::decode::Error),
    /// The message could not be written.
    #[error("the message could not be encoded")]
    Encode(#[source] rmp_serde::encode::Error),
}

/// The bytes of one message.
pub fn encode<M: Serialize>(message: &M) -> Result<Vec<u8>, CodecError> {
    let bytes = rmp_serde::to_vec_named(message).map_err(CodecError::Encode)?;
    if bytes.len() > MAX_FRAME { Err(CodecError::TooLarge(bytes.len())) } else { Ok(bytes) }
}

/// The message that bytes stand for.
pub fn decode<M: DeserializeOwned>(bytes: &[u8]) -> Result<M, CodecError> {
    if bytes.len() > MAX_FRAME {
        return Err(CodecError::TooLarge(bytes.len()));
    }
    rmp_serde::from_slice(bytes).map_err(CodecError::Decode)
}
