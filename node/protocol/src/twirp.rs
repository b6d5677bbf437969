//! Twirp v7 without HTTP: which methods exist, how their messages are encoded, what an error looks
//! like. Texts are those of LiveKit's Go server, because server SDKs show them.

use std::collections::BTreeMap;

use prost_reflect::MethodDescriptor;

use crate::json::{self, JsonError, POOL};

/// What a path below `/twirp/` may start with.
const SERVICES: [&str; 5] = [
    "livekit.RoomService",
    "livekit.AgentDispatchService",
    "livekit.Egress",
    "livekit.Ingress",
    "livekit.SIP",
];

/// Error codes of the Twirp specification that this server uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    BadRoute,
    Canceled,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    Malformed,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    Unknown,
}

impl Code {
    const ALL: [Self; 14] = [
        Self::BadRoute,
        Self::Canceled,
        Self::DeadlineExceeded,
        Self::FailedPrecondition,
        Self::Internal,
        Self::InvalidArgument,
        Self::Malformed,
        Self::NotFound,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::Unauthenticated,
        Self::Unavailable,
        Self::Unimplemented,
        Self::Unknown,
    ];

    /// The code of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::BadRoute => "bad_route",
            Self::Canceled => "canceled",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::FailedPrecondition => "failed_precondition",
            Self::Internal => "internal",
            Self::InvalidArgument => "invalid_argument",
            Self::Malformed => "malformed",
            Self::NotFound => "not_found",
            Self::PermissionDenied => "permission_denied",
            Self::ResourceExhausted => "resource_exhausted",
            Self::Unauthenticated => "unauthenticated",
            Self::Unavailable => "unavailable",
            Self::Unimplemented => "unimplemented",
            Self::Unknown => "unknown",
        }
    }

    /// The HTTP status the specification gives it.
    pub fn status(self) -> u16 {
        match self {
            Self::InvalidArgument | Self::Malformed => 400,
            Self::Unauthenticated => 401,
            Self::PermissionDenied => 403,
            Self::BadRoute | Self::NotFound => 404,
            Self::Canceled | Self::DeadlineExceeded => 408,
            Self::FailedPrecondition => 412,
            Self::ResourceExhausted => 429,
            Self::Internal | Self::Unknown => 500,
            Self::Unimplemented => 501,
            Self::Unavailable => 503,
        }
    }
}

/// A failed call as the caller sees it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", code.name())]
pub struct Error {
    pub code: Code,
    pub message: String,
    pub meta: BTreeMap<String, String>,
}

impl Error {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            meta: BTreeMap::new(),
        }
    }

    /// A request that leads nowhere; `verb` and `path` as in the request line.
    pub fn bad_route(message: impl Into<String>, verb: &str, path: &str) -> Self {
        let route = format!("{verb} {path}");
        let meta = BTreeMap::from([("twirp_invalid_route".to_owned(), route)]);
        Self {
            meta,
            ..Self::new(Code::BadRoute, message)
        }
    }

    /// The body of the answer: JSON also for requests in protobuf.
    pub fn body(&self) -> String {
        let mut body = serde_json::json!({"code": self.code.name(), "msg": self.message});
        if !self.meta.is_empty() {
            body["meta"] = serde_json::json!(self.meta);
        }
        body.to_string()
    }
}

/// How a request and its answer are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Json,
    Protobuf,
}

impl Encoding {
    /// From a Content-Type; parameters such as a charset do not matter.
    pub fn of(content_type: &str) -> Option<Self> {
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        match kind.to_ascii_lowercase().as_str() {
            "application/json" => Some(Self::Json),
            "application/protobuf" => Some(Self::Protobuf),
            _ => None,
        }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Protobuf => "application/protobuf",
        }
    }
}

/// One RPC.
#[derive(Clone, Debug)]
pub struct Method(MethodDescriptor);

impl Method {
    /// `livekit.RoomService` and `ListRooms`.
    pub fn find(service: &str, method: &str) -> Option<Self> {
        if !SERVICES.contains(&service) {
            return None;
        }
        let service = POOL.get_service_by_name(service)?;
        service
            .methods()
            .find(|candidate| candidate.name() == method)
            .map(Self)
    }

    /// Every RPC of every service.
    pub fn all() -> impl Iterator<Item = Self> {
        let services = SERVICES
            .into_iter()
            .filter_map(|name| POOL.get_service_by_name(name));
        services.flat_map(|service| service.methods().map(Self).collect::<Vec<_>>())
    }

    /// Without the package: `RoomService`.
    pub fn service(&self) -> String {
        self.0.parent_service().name().to_owned()
    }

    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// The request in protobuf, whatever it came in.
    pub fn request(&self, encoding: Encoding, body: Vec<u8>) -> Result<Vec<u8>, Error> {
        match encoding {
            Encoding::Protobuf => Ok(body),
            Encoding::Json => json::parse(self.0.input(), &body).map_err(|_| malformed(encoding)),
        }
    }

    /// The answer in the encoding of the request.
    pub fn answer(&self, encoding: Encoding, encoded: Vec<u8>) -> Result<Vec<u8>, JsonError> {
        match encoding {
            Encoding::Protobuf => Ok(encoded),
            Encoding::Json => Ok(json::value(self.0.output(), &encoded)?
                .to_string()
                .into_bytes()),
        }
    }
}

/// The body does not fit the message of the RPC.
pub fn malformed(encoding: Encoding) -> Error {
    let message = match encoding {
        Encoding::Json => "the json request could not be decoded",
        Encoding::Protobuf => "the protobuf request could not be decoded",
    };
    Error::new(Code::Malformed, message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_methods_are_those_of_livekits_services() {
        assert!(Method::find("livekit.RoomService", "PerformRpc").is_some());
        assert!(Method::find("livekit.Egress", "StartEgress").is_some());
        assert!(Method::find("livekit.RoomService", "Nope").is_none());
        assert!(Method::find("livekit.Nope", "ListRooms").is_none());
        assert_eq!(
            Method::all()
                .filter(|method| method.service() == "RoomService")
                .count(),
            14
        );
    }

    #[test]
    fn an_error_is_code_msg_and_meta() {
        let error = Error::bad_route("no handler", "POST", "/twirp/x");
        assert_eq!(
            error.body(),
            concat!(
                r#"{"code":"bad_route","meta":{"twirp_invalid_route":"POST /twirp/x"},"#,
                r#""msg":"no handler"}"#
            )
        );
        assert_eq!(
            Error::new(Code::NotFound, "x").body(),
            r#"{"code":"not_found","msg":"x"}"#
        );
    }

    #[test]
    fn a_charset_does_not_change_the_encoding() {
        assert_eq!(
            Encoding::of("application/json; charset=utf-8"),
            Some(Encoding::Json)
        );
        assert_eq!(
            Encoding::of("application/protobuf"),
            Some(Encoding::Protobuf)
        );
        assert_eq!(Encoding::of("text/plain"), None);
        assert_eq!(Encoding::of(""), None);
    }
}
