//! AWS Signature Version 4 of one request, by the algorithm AWS documents ("Create a signed AWS API
//! request"), for POSTs with a body to the root of a service. Pure: the time is an argument.

use aws_lc_rs::{digest, hmac};

use super::Secret;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    pub access_key: String,
    pub secret_key: Secret,
    /// Of a role's temporary credentials.
    pub session_token: Option<Secret>,
}

/// What is signed.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub method: &'a str,
    /// With leading slash, encoded.
    pub path: &'a str,
    pub host: &'a str,
    pub content_type: Option<&'a str>,
    /// Sorted and encoded.
    pub query: &'a str,
    pub body: &'a [u8],
    pub region: &'a str,
    pub service: &'a str,
    pub unix_seconds: u64,
}

/// Headers to be sent with the request, besides `host` and `content-type`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    pub date: String,
    pub authorization: Secret,
}

pub fn sign(request: &Request<'_>, credentials: &Credentials) -> Signature {
    let date = timestamp(request.unix_seconds);
    let day = date.get(..8).unwrap_or_default();
    let mut headers = Vec::new();
    if let Some(content_type) = request.content_type {
        headers.push(("content-type", content_type));
    }
    headers.push(("host", request.host));
    headers.push(("x-amz-date", &date));
    if let Some(token) = &credentials.session_token {
        headers.push(("x-amz-security-token", token.expose()));
    }
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let lines: String = headers
        .iter()
        .map(|(name, value)| format!("{name}:{}\n", value.trim()))
        .collect();
    let canonical = format!(
        "{}\n{}\n{}\n{lines}\n{names}\n{}",
        request.method,
        request.path,
        request.query,
        hex(digest::digest(&digest::SHA256, request.body).as_ref()),
    );
    let scope = format!("{day}/{}/{}/aws4_request", request.region, request.service);
    let hashed = digest::digest(&digest::SHA256, canonical.as_bytes());
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{date}\n{scope}\n{}",
        hex(hashed.as_ref())
    );
    let first = format!("AWS4{}", credentials.secret_key.expose());
    let mut key = first.into_bytes();
    for part in [day, request.region, request.service, "aws4_request"] {
        key = mac(&key, part.as_bytes());
    }
    let signature = hex(&mac(&key, to_sign.as_bytes()));
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
        credentials.access_key,
    );
    Signature {
        date,
        authorization: Secret::new(authorization),
    }
}

fn mac(key: &[u8], data: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, data).as_ref().to_vec()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `YYYYMMDDTHHMMSSZ`.
fn timestamp(unix_seconds: u64) -> String {
    let (days, second) = (unix_seconds / 86_400, unix_seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute) = (second / 3_600, second / 60 % 60);
    let second = second % 60;
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// Days since 1970 as year, month, day: years begin in March, so that the day that comes and goes
/// is their last; 400 of them have 146,097 days.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

/// RFC 3986: all but unreserved characters.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(byte));
            }
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Credentials {
        Credentials {
            access_key: "AKIDEXAMPLE".into(),
            secret_key: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            session_token: None,
        }
    }

    /// 2015-08-30 12:36:00 UTC.
    const AT: u64 = 1_440_938_160;

    /// `get-vanilla` and `post-vanilla` of AWS's published test suite.
    #[test]
    fn the_published_examples_come_out() {
        let mut request = Request {
            method: "GET",
            path: "/",
            host: "example.amazonaws.com",
            content_type: None,
            query: "",
            body: b"",
            region: "us-east-1",
            service: "service",
            unix_seconds: AT,
        };
        let signature = |request: &Request<'_>| {
            let signed = sign(request, &example());
            assert_eq!(signed.date, "20150830T123600Z");
            let text = signed.authorization.expose().to_owned();
            text.rsplit_once('=').map(|(_, s)| s.to_owned())
        };
        assert_eq!(
            signature(&request).as_deref(),
            Some("5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31")
        );
        request.method = "POST";
        assert_eq!(
            signature(&request).as_deref(),
            Some("5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b")
        );
    }

    /// The example of AWS's documentation: IAM, ListUsers.
    #[test]
    fn the_documented_example_comes_out() {
        let request = Request {
            method: "GET",
            path: "/",
            host: "iam.amazonaws.com",
            content_type: Some("application/x-www-form-urlencoded; charset=utf-8"),
            query: "Action=ListUsers&Version=2010-05-08",
            body: b"",
            region: "us-east-1",
            service: "iam",
            unix_seconds: AT,
        };
        let signed = sign(&request, &example());
        assert_eq!(
            signed.authorization.expose(),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date, \
             Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
        );
        assert!(!format!("{signed:?}").contains("5d672d79"));
    }

    #[test]
    fn days_become_dates() {
        assert_eq!(timestamp(0), "19700101T000000Z");
        assert_eq!(timestamp(951_782_400), "20000229T000000Z");
        assert_eq!(timestamp(4_107_542_399), "21000228T235959Z");
        assert_eq!(timestamp(4_107_542_400), "21000301T000000Z");
    }

    #[test]
    fn what_is_special_is_encoded() {
        assert_eq!(encode("a-b_c.d~e f/g=&ü"), "a-b_c.d~e%20f%2Fg%3D%26%C3%BC");
    }
}
