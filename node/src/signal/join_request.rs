//! The `join_request` parameter of `/rtc/v1`: Base64 around a wrapper around, often, gzip around
//! the protobuf. Everything in it comes from a stranger. Pure.

use std::io::Read;

use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use flate2::read::GzDecoder;
use prost::Message;
use protocol::proto;
use protocol::proto::wrapped_join_request::Compression;

use super::limits::JOIN_REQUEST_BYTES_MAX;

/// URL-safe, padded or not: JS keeps `=`, others drop it.
pub(super) const BASE64_URL: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The texts are LiveKit's where clients were seen to get them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum JoinRequestError {
    #[error("cannot base64 decode wrapped join request")]
    Base64,
    #[error("cannot unmarshal wrapped join request")]
    Wrapper,
    #[error("cannot decompress join request")]
    Gzip,
    #[error("join request too large")]
    TooLarge,
    #[error("cannot unmarshal join request")]
    Inner,
}

pub(super) fn parse(parameter: &str) -> Result<proto::JoinRequest, JoinRequestError> {
    let wrapper = BASE64_URL
        .decode(parameter)
        .map_err(|_| JoinRequestError::Base64)?;
    let wrapper = proto::WrappedJoinRequest::decode(wrapper.as_slice())
        .map_err(|_| JoinRequestError::Wrapper)?;
    let bytes = if wrapper.compression() == Compression::Gzip {
        inflate(&wrapper.join_request)?
    } else {
        wrapper.join_request
    };
    if bytes.len() > JOIN_REQUEST_BYTES_MAX {
        return Err(JoinRequestError::TooLarge);
    }
    proto::JoinRequest::decode(bytes.as_slice()).map_err(|_| JoinRequestError::Inner)
}

/// Stops one byte past the limit, so a bomb costs no more than an honest request.
fn inflate(compressed: &[u8]) -> Result<Vec<u8>, JoinRequestError> {
    let mut bytes = Vec::new();
    let mut limited = GzDecoder::new(compressed).take(JOIN_REQUEST_BYTES_MAX as u64 + 1);
    limited
        .read_to_end(&mut bytes)
        .map_err(|_| JoinRequestError::Gzip)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Write;

    use flate2::Compression as Level;
    use flate2::write::GzEncoder;

    use super::*;

    fn wrap(inner: &[u8], gzip: bool) -> Vec<u8> {
        let join_request = if gzip {
            let mut encoder = GzEncoder::new(Vec::new(), Level::fast());
            encoder.write_all(inner).unwrap();
            encoder.finish().unwrap()
        } else {
            inner.to_vec()
        };
        let compression = if gzip {
            Compression::Gzip
        } else {
            Compression::None
        };
        proto::WrappedJoinRequest {
            compression: compression as i32,
            join_request,
        }
        .encode_to_vec()
    }

    fn request(metadata_bytes: usize) -> Vec<u8> {
        proto::JoinRequest {
            metadata: "m".repeat(metadata_bytes),
            reconnect: true,
            ..Default::default()
        }
        .encode_to_vec()
    }

    #[test]
    fn gzip_and_plain_are_read_with_and_without_padding() {
        for gzip in [true, false] {
            for metadata_bytes in 0..4 {
                let padded = BASE64_URL.encode(wrap(&request(metadata_bytes), gzip));
                let bare = padded.trim_end_matches('=');
                for text in [padded.as_str(), bare] {
                    let read = parse(text).unwrap();
                    assert!(read.reconnect);
                    assert_eq!(read.metadata.len(), metadata_bytes);
                }
            }
        }
    }

    #[test]
    fn a_request_that_inflates_beyond_the_limit_is_refused() {
        for gzip in [true, false] {
            let text = BASE64_URL.encode(wrap(&request(JOIN_REQUEST_BYTES_MAX), gzip));
            assert_eq!(parse(&text), Err(JoinRequestError::TooLarge));
        }
    }

    #[test]
    fn each_broken_layer_is_named() {
        let gzip = Compression::Gzip as i32;
        let broken_gzip = proto::WrappedJoinRequest {
            compression: gzip,
            join_request: b"no gzip".to_vec(),
        };
        assert_eq!(parse("!!!"), Err(JoinRequestError::Base64));
        let wrapper = BASE64_URL.encode(b"\xff\xff\xff");
        assert_eq!(parse(&wrapper), Err(JoinRequestError::Wrapper));
        let text = BASE64_URL.encode(broken_gzip.encode_to_vec());
        assert_eq!(parse(&text), Err(JoinRequestError::Gzip));
        let text = BASE64_URL.encode(wrap(b"\xff\xff\xff", false));
        assert_eq!(parse(&text), Err(JoinRequestError::Inner));
    }
}
