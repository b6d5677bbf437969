//! Bounds of the server API, each with the reason for its size.

/// Body of one request where the configuration says nothing (upstream's newer versions: the same):
/// data of a packet in Base64, metadata and attributes of a whole room fit many times.
pub const BODY_BYTES_DEFAULT: usize = 10 << 20;
