use super::*;

/// What comes of these pieces and the end of the connection.
fn decode<'a>(
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

fn whole(answer: &[u8]) -> Result<Response, Malformed> {
    decode(Wanted::Body, [answer])
}

fn byte_by_byte(answer: &[u8]) -> Result<Response, Malformed> {
    decode(Wanted::Body, answer.chunks(1))
}

fn response(status: u16, body: &[u8]) -> Response {
    Response { status, body: body.to_vec() }
}

/// Answers that can be understood, and what they say.
const GOOD: &[(&[u8], u16, &[u8])] = &[
    (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, b"hello"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello, and more", 200, b"hello"),
    (b"HTTP/1.1 200 OK\r\ncontent-length:2\r\nContent-Length: 2\r\n\r\nhi", 200, b"hi"),
    (b"HTTP/1.1 503 \r\nContent-Length: 0\r\n\r\n", 503, b""),
    (b"HTTP/1.0 200\r\n\r\nuntil the end", 200, b"until the end"),
    (b"HTTP/1.1 200 OK\n\nbare line feeds", 200, b"bare line feeds"),
    (b"HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n", 204, b""),
    (b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", 304, b""),
    (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n\
          5\r\nhello\r\n2;name=\"value\"\r\n, \r\n0006 \r\nworld!\r\n0\r\n\r\n",
        200,
        b"hello, world!",
    ),
    (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
          3\r\none\r\n0\r\nTrailer: tolerated\r\nAnother: one\r\n\r\n",
        200,
        b"one",
    ),
    (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n\
          HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        200,
        b"ok",
    ),
];

/// Answers that cannot, and a word of the reason.
const BAD: &[(&[u8], &str)] = &[
    (b"", "without an answer"),
    (b"H", "cut off"),
    (b"HTTP/1.1 200 OK\r\n", "cut off"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", "cut off"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "cut off"),
    (b"HTTP/1.1 100 Continue\r\n\r\n", "cut off"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "cut off"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello", "cut off"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "cut off"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "cut off"),
    (b"\r\n\r\n", "not HTTP/1"),
    (b"SSH-2.0-OpenSSH_9.9\r\n\r\n", "not HTTP/1"),
    (b"GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n", "not HTTP/1"),
    (b"HTTP/2 200 OK\r\n\r\n", "not HTTP/1"),
    (b"HTTP/1.1 20 OK\r\n\r\n", "not HTTP/1"),
    (b"HTTP/1.1 -200 OK\r\n\r\n", "not HTTP/1"),
    (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "not HTTP/1"),
    (b"HTTP/1.1 200 OK\r\nA: folded\r\n line\r\n\r\n", "not HTTP/1"),
    (b"HTTP/1.1 200 OK\r\nContent-Length : 1\r\n\r\nx", "not HTTP/1"),
    (b"HTTP/1.1 099 Odd\r\n\r\n", "no sense"),
    (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "no sense"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "no number"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\nx", "no number"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\nx", "no number"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nx", "no number"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 0x1\r\n\r\nx", "no number"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\n", "no number"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n", "1 MiB"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 1048577\r\n\r\n", "1 MiB"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", "two lengths"),
    (
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "both",
    ),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "other than chunked"),
    (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "other than chunked",
    ),
    (b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "other than chunked"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n", "size of a chunk"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n;x\r\n\r\n", "size of a chunk"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", "size of a chunk"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\nx", "size of a chunk"),
    (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\n",
        "size of a chunk",
    ),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", "1 MiB"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n100000\r\n", "1 MiB"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n", "longer than it says"),
];

#[test]
fn an_answer_is_understood_however_its_body_ends() {
    for (answer, status, body) in GOOD {
        assert_eq!(whole(answer), Ok(response(*status, body)), "{}", answer.escape_ascii());
    }
}

#[test]
fn what_is_no_answer_is_refused_with_the_reason() {
    for (answer, reason) in BAD {
        let refusal = whole(answer).expect_err("it is bad").to_string();
        assert!(refusal.contains(reason), "{}: {refusal}", answer.escape_ascii());
    }
}

#[test]
fn it_does_not_matter_where_an_answer_is_cut_into_pieces() {
    let samples = GOOD.iter().map(|(answer, ..)| *answer).chain(BAD.iter().map(|(bad, _)| *bad));
    for answer in samples {
        let expected = whole(answer);
        assert_eq!(byte_by_byte(answer), expected, "{}", answer.escape_ascii());
        for at in 0..=answer.len() {
            let (first, second) = answer.split_at(at);
            let cut = decode(Wanted::Body, [first, second]);
            assert_eq!(cut, expected, "{} cut at {at}", answer.escape_ascii());
        }
    }
}

/// Answers with bytes exchanged, dropped and doubled: no panic, and pieces make no difference.
#[test]
fn spoiled_answers_are_decoded_or_refused() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed >> 33).expect("31 bits") % below
    };
    for _ in 0..20_000 {
        let mut answer = GOOD[random(GOOD.len())].0.to_vec();
        for _ in 0..=random(3) {
            let at = random(answer.len());
            match random(3) {
                0 => answer[at] = b"\r\n :;0f\xff"[random(8)],
                1 => drop(answer.remove(at)),
                _ => answer.insert(at, answer[at]),
            }
        }
        let expected = whole(&answer);
        assert_eq!(byte_by_byte(&answer), expected, "{}", answer.escape_ascii());
        for wanted in [Wanted::Status, Wanted::Body] {
            let at = random(answer.len() + 1);
            let (first, second) = answer.split_at(at);
            let cut = decode(wanted, [first, second]);
            assert_eq!(cut, decode(wanted, [&*answer]), "{} at {at}", answer.escape_ascii());
        }
    }
}

