//! From a node to wherever a site collects: what a node saw of a run leaves as one message.
//!
//! In reading order: [`destination`] (what the user named), [`Message`], [`deliver`], and one file for each way:
//! [`files`], [`syslog`], [`http`], `kafka`. What could not be delivered waits in the [`spool`]; [`leaving`] is what
//! happens when a run ends.
//!
//! Invariant: a message is delivered, or in the spool, or still in flight; it may be delivered twice, which a store
//! notices.
//! Invariant: nothing here takes longer than the limits of [`leaving`], fails COMMAND, or prints.
//!
//! Not here: what a message says (`record`, `xalt_form`).

#[cfg(all(feature = "kafka", test))]
mod broker;
pub mod destination;
pub mod files;
pub mod http;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(any(feature = "kafka", test))]
pub mod kafka_access;
pub mod leaving;
pub mod spool;
pub mod syslog;

use std::io;
use std::time::Instant;

use bytes::Bytes;

use destination::{Destination, Form};

use super::ingest;
use super::xalt_form;

/// What one node saw of a run: lines of [`super::record`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// No other message has it.
    pub name: String,
    /// The cluster.
    pub system: String,
    /// The lines.
    pub text: Vec<u8>,
}

/// A message, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Where.
    pub to: Destination,
    /// In which form.
    pub form: Form,
    /// What.
    pub message: Message,
}

/// Why a message was not delivered. All of these may be over at the next try.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// A file, a socket or a program.
    #[error("{0}")]
    System(#[from] io::Error),
    /// The other end answered, and not that it has the message.
    #[error("answered {0}")]
    Refused(String),
    /// It did not answer in time.
    #[error("no answer in time")]
    Late,
    /// This binary cannot.
    #[error("this binary was built without it")]
    Unsupported,
}

/// A part of a message with a name of its own: what a file holds, or lines of syslog are put together to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// `run` or `pkg`, as XALT has them, or `spinney`.
    pub kind: &'static str,
    /// Name of a file.
    pub file: String,
    /// What joins lines of syslog.
    pub key: String,
    /// The content.
    pub text: String,
}

/// What is sent at once to something that takes whole messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// No other has it, so whoever takes it can tell that it comes again.
    pub key: String,
    /// What it is.
    pub media_type: &'static str,
    /// The content.
    pub bytes: Bytes,
}

impl Outgoing {
    /// The whole message, or XALT's records one by one, which is what those who collect them expect.
    pub fn bodies(&self) -> Vec<Body> {
        match self.form {
            Form::Spinney => vec![Body {
                key: self.message.name.clone(),
                media_type: "application/x-ndjson",
                bytes: Bytes::from(self.message.text.clone()),
            }],
            Form::Xalt => {
                let body = |piece: Piece| Body {
                    key: piece.key,
                    media_type: "application/json",
                    bytes: Bytes::from(piece.text),
                };
                self.pieces().into_iter().map(body).collect()
            }
        }
    }

    /// The pieces of the message, in its form.
    pub fn pieces(&self) -> Vec<Piece> {
        let Message { name, text, .. } = &self.message;
        match self.form {
            Form::Spinney => vec![Piece {
                kind: "spinney",
                file: format!("{name}.jsonl"),
                key: name.clone(),
                text: String::from_utf8_lossy(text).into_owned(),
            }],
            Form::Xalt => {
                let batch = ingest::take_apart(&mut text.as_slice()).ok().and_then(|(batch, _)| batch);
                batch.map(|batch| xalt_form::pieces(&batch)).unwrap_or_default()
            }
        }
    }
}

/// Takes the message to where it goes, until `deadline`. Blocks, in files without limit: call it where that hurts
/// nobody.
///
/// # Errors
/// It may not have arrived.
pub fn deliver(outgoing: &Outgoing, deadline: Instant) -> Result<(), SendError> {
    match &outgoing.to {
        Destination::Files(directory) => files::write(directory, &outgoing.pieces(), files::Layout::Together),
        Destination::SeparateFiles(directory) => {
            files::write(directory, &outgoing.pieces(), files::Layout::Separate)
        }
        Destination::Syslog(socket) => syslog::to_socket(socket, outgoing, deadline),
        Destination::Logger => syslog::to_logger(outgoing, deadline),
        Destination::Http(address) => http::post(address, outgoing, deadline),
        #[cfg(feature = "kafka")]
        Destination::Kafka { servers, topic, access } => {
            kafka::produce(servers, topic, access.as_deref(), outgoing, deadline)
        }
        #[cfg(not(feature = "kafka"))]
        Destination::Kafka { .. } => Err(SendError::Unsupported),
        Destination::Nowhere => Ok(()),
    }
}
