//! `livekit.Ingress` while nothing can be ingested: the grant is checked, then the caller is told
//! the truth.

use super::Answer;
use super::errors::{absent, denied};
use crate::auth::Caller;

pub(super) fn call(caller: &Caller) -> Answer {
    caller.may_administer_ingress().map_err(denied)?;
    Err(absent("ingress"))
}
