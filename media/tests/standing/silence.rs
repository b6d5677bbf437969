//! Standbys that do not answer, cannot read what they are told, or are told nonsense: media goes
//! on.

use std::time::Duration;

use bytes::Bytes;
use skein_media::Command;
use skein_media::event::Event;
use skein_media::ids::TransportKey;

use crate::takeover::Call;
use crate::world::ROOM;

fn images(call: &Call, of: TransportKey) -> Vec<(bool, Bytes)> {
    let image = |event: &Event| match event {
        Event::TransportImage {
            transport,
            probe,
            image,
            ..
        } if *transport == of => Some((*probe, image.clone())),
        _ => None,
    };
    call.world.events.iter().filter_map(image).collect()
}

fn unheard(event: &Event) -> bool {
    matches!(event, Event::TakenOver { heard: false, .. })
}

#[test]
fn a_standby_that_never_answers_holds_nothing_up() {
    let mut call = Call::new(11);
    call.frames(30);
    call.world.follows = false;
    call.replicate();
    let before = call.seen(7_000).len();
    call.frames(600);
    assert_eq!(call.seen(7_000).len() - before, 1_800, "twenty seconds");
    let transport = call.world.clients[call.subscriber].key;
    let asked = images(&call, transport);
    assert!((2..=5).contains(&asked.len()), "{}", asked.len());
    assert!(asked.iter().all(|(probe, _)| *probe), "nothing is leased");
    let delta = |event: &Event| matches!(event, Event::TransportDelta { .. });
    let silent = |event: &Event| matches!(event, Event::StandbySilent { .. });
    assert_eq!(call.count(delta) + call.count(silent), 0);
}

#[test]
fn a_standby_that_falls_silent_is_complained_of_before_media_stops() {
    let mut call = Call::new(12);
    call.frames(30);
    call.follow();
    call.frames(120);
    let silent = |event: &Event| matches!(event, Event::StandbySilent { .. });
    assert_eq!(call.count(silent), 0);
    call.world.follows = false;
    let (before, mut frames) = (call.seen(7_000).len(), 0);
    while call.count(silent) == 0 {
        call.frames(1);
        frames += 1;
        assert!(frames < 300, "ten seconds");
    }
    println!("after {frames} frames");
    assert_eq!(call.seen(7_000).len() - before, 3 * frames);
}

#[test]
fn what_only_asks_takes_nothing_over() {
    let mut call = Call::new(13);
    call.frames(30);
    call.world.follows = false;
    call.replicate();
    let transport = call.world.clients[call.subscriber].key;
    let (probe, image) = images(&call, transport).remove(0);
    call.world.command_second(Command::AddStandby {
        transport,
        room: ROOM,
        probe,
        image,
    });
    call.world.run(Duration::from_secs(2));
    call.world.command_second(Command::TakeOver { transport });
    assert_eq!(call.count(unheard), 1);
    let ready = |event: &Event| matches!(event, Event::StandbyReady { ready: true, .. });
    assert_eq!(call.count(ready), 0);
}

#[test]
fn an_older_image_takes_nothing_back() {
    let mut call = Call::new(14);
    call.frames(30);
    call.follow();
    call.frames(300);
    let transport = call.world.clients[call.subscriber].key;
    let (probe, image) = images(&call, transport).pop().unwrap();
    assert!(!probe);
    let has = |event: &Event| matches!(event, Event::StandbyHas { .. });
    let before = call.count(has);
    call.world.command_second(Command::AddStandby {
        transport,
        room: ROOM,
        probe,
        image,
    });
    assert_eq!(call.count(has), before);
    call.frames(300);
    assert!(call.count(has) > before);
    let stale = |event: &Event| matches!(event, Event::StandbyStale { .. });
    assert_eq!(call.count(stale), 0);
}

#[test]
fn what_cannot_be_read_is_dropped_with_a_word() {
    let mut call = Call::new(15);
    call.frames(30);
    call.follow();
    call.frames(90);
    let transport = call.world.clients[call.subscriber].key;
    let garbage = Command::AddStandby {
        transport,
        room: ROOM,
        probe: false,
        image: Bytes::from_static(&[99, 1, 2, 3]),
    };
    call.world.command_second(garbage);
    let cannot = |event: &Event| matches!(event, Event::StandbyCannot { .. });
    assert_eq!(call.count(cannot), 1);
    call.world.command_second(Command::TakeOver { transport });
    assert_eq!(call.count(unheard), 1);
    // The home is told, and frees what was granted.
    let on = false;
    call.world.command(Command::Replicate {
        transport,
        on,
        sought: false,
    });
    let before = call.seen(7_000).len();
    call.frames(300);
    assert_eq!(call.seen(7_000).len() - before, 900);
}

#[test]
fn a_room_that_is_opened_leaves_nothing_dormant() {
    let mut call = Call::new(16);
    call.frames(30);
    call.follow();
    call.frames(90);
    call.world.dead = true;
    let [kept, left] = [call.publisher, call.subscriber].map(|c| call.world.clients[c].key);
    call.world
        .command_second(Command::TakeOver { transport: kept });
    let other = skein_media::ids::RoomKey(ROOM.0 + 1);
    call.world
        .command_second(Command::DropStandbys { room: other });
    call.world
        .command_second(Command::DropStandbys { room: ROOM });
    assert_eq!(call.count(unheard), 0);
    call.world
        .command_second(Command::TakeOver { transport: left });
    assert_eq!(call.count(unheard), 1);
    let heard = |event: &Event| matches!(event, Event::TakenOver { heard: true, .. });
    call.world.run(Duration::from_millis(200));
    assert_eq!(call.count(heard), 1);
}
