//! What a ParticipantPermission lets its holder publish. Pure functions.

use protocol::proto;

/// An empty list of sources restricts nothing.
pub(crate) fn may_publish(permission: &proto::ParticipantPermission, source: i32) -> bool {
    let sources = &permission.can_publish_sources;
    permission.can_publish && (sources.is_empty() || sources.contains(&source))
}
