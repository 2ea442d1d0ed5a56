//! A terminal, and who has it.

use libtest_mimic::Trial;
use support::inherit::Inherit;
use support::scene::Scene;
use support::terminal::{CTRL_C, Terminal, Watched};
use support::{eventually, processes};

use super::inits::{Init, Running};
use crate::needs::{Needs, trial};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("conformance::terminal_is_read_and_written", Needs::Inits, read_and_written),
        trial("conformance::terminal_job_control", Needs::Inits, job_control),
        trial("conformance::terminal_foreground", Needs::Inits, foreground),
    ]
}

/// An init that leads a session with a terminal, over these words.
fn on_terminal(
    scene: &Scene,
    init: Init,
    words: &[impl AsRef<str>],
) -> (Terminal, Watched, Running) {
    let (terminal, programs) = Terminal::open();
    let watched = terminal.watched();
    let mut command = init.over(scene, words);
    command.on_terminal(programs);
    (terminal, watched, Running::of(command))
}

/// What is typed reaches the target, until the end of it, and what it writes is shown.
fn read_and_written() {
    for init in Init::PROGRAMS {
        let scene = Scene::new();
        let words = ["sh", "-c", "stty -echo; echo go; sort -r; echo over"];
        let (mut terminal, screen, mut running) = on_terminal(&scene, init, &words);
        screen.await_times("go", 1);
        terminal.press("1\n2\n3\n\x04");
        screen.await_times("over", 1);
        assert_eq!(running.code(), 0, "{init:?}");
        assert!(screen.text().contains("3\r\n2\r\n1\r\nover"), "{init:?}: {}", screen.text());
    }
}

/// A shell as the target has job control: `fg` puts its job into the foreground, and Ctrl-C ends
/// that and not the shell.
fn job_control() {
    for init in Init::PROGRAMS {
        let scene = Scene::new();
        let words = ["sh", "-c", "stty -echo; exec sh -i"];
        let (mut terminal, screen, mut running) = on_terminal(&scene, init, &words);
        // Not as it may be shown when it is typed.
        terminal.press("echo \"fl\"\"ags=[$-]\"; sleep 9999 &\n");
        screen.await_times("flags=[", 1);
        let shell = terminal.foreground();
        terminal.press("fg\n");
        eventually("the job is in the foreground", || {
            if terminal.foreground() == shell { Err(screen.text()) } else { Ok(()) }
        });
        terminal.press(CTRL_C);
        terminal.await_foreground(shell);
        terminal.press("echo \"job=$?\"; exit 5\n");
        screen.await_times("job=130", 1);
        assert_eq!(running.code(), 5, "{init:?}: {}", screen.text());
        let text = screen.text();
        let flags = text.split("flags=[").nth(1).and_then(|it| it.split(']').next());
        assert!(flags.is_some_and(|flags| flags.contains('m')), "{init:?}: {text}");
    }
}

/// The target is in the foreground when it begins, Ctrl-C reaches it, and nothing else has: where
/// dumb-init leads a session it gives the terminal up, and hears of that by SIGHUP and SIGCONT.
fn foreground() {
    for init in Init::PROGRAMS {
        let scene = Scene::new();
        let words = scene.probe("catch=all exit-on=INT:3 report wait");
        let (mut terminal, _screen, mut running) = on_terminal(&scene, init, &words);
        let probe = scene.journal().await_ready(1)[0];
        let report = scene.journal().await_report(probe);
        assert_eq!(report.text("foreground"), "yes", "{init:?}");
        assert!(processes::process(probe).is_some());
        terminal.press(CTRL_C);
        let code = running.code();
        assert_eq!(code, 3, "{init:?}");
        assert_eq!(scene.journal().signals(probe), [libc::SIGINT], "{init:?}");
        assert_eq!(scene.journal().writers("ready").len(), 1, "{init:?} started it again");
    }
}
