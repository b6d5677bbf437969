//! A media core that is made again from its record: what its shard and its client are told then.
//! The room's tests thaw whole rooms at every moment.

use media::types::{ReceiveSection, SsrcInfo};
use media::{Command, Event};
use protocol::proto;
use protocol::proto::TrackSource::{Camera, Microphone};

use super::stage::{Stage, audio, data, request};
use crate::participant::MediaInput;
use crate::participant::image::ThawKind;

fn received(stage: &Stage) -> Vec<ReceiveSection> {
    let commands = stage.commands();
    let told = commands.iter().find_map(|command| match command {
        Command::SetReceive { sections, .. } => Some(sections.clone()),
        _ => None,
    });
    told.unwrap()
}

fn ssrc(ssrc: u32, repairs: Option<u32>, layer: Option<u8>) -> SsrcInfo {
    SsrcInfo {
        ssrc,
        repairs,
        layer,
    }
}

#[test]
fn a_new_transport_is_told_what_ssrcs_carry_because_no_packet_says_it_any_more() {
    let mut stage = Stage::dual();
    stage.publish("cam", Camera);
    let (track, _) = stage.published()[0].codecs[0];
    for (layer, ssrc, repair) in [(1, 11, false), (0, 10, false), (1, 21, true), (2, 22, true)] {
        stage.feed(MediaInput::Shard(Event::StreamLearned {
            track,
            layer,
            ssrc,
            repair,
        }));
    }
    let thawed = stage.thawed(ThawKind::Cold);
    let expected = [
        ssrc(11, None, Some(1)),
        ssrc(10, None, Some(0)),
        // The one whose original never came explains nothing.
        ssrc(21, Some(11), None),
    ];
    assert_eq!(received(&thawed)[0].ssrcs, expected);
    assert_eq!(received(&thawed)[0].track, Some(track));
}

#[test]
fn a_cold_transport_has_credentials_of_its_own_and_a_warm_one_is_not_made_again() {
    let mut stage = Stage::dual();
    stage.publish("mic", Microphone);
    let added = |stage: &Stage| {
        let commands = stage.commands();
        let added = commands.iter().filter_map(|command| match command {
            Command::AddTransport {
                transport, local, ..
            } => Some((*transport, local.ufrag.clone())),
            _ => None,
        });
        let mut added: Vec<_> = added.collect();
        added.sort();
        added
    };
    let (before, cold) = (added(&stage), added(&stage.thawed(ThawKind::Cold)));
    assert_eq!(before.len(), 2);
    for (old, new) in before.iter().zip(&cold) {
        assert_eq!(old.0, new.0, "the same key");
    }
    let warm = stage.thawed(ThawKind::Warm);
    assert_eq!(added(&warm), []);
    let taken = |command: &&&Command| matches!(command, Command::TakeOver { .. });
    assert_eq!(warm.commands().iter().filter(taken).count(), 2);
}

/// Its client knows the path it has under the priority the standby was told with.
#[test]
fn a_restart_after_takeovers_shows_candidates_no_worse_than_the_standbys_were() {
    let mut stage = Stage::dual();
    stage.client_answers();
    stage.connect(stage.transport(0));
    let shown = |stage: &mut Stage| {
        stage.clear();
        stage.feed(MediaInput::Resumed);
        let sdp = stage.offers().pop().unwrap().sdp;
        let lines = sdp.lines().filter(|line| line.contains(" udp "));
        let priorities = lines.map(|line| line.split(' ').nth(3).unwrap().parse::<u32>().unwrap());
        priorities.collect::<Vec<_>>()
    };
    assert_eq!(shown(&mut stage), [1]);
    let mut once = stage.thawed(ThawKind::Warm);
    assert_eq!(shown(&mut once), [1 + 64]);
    let mut twice = once.thawed(ThawKind::Warm);
    assert_eq!(shown(&mut twice), [1 + 2 * 64]);
    assert_eq!(shown(&mut twice.thawed(ThawKind::Cold)), [1]);
}

