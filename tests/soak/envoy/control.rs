//! The negative control: an Envoy that is restarted cold loses requests, and that is found.

use std::time::Duration;

use libc::SIGHUP;
use support::envoy::{Setup, Stage};
use support::eventually;

use clients::{Front, Mix};

use super::judge::judge;
use crate::tally::Tally;

/// Ends the Envoy before it, and has none to take over from.
const COLD: &str = "if read -r old <\"$ENVOY_CONFIG.pid\"; then kill \"$old\"; sleep 0.2; fi
echo $$ >\"$ENVOY_CONFIG.pid\"
exec start_envoy.sh --disable-hot-restart \"$@\" 2>>\"$ENVOY_CONFIG.said\"
";
const RESTARTS: u32 = 2;

/// Restarts one cold, and has the losses of its clients judged; without excuses they are blamed.
pub(super) fn control(tally: &Tally) {
    let front = Front::of(Stage::in_namespace((1, 2)));
    front.stage.put_script(COLD);
    let bare = Setup::new(&front.stage).scripted().start();
    front.stage.await_first(|| bare.output());
    let clients = front.clients(Mix { kept: 2, renewed: 2, http2: 1, tcp: 0 });
    for epoch in 1..=RESTARTS {
        bare.restarter.signal(SIGHUP);
        eventually("the new Envoy serves, and is found ready", || {
            let ready = bare.output().contains(&format!("ready epoch={epoch}"));
            let live = front.stage.live_epoch();
            if ready && live == Some(epoch) { Ok(()) } else { Err((live, bare.output())) }
        });
    }
    let figures = clients.finish(Duration::from_millis(100));
    let blamed = judge(figures.losses(), &[]).blamed;
    if blamed.is_empty() {
        tally.broken(format!("cold restarts of Envoy are not found out: {figures}"));
    } else {
        tally.add("Envoy: cold restarts found out (control)", RESTARTS.into());
    }
}
