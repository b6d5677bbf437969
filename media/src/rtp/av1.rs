//! The AV1 aggregation header (AV1 RTP specification §4.4).

/// First packet of a new coded video sequence, which is what a decoder can start from.
pub fn starts_key_frame(payload: &[u8]) -> bool {
    payload.first().is_some_and(|header| header & 0x08 != 0)
}

/// The packet does not continue an OBU of the previous one.
pub fn starts_obu(payload: &[u8]) -> bool {
    payload.first().is_some_and(|header| header & 0x80 == 0)
}
