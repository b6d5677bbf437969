//! What a packet of the load program carries: a VP8 descriptor and frame header where it is video,
//! filler of its publisher, and a tail with the time it was sent. Written by `outbound`, checked at
//! receivers by `inbound`; servers may rewrite the descriptor, never the rest.

const MAGIC: u32 = 0x5ce1_70ad;
/// Bytes of the tail.
pub(crate) const TAIL_BYTES: usize = 24;
/// Descriptor with a 15-bit picture id.
pub(crate) const DESCRIPTOR_BYTES: usize = 4;
const KEY_FRAME_HEAD_BYTES: usize = 10;
/// Smallest payload `write_video` can fill.
pub(crate) const VIDEO_BYTES_MIN: usize = DESCRIPTOR_BYTES + KEY_FRAME_HEAD_BYTES + TAIL_BYTES;

/// The tail of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tail {
    /// Number of the publisher within its scenario.
    pub(crate) publisher: u32,
    /// Simulcast layer, 0 = lowest.
    pub(crate) layer: u8,
    /// The packet begins a key frame.
    pub(crate) key: bool,
    pub(crate) counter: u32,
    /// CLOCK_MONOTONIC, nanoseconds.
    pub(crate) sent_ns: i64,
}

/// Where in its frame a video packet stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FramePart {
    pub(crate) first: bool,
    pub(crate) key: bool,
    pub(crate) picture: u16,
    pub(crate) width: u16,
    pub(crate) height: u16,
}

/// The byte that fills packets of a publisher's layer.
pub(crate) fn filler(publisher: u32, layer: u8) -> u8 {
    (publisher.wrapping_mul(31) as u8).wrapping_add(layer) | 1
}

pub(crate) fn write_video(payload: &mut [u8], part: FramePart, tail: Tail) {
    payload.fill(filler(tail.publisher, tail.layer));
    let [high, low] = (0x8000 | (part.picture & 0x7fff)).to_be_bytes();
    payload[..4].copy_from_slice(&[0x80 | u8::from(part.first) << 4, 0x80, high, low]);
    if part.first && part.key {
        let [w0, w1] = part.width.to_le_bytes();
        let [h0, h1] = part.height.to_le_bytes();
        let head = [0x10, 0, 0, 0x9d, 0x01, 0x2a, w0, w1, h0, h1];
        payload[4..14].copy_from_slice(&head);
    } else if part.first {
        payload[4] = 0x11; // an inter frame that is shown
    }
    write_tail(payload, tail);
}

pub(crate) fn write_audio(payload: &mut [u8], tail: Tail) {
    payload.fill(filler(tail.publisher, tail.layer));
    write_tail(payload, tail);
}

fn write_tail(payload: &mut [u8], tail: Tail) {
    let at = payload.len() - TAIL_BYTES;
    let out = &mut payload[at..];
    out[..4].copy_from_slice(&MAGIC.to_be_bytes());
    out[4..8].copy_from_slice(&tail.publisher.to_be_bytes());
    out[8..12].copy_from_slice(&[tail.layer, u8::from(tail.key), 0, 0]);
    out[12..16].copy_from_slice(&tail.counter.to_be_bytes());
    out[16..].copy_from_slice(&tail.sent_ns.to_be_bytes());
}

/// Reads and checks a payload as it arrived; `None`: not what was sent.
pub(crate) fn check(payload: &[u8]) -> Option<Tail> {
    let (body, tail) = payload.split_last_chunk::<TAIL_BYTES>()?;
    let word = |at: usize| Some(u32::from_be_bytes(*tail.get(at..)?.first_chunk()?));
    if word(0)? != MAGIC {
        return None;
    }
    let read = Tail {
        publisher: word(4)?,
        layer: tail[8],
        key: tail[9] == 1,
        counter: word(12)?,
        sent_ns: i64::from_be_bytes(*tail.last_chunk()?),
    };
    // In front are descriptor and frame head, of whatever length the server made them.
    let middle = body.get(body.len() / 2..)?;
    let expected = filler(read.publisher, read.layer);
    middle.iter().all(|byte| *byte == expected).then_some(read)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TAIL: Tail = Tail {
        publisher: 7,
        layer: 2,
        key: true,
        counter: 99,
        sent_ns: 123_456_789,
    };

    #[test]
    fn what_was_written_is_read_back_and_damage_is_seen() {
        let part = FramePart {
            first: true,
            key: true,
            picture: 5,
            width: 1280,
            height: 720,
        };
        let mut payload = vec![0; 1_180];
        write_video(&mut payload, part, TAIL);
        assert_eq!(check(&payload), Some(TAIL));
        // A server that shortens the descriptor leaves the rest as it is.
        assert_eq!(check(&payload[2..]), Some(TAIL));
        payload[700] ^= 1;
        assert_eq!(check(&payload), None);
        let mut payload = vec![0; 80];
        write_audio(&mut payload, TAIL);
        assert_eq!(check(&payload), Some(TAIL));
        payload[40] ^= 1;
        assert_eq!(check(&payload), None);
        assert_eq!(check(&payload[..10]), None);
    }
}
