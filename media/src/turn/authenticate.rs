//! Who asks: the long-term credential mechanism (RFC 8489 §9.2.4). The first request of a client
//! has no credentials and is told realm and nonce; a request of an allocation must be its maker's.

use std::time::Instant;

use aws_lc_rs::hmac;

use crate::transport::stun::{Class, TransactionId};
use crate::types::Path;

use super::Server;
use super::credentials::{REALM, long_term_key};
use super::message::{Message, Method, Writer, attribute};

/// Error codes (RFC 8489 §18.6, RFC 8656 §19).
pub(super) mod code {
    pub(in crate::turn) const BAD_REQUEST: (u16, &str) = (400, "Bad Request");
    pub(in crate::turn) const UNAUTHORIZED: (u16, &str) = (401, "Unauthorized");
    pub(in crate::turn) const FORBIDDEN: (u16, &str) = (403, "Forbidden");
    pub(in crate::turn) const UNKNOWN_ATTRIBUTE: (u16, &str) = (420, "Unknown Attribute");
    pub(in crate::turn) const ALLOCATION_MISMATCH: (u16, &str) = (437, "Allocation Mismatch");
    pub(in crate::turn) const STALE_NONCE: (u16, &str) = (438, "Stale Nonce");
    pub(in crate::turn) const UNSUPPORTED_FAMILY: (u16, &str) =
        (440, "Address Family not Supported");
    pub(in crate::turn) const WRONG_CREDENTIALS: (u16, &str) = (441, "Wrong Credentials");
    pub(in crate::turn) const UNSUPPORTED_TRANSPORT: (u16, &str) =
        (442, "Unsupported Transport Protocol");
    pub(in crate::turn) const FAMILY_MISMATCH: (u16, &str) = (443, "Peer Address Family Mismatch");
    pub(in crate::turn) const QUOTA_REACHED: (u16, &str) = (486, "Allocation Quota Reached");
    pub(in crate::turn) const NO_CAPACITY: (u16, &str) = (508, "Insufficient Capacity");
}

/// A request whose sender is known.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) path: Path,
    pub(super) message: &'a Message<'a>,
    pub(super) username: &'a str,
    pub(super) key: hmac::Key,
    /// The credentials are too old to begin anything with.
    pub(super) expired: bool,
}

/// What an answer needs to know of its request.
#[derive(Clone, Debug)]
pub(super) struct ReplyTo {
    pub(super) path: Path,
    pub(super) method: Method,
    pub(super) transaction: TransactionId,
    /// Whoever sends fingerprints gets them.
    pub(super) fingerprint: bool,
    /// `None`: nobody has shown credentials.
    pub(super) key: Option<hmac::Key>,
}

impl ReplyTo {
    pub(super) fn stranger(path: Path, message: &Message<'_>) -> ReplyTo {
        ReplyTo {
            path,
            method: message.method(),
            transaction: message.transaction(),
            fingerprint: message.has_fingerprint(),
            key: None,
        }
    }

    pub(super) fn of(request: &Request<'_>) -> ReplyTo {
        ReplyTo {
            key: Some(request.key.clone()),
            ..ReplyTo::stranger(request.path, request.message)
        }
    }
}

impl Server {
    /// Finds out who asks; answers for itself when that fails.
    pub(super) fn authenticate<'a>(
        &mut self,
        now: Instant,
        path: Path,
        message: &'a Message<'a>,
    ) -> Option<Request<'a>> {
        let reply = ReplyTo::stranger(path, message);
        if !message.has_integrity() {
            self.challenge(now, &reply, code::UNAUTHORIZED);
            return None;
        }
        let named = message.find_text(attribute::USERNAME);
        let (Some(username), Some(realm), Some(nonce)) = (
            named,
            message.find(attribute::REALM),
            message.find(attribute::NONCE),
        ) else {
            self.refuse_stranger(now, &reply, code::BAD_REQUEST);
            return None;
        };
        if !self.nonces.is_fresh(now, path.remote.ip(), nonce) {
            self.challenge(now, &reply, code::STALE_NONCE);
            return None;
        }
        let known = self.known_key(now, &path, username);
        let proven = known.filter(|(key, _)| realm == REALM.as_bytes() && message.verify(key));
        let Some((key, expired)) = proven else {
            self.challenge(now, &reply, code::UNAUTHORIZED);
            return None;
        };
        Some(Request {
            path,
            message,
            username,
            key,
            expired,
        })
    }

    /// The key of a username, and whether it is too old: that of the client's allocation, or one
    /// derived anew.
    fn known_key(&self, now: Instant, path: &Path, username: &str) -> Option<(hmac::Key, bool)> {
        let allocation = self
            .allocation_of(now, path)
            .and_then(|index| self.allocations.get(index))
            .filter(|allocation| *allocation.username == *username);
        if let Some(allocation) = allocation {
            return Some((allocation.key.clone(), false));
        }
        let claimed = self
            .config
            .authority
            .look_up(self.unix_seconds(now), username)?;
        let key = long_term_key(username, REALM, &claimed.password);
        Some((key, claimed.expired))
    }

    /// Tells a stranger realm and nonce.
    pub(super) fn challenge(&mut self, now: Instant, to: &ReplyTo, (code, reason): (u16, &str)) {
        self.counters.unauthorized += 1;
        if !self.strangers.may_answer(now, to.path.remote.ip()) {
            self.counters.dropped_strangers += 1;
            return;
        }
        let nonce = self.nonces.make(now, to.path.remote.ip());
        self.reply(to, Class::Error, |writer| {
            writer
                .error(code, reason)
                .attribute(attribute::REALM, REALM.as_bytes())
                .attribute(attribute::NONCE, nonce.as_bytes())
        });
    }

    fn refuse_stranger(&mut self, now: Instant, to: &ReplyTo, (code, reason): (u16, &str)) {
        if self.strangers.may_answer(now, to.path.remote.ip()) {
            self.reply(to, Class::Error, |writer| writer.error(code, reason));
        } else {
            self.counters.dropped_strangers += 1;
        }
    }

    pub(super) fn refuse(&mut self, to: &ReplyTo, (code, reason): (u16, &str)) {
        self.reply(to, Class::Error, |writer| writer.error(code, reason));
    }

    /// Answers; signed when the asker is known.
    pub(super) fn reply(
        &mut self,
        to: &ReplyTo,
        class: Class,
        write: impl for<'w> FnOnce(Writer<'w>) -> Writer<'w>,
    ) {
        let sent = self
            .out
            .message(to.path, class, to.method, to.transaction, |writer| {
                let mut writer = write(writer);
                if let Some(key) = &to.key {
                    writer = writer.sign(key);
                }
                if to.fingerprint {
                    writer.fingerprint();
                }
            });
        if !sent {
            self.counters.dropped_full += 1;
        }
    }
}
