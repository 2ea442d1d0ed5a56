//! What Envoy's admin says.
//!
//! `/server_info` of Envoy 1.40.0 is 124 kB of JSON, nearly all of it the command line's options
//! and the names of extensions. It prints fields that have their default too, so that an epoch 0
//! is told from an answer that names no epoch.

use serde::Deserialize;

use crate::http::Response;
use crate::supervisor::Answer;

/// Where it says who it is and how far it has come.
pub const SERVER_INFO: &str = "/server_info";

/// What matters of `/server_info`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerInfo {
    /// How far the server has come.
    pub state: State,
    /// The epoch that answers.
    pub restart_epoch: u32,
    /// How many worker threads it has, where it says so.
    pub concurrency: Option<u32>,
    /// Its `--base-id`, unless it has chosen one by itself, which it does not tell.
    pub base_id: Option<u64>,
}

/// Envoy's `ServerInfo.State`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    /// It serves.
    Live,
    /// It serves, and an operator has failed its health check.
    Draining,
    /// It has not begun to initialise its clusters.
    PreInitializing,
    /// It initialises.
    Initializing,
}

#[derive(Deserialize)]
struct Everything {
    state: State,
    command_line_options: CommandLineOptions,
}

#[derive(Deserialize)]
struct CommandLineOptions {
    restart_epoch: u32,
    concurrency: Option<u32>,
    #[serde(default)]
    base_id: Option<String>,
    #[serde(default)]
    use_dynamic_base_id: bool,
}

/// Reads the body of `/server_info`; `None` where it is none.
pub fn server_info(body: &[u8]) -> Option<ServerInfo> {
    let Everything { state, command_line_options } = serde_json::from_slice(body).ok()?;
    let CommandLineOptions { restart_epoch, concurrency, base_id, use_dynamic_base_id } =
        command_line_options;
    let base_id = base_id.filter(|_| !use_dynamic_base_id).and_then(|text| text.parse().ok());
    Some(ServerInfo { state, restart_epoch, concurrency, base_id })
}

impl ServerInfo {
    /// What an answer to [`SERVER_INFO`] says. Only 200 comes with one.
    pub fn of(response: &Response) -> Option<Self> {
        if response.status == 200 { server_info(&response.body) } else { None }
    }

    /// What it says of this epoch, whose base id is known or not.
    pub fn answer(&self, epoch: u32, base_id: Option<u64>) -> Answer {
        // The admin of another epoch speaks for itself alone, and so does that of another Envoy,
        // which may have an epoch of the same number.
        let another = self.base_id.zip(base_id).is_some_and(|(theirs, ours)| theirs != ours);
        if self.restart_epoch != epoch || another {
            return Answer::No;
        }
        let workers = self.concurrency;
        match self.state {
            State::Live | State::Draining => Answer::Ready { workers },
            State::PreInitializing | State::Initializing => Answer::Starting { workers },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shape of Envoy 1.40.0's answer, shortened by hand.
    fn body(state: &str, options: &str) -> String {
        format!(
            r#"{{
 "version": "9e55809/1.40.0/Clean/RELEASE/BoringSSL",
 "state": "{state}",
 "uptime_current_epoch": "0s",
 "hot_restart_version": "11.104",
 "command_line_options": {{
  "base_id": "71",
  {options}
  "config_path": "tcp.yaml",
  "log_format": "[%Y-%m-%d \u003e \"%v\"]",
  "disabled_extensions": [],
  "stats_tag": [{{"name": "a", "number": -1.5e3, "none": null}}]
 }},
 "node": {{"id": "", "extensions": [{{"name": "envoy.x", "disabled": false}}]}},
 "hot_restart_initializing": false
}}
"#
        )
    }

    fn said(status: u16, body: &str, epoch: u32) -> Answer {
        let info = ServerInfo::of(&Response { status, body: body.into() });
        info.map_or(Answer::No, |info| info.answer(epoch, None))
    }

    #[test]
    fn another_envoy_may_have_the_same_epoch() {
        let by = |options: &str, base_id| {
            let options = format!(r#""restart_epoch": 3, {options}"#);
            let body = body("LIVE", &options).into();
            let info = ServerInfo::of(&Response { status: 200, body }).expect("an answer");
            info.answer(3, base_id) != Answer::No
        };
        assert!(by("", Some(71)));
        assert!(by("", None));
        assert!(!by("", Some(70)));
        assert!(by(r#""use_dynamic_base_id": true,"#, Some(70)), "it does not tell");
    }

    #[test]
    fn an_epoch_is_ready_when_it_says_so_itself() {
        let workers = Some(2);
        for (state, expected) in [
            ("LIVE", Answer::Ready { workers }),
            ("DRAINING", Answer::Ready { workers }),
            ("PRE_INITIALIZING", Answer::Starting { workers }),
            ("INITIALIZING", Answer::Starting { workers }),
            ("live", Answer::No),
            ("", Answer::No),
        ] {
            let body = body(state, r#""concurrency": 2, "restart_epoch": 0,"#);
            assert_eq!(said(200, &body, 0), expected, "{state}");
            assert_eq!(said(200, &body, 1), Answer::No, "{state}, by another epoch");
            assert_eq!(said(503, &body, 0), Answer::No, "{state}, with an error");
        }
        let body = body("LIVE", r#""restart_epoch": 4294967295,"#);
        assert_eq!(said(200, &body, u32::MAX), Answer::Ready { workers: None });
    }

    #[test]
    fn what_names_no_epoch_is_no_answer() {
        for options in
            ["", r#""restart_epoch": "0","#, r#""restart_epoch": -1,"#, r#""restart_epoch": 0.0,"#]
        {
            assert_eq!(said(200, &body("LIVE", options), 0), Answer::No, "{options}");
        }
        let whole = body("LIVE", r#""concurrency": 2, "restart_epoch": 0,"#);
        for end in 0..whole.trim_end().len() {
            assert_eq!(said(200, &whole[..end], 0), Answer::No, "cut off at {end}");
        }
        let deep = "[".repeat(1 << 20);
        for garbage in ["", "OK", "null", "[]", "{}", "\u{0}", &deep, &format!("{{\"a\": {deep}")] {
            assert_eq!(said(200, garbage, 0), Answer::No);
        }
    }
}
