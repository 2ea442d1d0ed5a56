//! Questions over HTTP/1.1, one to a connection, asked without ever waiting.
//!
//! [`Address`] and [`Url`] say whom to ask, an [`Exchange`] asks, and a [`Decoder`] understands
//! what is said. Nobody on the other side is trusted: whatever is sent, or is not, an exchange
//! ends within [`PATIENCE`], and holds no more than [`ANSWER_LIMIT`] of it.

mod address;
mod decoder;
mod exchange;

pub use address::{Address, Url};
pub use decoder::{ANSWER_LIMIT, Decoder, HEAD_LIMIT, Malformed, Response, Wanted};
pub use exchange::{Exchange, Failure, Method, PATIENCE};
