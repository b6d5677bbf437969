//! Who chooses the path. A client that does so itself would go to the standby as soon as it hears
//! of it: it is to hear of it when it leaves the choice to the home.

use skein_media::event::Event;

use crate::takeover::Call;

#[test]
fn the_home_says_when_a_client_leaves_the_choice_to_it() {
    let mut call = Call::new(21);
    call.frames(30);
    let in_control = |event: &Event| matches!(event, Event::InControl { .. });
    call.replicate();
    assert_eq!(call.count(in_control), 0, "nobody has answered yet");
    call.frames(30);
    assert_eq!(call.count(in_control), 2);
    call.introduce();
    let before = call.seen(7_000).len();
    call.frames(90);
    assert_eq!(call.seen(7_000).len() - before, 270, "clients stay");
    call.replicate();
    call.frames(30);
    assert_eq!(call.count(in_control), 4, "who asks again hears it again");
}
