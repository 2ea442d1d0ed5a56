//! Prose for the manual: `*bold*` is typed as it stands, `<italic>` is for the reader to fill in.

use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

/// Text, whose empty lines part paragraphs.
pub(crate) fn text(page: &mut Roff, text: &str) {
    for line in text.lines() {
        if line.is_empty() {
            page.control("PP", []);
        } else {
            page.text(inlines(line));
        }
    }
}

/// A thing and what is to be said of it, further to the right.
pub(crate) fn entry(page: &mut Roff, thing: &str, said: &str) {
    page.control("TP", []);
    page.text(inlines(thing));
    text(page, said);
}

/// Lines as they stand.
pub(crate) fn example(page: &mut Roff, lines: &str) {
    page.control("PP", []).control("RS", ["4"]).control("EX", []);
    for line in lines.lines() {
        page.text([roman(line)]);
    }
    page.control("EE", []).control("RE", []);
}

fn inlines(line: &str) -> Vec<Inline> {
    let mut inlines = Vec::new();
    let mut rest = line;
    while let Some(start) = rest.find(['*', '<']) {
        let end = if rest[start..].starts_with('*') { '*' } else { '>' };
        let (before, marked) = (&rest[..start], &rest[start + 1..]);
        let Some((marked, after)) = marked.split_once(end) else {
            panic!("{line:?} lacks an end for what begins at byte {start} of {rest:?}");
        };
        if !before.is_empty() {
            inlines.push(roman(before));
        }
        inlines.push(if end == '*' { bold(marked) } else { italic(marked) });
        rest = after;
    }
    if !rest.is_empty() {
        inlines.push(roman(rest));
    }
    inlines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_become_fonts() {
        let expected =
            [roman("of "), bold("--term-wait"), roman(" "), italic("S"), roman(", in all")];
        assert_eq!(inlines("of *--term-wait* <S>, in all"), expected);
    }
}
