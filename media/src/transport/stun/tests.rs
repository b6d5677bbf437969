//! STUN against the vectors of RFC 5769 and against what the agent itself sends.
#![allow(clippy::unwrap_used)]

use super::*;

/// RFC 5769 §2.1: sample request with USERNAME "evtj:h6vY".
const SAMPLE_REQUEST: &[u8] = b"\x00\x01\x00\x58\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\
\xfa\x87\xdf\xae\x80\x22\x00\x10STUN test client\x00\x24\x00\x04\x6e\x00\x01\xff\x80\x29\x00\x08\
\x93\x2f\xf9\xb1\x51\x26\x3b\x36\x00\x06\x00\x09\x65\x76\x74\x6a\x3a\x68\x36\x76\x59\x20\x20\x20\
\x00\x08\x00\x14\x9a\xea\xa7\x0c\xbf\xd8\xcb\x56\x78\x1e\xf2\xb5\xb2\xd3\xf2\x49\xc1\xb5\x71\xa2\
\x80\x28\x00\x04\xe5\x7a\x3b\xcf";

#[test]
fn the_sample_request_of_rfc_5769_is_understood() {
    let message = Message::parse(SAMPLE_REQUEST).unwrap();
    assert_eq!(message.class(), Class::Request);
    assert_eq!(message.username(), Some("evtj:h6vY"));
    assert_eq!(message.priority(), Some(0x6e00_01ff));
    assert_eq!(message.controlled(), Some(0x932f_f9b1_5126_3b36));
    assert!(message.verify(&integrity_key("VOkJxbRl1RmTxUk/WvJxBt")));
    assert!(!message.verify(&integrity_key("another")));
}

#[test]
fn a_changed_or_cut_message_is_refused() {
    for at in 0..SAMPLE_REQUEST.len() - 8 {
        let mut changed = SAMPLE_REQUEST.to_vec();
        changed[at] ^= 0x10;
        let intact = Message::parse(&changed)
            .is_some_and(|m| m.verify(&integrity_key("VOkJxbRl1RmTxUk/WvJxBt")));
        assert!(!intact, "byte {at}");
        assert!(Message::parse(&SAMPLE_REQUEST[..at]).is_none());
    }
}

#[test]
fn what_is_built_is_read_back() {
    let key = integrity_key("secret");
    let raw = Builder::new(Class::Request, [7; 12])
        .username("a:b")
        .priority(5)
        .role(true, u64::MAX)
        .use_candidate()
        .nomination(3)
        .finish(&key);
    let message = Message::parse(&raw).unwrap();
    assert!(message.verify(&key) && message.use_candidate());
    assert_eq!(message.transaction(), [7; 12]);
    assert_eq!(message.nomination(), Some(3));
    assert_eq!(message.controlling(), Some(u64::MAX));

    let raw = Builder::new(Class::Error, [1; 12])
        .error(ROLE_CONFLICT, "Role Conflict")
        .finish(&key);
    let message = Message::parse(&raw).unwrap();
    assert_eq!(message.error_code(), Some(487));
    for address in ["192.0.2.1:32853", "[2001:db8::1]:99"] {
        let address: SocketAddr = address.parse().unwrap();
        let raw = Builder::new(Class::Success, [9; 12])
            .xor_mapped_address(address)
            .finish(&key);
        assert!(Message::parse(&raw).unwrap().verify(&key));
        assert_eq!(mapped_address(&raw), Some(address));
    }
}
