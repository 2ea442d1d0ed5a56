//! What comes over HTTP, and where from.

use hot_restarter::http::{ANSWER_LIMIT, Address, Decoder, Malformed, Response, Url, Wanted};

/// What `--envoy-admin` and `--ready http:` are given: what is taken is written as it is meant.
pub fn address(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    // Sockets' names may hold anything, and are shown escaped.
    if let Ok(address @ Address::Tcp { .. }) = text.parse::<Address>() {
        let again = address.to_string().parse::<Address>().expect("it was taken before");
        assert_eq!(again.to_string(), address.to_string());
    }
    if let Ok(url) = text.parse::<Url>() {
        assert!(url.path.starts_with('/'), "{url}");
        // It goes into a request's first line, and nothing may come to be a second one.
        assert!(url.path.bytes().all(|byte| byte.is_ascii_graphic()), "{url}");
        let again = url.to_string().parse::<Url>().expect("it was taken before");
        assert_eq!(again.to_string(), url.to_string());
    }
}

/// An answer over HTTP: however it is cut into pieces, it is the same answer, and never a long one.
pub fn http_answer(data: &[u8]) {
    let whole = decoded(Wanted::Body, [data]);
    assert_eq!(whole, decoded(Wanted::Body, data.chunks(1)), "byte by byte");
    assert_eq!(whole, decoded(Wanted::Body, data.chunks(7)), "by sevens");
    if let Ok(Response { status, body }) = whole {
        assert!((100..1000).contains(&status) && body.len() < ANSWER_LIMIT, "{status}");
        // Who wants to know less learns no less.
        let short = decoded(Wanted::Status, [data]).expect("it is an answer");
        assert_eq!(short.status, status);
    }
}

fn decoded<'a>(
    wanted: Wanted,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Response, Malformed> {
    let mut decoder = Decoder::new(wanted);
    for piece in pieces {
        if let Some(response) = decoder.feed(piece)? {
            return Ok(response);
        }
    }
    decoder.end()
}