#[test]
fn channels_a_client_names_are_adopted_and_those_it_lacks_are_opened() {
    let mut stage = Stage::dual();
    stage.client_answers();
    let transport = stage.transport(0);
    stage.connect(transport);
    stage.open_channels(transport);
    let mut thawed = stage.thawed(ThawKind::Cold);
    thawed.feed(MediaInput::Resumed);
    thawed.clear();
    let named = |label: &str, id| proto::DataChannelInfo {
        label: label.into(),
        id,
        target: proto::SignalTarget::Subscriber as i32,
    };
    let state = proto::SyncState {
        data_channels: vec![named("_lossy", 3), named("_reliable", 1), named("odd", 9)],
        ..Default::default()
    };
    thawed.feed(MediaInput::SyncState(state.clone()));
    let commands = thawed.commands();
    let adopted = commands.iter().filter_map(|command| match command {
        Command::AdoptChannel { stream, label, .. } => Some((*stream, label.as_str())),
        _ => None,
    });
    let expected = [(3, "_lossy"), (1, "_reliable"), (5, "_data_track")];
    assert_eq!(adopted.collect::<Vec<_>>(), expected);
    thawed.clear();
    thawed.feed(MediaInput::SyncState(state));
    let again = |command: &&&Command| matches!(command, Command::AdoptChannel { .. });
    assert_eq!(thawed.commands().iter().filter(again).count(), 0, "once");
}

/// A home that came by a takeover shows its candidates under a higher priority.
fn but_for_priorities(answers: &[(u32, Option<String>)]) -> Vec<(u32, String)> {
    let line = |line: &str| match line.starts_with("a=candidate") {
        true => {
            let mut words: Vec<_> = line.split(' ').collect();
            words[3] = "priority";
            words.join(" ")
        }
        false => line.to_owned(),
    };
    let body = |body: &Option<String>| {
        let lines: Vec<_> = body.as_deref().unwrap().lines().map(line).collect();
        lines.join("\r\n")
    };
    answers.iter().map(|(id, sdp)| (*id, body(sdp))).collect()
}

#[test]
fn an_announcement_and_an_offer_that_are_repeated_are_answered_as_they_were() {
    for kind in [ThawKind::Warm, ThawKind::Cold] {
        let mut stage = Stage::single();
        stage.add_track("mic", Microphone);
        let first = stage.track_published();
        let again = |stage: &mut Stage, cid: &str, source| {
            stage.clear();
            stage.feed(MediaInput::AddTrackAgain(request(cid, source)));
            stage.track_published()
        };
        let mut waiting = stage.thawed(kind);
        assert_eq!(again(&mut waiting, "mic", Microphone), first);
        let sections = [data(0), audio(1, "mic")];
        stage.client_offers(5, &sections);
        let answers = |stage: &Stage| {
            let answers = stage.answers().into_iter();
            // The version of a description counts up.
            let body = |sdp: String| sdp.split_once("\r\ns=").map(|(_, body)| body.to_owned());
            answers
                .map(|one| (one.id, body(one.sdp)))
                .collect::<Vec<_>>()
        };
        let answered = answers(&stage);
        let mut shown = stage.thawed(kind);
        let sids: Vec<_> = again(&mut shown, "mic", Microphone);
        assert_eq!(sids.len(), 1);
        assert_eq!(sids[0].sid, first[0].sid);
        shown.clear();
        shown.client_offers(5, &sections);
        match kind {
            ThawKind::Warm => {
                let shown = but_for_priorities(&answers(&shown));
                assert_eq!(shown, but_for_priorities(&answered));
            }
            ThawKind::Cold => assert_eq!(answers(&shown).len(), 1),
        }
        let added = |c: &&&Command| matches!(c, Command::AddTrack { .. });
        assert_eq!(
            shown.commands().iter().filter(added).count(),
            0,
            "one track"
        );
        let news = again(&mut shown, "cam", Camera);
        assert_ne!(news[0].sid, first[0].sid);
    }
}