#[test]
fn the_status_alone_is_told_before_the_body() {
    for head in [
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        let told = Decoder::new(Wanted::Status).feed(head.as_bytes());
        assert_eq!(told, Ok(Some(response(200, b""))), "{head:?}");
        assert_eq!(Decoder::new(Wanted::Body).feed(head.as_bytes()), Ok(None), "{head:?}");
    }
}

#[test]
fn a_head_has_its_limits() {
    let head_of = |length: usize| {
        let start = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nA: ";
        format!("{start}{}\r\n\r\n", "x".repeat(length - start.len() - 4))
    };
    assert_eq!(whole(head_of(HEAD_LIMIT).as_bytes()), Ok(response(200, b"")));
    let with_headers = |count| {
        let headers = "A: b\r\n".repeat(count);
        format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: 0\r\n\r\n")
    };
    assert_eq!(whole(with_headers(HEADERS_LIMIT - 1).as_bytes()), Ok(response(200, b"")));
    let interim = |count| "HTTP/1.1 100 Continue\r\n\r\n".repeat(count) + &with_headers(0);
    assert_eq!(whole(interim(8).as_bytes()), Ok(response(200, b"")));
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (answer, reason) in [
        (head_of(HEAD_LIMIT + 1), "16 KiB"),
        (format!("HTTP/1.1 200 OK\r\n{}", "A: b\r\n".repeat(9999)), "16 KiB"),
        (format!("{chunked}1;{}", "x".repeat(HEAD_LIMIT)), "16 KiB"),
        (with_headers(HEADERS_LIMIT), "64 headers"),
        (interim(9), "interim"),
    ] {
        let refusal = whole(answer.as_bytes()).expect_err("it is too much");
        assert!(refusal.to_string().contains(reason), "{refusal}");
        assert_eq!(byte_by_byte(answer.as_bytes()), Err(refusal));
    }
}

/// Quadratic work would take these a minute and more.
#[test]
fn the_longest_answers_may_come_byte_by_byte() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
    let long = "x".repeat(ANSWER_LIMIT - 19);
    let answer = format!("HTTP/1.1 200 OK\r\n\r\n{long}");
    assert_eq!(byte_by_byte(answer.as_bytes()), Ok(response(200, long.as_bytes())));
    for (endless, limit) in [
        (answer + "x", TOO_LONG),
        (chunked.clone() + &"1\r\nx\r\n".repeat(ANSWER_LIMIT / 6), TOO_LONG),
        (chunked + "0\r\n" + &"A: b\r\n".repeat(ANSWER_LIMIT / 6), TOO_LONG),
    ] {
        assert_eq!(whole(endless.as_bytes()), Err(limit));
        assert_eq!(byte_by_byte(endless.as_bytes()), Err(limit));
    }
}
