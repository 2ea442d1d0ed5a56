//! What is said over the control socket, on both of its sides.

use hot_restarter::control::{render, wire};

/// A line from whoever listens where a restarter should: what is taken means one thing, and is
/// fit for a terminal, as is the reason why something is not taken.
pub fn reply(data: &[u8]) {
    let shown = match wire::Reply::parse(data) {
        Ok(reply) => {
            let again = reply.line();
            let again = again.strip_suffix('\n').expect("it is a line");
            assert_eq!(wire::Reply::parse(again.as_bytes()).as_ref(), Ok(&reply), "{again}");
            render::answer(&reply)
        }
        Err(why) => render::Plain(&why).to_string(),
    };
    let control =
        shown.chars().find(|character| character.is_control() && !"\n\t".contains(*character));
    assert_eq!(control, None, "{shown:?}");
}

/// A line from a client of the control socket: what is taken means one thing, and what is not is
/// told why in one line.
pub fn request(data: &[u8]) {
    match wire::Request::parse(data) {
        Ok(request) => {
            assert_eq!(request.version, wire::VERSION);
            assert!(!request.wait || request.command.takes_time(), "{request:?}");
            let wire::Request { command, wait, .. } = request;
            let again = format!("{{\"version\":1,\"command\":\"{command}\",\"wait\":{wait}}}");
            assert_eq!(wire::Request::parse(again.as_bytes()), Ok(request));
        }
        Err(why) => {
            let line = wire::Reply::new(wire::Kind::Error, false, &why).line();
            assert_eq!(line.matches('\n').count(), 1, "{line:?}");
            assert!(line.len() <= 16 * data.len() + 1024, "{line:?}");
        }
    }
}
