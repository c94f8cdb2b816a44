//! recipes/codes.conf: one-time codes have a delay of their own.

use super::{CLIENT, OTHER, USER, include};
use crate::smtp::attempt;
use crate::world::in_own_world;

#[test]
fn codes_wait_a_minute_by_sender_or_recipient() {
    in_own_world(|world| {
        world.configure(
            "delay = \"1h\"\n[policy.codes]\ndelay = \"1m\"\n[recipients]\n\"other@example.org\" = \"codes\"",
        );
        let options = format!(
            "EXIMGREY_CODE_SENDERS = *@bank.test\nEXIMGREY_OPTIONS == {{config={}}}EXIMGREY_CODES\n",
            world.path("eximgrey.toml").display()
        );
        // The macro is defined before it is used.
        let (senders, options) = options.split_once('\n').unwrap();
        let _exim = world.start_exim(&format!("{senders}\n{}{options}", include("codes")));
        attempt(CLIENT, "login@bank.test", USER).expect_greylisted();
        world.wait_for_log("reason=new wait=60", 1);
        attempt(CLIENT, "alice@sender.test", OTHER).expect_greylisted();
        world.wait_for_log("reason=new wait=60", 2);
        attempt(CLIENT, "alice@sender.test", USER).expect_greylisted();
        attempt(CLIENT, "login@notbank.test", USER).expect_greylisted();
        world.wait_for_log("reason=new wait=3600", 2);
    });
}
