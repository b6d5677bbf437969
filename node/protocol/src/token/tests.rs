//! Which tokens are accepted, which are refused and with what words.
#![allow(clippy::unwrap_used)]

use jsonwebtoken::{Algorithm, EncodingKey, encode};
use serde_json::json;

use super::*;

const NOW: i64 = 1_760_000_000;
const SECRET: &str = "secret-secret-secret-secret-secret";

fn keys() -> Keys {
    Keys::new([
        ("devkey".to_owned(), SECRET.to_owned()),
        ("other".to_owned(), "x".repeat(40)),
    ])
}

/// Signed by an independent implementation.
fn token(claims: Value) -> String {
    signed_with(Algorithm::HS256, SECRET, claims)
}

fn signed_with(algorithm: Algorithm, secret: &str, claims: Value) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    encode(&jsonwebtoken::Header::new(algorithm), &claims, &key).unwrap()
}

fn with(change: Value) -> Value {
    let mut claims = json!({"iss": "devkey", "sub": "alice", "exp": NOW + 600,
                            "video": {"roomJoin": true, "room": "r"}});
    let members = claims.as_object_mut().unwrap();
    members.extend(change.as_object().unwrap().clone());
    claims
}

#[test]
fn a_good_token_gives_its_claims() {
    let claims = verify(&keys(), &token(with(json!({"name": "Ann"}))), NOW).unwrap();
    assert_eq!(
        (claims.identity.as_str(), claims.name.as_str()),
        ("alice", "Ann")
    );
    assert_eq!(claims.video.unwrap().room, "r");
}

#[test]
fn the_clock_may_be_off_by_a_minute_and_no_more() {
    let at = |change, now| verify(&keys(), &token(with(change)), now).map(|_| ());
    assert_eq!(at(json!({"exp": NOW}), NOW + 59), Ok(()));
    assert_eq!(at(json!({"exp": NOW}), NOW + 60), Err(VerifyError::Expired));
    assert_eq!(at(json!({"nbf": NOW + 60}), NOW), Ok(()));
    assert_eq!(
        at(json!({"nbf": NOW + 61}), NOW),
        Err(VerifyError::NotYetValid)
    );
}

#[test]
fn a_token_without_expiry_is_refused() {
    let refused = verify(&keys(), &token(with(json!({"exp": null}))), NOW);
    assert_eq!(refused.unwrap_err(), VerifyError::NoExpiry);
}

#[test]
fn only_hs256_is_accepted() {
    for algorithm in [Algorithm::HS384, Algorithm::HS512] {
        let refused = verify(
            &keys(),
            &signed_with(algorithm, SECRET, with(json!({}))),
            NOW,
        );
        assert!(matches!(refused, Err(VerifyError::Algorithm(_))));
    }
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let unsigned = format!(
        "{}.{}.",
        part(json!({"alg": "none"})),
        part(with(json!({})))
    );
    let refused = verify(&keys(), &unsigned, NOW);
    assert_eq!(
        refused.unwrap_err(),
        VerifyError::Algorithm("none".to_owned())
    );
}

#[test]
fn a_wrong_secret_an_unknown_key_and_garbage_are_told_apart() {
    let answer = |token: String| verify(&keys(), &token, NOW).unwrap_err().answer(&token);
    let forged = signed_with(Algorithm::HS256, "wrong", with(json!({})));
    assert_eq!(
        answer(forged.clone()),
        format!("invalid token: {forged}, error: token signature is invalid: signature is invalid")
    );
    let unknown = token(with(json!({"iss": "nokey"})));
    assert_eq!(answer(unknown), "invalid API key: nokey");
    for garbage in [
        "",
        "garbage",
        "abc.def",
        "a.b.c",
        "e30.e30.e30.e30",
        "e30.W10.",
    ] {
        assert_eq!(answer(garbage.to_owned()), "invalid authorization token");
    }
}

#[test]
fn a_key_signs_only_for_itself() {
    let other = signed_with(Algorithm::HS256, &"x".repeat(40), with(json!({})));
    assert_eq!(
        verify(&keys(), &other, NOW).unwrap_err(),
        VerifyError::Signature
    );
}

#[test]
fn the_identity_falls_back_to_jti() {
    let claims = with(json!({"sub": null, "jti": "from-jti"}));
    assert_eq!(
        verify(&keys(), &token(claims), NOW).unwrap().identity,
        "from-jti"
    );
}

#[test]
fn nulls_fractions_and_unknown_claims_do_no_harm() {
    let claims = with(
        json!({"exp": NOW as f64 + 0.5, "metadata": null, "future": {"x": 1},
                             "video": {"roomJoin": true, "room": null, "futureGrant": true}}),
    );
    let claims = verify(&keys(), &token(claims), NOW).unwrap();
    assert_eq!(claims.exp, NOW);
    assert!(claims.video.unwrap().room_join);
}

#[test]
fn what_is_signed_here_can_be_verified_by_others() {
    let claims: Claims = serde_json::from_value(with(json!({}))).unwrap();
    let signed = sign(&keys(), &claims).unwrap();
    assert_eq!(verify(&keys(), &signed, NOW).unwrap(), claims);
    let mut rules = jsonwebtoken::Validation::new(Algorithm::HS256);
    rules.validate_exp = false;
    let key = jsonwebtoken::DecodingKey::from_secret(SECRET.as_bytes());
    let read = jsonwebtoken::decode::<Value>(&signed, &key, &rules).unwrap();
    assert_eq!(read.claims["sub"], "alice");
}

#[test]
fn a_refreshed_token_keeps_everything_and_lives_at_least_ten_minutes() {
    let old = with(
        json!({"iss": "other", "exp": NOW + 30, "kind": "agent", "attributes": {"k": "v"},
                          "roomConfig": {"emptyTimeout": 7}}),
    );
    let old: Claims = serde_json::from_value(old).unwrap();
    let fresh = refresh(&keys(), &old, NOW).unwrap();
    let claims = verify(&keys(), &fresh, NOW).unwrap();
    assert_eq!((claims.issuer.as_str(), claims.exp), ("devkey", NOW + 600));
    assert_eq!(
        (&claims.kind, &claims.attributes),
        (&old.kind, &old.attributes)
    );
    assert_eq!(claims.room_config, old.room_config);
    let body = from_base64(fresh.split('.').nth(1).unwrap()).unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["identity"], "alice");

    let long = Claims {
        exp: NOW + 7200,
        ..old
    };
    let fresh = refresh(&keys(), &long, NOW).unwrap();
    assert_eq!(verify(&keys(), &fresh, NOW).unwrap().exp, NOW + 7200);
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    assert!(!format!("{:?}", keys()).contains(SECRET));
}
