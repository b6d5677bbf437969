//! How a room shall be: merged from a CreateRoomRequest or a token's room configuration, a preset,
//! and the defaults of the configuration. Validates; `rooms` calls it before a room exists.

use media::types::PlayoutDelay;
use protocol::grants::Claims;
use protocol::proto;

use super::contract::RoomError;
use super::environment::RoomsConfig;

/// Everything chosen at a room's creation.
#[derive(Clone, Debug, Default)]
pub struct RoomOptions {
    pub name: String,
    /// Issued by the cluster; `None`: the room draws one.
    pub sid: Option<String>,
    pub empty_timeout_s: u32,
    pub departure_timeout_s: u32,
    pub max_participants: u32,
    pub metadata: String,
    /// Tracks of one source share a media stream, so that clients play them in time.
    pub sync_streams: bool,
    /// `None`: clients choose by themselves.
    pub playout_delay: Option<PlayoutDelay>,
    pub agents: Vec<proto::RoomAgentDispatch>,
}

impl RoomOptions {
    /// Options a `CreateRoom` asks for.
    pub fn from_request(
        request: &proto::CreateRoomRequest,
        config: &RoomsConfig,
    ) -> Result<Self, RoomError> {
        let preset = preset(&request.room_preset, config)?;
        let wanted = proto::RoomConfiguration {
            empty_timeout: request.empty_timeout,
            departure_timeout: request.departure_timeout,
            max_participants: request.max_participants,
            metadata: request.metadata.clone(),
            agents: request.agents.clone(),
            sync_streams: request.sync_streams,
            min_playout_delay: request.min_playout_delay,
            max_playout_delay: request.max_playout_delay,
            ..Default::default()
        };
        Self::merge(&request.name, &wanted, preset, config)
    }

    /// Options of the room a joining client's token implies.
    pub fn from_claims(
        name: &str,
        claims: &Claims,
        config: &RoomsConfig,
    ) -> Result<Self, RoomError> {
        let preset = preset(&claims.room_preset, config)?;
        let wanted = match &claims.room_config {
            Some(value) => protocol::json::from_json("livekit.RoomConfiguration", value)
                .map_err(|error| RoomError::InvalidArgument(format!("roomConfig: {error}")))?,
            None => proto::RoomConfiguration::default(),
        };
        Self::merge(name, &wanted, preset, config)
    }

    fn merge(
        name: &str,
        wanted: &proto::RoomConfiguration,
        preset: Option<&proto::RoomConfiguration>,
        config: &RoomsConfig,
    ) -> Result<Self, RoomError> {
        let none = proto::RoomConfiguration::default();
        let preset = preset.unwrap_or(&none);
        let options = Self {
            name: name.to_owned(),
            sid: None,
            empty_timeout_s: first_set([
                wanted.empty_timeout,
                preset.empty_timeout,
                config.empty_timeout_s,
            ]),
            departure_timeout_s: first_set([
                wanted.departure_timeout,
                preset.departure_timeout,
                config.departure_timeout_s,
            ]),
            max_participants: first_set([
                wanted.max_participants,
                preset.max_participants,
                config.max_participants,
            ]),
            metadata: if wanted.metadata.is_empty() {
                &preset.metadata
            } else {
                &wanted.metadata
            }
            .clone(),
            sync_streams: wanted.sync_streams || preset.sync_streams || config.sync_streams,
            playout_delay: delay_of(wanted)
                .or_else(|| delay_of(preset))
                .or(config.playout_delay),
            agents: if wanted.agents.is_empty() {
                &preset.agents
            } else {
                &wanted.agents
            }
            .clone(),
        };
        options.check(config)?;
        Ok(options)
    }

    fn check(&self, config: &RoomsConfig) -> Result<(), RoomError> {
        if self.name.is_empty() {
            return Err(RoomError::InvalidArgument("no room name".into()));
        }
        exceeds(
            "room name length",
            self.name.len(),
            config.max_room_name_bytes,
        )?;
        exceeds(
            "metadata size",
            self.metadata.len(),
            config.max_metadata_bytes,
        )?;
        for agent in &self.agents {
            exceeds(
                "agent metadata size",
                agent.metadata.len(),
                config.max_metadata_bytes,
            )?;
            let bytes = attributes_bytes(agent.attributes.iter());
            exceeds("agent attributes size", bytes, config.max_attributes_bytes)?;
        }
        Ok(())
    }
}

/// `InvalidArgument` in upstream's words if `size` is beyond `max` (0 = no limit).
pub(crate) fn exceeds(what: &str, size: usize, max: usize) -> Result<(), RoomError> {
    if max > 0 && size > max {
        let (_, unit) = what.rsplit_once(' ').unwrap_or(("", "size"));
        let message = format!("{what} exceeds limits: max {unit} {max}");
        return Err(RoomError::InvalidArgument(message));
    }
    Ok(())
}

/// What attributes weigh against `limit.max_attributes_size`.
pub(crate) fn attributes_bytes<'a>(
    attributes: impl Iterator<Item = (&'a String, &'a String)>,
) -> usize {
    attributes.map(|(key, value)| key.len() + value.len()).sum()
}

/// What a configuration says of the playout delay, if anything.
fn delay_of(configuration: &proto::RoomConfiguration) -> Option<PlayoutDelay> {
    let (min_ms, max_ms) = (
        configuration.min_playout_delay,
        configuration.max_playout_delay,
    );
    (min_ms > 0 || max_ms > 0).then_some(PlayoutDelay { min_ms, max_ms })
}

fn preset<'a>(
    name: &str,
    config: &'a RoomsConfig,
) -> Result<Option<&'a proto::RoomConfiguration>, RoomError> {
    if name.is_empty() {
        return Ok(None);
    }
    config.presets.get(name).map(Some).ok_or_else(|| {
        RoomError::InvalidArgument("unknown room configuration in create room request".into())
    })
}

fn first_set(values: [u32; 3]) -> u32 {
    values.into_iter().find(|value| *value != 0).unwrap_or(0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_playout_delay_is_the_requests_else_the_presets_else_the_configurations() {
        let bounds = |min_ms, max_ms| PlayoutDelay { min_ms, max_ms };
        let mut config = RoomsConfig {
            playout_delay: Some(bounds(1, 2)),
            ..RoomsConfig::default()
        };
        let preset = proto::RoomConfiguration {
            max_playout_delay: 500,
            ..Default::default()
        };
        config.presets.insert("even".into(), preset);
        let delay = |min_playout_delay, room_preset: &str, config: &RoomsConfig| {
            let request = proto::CreateRoomRequest {
                name: "r".into(),
                min_playout_delay,
                room_preset: room_preset.into(),
                ..Default::default()
            };
            RoomOptions::from_request(&request, config)
                .unwrap()
                .playout_delay
        };
        assert_eq!(delay(300, "even", &config), Some(bounds(300, 0)));
        assert_eq!(delay(0, "even", &config), Some(bounds(0, 500)));
        assert_eq!(delay(0, "", &config), Some(bounds(1, 2)));
        config.playout_delay = None;
        assert_eq!(delay(0, "", &config), None);
    }
}
